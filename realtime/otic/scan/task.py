"""What a worker does: it classifies some recordings and leaves their tables as a part."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from otic.audio.recording_time import AS_RECORDED, TimeRule
from otic.audio.sources import FileSource
from otic.config.values import FAST_BLOCK
from otic.detection.decide import ScoreKeeper, onsets_from
from otic.detection.detector import EventDetector
from otic.errors import OticError, RuntimeMissingError, SinkError, SourceError
from otic.model.bundle import Bundle
from otic.pipeline import Pipeline
from otic.scan.find import Problem, Recording
from otic.scan.folder import WHOLE
from otic.scan.remote import at_hand, is_remote, remote_state
from otic.scan.tables import RETRIED, Part, Row, shown_path
from otic.types import Event, Gap, Item, Lost, Scores

_MOST_KEPT = 4096  # predictions, before they are written


@dataclass(frozen=True)
class Job:
    """What is the same for all recordings of a scan.

    Attributes
    ----------
    bundle : Bundle
        With the thresholds that are decided with.
    run : Path
        The folder of the results.
    kind : str
        See :data:`otic.scan.tables.FORMATS`.
    channel : int or None
        See :class:`otic.audio.sources.FileSource`.
    scores : bool
        Whether scores are kept.
    share : str
        The share of the recordings that is taken, such as ``1of4``.
    time : TimeRule
        How to tell when a recording began.
    """

    bundle: Bundle
    run: Path
    kind: str = "csv"
    channel: int | None = None
    scores: bool = False
    share: str = WHOLE
    time: TimeRule = AS_RECORDED


@dataclass
class Done:
    """What a task has done, for the progress.

    Attributes
    ----------
    files : int
        Recordings that were taken, with those that failed.
    size : int
        Their bytes.
    seconds : float
        Audio that was classified.
    errors : list of (str, str)
        Files and what was wrong with them.
    events : Counter
        By label.
    """

    files: int = 0
    size: int = 0
    seconds: float = 0.0
    errors: list[Row] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)


class Worker:
    """Classifies recordings, one after the other, with one model.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        bundle = job.bundle
        detector = EventDetector(bundle.labels, bundle.decision, bundle.features.sr)
        self._keeper = ScoreKeeper(detector, onsets_from(bundle.decision)) if job.scores else None
        self._pipeline = Pipeline(
            bundle, detector=detector if self._keeper is None else self._keeper
        )

    def run(self, unique: str, found: Sequence[Recording | Problem]) -> Done:
        """Classify recordings and commit their tables.

        Parameters
        ----------
        unique : str
            What no other task that runs at the same time is called.
        found : sequence of Recording or Problem

        Raises
        ------
        SinkError
            If the tables can't be written: nothing of the task counts as done.
        """
        done = Done()
        labels = self._job.bundle.labels if self._job.scores else None
        part = Part(self._job.run, unique, self._job.kind, labels)
        passing: list[Problem] = []
        try:
            for each in found:
                done.files += 1
                if isinstance(each, Recording):
                    done.size += each.size
                    problem = self._take(each, part, done, f"{unique}-fetched")
                else:
                    problem = each
                if problem is not None:
                    passing.append(problem)
                    done.errors.append((shown_path(problem.path), problem.reason))
                    if labels is not None and isinstance(each, Recording):
                        return self._without(problem, unique, found, part)
            if len(passing) < len(found):
                part.commit()
            else:
                part.drop()
        except BaseException:
            part.drop()
            raise
        if passing:
            commit_problems(self._job, f"{unique}-problems", passing)
        return done

    def _without(
        self, problem: Problem, unique: str, found: Sequence[Recording | Problem], part: Part
    ) -> Done:
        """Begin again: the part has scores of a recording that can't be kept."""
        part.drop()
        return self.run(unique, [problem if each.path == problem.path else each for each in found])

    def _take(self, recording: Recording, part: Part, done: Done, scratch: str) -> Problem | None:
        """Classify a recording; return a problem that may pass, with nothing written of it."""
        result = _Result(shown_path(recording.path))
        try:
            with at_hand(recording.path, self._job.run / "writing" / scratch) as path:
                result.started = self._job.time.began(path)
                sha256 = _content(path)
                try:
                    self._classify(path, result, part)
                except SourceError as error:
                    result.error = str(error).replace(path, recording.path)
        except (SinkError, RuntimeMissingError):
            raise
        except OSError as error:
            return Problem(recording.path, f"can't read it: {error.strerror or error}")
        except OticError as error:
            result.error = str(error)
        except Exception as error:
            result.error = f"otic did not expect this: {type(error).__name__}: {error}"
        if _state(recording.path) != (recording.size, recording.modified_ns):
            return Problem(recording.path, "it changed while it was read")
        part.name_by(result.file, sha256, result.error)
        part.add("files", [result.file_row(recording, sha256, self._pipeline)])
        part.add("events", result.event_rows())
        part.add("gaps", [(result.file, gap.sample, gap.lost) for gap in result.gaps])
        if result.error:
            part.add("errors", [(result.file, result.error)])
            done.errors.append((result.file, result.error))
        done.seconds += self._pipeline.sample / self._job.bundle.features.sr
        done.events.update(event.label for event in result.events if event.state == "on")
        return None

    def _classify(self, path: str, result: _Result, part: Part) -> None:
        """Run a recording through the pipeline, to its end or to where it is damaged."""
        pipeline = self._pipeline
        pipeline.reset()
        if self._keeper is not None:
            self._keeper.take()
        sr = self._job.bundle.features.sr
        source = FileSource(path, sr, FAST_BLOCK, self._job.channel)
        try:
            result.rate, result.channels = source.format
            for chunk in source.chunks():
                if isinstance(chunk, Lost):
                    result.take(pipeline.lose(chunk.samples))
                elif chunk is not None:
                    result.take(pipeline.process(chunk))
                if self._keeper is not None and len(self._keeper) >= _MOST_KEPT:
                    part.add_scores(result.file, self._keeper.take())
        finally:
            result.take(pipeline.flush())
            if self._keeper is not None:
                part.add_scores(result.file, self._keeper.take())
            result.notes = source.warnings()
            source.close()


