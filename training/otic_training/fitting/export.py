"""Export of a trained model to bundles; every stage is checked against the one before."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic.model.bundle import Bundle, load_bundle, save_bundle
from otic.model.classifier import Classifier, with_golden_cases
from otic_training.networks.tflite import served, to_float, to_int8
from otic_training.scoring.metrics import Figures

if TYPE_CHECKING:
    import keras

    from otic_training.networks.base_model import Base

_F32 = NDArray[np.float32]

MAX_DIFFERENCE = 1e-5
"""Largest difference of any score between the Keras model and the written bundle."""

MAX_MEAN_DIFFERENCE_INT8 = 0.02
"""Largest mean difference of scores between the float32 and the int8 bundle."""

MIN_AGREEMENT_INT8 = 0.95
"""Least share of windows whose best int8 label has the highest float32 score, or one within
``_TIE`` of it."""

_TIE = 0.05

INT8_SUFFIX = "-int8"
_CHECKED_WINDOWS = 500


@dataclass(frozen=True)
class Exported:
    """Bundles as read back from their files; ``int8`` where it was asked for."""

    float32: Bundle
    int8: Bundle | None


def export(
    path: str,
    model: keras.Model,
    temperature: float,
    bundle: Bundle,
    probe: _F32,
    int8_figures: Figures | None,
    base: Base | None = None,
    settle: Callable[[Bundle], Bundle] = lambda bundle: bundle,
) -> Exported:
    """Write bundles and prove that they give the Keras model's scores.

    Parameters
    ----------
    path : str
        Where to write; an int8 bundle goes beside it, ``NAME-int8.tflite``.
    model : keras.Model
        Gives logits.
    temperature : float
        See :func:`otic_training.networks.tflite.served`.
    bundle : Bundle
        Complete but for the model, the name and the golden cases.
    probe : float32 [n, n_features]
        Windows to compare on, and for the ranges of int8 activations.
    int8_figures : Figures, optional
        Of the int8 version, which is then written too.
    base : Base, optional
        The model that this one is a head on: it becomes a part of what is written.
    settle : callable
        Gives a bundle its last decision, its thresholds say, before it is written.

    Returns
    -------
    Exported

    Raises
    ------
    OticError
        If scores differ by more than the limits above, or a file can't be written.
    """
    probe = probe[:: -(-len(probe) // _CHECKED_WINDOWS)]
    final = served(model, len(bundle.labels), temperature)
    seen = probe if base is None else base.read_off(probe)
    expected = np.asarray(final(seen, training=False))
    written = to_float(final) if base is None else base.with_head(to_float(final))
    # The golden scores of int8 layers may differ a little more from processor to processor.
    weights = "int8" if base is not None and base.has_8_bit_weights else "float32"
    whole = _finished(bundle, path, written, weights)
    small = None
    if int8_figures is not None:
        small_path = f"{path.removesuffix('.tflite')}{INT8_SUFFIX}.tflite"
        accurate = replace(bundle, accuracy=int8_figures.to_dict())
        small = _finished(accurate, small_path, to_int8(final, probe), "int8")
        _check_int8(small, expected, probe)
    _check_float32(whole, expected, probe)
    save_bundle(path, settle(whole))
    if small is not None:
        save_bundle(small_path, settle(small))
    return Exported(
        load_bundle(Path(path).absolute()),
        None if small is None else load_bundle(Path(small_path).absolute()),
    )


def _finished(bundle: Bundle, path: str, model: bytes, weights: str) -> Bundle:
    provenance = {**bundle.provenance, "weights": weights}
    named = replace(bundle, name=Path(path).stem, model=model, provenance=provenance)
    return with_golden_cases(named)


def _check_float32(bundle: Bundle, expected: _F32, probe: _F32) -> None:
    worst = float(np.abs(_scores(bundle, probe) - expected).max())
    if not worst <= MAX_DIFFERENCE:
        raise OticError(
            f"the exported model's scores differ from Keras's by {worst:.2g}, "
            f"more than {MAX_DIFFERENCE:g}: nothing was written"
        )


def _check_int8(bundle: Bundle, expected: _F32, probe: _F32) -> None:
    scores = _scores(bundle, probe)
    mean = float(np.abs(scores - expected).mean())
    named = expected[np.arange(len(expected)), scores.argmax(axis=1)]
    agreement = float(np.mean(named >= expected.max(axis=1) - _TIE))
    if not (mean <= MAX_MEAN_DIFFERENCE_INT8 and agreement >= MIN_AGREEMENT_INT8):
        raise OticError(
            f"the int8 model's scores differ from Keras's by {mean:.2g} on average (limit "
            f"{MAX_MEAN_DIFFERENCE_INT8:g}), with the same label for {agreement:.1%} of windows "
            f"(limit {MIN_AGREEMENT_INT8:.0%}): nothing was written; train longer, or leave "
            "--int8 out"
        )


def _scores(bundle: Bundle, probe: _F32) -> _F32:
    """Run the packed bundle, read back from a file that nobody sees if this fails."""
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / f"{bundle.name}.tflite"
        save_bundle(trial, bundle)
        classifier = Classifier(load_bundle(trial))
    return np.stack([classifier.predict(x) for x in probe])
