"""What a microphone hears beside the sounds that have labels, and between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otic_training.data.background import hum, noise, shaped

_F32 = NDArray[np.float32]

SILENCE_DB = 20.0
"""A sound is as loud as those of its frames that are within this of the loudest."""

_STRIPS, _STRIP_WINDOWS = 96, 3
_SILENT_SHARE, _OTHER_SHARE = 0.1, 0.6
_KIND_SHARES = (0.35, 0.45, 0.2)
_FAINTEST_DBFS = -105.0
_FRAME = 1024
_QUIETEST = 1e-6  # the level of digital silence, -120 dB


class Backgrounds:
    """Windows of noise, hum and silence, and of recordings where there are any.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    window_samples, sr : int
    loudest_dbfs : float
        The loudest window on its own.
    others : sequence of float32 [n]
        Recordings of sounds that have no label, of any length.
    rng : Generator
        Makes the noises, once: drawing anew from a bank is 20 times quicker.
    """

    def __init__(
        self,
        window_samples: int,
        sr: int,
        loudest_dbfs: float,
        others: tuple[_F32, ...],
        rng: np.random.Generator,
    ) -> None:
        self._n, self._loudest_dbfs = window_samples, loudest_dbfs
        self._others = [y for y in others if level(y) > _QUIETEST]
        n = _STRIP_WINDOWS * window_samples
        kinds = rng.choice(3, _STRIPS, p=_KIND_SHARES)
        self._noises = [(noise, shaped, hum)[kind](n, sr, rng) for kind in kinds]

    def alone(self, rng: np.random.Generator) -> _F32:
        """A window without any sound that has a label, float32 [window_samples]."""
        if rng.random() < _SILENT_SHARE:
            return np.zeros(self._n, np.float32)
        window = self.beside(rng)
        if self._others and rng.random() < 0.3:  # someone over a fan, say
            window = window + np.float32(10.0 ** rng.uniform(-1.5, 0.0)) * self.beside(rng)
        return window * np.float32(10.0 ** (rng.uniform(_FAINTEST_DBFS, self._loudest_dbfs) / 20.0))

    def beside(self, rng: np.random.Generator) -> _F32:
        """A window of something at level 1, float32 [window_samples]."""
        if self._others and rng.random() < _OTHER_SHARE:
            y = self._cut(self._others[int(rng.integers(len(self._others)))], rng)
        else:
            y = self._cut(self._noises[int(rng.integers(_STRIPS))], rng)
        return y / np.float32(max(level(y), _QUIETEST))

    def _cut(self, y: _F32, rng: np.random.Generator) -> _F32:
        """A window from anywhere; a shorter recording is somewhere in it."""
        if len(y) < self._n:
            before = int(rng.integers(self._n - len(y) + 1))
            return np.pad(y, (before, self._n - len(y) - before))
        start = int(rng.integers(len(y) - self._n + 1))
        return y[start : start + self._n]


def level(y: _F32) -> float:
    """RMS of the frames that are not much quieter than the loudest one."""
    n = min(_FRAME, len(y))
    frames = y[: len(y) // n * n].reshape(-1, n)
    power = np.einsum("ij,ij->i", frames, frames) / n
    return float(np.sqrt(power[power >= power.max() * 10.0 ** (-SILENCE_DB / 10.0)].mean()))
