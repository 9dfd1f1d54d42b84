"""A model's scores of clips through the live pipeline, and which folds may test it."""

from __future__ import annotations

import numpy as np

from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.pipeline import Pipeline
from otic.types import Scores
from otic_training.cli.progress import progress, say
from otic_training.data.dataset import (
    Clip,
    Dataset,
    DatasetError,
    listed,
    same_data,
    trained_folds,
)
from otic_training.data.windows import MIN_ACTIVE_SHARE, active_part, read_clip
from otic_training.scoring.metrics import Tested


def folds_to_test(
    text: str | None, bundle: Bundle, dataset: Dataset
) -> tuple[list[int], tuple[str, ...]]:
    """The folds to test on, and what must be said of them."""
    trained = trained_folds(bundle.provenance, dataset)
    if text is None:
        folds = [fold for fold in dataset.folds if fold not in trained]
        if not folds:
            raise OticError(
                f"{bundle.name} was trained on all folds of {dataset.name}: no honest test is "
                "left; see its card, or name folds with --folds for a figure that leaks"
            )
        return folds, _unknown(bundle, dataset)
    folds = sorted({int(part) if part.isdecimal() else -1 for part in text.split(",")})
    if not set(folds) <= set(dataset.folds):
        raise OticError(f"--folds {text} must name some of the folds {listed(dataset.folds)}")
    leaked = [fold for fold in folds if fold in trained]
    if leaked:
        return folds, (
            f"a LEAK: {bundle.name} was trained on folds {listed(leaked)} of {dataset.name}; "
            "this is no figure to rely on",
        )
    return folds, _unknown(bundle, dataset)


def _unknown(bundle: Bundle, dataset: Dataset) -> tuple[str, ...]:
    """Folds of another data set say nothing of what is in both."""
    if _same_data(bundle, dataset):
        return ()
    data = bundle.provenance.get("data", "data that it does not name")
    return (
        f"{bundle.name} was trained on {data}: if clips of {dataset.name} "
        "are among that, this figure leaks",
    )


def _same_data(bundle: Bundle, dataset: Dataset) -> bool:
    return same_data(str(bundle.provenance.get("data")), dataset.name)


def stream(bundle: Bundle, clips: list[Clip]) -> Tested:
    """Run clips through the live pipeline, and keep the scores of windows that are active enough.

    Raises
    ------
    DatasetError
        If no clip is left that can be read and is as long as the window.
    """
    p, pipeline = bundle.features, Pipeline(bundle)
    scores, of_clip, target = [], [], []
    with progress("clips", len(clips)) as advance:
        for i, clip in enumerate(clips):
            advance(1)
            try:
                y = read_clip(clip, p.sr)
            except OticError as error:
                say(f"left out: {error}")
                continue
            if len(y) < bundle.window_samples:
                say(f"left out: '{clip.path}' is shorter than the window")
                continue
            begin, end = active_part(y, p.sr)
            pipeline.reset()
            heard = [item for item in pipeline.process(y) if isinstance(item, Scores)]
            stops = np.array([item.sample for item in heard])
            active = np.minimum(stops, end) - np.maximum(stops - bundle.window_samples, begin)
            enough = active >= min(MIN_ACTIVE_SHARE * bundle.window_samples, active.max())
            for item in (heard[k] for k in np.flatnonzero(enough)):
                scores.append([item.scores[label] for label in bundle.labels])
                of_clip.append(i)
                target.append(bundle.labels.index(clip.label))
    if not scores:
        raise DatasetError(
            f"none of {len(clips)} clips can be read and is as long as {bundle.name}'s window "
            f"of {bundle.window_seconds:.2f} s"
        )
    return Tested(
        fold=min(clip.fold for clip in clips),
        scores=np.array(scores, np.float32),
        clip=np.array(of_clip),
        target=np.array(target),
    )
