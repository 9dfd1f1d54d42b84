"""From a Keras model to a bundle; every stage is checked against the one before."""

from __future__ import annotations

import io
import platform
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from realtime.bundle import Bundle, load_bundle, save_bundle
from realtime.classifier import Classifier
from realtime.errors import OticError
from realtime.messages import hushed_libraries
from realtime.verification import golden_cases
from realtime.version import __version__
from training.datasets import Dataset
from training.fitting import Prepared, predict
from training.presets import Preset

if TYPE_CHECKING:
    import keras

MAX_DIFFERENCE = 1e-5
"""Largest difference of any score between the Keras model and the written bundle."""

_CHECKED_WINDOWS = 500


def to_tflite(model: keras.Model) -> bytes:
    """Convert to a float32 TFLite flatbuffer that takes one window at a time."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    with hushed_libraries(), redirect_stdout(io.StringIO()):  # Keras prints the model's signature
        return bytes(converter.convert())


def export(
    path: str,
    model: keras.Model,
    dataset: Dataset,
    preset: Preset,
    accuracy: dict[str, Any],
    provenance: dict[str, Any],
    probe: NDArray[np.float32],
) -> Bundle:
    """Write a bundle and prove that it gives the Keras model's scores.

    Parameters
    ----------
    path : str
        Where to write; its stem is the model's name.
    model : keras.Model
    dataset, preset
        What it was trained on, and how.
    accuracy, provenance : dict
        Go into the bundle as they are.
    probe : float32 [n, n_features]
        Windows to compare on.

    Returns
    -------
    Bundle
        As read back from the file.

    Raises
    ------
    OticError
        If the bundle's scores differ from the Keras model's by more than
        ``MAX_DIFFERENCE``, or the file can't be written.
    """
    labels = dataset.labels
    bundle = Bundle(
        name=Path(path).stem,
        labels=labels,
        features=preset.features,
        inference_hop_frames=preset.inference_hop_frames,
        decision=preset.decision(len(labels)),
        accuracy=accuracy,
        license=dataset.license,
        provenance=provenance,
        model=to_tflite(model),
    )
    bundle = replace(bundle, golden=golden_cases(bundle))
    # Checked before it takes its place: a bundle that fails is never seen there.
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / Path(path).name
        save_bundle(trial, bundle)
        _check(load_bundle(trial), model, probe[:_CHECKED_WINDOWS])
    save_bundle(path, bundle)
    return load_bundle(Path(path).absolute())


def provenance(
    prepared: Prepared,
    dataset: Dataset,
    preset: Preset,
    folds: list[int],
    seed: int,
    epochs: int | None,
) -> dict[str, Any]:
    """Where a model comes from."""
    import tensorflow as tf

    return {
        "data": dataset.name,
        "clips": int(np.isin(prepared.fold, folds).sum()),
        "folds": folds,
        "preset": preset.name,
        "epochs": epochs or preset.epochs,
        "seed": seed,
        "versions": {
            "otic": __version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
    }


def _check(bundle: Bundle, model: keras.Model, probe: NDArray[np.float32]) -> None:
    classifier = Classifier(bundle)
    served = np.stack([classifier.predict(x) for x in probe])
    worst = float(np.abs(served - predict(model, probe)).max())
    if not worst <= MAX_DIFFERENCE:
        raise OticError(
            f"the exported model's scores differ from Keras's by {worst:.2g}, "
            f"more than {MAX_DIFFERENCE:g}: nothing was written"
        )
