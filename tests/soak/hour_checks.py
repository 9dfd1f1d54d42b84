"""What must hold after the real-time run: events, log, clock, gaps, memory, ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.soak.clock_checks import check_clock, check_gaps
from tests.soak.deliveries import (
    Delivery,
    check_receivers,
    command_deliveries,
    csv_rows,
    sqlite_rows,
)
from tests.soak.evidence import Evidence
from tests.soak.logs import LoggedLife, read_log, unix_time
from tests.soak.report import Report, tracebacks
from tests.soak.sensor import Life
from tests.soak.vitals import growth

_SETTLE_SECONDS = 4.0  # after a fault, until all is well
_LONG_LIFE_SECONDS = 120.0
_GROWTH_MEGABYTES, _MORE_THREADS, _MORE_DESCRIPTORS = 4.0, 2, 4


def check(report: Report, evidence: Evidence, stop_seconds: float) -> None:
    """All of it."""
    for name, count in sorted(Counter(h.name for h in evidence.happened).items()):
        report.figure(f"fault: {name}", count)
    if not evidence.disk_is_limited:
        report.figure("fault: disk full", "left out: a small disk can't be mounted here")
    report.check("otic never ends by itself", evidence.problems)
    lives, problems, n_lines = read_log(evidence.disk / "log.jsonl")
    report.check("log: every line of every file is whole", problems, n_lines)
    notifications = _check_receivers(report, evidence)
    _check_log_against_notifications(report, evidence, lives, notifications)
    _check_score_lines(report, lives)
    check_clock(report, evidence, lives)
    check_gaps(report, evidence, lives)
    _check_vitals(report, evidence.lives)
    _check_ends(report, evidence.lives, stop_seconds)
    _check_clips(report, evidence)
    _check_metrics(report, evidence.metrics)
    report.check("webhook: every post is signed", evidence.unsigned)
    report.check("no traceback on standard error", tracebacks(evidence.folder / "stderr.txt"))


def _check_receivers(report: Report, evidence: Evidence) -> dict[str, Delivery]:
    disturbing = ("broker dies", "broker stalls", "otic stopped")

    def is_explained(name: str, one: Delivery, again: Delivery) -> bool:
        if name == "command":  # it keeps no time; only the end of a life makes it come again
            return len(evidence.lives) > 1
        between = [life for life in evidence.lives if one.came < life.began + 5.0]
        if any(one.came - 5.0 < life.began < again.came for life in between):
            return True
        near = evidence.overlapping(disturbing, one.came - 5.0, again.came)
        return bool(near) and name in ("mqtt", "webhook")

    told = {
        "mqtt": evidence.mqtt,
        "webhook": evidence.webhook,
        "command": command_deliveries(evidence.folder / "command.jsonl"),
    }
    rows = sqlite_rows(evidence.disk / "events.sqlite")
    return check_receivers(report, told, rows, csv_rows(evidence.disk / "events.csv"), is_explained)


def _key(record: dict[str, object]) -> tuple[object, ...]:
    return record["state"], record["label"], record["onset"], record["time"]


def _life_of(moment: float, lives: Sequence[LoggedLife]) -> int:
    """Index of the latest that had begun; notifications know milliseconds only."""
    return max((i for i, life in enumerate(lives) if life.began <= moment + 0.001), default=-1)


def _at(evidence: Evidence, moment: float) -> list[Life]:
    """The life at a moment; notifications know milliseconds only."""
    return [v for v in evidence.lives if v.began - 0.001 <= moment <= v.ended + 0.001]


def _check_log_against_notifications(
    report: Report, evidence: Evidence, lives: list[LoggedLife], notifications: dict[str, Delivery]
) -> None:
    """What the log has was told, and what was told is in the log unless that says otherwise."""
    told: list[Counter[tuple[object, ...]]] = [Counter() for _ in lives]
    restarted, unseen = 0, 0
    for delivery in notifications.values():
        notification = delivery.notification
        if "reason" in notification:
            restarted += 1
            continue
        at = unix_time(notification["at"])
        place = _life_of(at, lives)
        # A life whose log has not one line: the disk was full from its start to its end.
        began = -1.0 if place < 0 else lives[place].began
        if not any(v.began <= began <= v.ended for v in _at(evidence, at)):
            unseen += 1
        else:
            told[place][_key(notification)] += 1
    untold: list[str] = []
    unlogged: list[str] = []
    missing_lines = 0
    for index, life in enumerate(lives):
        logged = Counter(_key(event) for event in life.events)
        untold += [f"life {index + 1}: {key}" for key in (logged - told[index]).elements()]
        missing = list((told[index] - logged).elements())
        missing_lines += len(missing)
        # The kill may fall between the queue and the log, or on a full disk.
        ended = life.end is not None
        end = lives[index + 1].began if index + 1 < len(lives) else float("inf")
        full = evidence.overlapping(["disk full"], end - _SETTLE_SECONDS, end)
        if len(missing) > life.dropped + (0 if ended else 1) and not (full and not ended):
            unlogged.append(f"life {index + 1}: {len(missing)}, dropped {life.dropped}: {missing}")
    report.check("every event in the log was told", untold, sum(len(v.events) for v in lives))
    report.check("every event told is in the log, or dropped", unlogged, f"{missing_lines} dropped")
    report.figure("events ended by a restart", restarted)
    full = [h for h in evidence.happened if h.name == "disk full"]
    hidden = ["the disk was never full"] if unseen and not full else []
    report.check("notifications of lives that have no log", hidden, unseen)


def _check_score_lines(report: Report, lives: Sequence[LoggedLife]) -> None:
    """Where score lines are missing, as many lines are said to be dropped, or there was a gap."""
    problems, dropped = [], 0
    for index, life in enumerate(lives):
        hop = round(life.start["inference_hop_seconds"] * life.sr)
        latest, excused = None, 0
        for record in life.records:
            if record["type"] == "dropped":
                excused += record["lines"]
                dropped += record["lines"]
            elif record["type"] == "gap":
                latest = None
            elif record["type"] == "scores":
                if latest is not None:
                    missing = (record["sample"] - latest) / hop - 1
                    if missing > excused or (missing % 1 and not excused):
                        problems.append(
                            f"life {index + 1}: {missing} missing before {record['sample']}, "
                            f"{excused} said to be dropped"
                        )
                latest, excused = record["sample"], 0
    report.check("missing lines of scores are counted", problems, f"{dropped} lines dropped")


def _check_vitals(report: Report, lives: Sequence[Life]) -> None:
    problems, worst = [], (0.0, 0, 0)
    peak = max((v.rss_kilobytes / 1024 for life in lives for v in life.vitals), default=0.0)
    for number, life in enumerate(lives, 1):
        if life.ended - life.began < _LONG_LIFE_SECONDS or len(life.vitals) < 20:
            continue
        more = growth(life.vitals)
        worst = (max(worst[0], more[0]), max(worst[1], more[1]), max(worst[2], more[2]))
        if more[0] > _GROWTH_MEGABYTES or more[1] > _MORE_THREADS or more[2] > _MORE_DESCRIPTORS:
            problems.append(
                f"life {number} of {life.ended - life.began:.0f} s: {more[0]:+.1f} MB, "
                f"{more[1]:+d} threads, {more[2]:+d} descriptors"
            )
    figure = f"worst {worst[0]:+.1f} MB, {worst[1]:+d}, {worst[2]:+d}; peak {peak:.0f} MB"
    report.check("memory, threads, descriptors are flat", problems, figure)


def _check_ends(report: Report, lives: Sequence[Life], stop_seconds: float) -> None:
    stopped = [life for life in lives if life.how == "stopped"]
    problems = [
        f"life {number}: code {life.returncode} after {life.stop_seconds:.2f} s"
        for number, life in enumerate(lives, 1)
        if life.how == "stopped" and (life.returncode or life.stop_seconds > stop_seconds)
    ]
    longest = max((life.stop_seconds for life in stopped), default=0.0)
    figure = f"{len(stopped)} of {len(lives)} lives, at most {longest:.2f} s"
    report.check(f"SIGTERM: code 0 within {stop_seconds:g} s", problems, figure)
    spans = sorted(life.ended - life.began for life in lives)
    report.figure("lives", f"{len(lives)}, the longest {spans[-1]:.0f} s")


def _check_clips(report: Report, evidence: Evidence) -> None:
    import soundfile

    from tests.soak.hour import CLIPS_MEGABYTES

    folder = evidence.disk / "clips"
    problems, size, count = [], 0, 0
    for path in sorted(folder.glob("*.flac")):
        count += 1
        size += path.stat().st_size
        try:
            if not len(soundfile.read(path)[0]):
                problems.append(f"{path.name} is empty")
        except soundfile.LibsndfileError as error:
            problems.append(f"{path.name}: {error}")
    if size > CLIPS_MEGABYTES * 1e6:
        problems.append(f"{size} bytes")
    partial = len(list(folder.glob(".*.part")))
    report.check("clips: whole, within their budget", problems, f"{count} of {size / 1e6:.2f} MB")
    report.figure("clips left unfinished by a kill", partial)


def _check_metrics(report: Report, page: str) -> None:
    names = ("otic_receiver_waiting", "otic_receiver_refused_total", "otic_receiver_dropped_total")
    lines = [line for line in page.splitlines() if line.startswith(names)]
    problems = [line for line in lines if not line.endswith(" 0.0")]
    if not lines:
        problems.append("no metrics")
    report.check("metrics: nothing waits, was refused or dropped", problems)
