"""The wall clock, and the formats of times: ISO 8601 in UTC, and seconds of a stream."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the wall-clock time."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """Format a time with a time zone as ``2026-01-01T12:00:00.123Z``: truncated, sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(seconds: float, decimals: int = 1) -> str:
    """Format seconds of a stream as ``0:12.3`` or ``1:02:03.4``; truncated, as clocks do."""
    scale = 10**decimals
    tenths = int(max(0.0, seconds) * scale + 1e-6)
    whole, part = divmod(tenths, scale)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{part:0{decimals}d}" if decimals else text
