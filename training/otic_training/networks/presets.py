"""Presets: recipes that say what a model looks at, how it is built and how it is trained.

Every hyper-parameter is here. A recipe never looks at the test folds: it has no early
stopping and does not choose among finished models.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError, did_you_mean
from otic.features.params import FeatureParams
from otic_training.networks.layers import (
    embedding_head,
    logmel_cnn,
    mfcc_mlp,
    tiny,
    tutorial,
)

if TYPE_CHECKING:
    from otic_training.networks.layers import Build

TUTORIAL = "tutorial"
"""The preset that the others are compared with."""


@dataclass(frozen=True)
class Passes:
    """Training windows are taken once, hop by hop.

    Attributes
    ----------
    hop_frames : int
        Frames between two windows of one pass over a clip.
    gains_db : tuple of float
        One pass over each clip for each gain.
    """

    hop_frames: int
    gains_db: tuple[float, ...]


@dataclass(frozen=True)
class Augmentation:
    """Amounts by which windows are changed.

    Attributes
    ----------
    views : int
        Windows of each clip in an epoch.
    speed : float
        Factor up to which a window is played faster or slower, pitch and all.
    speed_share : float
        Share of windows that are.
    mix_share : float
        Share of windows that are mixed with another clip's, target and all.
    gain_db : float
        Decibels up to which a window is made louder or softer.
    equaliser_db : float
        Standard deviation of a random smooth curve over the mel bands.
    negative_share : float
        Share of windows that hold sounds without a label, where there are any.
    late_share : float
        Share of windows in which a sound has only just begun, as it is live when
        an event should start.
    noise_share : float
        Share of windows with a background.
    snr_db : tuple of float
        How much softer the background is than the sound: least and most, in decibels.
    """

    views: int
    speed: float
    speed_share: float
    mix_share: float
    gain_db: float
    equaliser_db: float
    negative_share: float
    late_share: float
    noise_share: float
    snr_db: tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """Recipe for a model.

    Attributes
    ----------
    name : str
    features : FeatureParams
        Of the model, in training and live.
    inference_hop_frames : int
        Frames between two predictions, live and in tests.
    windows : Passes or Augmentation
        How training windows are made: taken once, or drawn in every epoch.
    none_share : float
        Share of windows that hold background only. If there are any, the network has
        one output more than labels, which is not served: background is "none of
        these", low scores everywhere.
    background_dbfs : float
        Level of the loudest background. Steady noise is hard to tell from rain by
        statistics of MFCCs alone.
    build : callable
        See :data:`otic_training.networks.layers.Build`.
    epochs, batch_size : int
    learning_rate : float
        Of Adam.
    cosine : bool
        True: the rate falls to 0 over the epochs, as half a cosine.
    warmup_share : float
        Share of the training in which the rate first rises to its full height.
    weight_decay : float
        Of AdamW; not of biases and batch normalisation.
    averaging : float
        Weight of the past in the moving average over the steps that gives the final
        weights; 0 takes the last ones.
    label_smoothing : float
    on_threshold, min_on_seconds : float
        See :meth:`decision`.
    distillation_weight, soft_share : float
        With a teacher: the weight of its components beside the labels, and its
        share of the targets. See :mod:`otic_training.networks.teacher`.
    smoothing_scores : int
        See :meth:`decision`.
    on_base : bool
        True: the model is a head on a base model, and has the base's features. See
        :mod:`otic_training.networks.base_model`.
    """

    name: str
    features: FeatureParams
    inference_hop_frames: int
    windows: Passes | Augmentation
    none_share: float
    background_dbfs: float
    build: Build
    epochs: int
    batch_size: int
    learning_rate: float
    cosine: bool
    warmup_share: float
    weight_decay: float
    averaging: float
    label_smoothing: float
    on_threshold: float
    min_on_seconds: float
    distillation_weight: float = 0.0
    soft_share: float = 0.0
    smoothing_scores: int = 2
    on_base: bool = False

    def decision(self, n_labels: int) -> DecisionParams:
        """Thresholds and times; the same for every label.

        Measured on soundscapes of validation folds, for presets that draw their windows;
        ``otic tune`` finds thresholds for a place. A sound that has ended leaves the score
        when it has left two thirds of the window.
        """
        return DecisionParams(
            smoothing_scores=self.smoothing_scores,
            on_thresholds=(self.on_threshold,) * n_labels,
            off_thresholds=(self.on_threshold / 2,) * n_labels,
            min_on_seconds=self.min_on_seconds,
            min_off_seconds=1.0,
            max_on_seconds=600.0,
            lag_seconds=round(self.features.window_seconds * 2 / 3, 3),
            onset_ground=0.5,
            onset_back_seconds=4.0,
        )

    @property
    def key(self) -> str:
        """Text that stands for all of the recipe but its name."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "name"}
        return repr({**values, "build": self.build.__name__})

    def n_outputs(self, n_labels: int) -> int:
        """Count the outputs of the network."""
        return n_labels + (self.none_share > 0.0)


STREAM = "stream"
"""Name of the preset that puts a head on a base; see :mod:`otic_training.fitting.stream`."""


