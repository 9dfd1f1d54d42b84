"""What ``otic tune`` measures: a place, labelled sounds over it, and what a budget costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic_training.cli.progress import say
from otic_training.data.dataset import listed
from otic_training.data.sound_tables import audio_below
from otic_training.data.soundscapes import as_sound, mix
from otic_training.experiment import read_dataset
from otic_training.scoring.clips import folds_to_test
from otic_training.scoring.detections import Judged, event_figures
from otic_training.scoring.predictions import Predictions, decide, predictions_of
from otic_training.scoring.streaming import read_recording, read_whole
from otic_training.scoring.thresholds import BLOCK_SECONDS, Room

_ENOUGH_SECONDS = 600.0
_SNR_DB = (0.0, 20.0)


def listen(bundle: Bundle, classifier: Classifier, names: Sequence[str]) -> Room:
    """Listen to recordings of a place.

    Raises
    ------
    OticError
        If there is none, or less than a minute of them.
    """
    sr = bundle.features.sr
    paths = [str(path) for name in names for path in audio_below(name)]
    predictions = [predictions_of(bundle, classifier, read_whole(path, sr)) for path in paths]
    predictions = [h for h in predictions if len(h.scores)]
    seconds = sum(h.n_samples for h in predictions) / sr
    if seconds < 6.0 * BLOCK_SECONDS:
        raise OticError(
            f"{seconds:.0f} s of background are too little: an hour is good, a minute the least "
            f"(recordings shorter than the window of {bundle.window_seconds:.2f} s do "
            "not count)"
        )
    if seconds < _ENOUGH_SECONDS:
        say(f"only {seconds / 60:.0f} min of background: thresholds from so little are a guess")
    return Room(tuple(predictions))


def positives(
    args: argparse.Namespace, bundle: Bundle, classifier: Classifier
) -> tuple[list[Predictions], list[Any], str]:
    """Soundscapes of labelled sounds over the background, where a data set is given."""
    if args.dataset is None:
        say("name labelled sounds with --dataset to see the recall that thresholds cost")
        return [], [], ""
    dataset = read_dataset(args)
    folds, notes = folds_to_test(args.folds, bundle, dataset)
    for note in notes:
        say(note)
    sr = bundle.features.sr
    clips = [clip for clip in dataset.clips if clip.fold in folds and clip.label in bundle.labels]
    if not clips:
        raise OticError(
            f"'{args.dataset}' has no clip of {bundle.name}'s labels in folds {listed(folds)}"
        )
    sounds = [as_sound(clip.label, read_recording(clip, sr), sr) for clip in clips]
    pool = [read_whole(str(p), sr) for name in args.background for p in audio_below(name)]
    soundscapes = list(mix(sounds, [pool], sr, _SNR_DB, np.random.default_rng(args.seed)))
    protocol = (
        f"events, onset within 1 s, of {dataset.name}, folds {listed(folds)}, over this "
        f"background at {_SNR_DB[0]:g} to {_SNR_DB[1]:g} dB"
    )
    leak = [note for note in notes if note.startswith("a LEAK")]
    return (
        [predictions_of(bundle, classifier, s.y) for s in soundscapes],
        [s.truths for s in soundscapes],
        "; ".join([*leak, protocol]),
    )


def row_of(
    bundle: Bundle,
    room: Room,
    params: DecisionParams,
    budget: float,
    predictions: list[Predictions],
    truths: list[Any],
) -> dict[str, Any]:
    """Measure a budget: thresholds, alarms in the background, and recall if it is known."""
    row: dict[str, Any] = {
        "budget_per_hour": budget,
        "thresholds": dict(zip(bundle.labels, params.on_thresholds, strict=True)),
        "false_alarms": sum(room.alarms(params).values()),
    }
    if predictions:
        judged = [
            Judged(f"{i}", h.n_samples / h.sr, t, tuple(decide(h, params)))
            for i, (h, t) in enumerate(zip(predictions, truths, strict=True))
        ]
        found = event_figures(bundle.labels, judged, 1.0)
        row["recall"] = found["recall"]
        row["f1"] = found["f1"]
        heard_labels = {truth.label for part in truths for truth in part}
        row["recall_by_label"] = {
            k: v["recall"] for k, v in found["by_label"].items() if k in heard_labels
        }
    return row
