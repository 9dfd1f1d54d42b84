"""Whether the sample clock keeps step with the wall clock, over every loss."""

from __future__ import annotations

from collections.abc import Sequence

from tests.soak.evidence import Evidence
from tests.soak.logs import LoggedLife
from tests.soak.report import Report

_DEVICE = ("unplug", "sound server dies")
_STOPPED = ("otic stopped", "capture stopped")
_LAG_SECONDS = 1.5  # of the newest line of the log behind the clock
_SETTLE_SECONDS = 4.0  # after a fault, until all is well
_OPEN_SECONDS = 6.0  # until a microphone that is there is heard, on a busy machine
_REOPEN_SECONDS = 12.0  # the longest back-off, and opening


def _origins(evidence: Evidence, logged: Sequence[LoggedLife]) -> list[float]:
    """When each logged life's sample 0 was, by the wall clock: when its microphone was open."""
    origins = []
    for own in logged:
        life = next((v for v in evidence.lives if v.began <= own.began <= v.ended), None)
        looks = [] if life is None else life.clock[:5]
        behind = sorted(at - sample / own.sr for at, sample in looks)
        origins.append(behind[len(behind) // 2] if behind else own.began)
    return origins


def check_clock(report: Report, evidence: Evidence, logged: Sequence[LoggedLife]) -> None:
    """The sample clock keeps step with the wall clock, over all losses, in each life."""
    lags, waits, problems = [], [], []
    disturbing = (*_DEVICE, *_STOPPED, "disk full")
    for own, origin in zip(logged, _origins(evidence, logged), strict=True):
        life = next(v for v in evidence.lives if v.began <= own.began <= v.ended)
        number = evidence.lives.index(life) + 1
        waits.append(origin - own.began)
        if not -0.25 <= waits[-1] <= _OPEN_SECONDS:
            problems.append(f"life {number}: heard after {waits[-1]:.2f} s, which is no gap")
        for at, sample in life.clock:
            back_off = evidence.overlapping(_DEVICE, at - _REOPEN_SECONDS - 2.0, at + 0.1)
            if back_off or evidence.overlapping(disturbing, at - _SETTLE_SECONDS, at + 0.1):
                continue
            lags.append(at - origin - sample / own.sr)
            if abs(lags[-1]) > _LAG_SECONDS:
                problems.append(f"life {number}: {lags[-1]:.2f} s behind at {at - own.began:.0f} s")
        away = evidence.overlapping(_DEVICE, life.asked - _REOPEN_SECONDS - 2.0, life.asked)
        if life.how == "stopped" and own.end is not None and life.clock and not away:
            seconds, clock = own.end["seconds"], life.asked - origin
            if abs(seconds - clock) > max(1.0, clock * 100e-6):
                problems.append(f"life {number}: {seconds:.2f} s of samples in {clock:.2f} s")
    lags.sort()
    spread = f"{len(lags)} looks: {lags[0]:+.2f} … {lags[-1]:+.2f} s" if lags else ""
    report.check("sample clock keeps step with the wall clock", problems, spread)
    if waits:
        report.figure("heard after a start", f"{min(waits):.2f} … {max(waits):.2f} s")


def check_gaps(report: Report, evidence: Evidence, lives: Sequence[LoggedLife]) -> None:
    """Each loss of the device is a gap of its length; no gap comes from nothing."""
    gaps = [
        (origin + gap["sample"] / life.sr, gap["lost"] / life.sr)
        for life, origin in zip(lives, _origins(evidence, lives), strict=True)
        for gap in life.of("gap")
    ]
    problems, late, fits = [], [], 0
    for h in evidence.happened:
        if h.name not in _DEVICE:
            continue
        # A life that ends, or a disk that is full, takes the line with it.
        before, after = h.began - 8.0, h.ended + _REOPEN_SECONDS + 5.0
        others = ("disk full", "killed", "restarted", *_STOPPED, *_DEVICE)
        if evidence.overlapping(others, before, h.began - 0.01) or evidence.overlapping(
            others, h.began + 0.01, after
        ) != [h]:
            continue
        if not any(life.began < before and after < life.ended for life in evidence.lives):
            continue
        away = h.ended - h.began
        near = [gap for gap in gaps if gap[0] < h.ended + 1.0 and sum(gap) > h.began]
        total = sum(length for _, length in near)
        begins = min((begin for begin, _ in near), default=0.0)
        back = max((sum(gap) for gap in near), default=0.0)
        if total < away - 1.5 or abs(begins - h.began) > 1.5:
            problems.append(f"{h.name} for {away:.1f} s at {h.began:.1f}: gaps {near}")
        elif back > h.ended + _REOPEN_SECONDS:
            problems.append(f"{h.name} for {away:.1f} s: heard again after {total:.1f} s")
        else:
            fits += 1
            late.append(back - h.ended)
    causes = (*_DEVICE, "capture stopped")
    for begin, length in gaps:
        first = any(
            begin - 1.0 < life.began + _OPEN_SECONDS for life in lives if life.began < begin
        )
        reach = _SETTLE_SECONDS + _REOPEN_SECONDS
        if not first and not evidence.overlapping(causes, begin - reach, begin + length + 1.0):
            problems.append(f"a gap of {length:.3f} s at {begin:.1f} that nothing explains")
    spread = f"; heard again {min(late):.1f} … {max(late):.1f} s after its return" if late else ""
    report.check("each loss of the device is a gap", problems, f"{fits} that came alone{spread}")
    total = sum(length for _, length in gaps)
    report.figure("gaps", f"{len(gaps)}, {total:.0f} s")
