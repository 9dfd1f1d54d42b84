"""How a stream does, in a colour and in words."""

from __future__ import annotations

from dataclasses import dataclass

from otic.streaming.monitor import SILENCE_DBFS
from otic.types import StreamStatus

OK, WARNING, ALARM = "ok", "warning", "alarm"

RECENT_SECONDS = 60.0
"""So long a loss is an alarm; afterwards it is a warning, for good."""

_FULL_QUEUE = 0.5
_CLOSE_TO_THE_LIMIT = 1.5  # times real time
_ENOUGH_SECONDS = 10.0  # of audio, before the speed means anything


@dataclass(frozen=True)
class Health:
    """``level`` is ``ok``, ``warning`` (yellow) or ``alarm`` (red); ``reason`` says why."""

    level: str
    reason: str


def judge(now: StreamStatus, paused: bool = False) -> Health:
    """The worst there is to say of a stream now."""
    if now.state == "waiting":
        return Health(ALARM, "the microphone is not there: waiting for it")
    if now.state == "silent":
        return Health(ALARM, "the microphone gives nothing but zeros: is it muted?")
    since_loss = None if now.lost_at is None else now.seconds - now.lost_at
    if since_loss is not None and since_loss < RECENT_SECONDS:
        return Health(ALARM, f"{_lost(now)}, the latest {since_loss:.0f} s ago")
    if paused:
        return Health(WARNING, "paused: nothing is classified")
    if now.queue_fill > _FULL_QUEUE:
        return Health(
            WARNING, f"falling behind: {now.queue_fill:.0%} of the buffer waits; end other programs"
        )
    if since_loss is not None:
        return Health(WARNING, f"{_lost(now)}, the latest {_ago(since_loss)} ago")
    if now.clipped:
        return Health(WARNING, "too loud: the input clips; turn it down")
    if 0.0 < now.real_time_factor < _CLOSE_TO_THE_LIMIT and now.seconds > _ENOUGH_SECONDS:
        return Health(
            WARNING, f"this machine is close to its limit: {now.real_time_factor:.1f} × real time"
        )
    if now.seconds > _ENOUGH_SECONDS and now.peak_dbfs <= SILENCE_DBFS:
        return Health(WARNING, "digital silence: for two seconds nothing but zeros")
    return Health(OK, "all well")


def _lost(now: StreamStatus) -> str:
    return f"{now.lost_samples:,} samples lost ({now.lost_seconds:.2f} s)"


def _ago(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.0f} h"
