"""Training windows that are drawn for every epoch, and changed as a sound may change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from otic.features.frontend import Frontend
from otic.features.params import LOG_MEL, FeatureParams
from otic_training.data.backgrounds import Backgrounds, level
from otic_training.data.windows import MIN_ACTIVE_SHARE, active_part, sounding_part
from otic_training.networks.presets import Augmentation
from otic_training.networks.teacher import DistillationTarget, centres_of

_F32 = NDArray[np.float32]

_EQUALISER_KNOTS = 5
_LEVEL_FRAME = 2048
_QUIETEST = 1e-6  # the level of digital silence, -120 dB
_SHORTEST_SECONDS = 0.4
"""Length so far of a sound that has only just begun."""


class Batch(NamedTuple):
    """The windows of one step of training.

    Attributes
    ----------
    x : float32 [n, n_features]
    y : float32 [n, n_outputs]
        Targets.
    weight : float32 [n]
    distilled : float32 [n, n_components]
        The teacher's components; none without a teacher.
    known : float32 [n]
        1 where the teacher knows the window, else 0.
    """

    x: _F32
    y: _F32
    weight: _F32
    distilled: _F32
    known: _F32


class DrawnWindows:
    """Windows of clips at random places, each with its target.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    clips : list of float32 [n]
        Each at least a window long.
    target : int64 [n_clips]
        The label of each; ``n_outputs - 1`` for sounds without one.
    n_outputs : int
    params : FeatureParams
        With log-mel frames as the only features, where there is an equaliser.
    augmentation : Augmentation
    none_share : float
        Share of windows that hold background only; their target is the last output too.
    backgrounds : Backgrounds
        What those windows hold, and what is mixed with sounds.
    distillation : list of DistillationTarget
        One for each clip, or none at all.
    soft_share : float
        Share of the targets that the teacher gives.
    """

    def __init__(
        self,
        clips: list[_F32],
        target: NDArray[np.int64],
        n_outputs: int,
        params: FeatureParams,
        augmentation: Augmentation,
        none_share: float,
        backgrounds: Backgrounds,
        distillation: list[DistillationTarget],
        soft_share: float,
    ) -> None:
        if augmentation.equaliser_db:
            assert params.statistics == (LOG_MEL,), "the equaliser works on log-mel frames"
        self._clips, self._target, self._params = clips, target, params
        self._active = [active_part(y, params.sr) for y in clips]
        self._sounding = [sounding_part(y, params.sr) for y in clips]
        self._how, self._none_share = augmentation, none_share
        self._backgrounds = backgrounds
        self._distillation, self._soft_share = distillation, soft_share
        self._n_components = distillation[0].components.shape[1] if distillation else 0
        self._frontend = Frontend(params)
        self._n_outputs = n_outputs
        labelled = target < n_outputs - 1 if none_share else np.ones(len(clips), bool)
        self._labelled, self._negatives = np.flatnonzero(labelled), np.flatnonzero(~labelled)
        share = augmentation.negative_share if len(self._negatives) else 0.0
        self._n_labelled = augmentation.views * len(self._labelled)
        self._n_negatives = round(self._n_labelled * share / (1.0 - share))
        self._knots = np.linspace(0.0, 1.0, _EQUALISER_KNOTS)
        self._bands = np.linspace(0.0, 1.0, params.n_mels)

    def __len__(self) -> int:
        """Windows in an epoch."""
        return self._n_labelled + self._n_negatives

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The clips of one epoch's windows."""
        rounds = [rng.permutation(self._labelled) for _ in range(self._how.views)]
        if not self._n_negatives:
            return np.concatenate(rounds)
        rounds.append(rng.choice(self._negatives, self._n_negatives))
        return rng.permutation(np.concatenate(rounds))

    def batch(self, clips: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        """Draw a window of each of these clips."""
        n = len(clips)
        x = np.zeros((n, self._params.n_features), np.float32)
        y = np.zeros((n, self._n_outputs), np.float32)
        distilled = np.zeros((n, self._n_components), np.float32)
        known = np.ones(n, np.float32)
        for i, clip in enumerate(clips.tolist()):
            if rng.random() < self._none_share:
                window = self._backgrounds.alone(rng)
                y[i, -1], known[i] = 1.0, 0.0
            else:
                window, y[i], distilled[i] = self._window(clip, rng)
            x[i] = self._features(window, rng)
        return Batch(x, y, np.ones(n, np.float32), distilled, known)

    def _window(self, clip: int, rng: np.random.Generator) -> tuple[_F32, _F32, _F32]:
        """Draw a window of a clip, perhaps mixed with another's: samples, target, components."""
        how = self._how
        window, target, components = self._draw(clip, rng)
        if rng.random() < how.mix_share:
            other = self._draw(int(rng.integers(len(self._clips))), rng)
            share = np.float32(rng.random())
            window = mixed(window, other[0], float(share))
            target = share * target + (1 - share) * other[1]
            components = share * components + (1 - share) * other[2]
        if rng.random() < how.noise_share:
            snr_db = rng.uniform(*how.snr_db)
            softer = np.float32(level(window) * 10.0 ** (-snr_db / 20.0))
            window = window + softer * self._backgrounds.beside(rng)
        gain = np.float32(10.0 ** (rng.uniform(-how.gain_db, how.gain_db) / 20.0))
        return window * gain, target, components

    def _draw(self, clip: int, rng: np.random.Generator) -> tuple[_F32, _F32, _F32]:
        """Draw a window of a clip from its active part, perhaps played faster or slower."""
        n, y, how = self._params.window_samples, self._clips[clip], self._how
        factor = 1.0
        if rng.random() < how.speed_share:
            factor = min(how.speed ** rng.uniform(-1.0, 1.0), len(y) / n)
        length = min(round(n * factor), len(y))
        if rng.random() < how.late_share:
            start, length = self._beginning(clip, length, rng)
        else:
            start = self._anywhere(clip, length, rng)
        window = y[start : start + length]
        if factor != 1.0:
            # The quickest resampler will do: its errors are far below what is changed on purpose.
            window = soxr.resample(window, factor, 1.0, quality="QQ")
        window = fitted(window, n)
        target = np.eye(1, self._n_outputs, self._target[clip], dtype=np.float32)[0]
        if not self._distillation:
            return window, target, np.zeros(0, np.float32)
        known, near = self._distillation[clip], self._near(clip, start, length)
        soft = known.probabilities[near].mean(axis=0)
        target = (1 - np.float32(self._soft_share)) * target + np.float32(self._soft_share) * soft
        return window, target, known.components[near].mean(axis=0)

    def _anywhere(self, clip: int, length: int, rng: np.random.Generator) -> int:
        """Draw the start of a stretch that is active enough."""
        begin, end = self._active[clip]
        needed = min(MIN_ACTIVE_SHARE * length, end - begin)
        first = int(np.clip(begin + needed - length, 0, len(self._clips[clip]) - length))
        last = int(np.clip(end - needed, first, len(self._clips[clip]) - length))
        return int(rng.integers(first, last + 1))

    def _beginning(self, clip: int, longest: int, rng: np.random.Generator) -> tuple[int, int]:
        """Start and length of the part so far of a sound that goes on."""
        begin, end = self._sounding[clip]
        longest = min(longest, end - begin)
        shortest = min(longest, round(_SHORTEST_SECONDS * self._params.sr))
        return begin, int(rng.integers(shortest, longest + 1))

    def _near(self, clip: int, start: int, length: int) -> NDArray[np.int64]:
        """Find which of the teacher's answers are about a window; always at least one."""
        middles = centres_of(len(self._distillation[clip].components)) * self._params.sr
        place = (middles - start) / length
        inside = np.flatnonzero((place >= 0.1) & (place <= 0.9))
        return inside if len(inside) else np.array([np.abs(place - 0.5).argmin()])

    def _features(self, window: _F32, rng: np.random.Generator) -> _F32:
        """Compute the front end's features, through the equaliser."""
        self._frontend.reset()
        self._frontend.push(window)
        if self._how.equaliser_db == 0.0:
            return self._frontend.features()
        heights = rng.normal(0.0, self._how.equaliser_db, _EQUALISER_KNOTS)
        curve = np.interp(self._bands, self._knots, heights).astype(np.float32)
        frames = self._frontend.log_mel() + curve
        floor = frames.max() - np.float32(self._params.top_db)
        clamped: _F32 = np.maximum(frames, floor).ravel()
        return clamped


def fitted(y: _F32, n: int) -> _F32:
    """Keep the last ``n`` samples, or put zeros before fewer."""
    return y[-n:] if len(y) >= n else np.pad(y, (n - len(y), 0))


def mixed(a: _F32, b: _F32, share: float) -> _F32:
    """Mix two windows so that ``a`` is as prominent as ``share`` says.

    Y. Tokozume, Y. Ushiku, T. Harada, "Learning from Between-class Examples for Deep
    Sound Recognition", ICLR 2018, equation 2, with the loudest frame for the level.
    """
    louder = _peak_level(a) / _peak_level(b)
    p = 1.0 / (1.0 + louder * (1.0 - share) / max(share, 1e-6))
    scale = 1.0 / np.sqrt(p * p + (1.0 - p) ** 2)
    return np.float32(p * scale) * a + np.float32((1.0 - p) * scale) * b


def _peak_level(y: _F32) -> float:
    """RMS of the loudest frame."""
    n = min(_LEVEL_FRAME, len(y))
    frames = y[: len(y) // n * n].reshape(-1, n)
    power = np.einsum("ij,ij->i", frames, frames).max() / n
    return max(float(np.sqrt(power)), _QUIETEST)
