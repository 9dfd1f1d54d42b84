"""The wall clock, and the format of times: ISO 8601 in UTC, with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the wall-clock time."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Format a time with a time zone as ``2026-01-01T12:00:00.123Z``: truncated, sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
