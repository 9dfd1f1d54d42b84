"""The latest sound of a stream, by sample number."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

_MOST_LOSSES = 256


class RecentAudio:
    """Keeps a stream as 16 bit in pieces of a second until told to forget them.

    A lost sample is a silent one, and costs no memory. What :meth:`cut` gives are views of
    the pieces: recordings that overlap share them, and nothing is copied when one ends.

    Thread safety: one thread calls the methods; what :meth:`cut` gave never changes and
    may be read by another.

    Parameters
    ----------
    sr : int
        Samples a second.
    """

    def __init__(self, sr: int) -> None:
        self._length = sr  # of a piece
        self._pieces: dict[int, NDArray[np.int16]] = {}  # by number, ascending
        self._silence = np.zeros(sr, np.int16)
        self._losses: deque[tuple[int, int]] = deque(maxlen=_MOST_LOSSES)  # (sample, lost)
        self.position = 0
        """Samples so far, lost ones included."""
        self.oldest = 0
        """The first sample that is still here."""

    @property
    def kept_bytes(self) -> int:
        """Memory in use for samples."""
        return sum(piece.nbytes for piece in self._pieces.values())

    def push(self, y: NDArray[np.float32]) -> None:
        """Take samples, float32 [n], nominally in [-1, 1]."""
        samples = as_int16(y)
        done = 0
        while done < len(samples):
            number, begin = divmod(self.position, self._length)
            piece = self._pieces.get(number)
            if piece is None:
                piece = self._pieces[number] = np.zeros(self._length, np.int16)
            n = min(len(samples) - done, self._length - begin)
            piece[begin : begin + n] = samples[done : done + n]
            done += n
            self.position += n

    def lose(self, n: int) -> None:
        """``n`` samples are lost."""
        if self._losses and sum(self._losses[-1]) == self.position:
            sample, before = self._losses.pop()
            self._losses.append((sample, before + n))
        else:
            self._losses.append((self.position, n))
        self.position += n

    def forget(self, before: int) -> None:
        """Samples before this one are not asked for any more."""
        first = before // self._length
        while self._pieces and (number := next(iter(self._pieces))) < first:
            del self._pieces[number]
        while self._losses and sum(self._losses[0]) <= before:
            self._losses.popleft()
        self.oldest = max(self.oldest, first * self._length)

    def cut(self, start: int, stop: int) -> tuple[NDArray[np.int16], ...]:
        """The samples from ``start`` to ``stop``, not before ``oldest``, in order."""
        views = []
        while start < stop:
            number, begin = divmod(start, self._length)
            n = min(stop - start, self._length - begin)
            views.append(self._pieces.get(number, self._silence)[begin : begin + n])
            start += n
        return tuple(views)

    def losses(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Losses in this stretch: at which sample, and how many, ``(sample, lost)``."""
        overlaps = ((max(s, start), min(s + n, stop)) for s, n in self._losses)
        return [(begin, end - begin) for begin, end in overlaps if begin < end]


def as_int16(y: NDArray[np.float32]) -> NDArray[np.int16]:
    """float32 [n] to 16 bit: what a 16-bit file held, it holds again."""
    scaled = np.rint(y * np.float32(32768.0))
    samples: NDArray[np.int16] = np.clip(scaled, -32768.0, 32767.0).astype(np.int16)
    return samples
