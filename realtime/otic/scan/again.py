"""Events decided again from kept scores: without audio and without the model's computing."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

from otic.audio.recording_time import AS_RECORDED, TimeRule
from otic.detection.decide import ScoreTable, decide
from otic.detection.thresholds import DecisionParams
from otic.errors import SinkError
from otic.model.bundle import Bundle
from otic.scan.folder import Ledger, Run, find_runs, read_rows, read_run_scores
from otic.scan.tables import COLUMNS, Part
from otic.scan.task import event_rows

_FILES = list(COLUMNS["files"])
_SAMPLES, _STARTED = _FILES.index("samples"), _FILES.index("started_at")


def run_with_scores(
    out: Path, bundle: Bundle, channel: int | None = None, time: TimeRule = AS_RECORDED
) -> Run:
    """Find the results of a model with kept scores, whatever its thresholds.

    Raises
    ------
    SinkError
        If ``out`` holds no scores of this model.
    """
    for run in find_runs(out):
        facts = run.model_sha256, run.channel, run.time
        if run.scores and facts == (bundle.sha256, channel, time.to_dict()):
            return run
    raise SinkError(
        f"'{out}' has no scores of model '{bundle.name}'"
        f"{'' if channel is None else f' for channel {channel}'}: scan with --scores first"
    )


def decide_again(source: Run, target: Run, ledger: Ledger) -> int:
    """Decide events again from kept scores; recordings that were decided already are left alone.

    Parameters
    ----------
    source, target : Run
        Where the scores are, and where the results with other thresholds go.
    ledger : Ledger
        Of the target.

    Returns
    -------
    int
        Recordings that were decided.

    Raises
    ------
    SinkError
        If a part is damaged, or the results can't be written.
    ParameterError
        If the thresholds are below what onsets were kept for.
    """
    count = 0
    there = {part.name for part in target.parts()}
    for number, folder in enumerate(source.parts()):
        if folder.name in there:
            continue
        unique = f"{ledger.share}-{os.uname().nodename}-{os.getpid()}-{number}"
        part = Part(target.path, unique, target.format, None)
        try:
            count += _decide_part(source, target.decision, folder, part, ledger)
            part.commit(name=folder.name)
        except BaseException:
            part.drop()
            raise
    return count


def _decide_part(
    source: Run, decision: DecisionParams, folder: Path, part: Part, ledger: Ledger
) -> int:
    def rows(table: str) -> Iterator[tuple[object, ...]]:
        return (row for row in read_rows(folder, table, source.format) if not ledger.has(row[0]))

    files = {row[0]: row for row in read_rows(folder, "files", source.format)}
    gaps: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for file, sample, lost in read_rows(folder, "gaps", source.format):
        gaps[file].append((sample, lost))
    for table in ("files", "gaps", "errors"):
        part.add(table, list(rows(table)))
    for file, stretches in groupby(read_run_scores(source, folder), key=lambda each: each[0]):
        if ledger.has(file):
            continue
        if file not in files:
            raise SinkError(f"'{folder}' is damaged: it has scores of a file that it does not list")
        started = files[file][_STARTED]
        events = decide(
            source.labels,
            decision,
            source.sr,
            _tables(stretches),
            gaps[file],
            files[file][_SAMPLES],
            source.onsets_from,
        )
        part.add(
            "events",
            event_rows(file, events, datetime.fromisoformat(started) if started else None),
        )
    return sum(not ledger.has(file) for file in files)


def _tables(stretches: Iterator[tuple[str, ScoreTable]]) -> Iterator[ScoreTable]:
    return (table for _, table in stretches)
