"""Measure models label by label on scenes of recordings that the head has not learned from.

A model that lacks the head's labels is one of AudioSet's classes, packed by ``otic pack``: the
table maps it, and its thresholds are set as the head's are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.model.bundle import Bundle, load_bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import progress
from otic_training.data.cache import Store, default_store, key_of, mixing_code
from otic_training.data.scenes import Mixer, Placed, Recipe, Scene, Sound, samples, step_targets
from otic_training.data.soundscapes import Truth
from otic_training.everyday.head import (
    QUIET,
    TEST,
    heard_labels,
    parts_of,
    room_of,
    sounds_of_labels,
)
from otic_training.everyday.labelling import read_labels
from otic_training.everyday.tagged import group_of
from otic_training.scoring.detections import Judged, event_figures
from otic_training.scoring.predictions import Predictions, at_thresholds, decide
from otic_training.scoring.thresholds import thresholds

F32 = NDArray[np.float32]

SR, SCENE_SECONDS, SEED = 22050, 12.0, 5
MIX = Recipe(
    known_anywhere=True,
    known=(0.0, 0.7, 0.3),
    others=(0.6, 0.3, 0.1),
    level_dbfs=(-50.0, -22.0),
    snr_db=(0.0, 20.0),
    others_snr_db=(0.0, 20.0),
    colour_share=0.0,
    speed_share=0.0,
)
COLLAR_SECONDS = 1.0
SCENES = 800
_SETTLED_SECONDS = 1.0
_GAP_SECONDS = 1.0


@dataclass(frozen=True)
class Measured:
    """What a model heard in all scenes: each step's scores, and each scene's peaks.

    Attributes
    ----------
    steps, scenes : float [n_labels]
        Average precision of steps and of whole scenes.
    events : dict
        Of :func:`event_figures`, by label.
    """

    steps: NDArray[np.float64]
    scenes: NDArray[np.float64]
    events: dict[str, Any]

    def to_dict(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """List what was measured of each label that was there."""
        return {
            name: {
                "average_precision": round(float(self.steps[i]), 3),
                "average_precision_scenes": round(float(self.scenes[i]), 3),
                "event_f1": self.events[name]["f1"],
            }
            for i, name in enumerate(names)
            if np.isfinite(self.steps[i])
        }


def test_scenes(sounds: Sequence[Sound], n: int, key: str, store: Store) -> list[Scene]:
    """Mix scenes of sounds that are 0 to 20 dB over backgrounds, which may have labels, too.

    They are kept in the store under ``key``, in 16 bits.
    """
    kept = store.load(key)
    if kept is None:
        mixer = Mixer(sounds, SR, round(SCENE_SECONDS * SR), SEED, MIX)
        scenes = [mixer.scene(number) for number in range(n)]
        rows = [
            (i, p.label, p.onset, p.offset, p.snr_db, sum(1 << d for d in p.doubt))
            for i, scene in enumerate(scenes)
            for p in scene.placed
        ]
        y = np.array([np.round(scene.y * 32767.0) for scene in scenes], np.int16)
        kept = {"y": y, "placed": np.array(rows, np.float64).reshape(-1, 6)}
        store.save(key, kept)
    placed = [list[Placed]() for _ in range(n)]
    for i, label, onset, offset, snr_db, doubt in kept["placed"].tolist():
        doubts = tuple(d for d in range(52) if int(doubt) >> d & 1)
        placed[int(i)].append(Placed(int(label), doubts, int(onset), int(offset), snr_db))
    return [Scene(samples(y), tuple(some)) for y, some in zip(kept["y"], placed, strict=True)]


def heard_scenes(
    bundle: Bundle, scenes: Sequence[Scene], names: Sequence[str], key: str, store: Store
) -> list[Predictions]:
    """Stream scenes through a model; what it said is kept in the store.

    Parameters
    ----------
    bundle : Bundle
    scenes : sequence of Scene
    names : sequence of str
    key : str
        Stands for the scenes.
    store : Store
    """
    classifier, found, sr = Classifier(bundle), list[Predictions](), bundle.features.sr
    about = key_of("heard", bundle.model, bundle.inference_hop_frames, tuple(names), key)
    kept = store.load(about)
    if kept is not None:
        ends = np.cumsum(kept["counts"])[:-1]
        parts = (np.split(kept[name], ends) for name in ("sample", "scores", "began"))
        lengths = (round(len(scene.y) * sr / SR) for scene in scenes)
        return [
            Predictions(tuple(names), sr, n, *each)
            for n, *each in zip(lengths, *parts, strict=True)
        ]
    with progress("scenes", len(scenes)) as advance:
        for scene in scenes:
            y = scene.y if sr == SR else soxr.resample(scene.y, SR, sr, "HQ").astype(np.float32)
            found.append(heard_labels(bundle, classifier, y, names))
            advance(1)
    arrays = {
        name: np.concatenate([getattr(each, name) for each in found])
        for name in ("sample", "scores", "began")
    }
    store.save(about, {**arrays, "counts": np.array([len(each.sample) for each in found])})
    return found


def decision_of(
    bundle: Bundle, names: Sequence[str], quiet: Sequence[Sound], budget: float
) -> DecisionParams:
    """Take the thresholds of a head; set those of another model on quiet recordings, too."""
    n, decision = len(names), bundle.decision
    if set(names) <= set(bundle.labels):
        chosen = [decision.on_thresholds[bundle.labels.index(name)] for name in names]
        return replace(
            decision, on_thresholds=tuple(chosen), off_thresholds=tuple(c / 2 for c in chosen)
        )
    start = replace(decision, on_thresholds=(0.5,) * n, off_thresholds=(0.25,) * n)
    room = room_of(bundle, quiet, names)
    return at_thresholds(start, thresholds(room, start, budget))


def measure(
    heard: Sequence[Predictions],
    scenes: Sequence[Scene],
    names: Sequence[str],
    lag_seconds: float,
    decision: DecisionParams,
) -> Measured:
    """Compare what a model heard with what was in the scenes.

    A step, or a scene, does not count for a label where nobody knows.

    Parameters
    ----------
    heard : sequence of Predictions
    scenes : sequence of Scene
    names : sequence of str
    lag_seconds : float
        How long before a prediction the middle of what it is about lies.
    decision : DecisionParams
    """
    said, true, counts, peaks, there, known = [], [], [], [], [], []
    judged = []
    for number, (scene, each) in enumerate(zip(scenes, heard, strict=True)):
        times = each.sample / each.sr - lag_seconds
        wanted, weights = step_targets(scene, times, SR, len(names))
        settled = times >= _SETTLED_SECONDS
        said.append(each.scores[settled])
        true.append(wanted[settled])
        counts.append(weights[settled] > 0.0)
        truths = merged(scene.placed, names)
        peaks.append(each.scores.max(0))
        there.append([any(t.label == name for t in truths) for name in names])
        doubtful = {i for placed in scene.placed for i in placed.doubt}
        known.append([i not in doubtful for i in range(len(names))])
        judged.append(Judged(str(number), SCENE_SECONDS, truths, tuple(decide(each, decision))))
    return Measured(
        precisions(np.concatenate(said), np.concatenate(true), np.concatenate(counts)),
        precisions(np.array(peaks), np.array(there), np.array(known) | np.array(there)),
        event_figures(names, judged, COLLAR_SECONDS)["by_label"],
    )


def merged(placed: Sequence[Placed], names: Sequence[str]) -> tuple[Truth, ...]:
    """List what was in a scene; pieces of one label that follow each other are one event."""
    found = list[Truth]()
    for sound in sorted((p for p in placed if p.label >= 0), key=lambda p: (p.label, p.onset)):
        name, onset, offset = names[sound.label], sound.onset / SR, sound.offset / SR
        if found and found[-1].label == name and onset - found[-1].offset < _GAP_SECONDS:
            found[-1] = replace(found[-1], offset=max(offset, found[-1].offset))
        else:
            found.append(Truth(name, onset, offset, sound.snr_db))
    return tuple(found)


def precisions(scores: F32, true: NDArray[Any], counts: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the average precision of columns; NaN where a label is never there."""
    from sklearn.metrics import average_precision_score

    found = np.full(scores.shape[1], np.nan)
    for i in range(scores.shape[1]):
        rows = counts[:, i]
        if true[rows, i].any():
            found[i] = average_precision_score(true[rows, i] > 0, scores[rows, i])
    return found


