"""Raw PCM from a pipe."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import numpy as np

from otic.audio.converter import Converter
from otic.audio.sources import Unbuffered
from otic.errors import SourceError
from otic.types import Chunk

_WAIT_SECONDS = 0.1


class PcmSource(Unbuffered):
    """Raw interleaved signed 16-bit little-endian PCM from a file descriptor.

    Parameters
    ----------
    descriptor : int
        Open for reading; stays open.
    rate, channels : int
        Of the incoming stream.
    sr : int
        The model's rate in Hz.
    block : int
        Frames a read, at most.
    """

    def __init__(self, descriptor: int, rate: int, channels: int, sr: int, block: int) -> None:
        if channels < 1:
            raise SourceError(f"--channels {channels} must be at least 1")
        self.name = "stdin"
        self._descriptor = descriptor
        self._frame_bytes = 2 * channels
        self._channels = channels
        self._block = block
        self._converter = Converter(rate, channels, sr)

    def chunks(self) -> Iterator[Chunk | None]:
        rest = b""
        received = 0
        while True:
            # Polled, so that a person who presses Ctrl-C need not wait for the next sample.
            data = self._read()
            if data is None:
                yield None
                continue
            if not data:
                break
            received += len(data)
            data = rest + data
            whole = len(data) // self._frame_bytes * self._frame_bytes
            rest = data[whole:]
            pcm = np.frombuffer(data[:whole], "<i2").reshape(-1, self._channels)
            yield from self._converter.push(pcm.astype(np.float32) / np.float32(32768.0))
        yield from self._converter.flush()
        if received == 0:
            raise SourceError("standard input holds no audio: pipe raw s16le PCM into it")
        if rest:
            raise SourceError(
                f"standard input ends within a frame: {len(rest)} bytes left of "
                f"{self._frame_bytes}; do --channels and the format (s16le) fit?"
            )

    def _read(self) -> bytes | None:
        """What there is, at most a block; None where there is nothing yet."""
        try:
            if not select.select([self._descriptor], [], [], _WAIT_SECONDS)[0]:
                return None
            return os.read(self._descriptor, self._block * self._frame_bytes)
        except OSError as error:
            raise SourceError(
                f"can't read standard input ({error.strerror}): pipe raw s16le PCM into it"
            ) from error
