"""What a capture process holds: a ring that something fills, read in blocks for a pipe."""

from __future__ import annotations

import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from otic.audio.ring_buffer import RingBuffer

HEADER = struct.Struct("<IIfdI")
"""Frames lost just before the block; overruns so far (that the source reported, and of the ring);
the share of the ring that waited to be read, 0 to 1; when the block's last frame came, by the
monotonic clock, which is the same for all processes; frames in the block."""

RING_SECONDS = 12.0  # what the reader may be late by before anything is lost
LOOK_SECONDS = 0.5  # how soon a dead source or a dead parent is noticed


class Capture(ABC):
    """A live source of samples, and the ring that another thread writes them into.

    Parameters
    ----------
    name : str
        What a person calls it.
    ids : sequence of str
        By what it can be found again.
    rate, channels : int
    block_seconds : float
        The longest block that is written at once.
    """

    def __init__(
        self, name: str, ids: Sequence[str], rate: int, channels: int, block_seconds: float
    ) -> None:
        self.name, self.ids, self.rate, self.channels = name, list(ids), rate, channels
        frames = max(round(RING_SECONDS * rate), 4 * round(block_seconds * rate))
        self._ring = RingBuffer(frames, channels)
        self._arrived = threading.Event()
        self._came = time.monotonic()  # when the latest block came
        self._overflows = 0  # losses before the ring
        self._overruns = 0  # of the ring

    @property
    @abstractmethod
    def active(self) -> bool:
        """False once nothing more will come."""

    def wait(self) -> None:
        """Sleep until there is something to read, at most half a second."""
        self._arrived.wait(LOOK_SECONDS)
        self._arrived.clear()

    def read(self) -> bytes:
        """The next block with its header; empty where there is nothing."""
        before, fill = self._ring.overwritten, self._ring.fill
        lost, block = self._ring.read(self._ring.capacity)
        self._overruns += self._ring.overwritten > before
        if not lost and not len(block):
            return b""
        ends_at = self._came - self._ring.waiting / self.rate
        header = HEADER.pack(lost, self._overflows + self._overruns, fill, ends_at, len(block))
        return header + block.tobytes()

    def _write(self, block: NDArray[np.float32], lost_before: int) -> None:
        """Hand over samples, float32 [n, channels]; called by the source's thread."""
        self._overflows += lost_before > 0
        self._ring.write(block, lost_before)
        self._arrived.set()
