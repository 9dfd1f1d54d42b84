"""The wall clock, and how times are written: ISO 8601 in UTC, with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The wall-clock time."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """``2026-01-01T12:00:00.123Z``, cut off, not rounded; sorts as text. Needs a time zone."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
