"""How well models hear: the figures that are told of them, from fold models and test data.

Everything goes through the live pipeline, at the thresholds in the bundles. A fold's model is
tested on clips of that fold alone, a model without a fold on all.
"""

from __future__ import annotations

import io
import multiprocessing as mp
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from otic.errors import OticError
from otic.model.bundle import Bundle, load_bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import progress
from otic_training.data.city import BEDS, event_streams, one_after_the_other, urban_clips
from otic_training.data.dataset import Clip, Dataset, DatasetError, trained_folds
from otic_training.data.layouts import load_dataset
from otic_training.data.sound_tables import ListedSound, sounds_of
from otic_training.data.soundscapes import Truth
from otic_training.data.windows import active_part, read_clip
from otic_training.scoring.alarms import QuietSound, left_out
from otic_training.scoring.clips import stream
from otic_training.scoring.detections import Judged
from otic_training.scoring.metrics import Tested
from otic_training.scoring.predictions import Detection, predictions_of
from otic_training.scoring.streaming import alone

F32 = NDArray[np.float32]

SR = 22_050
"""Rate at which streams are mixed; a model takes them at its own, as from a microphone."""
LEVELS = {"0–20 dB": (0.0, 20.0), "10–20 dB": (10.0, 20.0)}
URBAN = "UrbanSound8K fold 2"
_STREAM_SECONDS = 288.0
_SEED = 5
_FOLD_MODEL = re.compile(r"(.+)-fold(\d+)")


@dataclass(frozen=True)
class Hearer:
    """Hold a model, or one for each fold under one name; fold 0 stands for all."""

    name: str
    paths: dict[int, str]

    def for_fold(self, fold: int) -> str | None:
        """Path of the model that is tested on a fold."""
        return self.paths.get(fold, self.paths.get(0))


@dataclass
class Heard:
    """Hold all that was found of one hearer.

    Attributes
    ----------
    judged : dict of str to list of (int, Judged)
        For each of :data:`LEVELS`, streams with their fold.
    alarms : dict of str to list of (float, list of str)
        For each kind of everyday sound, of each recording and model the seconds that count,
        and the labels of false alarms.
    models : int
        Different models that listened to everyday sound.
    tested : list of Tested
        Clips alone, of each fold.
    unknown : list of bool
        Of each unknown clip and model, whether it was named.
    notes : list of str
        What must be said with the figures.
    """

    judged: dict[str, list[tuple[int, Judged]]] = field(default_factory=dict)
    alarms: dict[str, list[tuple[float, list[str]]]] = field(default_factory=dict)
    models: int = 1
    tested: list[Tested] = field(default_factory=list)
    unknown: list[bool] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Task:
    """Something for some models to hear.

    Attributes
    ----------
    what : str
        ``alarms``, ``events``, ``clips`` or ``unknown``.
    group : str
        Kind of everyday sound, or level of events.
    names, paths : tuple of str
        Whose models they are, and the models.
    heard : ListedSound or sequence of Clip
        A recording; clips of one fold; a clip alone; for alarms of a city, its clips.
    """

    what: str
    group: str
    names: tuple[str, ...]
    paths: tuple[str, ...]
    heard: ListedSound | tuple[Clip, ...]


@dataclass(frozen=True)
class _Piece:
    """Samples at :data:`SR` with the truth about them, or a recording as it is in its file."""

    y: F32 | ListedSound
    truths: tuple[Truth, ...] = ()


def hearers_of(models: Sequence[str]) -> list[Hearer]:
    """Group bundles by their names: ``NAME-foldN.tflite`` are the fold models of NAME."""
    found: dict[str, dict[int, str]] = {}
    for path in models:
        match = _FOLD_MODEL.fullmatch(Path(path).stem)
        name, fold = (match[1], int(match[2])) if match else (Path(path).stem, 0)
        found.setdefault(name, {})[fold] = path
    return [Hearer(name, paths) for name, paths in found.items()]


