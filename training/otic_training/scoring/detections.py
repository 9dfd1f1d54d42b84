"""How good detections are: event and segment figures by sed_eval, PSDS by psds_eval."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from otic_training.data.soundscapes import Truth
from otic_training.scoring.predictions import Detection

COLLARS_SECONDS = (0.5, 1.0, 2.0)
"""How far an onset may be off. Offsets are not judged by events, only by segments."""

PSDS_DESCRIPTION = "PSDS, DTC 0.5, GTC 0.5, no cost of instability or cross triggers, 100 FP/h"
_PSDS = {"dtc_threshold": 0.5, "gtc_threshold": 0.5, "cttc_threshold": 0.3}
_MAX_FALSE_RATE = 100.0
_SEGMENT_SECONDS = 1.0


@dataclass(frozen=True)
class Judged:
    """A soundscape's truth and what was detected in it."""

    name: str
    seconds: float
    truths: tuple[Truth, ...]
    detections: tuple[Detection, ...]


def event_figures(labels: Sequence[str], judged: Sequence[Judged], collar: float) -> dict[str, Any]:
    """F1, precision and recall of events by their onsets, all together and by label.

    A. Mesaros, T. Heittola, T. Virtanen, "Metrics for Polyphonic Sound Event
    Detection", Applied Sciences 6(6), 2016.
    """
    with _libraries():
        from sed_eval.sound_event import EventBasedMetrics

        metrics = EventBasedMetrics(
            event_label_list=list(labels),
            t_collar=collar,
            evaluate_onset=True,
            evaluate_offset=False,
        )
        overall, by_label = _evaluated(metrics, judged)
    return {
        **_fpr(overall),
        "by_label": {label: _fpr(by_label[label]) for label in labels},
    }


def segment_figures(labels: Sequence[str], judged: Sequence[Judged]) -> dict[str, float]:
    """The same of segments of a second: what is heard in each."""
    with _libraries():
        from sed_eval.sound_event import SegmentBasedMetrics

        metrics = SegmentBasedMetrics(
            event_label_list=list(labels), time_resolution=_SEGMENT_SECONDS
        )
        return _fpr(_evaluated(metrics, judged)[0])


def psds(truth: Sequence[Judged], points: Sequence[Sequence[Judged]]) -> float:
    """The polyphonic sound detection score over operating points.

    C. Bilen et al., "A Framework for the Robust Evaluation of Sound Event
    Detection", ICASSP 2020. The area is added up here: ``PSDSEval.psds`` of the last
    release fails with NumPy 2.4.

    Parameters
    ----------
    truth : sequence of Judged
    points : sequence of sequence of Judged
        The same soundscapes, with the detections of each threshold.
    """
    with _libraries():
        import pandas as pd
        from psds_eval import PSDSEval

        columns = ["filename", "onset", "offset", "event_label"]
        rows = [(j.name, t.onset, t.offset, t.label) for j in truth for t in j.truths]
        lengths = [(j.name, j.seconds) for j in truth]
        evaluation = PSDSEval(
            ground_truth=pd.DataFrame(rows, columns=columns),
            metadata=pd.DataFrame(lengths, columns=["filename", "duration"]),
            **_PSDS,
        )
        for judged in points:
            found = [
                (j.name, d.onset, d.offset, d.label)
                for j in judged
                for d in j.detections
                if d.offset > d.onset
            ]
            if found:
                evaluation.add_operating_point(pd.DataFrame(found, columns=columns))
        if not len(evaluation.operating_points):
            return 0.0
        curve = evaluation.psd_roc_curves(alpha_ct=0.0)[2]
    within = curve.xp < _MAX_FALSE_RATE
    edges = np.append(curve.xp[within], _MAX_FALSE_RATE)
    return float(np.sum(np.diff(edges) * np.nan_to_num(curve.mean[within])) / _MAX_FALSE_RATE)


def delays(judged: Sequence[Judged], collar: float) -> tuple[list[float], list[float]]:
    """Of the events found within the collar: decided so long after the onset, and onset errors.

    Each truth is given the nearest detection of its label that is still free.
    """
    delay, error = [], []
    for j in judged:
        free = list(j.detections)
        for truth in j.truths:
            near = [
                d for d in free if d.label == truth.label and abs(d.onset - truth.onset) <= collar
            ]
            if near:
                best = min(near, key=lambda d: abs(d.onset - truth.onset))
                free.remove(best)
                delay.append(best.time - truth.onset)
                error.append(best.onset - truth.onset)
    return delay, error


def _evaluated(metrics: Any, judged: Sequence[Judged]) -> tuple[Any, Any]:
    from dcase_util.containers import MetaDataContainer

    for j in judged:
        truth = [_item(j.name, t.label, t.onset, t.offset) for t in j.truths]
        found = [_item(j.name, d.label, d.onset, d.offset) for d in j.detections]
        metrics.evaluate(MetaDataContainer(truth), MetaDataContainer(found))
    by_label = metrics.results_class_wise_metrics()
    return metrics.results_overall_metrics()["f_measure"], {
        label: values["f_measure"] for label, values in by_label.items()
    }


def _item(name: str, label: str, onset: float, offset: float) -> dict[str, Any]:
    return {"filename": name, "event_label": label, "onset": onset, "offset": offset}


def _fpr(values: dict[str, float]) -> dict[str, float]:
    """Nothing found counts as 0, where the library divides by it."""
    names = {"f1": "f_measure", "precision": "precision", "recall": "recall"}
    return {new: round(float(np.nan_to_num(values[old])), 4) for new, old in names.items()}


@contextmanager
def _libraries() -> Iterator[None]:
    """They warn of their own old ways, and of divisions by nothing found."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