def compare(
    labels: Path, models: Sequence[str], n_scenes: int, budget_per_hour: float, out: Path
) -> None:
    """Measure a held-out head and other models, print the figures and write them as JSON.

    Parameters
    ----------
    labels : Path
        ``labels.csv``.
    models : sequence of str
        The head, then others.
    n_scenes : int
    budget_per_hour : float
        False alarms, for the thresholds of the others.
    out : Path

    Raises
    ------
    OticError
        If something can't be read.
    """
    store, labelled = default_store(), read_labels(labels)
    bundles = [load_bundle(Path(name).absolute()) for name in models]
    names, parts = bundles[0].model_labels, parts_of(labelled)
    test, quiet = (
        [each for each in labelled if parts[group_of(each.sound)] == part] for part in (TEST, QUIET)
    )
    about = (names, n_scenes, MIX, SCENE_SECONDS, SEED)
    key = key_of("test scenes", labels.read_bytes(), *about, mixing_code())
    scenes = test_scenes(sounds_of_labels(test, names, SR, store), n_scenes, key, store)
    rows = dict[str, Measured]()
    for path, bundle in zip(models, bundles, strict=True):
        heard = heard_scenes(bundle, scenes, names, key, store)
        background = sounds_of_labels(quiet, names, bundle.features.sr, store)
        lag = bundle.decision.lag_seconds if bundle.stream else bundle.features.window_seconds / 2
        decision = decision_of(bundle, names, background, budget_per_hour)
        rows[Path(path).name.split(".")[0]] = measure(heard, scenes, names, lag, decision)
    counts = {n: len({group_of(x.sound) for x in test if n in x.true}) for n in names}
    for line in table(names, counts, rows):
        print(line)  # noqa: T201
    protocol = (
        f"{n_scenes} scenes of recordings held out, one or two sounds 0 to 20 dB over a "
        "background; average precision of steps and of scenes, event F1 (1 s)"
    )
    found = {
        "protocol": protocol,
        "recordings": counts,
        "models": {name: measured.to_dict(names) for name, measured in rows.items()},
    }
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")


def table(names: Sequence[str], recordings: dict[str, int], rows: dict[str, Measured]) -> list[str]:
    """Put models side by side: average precision of steps and of scenes, F1 of events."""
    head = "".join(f"  {name[:20]:>20}" for name in rows)
    lines = [f"{'label':<16} rec.{head}", " " * 21 + "   steps scenes event" * len(rows)]
    for i, name in enumerate(names):
        cells = "".join(
            f"  {m.steps[i]:6.2f} {m.scenes[i]:6.2f} {m.events[name]['f1']:6.2f}"
            for m in rows.values()
        )
        lines.append(f"{name:<16} {recordings[name]:4d}{cells}")
    means = "".join(
        f"  {np.nanmean(m.steps):6.2f} {np.nanmean(m.scenes):6.2f} "
        f"{np.mean([m.events[n]['f1'] for n in names]):6.2f}"
        for m in rows.values()
    )
    good = "".join(
        f"  {np.sum(m.steps >= 0.6):6d} {np.sum(m.scenes >= 0.6):6d}       " for m in rows.values()
    )
    return [*lines, f"{'mean':<21}{means}", f"{'0.6 or more':<21}{good}"]
