"""The latest minutes of a stream's log-mel frames, in columns of fixed length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otic.features.frame_ring import FrameRing
from otic.features.params import FeatureParams
from otic.features.spectrogram import levels_of

COLUMN_SECONDS = 0.05
"""About: a whole number of hops."""

_RING_FRAMES = 64  # computed between two looks at the ring


class LatestPicture:
    """What a scrolling spectrogram is drawn from.

    Column ``i`` holds, of each mel band, the loudest frame whose middle lies in the samples
    from ``i * column_samples`` on. The same samples give the same columns however they are
    cut into blocks. Memory does not grow.

    Not thread safe.

    Parameters
    ----------
    params : FeatureParams
        The model's.
    seconds : float
        How much is kept.
    """

    def __init__(self, params: FeatureParams, seconds: float) -> None:
        self._params = params
        hops = max(1, round(COLUMN_SECONDS * params.sr / params.hop_length))
        self.column_samples = hops * params.hop_length
        """Samples a column."""
        n_columns = max(2, round(seconds * params.sr / self.column_samples))
        self._levels = np.zeros((n_columns, params.n_mels), np.uint8)
        self._numbers = np.full(n_columns, -1, np.int64)  # which column a row holds
        self._ring = FrameRing(params, _RING_FRAMES)
        self._stretch_start = 0
        self._sample = 0
        self._next = 0

    @property
    def next_column(self) -> int:
        """The number behind the latest column that has begun."""
        return self._next

    def push(self, y: NDArray[np.float32]) -> None:
        """Take usable samples, float32 [n], at the model's rate."""
        most = (_RING_FRAMES - 1) * self._params.hop_length  # complete no more than fit the ring
        for start in range(0, len(y), most):
            first = self._ring.n_frames
            n = self._ring.push(y[start : start + most])
            if n:
                self._keep(first + np.arange(n))
        self._advance(len(y))

    def lose(self, n: int) -> None:
        """The next ``n`` samples are lost: nothing is drawn there."""
        self._advance(n)
        self._ring.reset()
        self._stretch_start = self._sample

    def columns(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Columns ``first`` to ``stop``, oldest first.

        Returns
        -------
        uint8 [stop - first, n_mels]
            The lowest band first. 0 where there is no frame (lost, or not kept any more), else
            a level, see :func:`otic.features.spectrogram.decibels`.
        """
        numbers = np.arange(first, stop)
        rows = numbers % len(self._levels)
        there = (self._numbers[rows] == numbers) & (numbers >= 0)
        kept: NDArray[np.uint8] = np.where(there[:, None], self._levels[rows], np.uint8(0))
        return kept

    def _advance(self, n: int) -> None:
        self._sample += n
        self._next = -(-self._sample // self.column_samples)

    def _keep(self, frames: NDArray[np.int64]) -> None:
        """Draw these frames of the stretch, the latest of the ring, in order."""
        p = self._params
        middles = self._stretch_start + p.n_fft // 2 + frames * p.hop_length
        columns = middles // self.column_samples
        levels = levels_of(self._ring.log_mel[frames % _RING_FRAMES])
        firsts = np.flatnonzero(np.diff(columns, prepend=-1))
        louder = np.maximum.reduceat(levels, firsts, axis=0)
        for number, level in zip(columns[firsts].tolist(), louder, strict=True):
            row = number % len(self._levels)
            if self._numbers[row] != number:
                self._numbers[row] = number
                self._levels[row] = level
            else:
                np.maximum(self._levels[row], level, out=self._levels[row])
