"""Lossless-or-counted hand-over of samples from one thread to another."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from otic.errors import ParameterError


class RingBuffer:
    """Preallocated ring of frames between one producer and one consumer.

    The producer never waits: where the consumer is too slow, the oldest frames
    are overwritten, and the consumer is told how many. What is read is never
    torn: the producer announces a write (``_claimed``) before it copies, and
    the consumer drops what was overwritten while it copied.

    Thread safety: exactly one thread calls :meth:`write`, exactly one calls
    :meth:`read`; the properties may be read from any. There is no lock: each
    counter has one writer.

    Parameters
    ----------
    capacity : int
        Frames that it holds.
    channels : int
        Samples a frame.

    Examples
    --------
    >>> ring = RingBuffer(capacity=4)
    >>> ring.write(np.arange(3, dtype=np.float32)[:, None])
    >>> ring.waiting, ring.fill
    (3, 0.75)
    >>> ring.write(np.arange(3, 6, dtype=np.float32)[:, None])  # two more than fit
    >>> lost, block = ring.read(10)
    >>> lost, block[:, 0].tolist()
    (2, [2.0, 3.0, 4.0, 5.0])
    """

    def __init__(self, capacity: int, channels: int = 1) -> None:
        if capacity < 1:
            raise ParameterError(f"capacity={capacity} must be at least 1")
        self._data = np.zeros((capacity, channels), np.float32)
        self._claimed = 0  # frames written or being written
        self._written = 0  # frames written
        self._read = 0  # frames read or found overwritten
        self.overwritten = 0
        """Frames that the consumer was too slow for, so far; counted by :meth:`read`."""
        self._marks: deque[tuple[int, int]] = deque()  # (position, frames lost before it)

    @property
    def capacity(self) -> int:
        """Frames that it holds."""
        return len(self._data)

    @property
    def waiting(self) -> int:
        """Frames that wait to be read."""
        return max(0, self._written - self._read)

    @property
    def fill(self) -> float:
        """Share of the capacity that waits to be read, 0 to 1."""
        return min(1.0, self.waiting / self.capacity)

    def write(self, block: NDArray[np.float32], lost_before: int = 0) -> None:
        """Append frames; called by the producer. Copies, counts and returns.

        Parameters
        ----------
        block : float32 [n, channels]
            Any ``n``; of more than ``capacity`` frames the last ones stay.
        lost_before : int
            Frames that the producer knows to be missing just before ``block``.
        """
        if lost_before:
            self._marks.append((self._written, lost_before))
        n = len(block)
        self._claimed = self._written + n
        kept = block[-self.capacity :]
        start = (self._written + n - len(kept)) % self.capacity
        head = min(len(kept), self.capacity - start)
        self._data[start : start + head] = kept[:head]
        self._data[: len(kept) - head] = kept[head:]
        self._written = self._claimed

    def read(self, n: int) -> tuple[int, NDArray[np.float32]]:
        """Take up to ``n`` frames; called by the consumer.

        Returns
        -------
        lost : int
            Frames lost just before the returned ones.
        block : float32 [at most n, channels]
            A copy; empty where nothing waits.
        """
        lost = self._skip_overwritten(self._written)
        while self._marks and self._marks[0][0] <= self._read:
            lost += self._marks.popleft()[1]
        begin = self._read
        end = min(begin + n, self._written)
        if self._marks:  # looked at after _written: no mark before `end` can be missed
            end = min(end, max(begin, self._marks[0][0]))
        start = begin % self.capacity
        head = min(end - begin, self.capacity - start)
        block = np.concatenate([self._data[start : start + head], self._data[: end - begin - head]])
        torn = self._skip_overwritten(self._claimed)  # overwritten while we copied
        self._read = max(self._read, end)
        return lost + torn, block[torn:]

    def _skip_overwritten(self, written: int) -> int:
        overwritten = max(0, written - self.capacity - self._read)
        self._read += overwritten
        self.overwritten += overwritten
        return overwritten
