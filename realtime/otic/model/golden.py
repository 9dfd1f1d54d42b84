"""Golden cases: sounds that any machine can make, with the scores that a model gives them.

They travel with the model, so that ``otic verify`` can check on any machine
that features and scores equal those of the machine that exported it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.config.values import check_keys
from otic.errors import ParameterError
from otic.features.params import FeatureParams
from otic.features.reference import reference_features

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

SOUNDS = ("noise", "sweep", "pulses")
MAX_FEATURES = 512
_KEYS = ["sound", "features", "scores"]


@dataclass(frozen=True)
class GoldenCase:
    """One window of a golden sound.

    Attributes
    ----------
    sound : str
        One of ``SOUNDS``.
    features : tuple of float
        The window's features, computed in float64; where they are many, those
        that :func:`kept_features` keeps.
    scores : tuple of float
        Scores that the model gave.
    """

    sound: str
    features: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.sound not in SOUNDS:
            raise ParameterError(
                f"golden sound '{self.sound}' is unknown: it must be one of {', '.join(SOUNDS)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, rounded far below what a check tolerates."""
        return {
            "sound": self.sound,
            "features": [round(value, 5) for value in self.features],
            "scores": [round(value, 6) for value in self.scores],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GoldenCase:
        """Read what :meth:`to_dict` gives.

        Raises
        ------
        ParameterError
            If a key is missing or unknown, or a value is not what it should be.
        """
        check_keys("golden case", values, _KEYS)
        return cls(
            sound=str(values["sound"]),
            features=_numbers("features", values["features"]),
            scores=_numbers("scores", values["scores"]),
        )


def kept_features(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """Keep at most ``MAX_FEATURES``, evenly spaced, so that a model's file stays small."""
    return features[:: -(-len(features) // MAX_FEATURES)]


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    numbers = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
    )
    if not numbers:
        raise ParameterError(f"golden {name} must be a list of finite numbers")
    return tuple(float(v) for v in values)


def golden_cases_from(values: Any) -> tuple[GoldenCase, ...]:
    """Read golden cases from a list of what :meth:`GoldenCase.to_dict` gives.

    Raises
    ------
    ParameterError
        If the list holds something else; the message names it.
    """
    if not isinstance(values, list):
        raise ParameterError(f"golden cases must be a JSON list, not {type(values).__name__}")
    return tuple(GoldenCase.from_dict(value) for value in values)


def check_sizes(cases: tuple[GoldenCase, ...], n_features: int, n_labels: int) -> None:
    """Require different sounds, with as many features and scores as the model has.

    Raises
    ------
    ParameterError
        Naming the case.
    """
    sounds = [case.sound for case in cases]
    if len(set(sounds)) < len(sounds):
        raise ParameterError(f"golden sounds {', '.join(sounds)} must be different")
    # Of these kept_features keeps so many, of no array of that size:
    n_kept = len(range(0, n_features, -(-n_features // MAX_FEATURES)))
    for case in cases:
        widths = len(case.features), len(case.scores)
        if widths != (n_kept, n_labels):
            raise ParameterError(
                f"golden case '{case.sound}' has {widths[0]} features and {widths[1]} scores: "
                f"{n_kept} and {n_labels} are needed"
            )


def golden_sound(sound: str, sr: int, n: int) -> NDArray[np.float32]:
    """Make a sound in [-1, 1], float32 [n], the same on every machine to float32's rounding.

    ``noise`` is white; ``sweep`` a tone that rises to half the rate, loud and
    then soft, over faint noise, so that ``top_db`` clamps much of it; ``pulses``
    are short decaying bursts with silence between.
    """
    bits = np.random.PCG64(7).random_raw(n)  # NumPy keeps this stream the same for good
    noise = (bits >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0
    t = np.arange(n) / sr
    if sound == "noise":
        y = 0.1 * noise
    elif sound == "sweep":
        phase = 2.0 * np.pi * (100.0 * t + 0.25 * sr * t * t / max(n / sr, 1.0))
        y = np.where(t < 0.6 * n / sr, 0.5, 0.0005) * np.sin(phase) + 1e-6 * noise
    else:
        y = 0.8 * noise * np.exp(-60.0 * (t % 0.37)) * (t % 0.37 < 0.1)
    return y.astype(np.float32)


def golden_cases(p: FeatureParams, predict: Predict) -> tuple[GoldenCase, ...]:
    """Compute golden cases: features in float64, and the scores that the model gives them.

    ``predict`` takes features, float32 [n_features], and gives scores, float32 [n_labels].
    """
    cases = []
    for sound in SOUNDS:
        features = reference_features(golden_sound(sound, p.sr, p.window_samples), p)
        scores = predict(features.astype(np.float32))
        kept = kept_features(features)
        cases.append(GoldenCase(sound, tuple(kept.tolist()), tuple(scores.tolist())))
    return tuple(cases)
