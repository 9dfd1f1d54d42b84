"""``otic scan``: many recordings into one table."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser, add_time_options, time_rule, whole
from otic.config.values import DEFAULT_MODEL
from otic.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from otic.audio.recording_time import TimeRule
    from otic.model.bundle import Bundle
    from otic.scan.run import Plan

FORMATS = ("csv", "parquet")
"""Names of :data:`otic.scan.tables.FORMATS`, repeated because that module loads numpy."""

_log = logging.getLogger(__name__)


def add_scan_options(parser: Parser) -> None:
    """Add the options of ``otic scan``."""
    parser.usage = "otic scan PATH… --out DIR [OPTION]…"
    parser.epilog = (
        "example: otic scan recordings/ --out results. Started again, it does only what is missing."
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="audio files, folders of them, or patterns such as '**/*.wav'; also behind URLs such "
        "as s3://bucket/night (needs the extra cloud)",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help=f"bundled model or .tflite file (default {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--thresholds",
        action="append",
        default=[],
        metavar="LABEL=X,…",
        help="thresholds in place of the model's; 1 is never",
    )
    parser.add_argument(
        "--channel",
        type=whole,
        metavar="N",
        help="use channel N, counted from 1 (default: the mean of all)",
    )
    parser.add_argument("--scores", action="store_true", help="keep the scores, too")
    parser.add_argument(
        "--from-scores",
        action="store_true",
        help="decide again from the scores in --out, with other --thresholds; reads no audio",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the tables (default: csv; parquet needs the extra of that name)",
    )
    parser.add_argument(
        "--jobs",
        type=whole,
        default=None,
        metavar="N",
        help="processes (default: one for each core)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS|local",
        help="run on Dask's workers: of the scheduler at this address, such as tcp://host:8786, or "
        "of this machine (needs the extra cluster)",
    )
    parser.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="I/N",
        help="take the I-th of N shares of the recordings: for job arrays",
    )
    add_time_options(parser)
    parser.add_argument("--since", metavar="TIME", help="only recordings that began then or later")
    parser.add_argument("--until", metavar="TIME", help="only recordings that began before")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be done and how long it would take, and do nothing",
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if not args.out:
        raise UsageError("--out needs the path of a folder, such as results")
    if "://" in args.out:
        raise UsageError(f"--out '{args.out}' is a URL: results are written to a folder only")
    if args.from_scores and args.paths:
        raise UsageError("--from-scores reads no recordings: leave the paths out")
    if args.from_scores and (args.scores or args.dry_run or args.shard != (1, 1)):
        raise UsageError("--from-scores goes with --out, --model, --channel and --thresholds only")
    if not args.from_scores and not args.paths:
        raise UsageError("name recordings, folders or patterns: see 'otic scan --help'")


def shard(text: str) -> tuple[int, int]:
    """Parse ``I/N``."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"'{text}' must be I/N, with I from 1 to N, such as 2/8")
    return int(index), int(count)


def scan(args: argparse.Namespace) -> int:
    """Classify recordings by several processes, and leave tables."""
    from otic.cli.live import with_thresholds
    from otic.model.sandbox import load_checked_bundle
    from otic.scan.again import decide_again, run_with_scores
    from otic.scan.cluster import Cluster, connected
    from otic.scan.folder import Ledger, existing_run, open_run
    from otic.scan.parquet import load_pyarrow
    from otic.scan.run import Engine, Plan, Processes, Share, recorded_between
    from otic.scan.summary import Progress, summary, tables_at
    from otic.scan.task import Job
    from otic.system.log import print_lines

    _check(args)
    rule = time_rule(args, len(args.paths))
    select = recorded_between(rule, *(_moment(text, rule) for text in (args.since, args.until)))
    out, share = Path(args.out), Share(*args.shard)
    jobs = args.jobs or _cores()
    if args.format == "parquet":
        load_pyarrow()
    bundle = with_thresholds(load_checked_bundle(args.model), args.thresholds)
    if args.dry_run:
        found = existing_run(out, bundle, args.channel, rule)
        done = None if found is None else Ledger(found, str(share), look_only=True)
        print("\n".join(_forecast(Plan(args.paths, done, share, select), bundle, jobs)))
        return 0
    source = run_with_scores(out, bundle, args.channel, rule) if args.from_scores else None
    run = open_run(out, bundle, args.channel, args.format, args.scores, rule)
    if source is not None and run.path == source.path:
        raise UsageError("--from-scores needs other --thresholds than the scan with the scores")
    ledger = Ledger(run, str(share))
    try:
        if source is not None:
            text = f"{decide_again(source, run, ledger)} recordings decided"
        else:
            plan = Plan(args.paths, ledger, share, select)
            survey = plan.survey()
            if rule.start is not None and survey.files + survey.done > 1:
                raise UsageError("--start is the time of one recording: use --time-format")
            if survey.done:
                _log.info(f"{survey.done} recordings are done already, {survey.files} are left")
            progress = Progress(survey)
            job = Job(
                bundle, run.path.absolute(), run.format, args.channel, run.scores, str(share), rule
            )
            with _ended_by_sigterm(), ExitStack() as stack:
                engine: Engine = Processes(job, jobs, ledger)
                if args.scheduler is not None:
                    client = stack.enter_context(connected(args.scheduler, jobs))
                    engine = Cluster(job, client, ledger)
                    jobs = max(1, sum(client.nthreads().values()))
                stack.enter_context(progress.shown())
                for each in engine.results(plan.tasks(survey, jobs), progress.tick):
                    progress.add(each)
            text = progress.text()
    except KeyboardInterrupt:
        _log.warning(f"stopped: started again, the scan goes on where '{out}' ends")
        raise
    finally:
        ledger.close()
    lines, n_errors = summary(run, share.has)
    print_lines(*lines)
    _log.info(f"{text}; the tables are {tables_at(run, '*')}")
    if n_errors:
        _log.error(
            f"{n_errors} files or folders could not be read, or not to their end: "
            f"see {tables_at(run, 'errors')}"
        )
    return 1 if n_errors else 0


def _cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _moment(text: str | None, rule: TimeRule) -> datetime | None:
    """Read ``--since`` or ``--until``; without a zone, in that of the recordings."""
    from otic.audio.recording_time import parsed_time, zone_of

    if text is None:
        return None
    found = parsed_time(text)
    return found if found.tzinfo is not None else found.replace(tzinfo=zone_of(rule.timezone))


def _forecast(plan: Plan, bundle: Bundle, jobs: int) -> list[str]:
    """Describe what there is to do."""
    from otic.scan.estimate import audio_seconds, measured_speed
    from otic.scan.summary import duration

    survey = plan.survey(forget=False)
    seconds = audio_seconds(survey)
    lines = [
        f"{survey.files} recordings to classify, {survey.size / 1e9:.3f} GB, "
        f"about {seconds / 3600:.2f} h of audio",
        f"{survey.done} are done already",
    ]
    if survey.problems:
        lines.append(f"{survey.problems} files or folders can't be looked into")
    speed = measured_speed(bundle, survey.sample)
    if speed is not None:
        lines.append(
            f"takes about {duration(seconds / speed / jobs)} with {jobs} processes, each at "
            f"{speed:.0f} times real time"
        )
    return lines


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the scan as Ctrl-C does, with its processes."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