def hear(
    data: Path, hearers: Sequence[Hearer], fetched: str | None, processes: int
) -> dict[str, Heard]:
    """Let models hear everything; ``data`` has the layout that docs/training.md states.

    Raises
    ------
    OticError
        If data or a model can't be read, or a model lacks one of the labels.
    """
    dataset = dataset_of(data)
    heard = {hearer.name: Heard() for hearer in hearers}
    for hearer in hearers:
        for fold, path in hearer.paths.items():
            bundle = load_bundle(path)
            _columns(bundle, dataset.labels)
            leaked = set(trained_folds(bundle.provenance, dataset)) & (
                {fold} if fold else set(dataset.folds)
            )
            if leaked:
                folds = ", ".join(map(str, sorted(leaked)))
                heard[hearer.name].notes.append(
                    f"a LEAK in events and clips: it was trained on {folds}"
                )
        heard[hearer.name].models = len(hearer.paths)
    for task, results in _all_heard(
        data, list(_tasks(data, dataset, hearers, fetched)), dataset.labels, processes
    ):
        for name, result in zip(task.names, results, strict=True):
            _note(heard[name], task, result)
    return heard


def hear_unknown(
    data: Path, path: str, clips: Sequence[Clip], labels: Sequence[str], processes: int
) -> list[bool]:
    """Tell of each clip alone whether a model names it as one of the labels."""
    tasks = [_Task("unknown", "", ("",), (path,), (clip,)) for clip in clips]
    heard = Heard()
    for task, (result,) in _all_heard(data, tasks, labels, processes):
        _note(heard, task, result)
    return heard.unknown


def dataset_of(data: Path) -> Dataset:
    """Read ESC-10 in the folder of test data.

    Raises
    ------
    DatasetError
        If it is missing.
    """
    return load_dataset(str(data / "esc10"), None, "esc10")


def _all_heard(
    data: Path, tasks: Sequence[_Task], labels: Sequence[str], processes: int
) -> Iterator[tuple[_Task, list[Any]]]:
    context = mp.get_context("spawn")
    with (
        context.Pool(processes, _begin, (data, tuple(labels))) as pool,
        progress("sounds", len(tasks)) as advance,
    ):
        for found in zip(tasks, pool.imap(_listen, tasks), strict=True):
            yield found
            advance(1)


def _tasks(
    data: Path, dataset: Dataset, hearers: Sequence[Hearer], fetched: str | None
) -> Iterator[_Task]:
    """List what there is to hear: long things first."""
    each = [(hearer.name, path) for hearer in hearers for path in hearer.paths.values()]
    names, paths = zip(*each, strict=True)
    urban = urban_clips(data / "urbansound8k", 2, lambda kind: kind != "dog_bark")
    yield _Task("alarms", URBAN, names, paths, tuple(urban))
    for fold in dataset.folds:
        clips = tuple(clip for clip in dataset.clips if clip.fold == fold)
        tested = [(h.name, path) for h in hearers if (path := h.for_fold(fold)) is not None]
        if tested:
            of, by = zip(*tested, strict=True)
            for level in LEVELS:
                yield _Task("events", level, of, by, clips)
            yield _Task("clips", "", of, by, clips)
    for sound in sounds_of([fetched]) if fetched else []:
        yield _Task("alarms", f"fetch.sh, {sound.kind}", names, paths, sound)
    for sound in sounds_of([str(data / "alarms")]):
        yield _Task("alarms", "alarms/audio", names, paths, sound)
    for clip in unknown_clips(data / "free"):
        yield _Task("unknown", "", names, paths, (clip,))


def unknown_clips(free: Path, classes: Sequence[str] = ()) -> list[Clip]:
    """List the clips of ESC-50 in ``free/``, of classes outside ESC-10; or of some of those.

    Raises
    ------
    DatasetError
        If there is none, the folder is missing, or its table lacks something.
    """
    found = [
        Clip(sound.path, sound.label, 0, sound.recording)
        for sound in sounds_of([str(free)], ("recording", "source"))
        if sound.of_esc50 and (not classes or sound.label in classes)
    ]
    if not found:
        raise DatasetError(f"no clip of ESC-50 in '{free}', by its clips.csv")
    return found


def _note(heard: Heard, task: _Task, result: Any) -> None:
    """Put what a model made of a task where it belongs."""
    if task.what == "clips":
        heard.tested.append(result)
    for seconds, detections, truths in result if task.what != "clips" else ():
        if task.what == "alarms":
            named = [detection.label for detection in detections]
            heard.alarms.setdefault(task.group, []).append((seconds, named))
        elif task.what == "unknown":
            heard.unknown.append(bool(detections))
        else:
            assert isinstance(task.heard, tuple)
            judged = Judged("", seconds, truths, tuple(detections))
            heard.judged.setdefault(task.group, []).append((task.heard[0].fold, judged))


