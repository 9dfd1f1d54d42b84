"""Golden cases: sounds that any machine can make, with the scores that a model gives them.

They travel with the model, so that ``otic verify`` can check on any machine
that features and scores equal those of the machine that exported it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.config.values import as_tuple, check_keys
from otic.errors import ParameterError
from otic.features.params import FeatureParams
from otic.features.reference import clamped, reference_features, reference_log_mel

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Gives the scores, float32 [n_labels], of features, float32 [n_features]."""

SOUNDS = ("noise", "sweep", "pulses")
MAX_FEATURES = 512
MAX_STEPS = 64
"""Limit of a golden stream's length in steps behind the warm-up: a check stays quick."""
STREAM_STEPS = (0, 1, 3, 7, 12)
"""Steps behind the warm-up whose scores a golden stream has."""
_FAINT = 1e-3
_KEYS = ["sound", "features", "scores"]


@dataclass(frozen=True)
class GoldenCase:
    """One window of a golden sound, or the beginning of a stream of it.

    Attributes
    ----------
    sound : str
        One of ``SOUNDS``.
    features : tuple of float
        The window's features, computed in float64; where they are many, those
        that :func:`kept_features` keeps.
    scores : tuple of float
        Scores that the model gave; of a stream, those of each of ``steps``, one after another.
    steps : tuple of int
        Steps of a stream behind its warm-up, from 0, in order; the features are those of the
        last one. Empty for a window.
    """

    sound: str
    features: tuple[float, ...]
    scores: tuple[float, ...]
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.sound not in SOUNDS:
            raise ParameterError(
                f"golden sound '{self.sound}' is unknown: it must be one of {', '.join(SOUNDS)}"
            )
        whole = all(isinstance(s, int) and not isinstance(s, bool) for s in self.steps)
        if not whole or list(self.steps) != sorted(set(self.steps)):
            raise ParameterError(f"golden steps {list(self.steps)} must be whole numbers in order")
        if self.steps and not 0 <= self.steps[0] <= self.steps[-1] < MAX_STEPS:
            raise ParameterError(
                f"golden steps {list(self.steps)} must be from 0 to {MAX_STEPS - 1}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, rounded far below what a check tolerates."""
        return {
            "sound": self.sound,
            "features": [round(value, 5) for value in self.features],
            "scores": [round(value, 6) for value in self.scores],
            **({"steps": list(self.steps)} if self.steps else {}),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GoldenCase:
        """Read what :meth:`to_dict` gives.

        Raises
        ------
        ParameterError
            If a key is missing or unknown, or a value is not what it should be.
        """
        stream = isinstance(values, dict) and "steps" in values
        check_keys("golden case", values, [*_KEYS, "steps"] if stream else _KEYS)
        return cls(
            sound=str(values["sound"]),
            features=_numbers("features", values["features"]),
            scores=_numbers("scores", values["scores"]),
            steps=as_tuple("steps", values["steps"]) if stream else (),
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


def check_sizes(
    cases: tuple[GoldenCase, ...], n_features: int, n_labels: int, stream: bool = False
) -> None:
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
        if stream != bool(case.steps):
            kind = "a streaming model" if stream else "a model of windows"
            raise ParameterError(
                f"golden case '{case.sound}' has {len(case.steps)} steps, which {kind} can't have"
            )
        n_scores = n_labels * max(1, len(case.steps))
        widths = len(case.features), len(case.scores)
        if widths != (n_kept, n_scores):
            raise ParameterError(
                f"golden case '{case.sound}' has {widths[0]} features and {widths[1]} scores: "
                f"{n_kept} and {n_scores} are needed"
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


def golden_stream_sound(sound: str, sr: int, n: int) -> NDArray[np.float32]:
    """Make a golden sound over faint noise, float32 [n].

    A streaming model's frames are not clamped: without the noise, the rounding of a float32
    transform would show beside a loud tone, and differ from machine to machine.
    """
    faint = golden_sound("noise", sr, n + 1)[1:] * np.float32(_FAINT)
    return golden_sound(sound, sr, n) + faint


def golden_cases(p: FeatureParams, predict: Predict) -> tuple[GoldenCase, ...]:
    """Compute golden cases of windows: features in float64, and the scores that they get."""
    cases = []
    for sound in SOUNDS:
        features = reference_features(golden_sound(sound, p.sr, p.window_samples), p)
        scores = predict(features.astype(np.float32))
        kept = kept_features(features)
        cases.append(GoldenCase(sound, tuple(kept.tolist()), tuple(scores.tolist())))
    return tuple(cases)


def golden_streams(
    p: FeatureParams,
    hop_frames: int,
    warm_up_steps: int,
    cold: Callable[[], Predict],
    steps: Sequence[int] = STREAM_STEPS,
) -> tuple[GoldenCase, ...]:
    """Compute golden cases of streams: frames in float64, and the scores of some steps.

    Parameters
    ----------
    p : FeatureParams
    hop_frames, warm_up_steps : int
    cold : callable
        Begins a stream; gives what takes the frames of its steps, one after another.
    steps : sequence of int
        Steps behind the warm-up, in order.
    """
    n_steps = warm_up_steps + steps[-1] + 1
    n = p.window_samples + (n_steps - 1) * hop_frames * p.hop_length
    cases = []
    for sound in SOUNDS:
        log_mel = reference_log_mel(golden_stream_sound(sound, p.sr, n), p)
        predict = cold()
        scores: list[float] = []
        for step in range(n_steps):
            frames = log_mel[step * hop_frames :][: p.window_frames].ravel()
            given = predict(frames.astype(np.float32))
            if step - warm_up_steps in steps:
                scores += given.tolist()
        kept = kept_features(clamped(frames, p))  # what is softer may be a transform's rounding
        cases.append(GoldenCase(sound, tuple(kept.tolist()), tuple(scores), tuple(steps)))
    return tuple(cases)
