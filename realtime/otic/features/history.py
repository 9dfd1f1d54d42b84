"""The latest samples of a stream, as they came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class SampleHistory:
    """Keeps at least the latest ``length`` samples of a stream.

    Samples are appended to an array twice as long; when it is full, its later half moves to
    the front. So each sample is copied about twice, and the latest lie side by side.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    length : int
        Samples to keep.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._kept_samples = np.zeros(2 * length, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.n_samples = 0
        self._end = 0

    def push(self, y: NDArray[np.float32]) -> None:
        """Take samples, float32 [n], any ``n``."""
        self.n_samples += len(y)
        y = y[-self._length :]
        if self._end + len(y) > len(self._kept_samples):
            kept = self._kept_samples[self._end - self._length : self._end]
            self._kept_samples[: self._length] = kept
            self._end = self._length
        self._kept_samples[self._end : self._end + len(y)] = y
        self._end += len(y)

    def latest(self, n: int, behind: int = 0) -> NDArray[np.float32]:
        """The ``n`` samples before the last ``behind``; a view, valid until the next call.

        Parameters
        ----------
        n, behind : int
            Together at most ``length``, and at most the samples there were.

        Returns
        -------
        float32 [n]
        """
        return self._kept_samples[self._end - behind - n : self._end - behind]