# In the processes

_data = Path()
_labels: tuple[str, ...] = ()


def _begin(data: Path, labels: tuple[str, ...]) -> None:
    """Set a process up: what it would say is said by nobody, what it raises is raised outside."""
    global _data, _labels
    _data, _labels = data, labels
    sys.stderr = io.StringIO()


def _listen(task: _Task) -> list[Any]:
    """Let each model hear a task; copies of a model hear it once."""
    keys = [_opened(path)[0].sha256 for path in task.paths]
    pieces = [] if task.what == "clips" else _pieces(task)
    found: dict[str, Any] = {}
    for key, path in zip(keys, task.paths, strict=True):
        if key not in found:
            if task.what == "clips":
                found[key] = _tested(path, task.heard)
            else:
                found[key] = [(*_detected(path, p.y), p.truths) for p in pieces]
    return [found[key] for key in keys]


def _pieces(task: _Task) -> list[_Piece]:
    """Make the sound of a task."""
    if isinstance(task.heard, ListedSound):
        return [_Piece(task.heard)]
    sounds, n = [_active(clip) for clip in task.heard], round(_STREAM_SECONDS * SR)
    if task.what == "unknown":
        return [_Piece(alone(sounds[0], SR, np.random.default_rng(_SEED)))]
    if task.what == "alarms":
        rng = np.random.default_rng(_SEED)
        return [_Piece(y) for y in one_after_the_other(sounds, n, rng)]
    labelled = [(clip.label, y) for clip, y in zip(task.heard, sounds, strict=True)]
    rng = np.random.default_rng([_SEED, task.heard[0].fold])
    made = event_streams(labelled, _beds(), SR, n, LEVELS[task.group], rng)
    return [_Piece(scape.y, scape.truths) for scape in made]


@cache
def _beds() -> list[F32]:
    clips = urban_clips(_data / "urbansound8k", 1, lambda kind: kind in BEDS)
    return [read_clip(clip, SR) for clip in clips]


def _active(clip: Clip) -> F32:
    y = read_clip(clip, SR)
    begin, end = active_part(y, SR)
    return y[begin:end]


@cache
def _opened(path: str) -> tuple[Bundle, Classifier]:
    bundle = load_bundle(path)
    return bundle, Classifier(bundle)


def _columns(bundle: Bundle, labels: Sequence[str]) -> list[int]:
    missing = [label for label in labels if label not in bundle.labels]
    if missing:
        raise OticError(
            f"'{bundle.origin or bundle.name}' has no label {', '.join(missing)}: give a foreign "
            "model groups with these names, 'otic pack --groups'"
        )
    return [bundle.labels.index(label) for label in labels]


def _tested(path: str, clips: Any) -> Tested:
    bundle, _ = _opened(path)
    columns = _columns(bundle, _labels)
    tested = stream(bundle, clips)
    target = np.array([columns.index(column) for column in tested.target.tolist()])
    return replace(tested, scores=tested.scores[:, columns], target=target)


def _detected(path: str, what: F32 | ListedSound) -> tuple[float, list[Detection]]:
    """Find events: the seconds that count, and what was detected in them."""
    bundle, classifier = _opened(path)
    columns, sr, params = _columns(bundle, _labels), bundle.features.sr, bundle.decision
    spans: tuple[tuple[float, float], ...] = ()
    if isinstance(what, ListedSound):
        y = read_clip(Clip(what.path, "", 0, ""), sr)
        spans = left_out(what, len(y) / sr)
    else:
        y = what if sr == SR else soxr.resample(what, SR, sr, "HQ").astype(np.float32)
    found = predictions_of(bundle, classifier, y)
    found = replace(found, labels=_labels, scores=found.scores[:, columns])
    on, off = (np.array(t)[columns].tolist() for t in (params.on_thresholds, params.off_thresholds))
    params = replace(params, on_thresholds=tuple(on), off_thresholds=tuple(off))
    sound = QuietSound("", found, spans)
    return sound.seconds if len(found.scores) else 0.0, sound.alarms(params)