def commit_problems(job: Job, unique: str, problems: Sequence[Problem]) -> None:
    """Write a part of problems that may be temporary: the next scan tries those files again."""
    part = Part(job.run, unique, job.kind, job.bundle.labels if job.scores else None)
    for problem in problems:
        row = shown_path(problem.path), problem.reason
        part.name_by(*row)
        part.add("errors", [row])
    part.commit(RETRIED + job.share)


class _Result:
    """What comes of one recording."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.rate: int | None = None
        self.channels: int | None = None
        self.events: list[Event] = []
        self.gaps: list[Gap] = []
        self.n_scores = 0
        self.notes: list[str] = []
        self.error = ""
        self.started: datetime | None = None

    def take(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Event):
                self.events.append(item)
            elif isinstance(item, Gap):
                self.gaps.append(item)
            elif isinstance(item, Scores):
                self.n_scores += 1

    def file_row(self, recording: Recording, sha256: str, pipeline: Pipeline) -> Row:
        sr = pipeline.bundle.features.sr
        notes = self.notes
        if not self.n_scores and not self.error:
            notes = [*notes, "no stretch is as long as the model's window: there are no scores"]
        return (
            self.file,
            recording.size,
            recording.modified_ns,
            sha256,
            self.rate,
            self.channels,
            round(pipeline.sample / sr, 6),
            round(pipeline.lost / sr, 6),
            pipeline.sample,
            _at(self.started, 0.0),
            "; ".join(notes),
        )

    def event_rows(self) -> list[Row]:
        return event_rows(self.file, self.events, self.started)


def event_rows(file: str, events: Sequence[Event], started: datetime | None) -> list[Row]:
    """Pair the ons and offs of a stream: rows of the table ``events``, in order of decision."""
    on: dict[str, Event] = {}
    rows = []
    for event in events:
        if event.state == "on":
            on[event.label] = event
            continue
        begun = on.pop(event.label)
        assert event.offset is not None
        assert event.peak is not None
        assert begun.score is not None
        times = (begun.onset, event.offset, begun.time, event.time, begun.score, event.peak)
        rows.append(
            (
                file,
                event.label,
                *(round(value, 6) for value in times),
                _at(started, begun.onset),
                _at(started, event.offset),
            )
        )
    return sorted(rows, key=lambda row: (row[4], row[1]))


def _at(started: datetime | None, seconds: float) -> str:
    if started is None:
        return ""
    return (started + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def _content(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(path: str) -> tuple[int, int] | None:
    try:
        if is_remote(path):
            return remote_state(path)
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns
