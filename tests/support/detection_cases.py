"""Random truths and detections, and what sed_eval and psds_eval say of them.

The expected figures were made once, in an environment with both libraries (they need
pandas < 3 and setuptools < 81)::

    python -m tests.support.detection_cases
"""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from otic_training.data.soundscapes import Truth
from otic_training.scoring.detections import COLLARS_SECONDS, Judged
from otic_training.scoring.predictions import Detection

EXPECTED = Path(__file__).parents[1] / "golden" / "detections.json"
CASES, POINTS = 150, 4
LABELS = ("a", "b", "c")

Case = tuple[list[Judged], list[list[Judged]]]
"""What was detected, and the same soundscapes with the detections of several thresholds."""


def cases() -> list[Case]:
    """All of them, the same each time; times are multiples of 1/64 s, so that ties are exact."""
    return [_case(np.random.default_rng([23, seed])) for seed in range(CASES)]


def _case(rng: np.random.Generator) -> Case:
    truths = [_truths(rng) for _ in range(rng.integers(1, 4))]
    if len({t.label for some in truths for t in some}) < 2:  # psds_eval needs two labels
        truths[0] = (Truth("a", 1.0, 2.0, 0.0), Truth("b", 4.0, 5.5, 0.0))
    points = [[_judged(i, t, rng) for i, t in enumerate(truths)] for _ in range(POINTS)]
    return points[0], points


def _ticks(value: float) -> float:
    return round(value * 64) / 64


def _truths(rng: np.random.Generator) -> tuple[Truth, ...]:
    found = []
    for label in LABELS[: rng.integers(0, 4)]:
        at = 0.0
        for _ in range(rng.integers(0, 7)):
            onset = _ticks(at + rng.exponential(3.0))
            at = onset + _ticks(0.1 + rng.exponential(1.5))
            found.append(Truth(label, onset, at, 0.0))
    return tuple(found)


def _judged(index: int, truths: tuple[Truth, ...], rng: np.random.Generator) -> Judged:
    """Detections near truths, and others anywhere; those of one label do not overlap."""
    seconds = 60.0 * rng.integers(2, 6)
    wanted = []
    for t in truths:
        for _ in range(rng.choice(3, p=[0.2, 0.6, 0.2])):
            onset = t.onset + rng.normal(0.0, 0.8)
            wanted.append((t.label, onset, onset + (t.offset - t.onset) * rng.uniform(0.3, 1.7)))
    for _ in range(rng.integers(0, 5)):
        onset = rng.uniform(0.0, 40.0)
        wanted.append((LABELS[rng.integers(3)], onset, onset + rng.exponential(1.5)))
    ends: dict[str, float] = {}
    found = []
    for label, onset, offset in sorted(wanted, key=lambda w: w[1]):
        start = max(_ticks(onset), ends.get(label, 0.0))
        stop = max(start, _ticks(offset))
        ends[label] = stop
        found.append(Detection(label, start, stop, start + 0.5))
    return Judged(f"{index}", seconds, truths, tuple(found))


def _expected(case: Case) -> dict[str, Any]:
    judged, points = case
    sound_event = import_module("sed_eval.sound_event")
    figures: dict[str, Any] = {}
    for collar in COLLARS_SECONDS:
        metrics = sound_event.EventBasedMetrics(
            list(LABELS), t_collar=collar, evaluate_onset=True, evaluate_offset=False
        )
        figures[str(collar)] = _evaluated(metrics, judged)
    figures["segments"] = _evaluated(sound_event.SegmentBasedMetrics(list(LABELS), 1.0), judged)[:1]
    figures["psds"] = _psds(points)
    return figures


def _evaluated(metrics: Any, judged: list[Judged]) -> list[list[float]]:
    """F1, precision and recall: of all, and by label."""
    container = import_module("dcase_util.containers").MetaDataContainer
    for j in judged:
        truth, found = (
            container(
                [
                    {
                        "filename": j.name,
                        "event_label": e.label,
                        "onset": e.onset,
                        "offset": e.offset,
                    }
                    for e in some
                ]
            )
            for some in (j.truths, j.detections)
        )
        metrics.evaluate(truth, found)
    rows = [metrics.results_overall_metrics(), *metrics.results_class_wise_metrics().values()]
    return [
        [
            round(float(np.nan_to_num(row["f_measure"][key])), 6)
            for key in ("f_measure", "precision", "recall")
        ]
        for row in rows
    ]


def _psds(points: list[list[Judged]]) -> float:
    pd, psds_eval = import_module("pandas"), import_module("psds_eval")
    columns = ["filename", "onset", "offset", "event_label"]
    truth = [(j.name, t.onset, t.offset, t.label) for j in points[0] for t in j.truths]
    lengths = [(j.name, j.seconds) for j in points[0]]
    evaluation = psds_eval.PSDSEval(
        ground_truth=pd.DataFrame(truth, columns=columns),
        metadata=pd.DataFrame(lengths, columns=["filename", "duration"]),
        dtc_threshold=0.5,
        gtc_threshold=0.5,
        cttc_threshold=0.3,
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
    # The area is added up here: the library's own sum fails with NumPy 2.4.
    curve = evaluation.psd_roc_curves(alpha_ct=0.0)[2]
    edges = np.append(curve.xp[curve.xp < 100.0], 100.0)
    area = np.sum(np.diff(edges) * np.nan_to_num(curve.mean[curve.xp < 100.0]))
    return round(float(area) / 100.0, 9)


def main() -> None:
    """Write what the libraries say."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        figures = [_expected(case) for case in cases()]
    EXPECTED.write_text("\n".join(["[", ",\n".join(map(json.dumps, figures)), "]", ""]))


if __name__ == "__main__":
    main()