def preset(name: str) -> Preset:
    """Find a preset by its name.

    Raises
    ------
    OticError
        If no preset has this name.
    """
    for candidate in PRESETS:
        if candidate.name == name:
            return candidate
    if name == STREAM:
        raise OticError("the preset stream has nothing to search for: use 'otic train'")
    names = [known.name for known in PRESETS]
    near = did_you_mean(name, [*names, STREAM])
    raise OticError(f"unknown preset '{name}'{near}: there are {', '.join(names)}")


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

# 96 frames of 64 bands, 2.25 s.
_PATCH = FeatureParams.from_dict(
    {
        **_LIBROSA_DEFAULTS,
        "n_fft": 1024,
        "n_mels": 64,
        "window_frames": 96,
        "statistics": ("log_mel",),
    }
)

_MFCC_MLP = Preset(
    name="mfcc-mlp",
    features=FeatureParams.from_dict(
        {
            **_LIBROSA_DEFAULTS,
            "window_frames": 83,
            "statistics": ("mean", "std", "delta_mean", "delta_rms"),
        }
    ),
    inference_hop_frames=11,
    windows=Passes(hop_frames=4, gains_db=(0.0, -12.0, 6.0)),
    none_share=0.02,
    background_dbfs=-70.0,
    build=mfcc_mlp,
    epochs=30,
    batch_size=128,
    learning_rate=1e-3,
    cosine=True,
    warmup_share=0.0,
    weight_decay=0.0,
    averaging=0.0,
    label_smoothing=0.05,
    on_threshold=0.6,
    min_on_seconds=0.5,
)

_LOGMEL_CNN = Preset(
    name="logmel-cnn",
    features=_PATCH,
    inference_hop_frames=11,
    windows=Augmentation(
        views=1,
        speed=1.25,
        speed_share=0.8,
        mix_share=0.75,
        gain_db=10.0,
        equaliser_db=4.0,
        negative_share=0.5,
        late_share=0.3,
        noise_share=0.5,
        snr_db=(-3.0, 30.0),
    ),
    none_share=0.1,
    background_dbfs=-20.0,
    build=logmel_cnn,
    epochs=400,
    batch_size=16,
    learning_rate=3e-3,
    cosine=True,
    warmup_share=0.05,
    weight_decay=0.02,
    averaging=0.99,
    label_smoothing=0.0,
    on_threshold=0.4,
    min_on_seconds=0.0,
    distillation_weight=1.0,
    soft_share=0.9,
)

# Too much of a teacher is too much for it.
_TINY = replace(_LOGMEL_CNN, name="tiny", build=tiny, distillation_weight=0.5, soft_share=0.5)

# The article's model: 40 mean MFCCs over 4 s, 256-256 perceptron.
_TUTORIAL = Preset(
    name=TUTORIAL,
    features=FeatureParams.from_dict(
        {**_LIBROSA_DEFAULTS, "window_frames": 169, "statistics": ("mean",)}
    ),
    inference_hop_frames=11,
    windows=Passes(hop_frames=11, gains_db=(0.0,)),
    none_share=0.0,
    background_dbfs=-70.0,
    build=tutorial,
    epochs=100,
    batch_size=32,
    learning_rate=1e-3,
    cosine=False,
    warmup_share=0.0,
    weight_decay=0.0,
    averaging=0.0,
    label_smoothing=0.0,
    on_threshold=0.6,
    min_on_seconds=0.5,
)

YAMNET = FeatureParams.from_dict(
    {
        "sr": 16000,
        "n_fft": 512,
        "hop_length": 160,
        "n_mels": 64,
        "n_mfcc": 20,
        "fmin": 0.0,
        "fmax": 8000.0,
        "top_db": 80.0,
        "center": True,
        "window_frames": 98,
        "statistics": ("waveform",),
        "tail_samples": 80,
    }
)
"""What YAMNet as TFLite takes: 15600 samples. The frames are for onsets and pictures.

As ``otic pack`` has it, so that both files give the same model.
"""

YAMNET_HOP_FRAMES = 24

_YAMNET_HEAD = Preset(
    name="yamnet-head",
    features=YAMNET,
    inference_hop_frames=YAMNET_HOP_FRAMES,
    windows=Augmentation(
        views=4,
        speed=1.1,
        speed_share=0.5,
        mix_share=0.3,
        gain_db=10.0,
        equaliser_db=0.0,
        negative_share=0.5,
        late_share=0.3,
        noise_share=0.8,
        snr_db=(-3.0, 20.0),
    ),
    none_share=0.2,
    background_dbfs=-20.0,
    build=embedding_head,
    epochs=20,
    batch_size=16,  # a few dozen clips must make enough steps
    learning_rate=1e-3,
    cosine=True,
    warmup_share=0.05,
    weight_decay=0.02,
    averaging=0.97,
    label_smoothing=0.0,
    on_threshold=0.6,
    min_on_seconds=0.0,
    smoothing_scores=3,
    on_base=True,
)

PRESETS = (_MFCC_MLP, _LOGMEL_CNN, _TINY, _TUTORIAL, _YAMNET_HEAD)


def names_with(attribute: str) -> str:
    """Name the presets that have some of an attribute, such as ``none_share``."""
    return ", ".join(p.name for p in PRESETS if getattr(p, attribute))
