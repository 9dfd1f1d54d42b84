"""Recipes: what a model looks at, how it is built and how it is trained.

Every hyper-parameter is here. A recipe never looks at the test folds: there is
no early stopping and no model selection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from realtime.errors import OticError
from realtime.params import DecisionParams, FeatureParams

if TYPE_CHECKING:
    import keras

_F32 = NDArray[np.float32]
Build = Callable[[_F32, int], "keras.Model"]


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes
    ----------
    name : str
    features : FeatureParams
        What the model looks at, in training and live.
    inference_hop_frames : int
        Frames between two predictions, live and in tests.
    train_hop_frames : int
        Frames between two training windows of one pass over a clip.
    gains_db : tuple of float
        One pass over each training clip for each gain.
    silence_share : float
        So many windows of silence and of faint noise for each training window,
        with equal probabilities for all labels as their target, so that silence
        sounds like none of them.
    build : callable
        Training features and the number of labels to a Keras model that gives
        probabilities.
    epochs, batch_size : int
    learning_rate : float
        Of Adam.
    cosine : bool
        Whether the rate falls to 0 over the epochs, as half a cosine.
    label_smoothing : float
    """

    name: str
    features: FeatureParams
    inference_hop_frames: int
    train_hop_frames: int
    gains_db: tuple[float, ...]
    silence_share: float
    build: Build
    epochs: int
    batch_size: int
    learning_rate: float
    cosine: bool
    label_smoothing: float

    def decision(self, n_labels: int) -> DecisionParams:
        """Thresholds and times; the same for every label.

        A sound is dated back by half the window: about there it outweighs what
        was before it.
        """
        return DecisionParams(
            smoothing_scores=3,
            on_thresholds=(0.6,) * n_labels,
            off_thresholds=(0.4,) * n_labels,
            min_on_seconds=0.5,
            min_off_seconds=0.5,
            lag_seconds=round(self.features.window_seconds / 2, 3),
        )


def preset(name: str) -> Preset:
    """A preset by name.

    Raises
    ------
    OticError
        If there is none of that name.
    """
    for candidate in PRESETS:
        if candidate.name == name:
            return candidate
    raise OticError(f"unknown preset '{name}': there are {', '.join(p.name for p in PRESETS)}")


def _mfcc_mlp(x: _F32, n_labels: int) -> keras.Model:
    """Standardiser, 128-64 ReLU with dropout, softmax."""
    import keras
    from keras import layers

    standardise = layers.Normalization()
    standardise.adapt(x)
    stack = [keras.Input((x.shape[1],)), standardise]
    for units in (128, 64):
        stack += [
            layers.Dense(units, activation="relu", kernel_regularizer=keras.regularizers.l2(1e-4)),
            layers.Dropout(0.3),
        ]
    return keras.Sequential([*stack, layers.Dense(n_labels, activation="softmax")])


def _tutorial(x: _F32, n_labels: int) -> keras.Model:
    """The article's network, on features that are not standardised."""
    import keras
    from keras import layers

    stack = [keras.Input((x.shape[1],))]
    for _ in range(2):
        stack += [layers.Dense(256, activation="relu"), layers.Dropout(0.5)]
    return keras.Sequential([*stack, layers.Dense(n_labels, activation="softmax")])


_LIBROSA_DEFAULTS = {
    "sr": 22050,
    "n_fft": 2048,
    "hop_length": 512,
    "n_mels": 128,
    "n_mfcc": 40,
    "fmin": 0.0,
    "fmax": 11025.0,
    "top_db": 80.0,
    "center": False,
}

PRESETS = (
    # Rolling statistics of 40 MFCCs over 2 s, 128-64 perceptron.
    Preset(
        name="mfcc-mlp",
        features=FeatureParams.from_dict(
            {
                **_LIBROSA_DEFAULTS,
                "window_frames": 83,
                "statistics": ("mean", "std", "delta_mean", "delta_rms"),
            }
        ),
        inference_hop_frames=11,
        train_hop_frames=4,
        gains_db=(0.0, -12.0, 6.0),
        silence_share=0.01,
        build=_mfcc_mlp,
        epochs=30,
        batch_size=128,
        learning_rate=1e-3,
        cosine=True,
        label_smoothing=0.05,
    ),
    # The article's model: 40 mean MFCCs over 4 s, 256-256 perceptron.
    Preset(
        name="tutorial",
        features=FeatureParams.from_dict(
            {**_LIBROSA_DEFAULTS, "window_frames": 169, "statistics": ("mean",)}
        ),
        inference_hop_frames=11,
        train_hop_frames=11,
        gains_db=(0.0,),
        silence_share=0.0,
        build=_tutorial,
        epochs=100,
        batch_size=32,
        learning_rate=1e-3,
        cosine=False,
        label_smoothing=0.0,
    ),
)
