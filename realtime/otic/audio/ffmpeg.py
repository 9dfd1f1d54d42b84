"""Files of phones and browsers (M4A, AAC, MP4, WebM), decoded by a child ffmpeg."""

from __future__ import annotations

import os
import selectors
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from otic.audio.decoder import UnreadableError
from otic.system.ffmpeg import ffmpeg_command

_AU = struct.Struct(">4sIIIII")  # what ffmpeg's output begins with: rate and channels are last
_SAID_BYTES = 2**12  # of ffmpeg's messages; the first ones tell what is wrong
_NO_SOUND = "matches no streams"


class FfmpegDecoder:
    """Reads the first audio stream of a file front to back.

    ffmpeg is given the open file and one demuxer, and may open nothing but local files. It
    decodes as its output is taken, to float32 at the file's own rate and channels.

    Parameters
    ----------
    file : file
        Has a descriptor, is seekable, and stays open.
    demuxer : str
        ffmpeg's name for the container.

    Attributes
    ----------
    rate, channels, promised, read, failed, missing_seconds
        As :class:`otic.audio.decoder.Decoder` has them. Nothing is promised, so nothing misses;
        ``failed`` is whatever ffmpeg calls an error, also where it decoded what follows.

    Raises
    ------
    NoFfmpegError
    UnreadableError
    """

    def __init__(self, file: BinaryIO, demuxer: str) -> None:
        file.seek(0)  # where /dev/fd/0 is the same open file, not the file opened again
        source = ("-f", demuxer, "-vn", "-sn", "-dn", "-i", "file:/dev/fd/0", "-map", "0:a:0")
        sound = ("-f", "au", "-c:a", "pcm_f32be", "pipe:1")
        self._process = subprocess.Popen(
            ffmpeg_command(["file"], "-v", "error", *source, *sound),
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for otic, which ends ffmpeg
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._selector.register(self._process.stderr, selectors.EVENT_READ)
        self._said = b""
        try:
            self.rate, self.channels = self._format()
        except BaseException:
            self.close()
            raise
        self.promised = None
        self.read = 0
        self.failed = False
        self.missing_seconds = 0.0

    def _format(self) -> tuple[int, int]:
        head = self._take(_AU.size)
        if len(head) < _AU.size:
            said = self._said.decode("utf-8", "replace").strip()
            if _NO_SOUND in said or not said:
                raise UnreadableError("it holds no sound")
            line = said.splitlines()[0].replace("file:/dev/fd/0: ", "")
            raise UnreadableError(line.rpartition("] ")[2])  # without [demuxer @ 0x55bd82fb99c0]
        _, start, _, _, rate, channels = _AU.unpack(head)
        self._take(start - _AU.size)
        return rate, channels

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        frame = 4 * self.channels
        while len(data := self._take(size * frame)) >= frame:
            y = np.frombuffer(data[: len(data) // frame * frame], ">f4").astype(np.float32)
            self.read += len(y) // self.channels
            yield y.reshape(-1, self.channels)
        self.failed = bool(self._said) or self._process.wait() != 0

    def _take(self, n: int) -> bytes:
        """``n`` bytes; fewer at the end, when all messages have come, too."""
        found = bytearray()
        while len(found) < n and self._selector.get_map():
            for key, _ in self._selector.select():
                if key.fileobj is self._process.stdout:
                    data = os.read(key.fd, n - len(found))
                    found += data
                else:
                    data = os.read(key.fd, _SAID_BYTES)
                    self._said = (self._said + data)[:_SAID_BYTES]
                if not data:
                    self._selector.unregister(key.fileobj)
        return bytes(found)

    def ran_into(self, following: object) -> bool:
        """False: it decodes the file to its end."""
        return False

    def close(self) -> None:
        """End ffmpeg; the file stays open."""
        self._selector.close()
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
