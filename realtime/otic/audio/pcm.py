"""Audio from a pipe: raw PCM, or what a file would hold."""

from __future__ import annotations

import io
import logging
import os
import select
import tempfile
import time
from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from otic.audio.chunks import MAGICS, NO_DAMAGE_SECONDS, Sound, find_sound, header, is_chunk
from otic.audio.converter import Converter
from otic.audio.file_bytes import FileBytes
from otic.audio.parts import is_of_a_file
from otic.audio.sources import MAX_CHANNELS, FileSource, Unbuffered, converter_warnings
from otic.errors import SourceError, UsageError
from otic.types import Chunk

_log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.1
_HEAD_BYTES = 4096  # by which one can tell what it is
_MOST_HEADER_BYTES = 2**20
_PATIENCE_SECONDS = 10.0
_ID_BYTES = 8
_DECODED_FRAMES = 1024  # each piece is decoded as a file of its own


class PcmSource(Unbuffered):
    """Audio from a file descriptor: what its first bytes say, else raw PCM.

    WAV, RF64, AIFF, CAF and AU are decoded as they come. FLAC, Ogg and MP3 are read to their
    end first, and then as a file is.

    Parameters
    ----------
    descriptor : int
        Open for reading; stays open.
    rate, channels : int or None
        Of raw PCM, interleaved signed 16-bit little-endian; one channel is the default.
    sr : int
        The model's rate in Hz.
    block : int
        Frames a read, at most.
    channel : int, optional
        Take this channel, the first is 1, in place of the mean of all.
    """

    def __init__(
        self,
        descriptor: int,
        rate: int | None,
        channels: int | None,
        sr: int,
        block: int,
        channel: int | None = None,
    ) -> None:
        if channels is not None and not 1 <= channels <= MAX_CHANNELS:
            raise UsageError(f"--channels {channels} must be 1 to {MAX_CHANNELS}")
        self.name = "stdin"
        self._descriptor = descriptor
        self._given = rate, channels
        self._sr, self._block, self._channel = sr, block, channel
        self._converters: list[Converter] = []
        if rate is not None:  # a rate that can't be is refused early
            self._converter_for(rate, channels or 1)
        self._file: FileSource | None = None
        self._pending = b""
        self._ended = False
        self._notes: list[str] = []

    def chunks(self) -> Iterator[Chunk | None]:
        yield from self._fill(_HEAD_BYTES)
        if not self._pending:
            raise SourceError("standard input holds no audio: pipe a sound file or raw PCM into it")
        if not is_of_a_file(self._pending):
            yield from self._raw()
        elif self._given != (None, None):
            raise UsageError(
                "standard input is a sound file, whose header says its rate and channels: leave "
                "out --rate and --channels"
            )
        elif self._pending[:4] in MAGICS:
            yield from self._samples_of_chunks()
        else:
            yield from self._spooled()

    def warnings(self) -> list[str]:
        if self._file is not None:
            return self._file.warnings()
        return [*converter_warnings(self.name, self._converters), *self._notes]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _converter_for(self, rate: int, channels: int) -> Converter:
        return Converter(rate, channels, self._sr, self._channel)

    def _raw(self) -> Iterator[Chunk | None]:
        rate, channels = self._given[0], self._given[1] or 1
        if rate is None:
            raise UsageError("replay -: raw PCM has no header: give --rate HZ (and --channels N)")
        converter = self._converter_for(rate, channels)
        self._converters = [converter]
        frame = 2 * channels
        while (yield from self._fill(frame)):
            pcm = np.frombuffer(self._take(frame, None), "<i2").reshape(-1, channels)
            yield from converter.push(pcm.astype(np.float32) / np.float32(32768.0))
        yield from converter.flush()
        if self._pending:
            raise SourceError(
                f"standard input ends within a frame: {len(self._pending)} bytes left of "
                f"{frame}; do --channels and the format (s16le) fit?"
            )

    def _samples_of_chunks(self) -> Iterator[Chunk | None]:
        """Decode the samples of one file after the other, as they come."""
        while self._pending[:4] in MAGICS:
            sound = yield from self._find_sound()
            if sound is None:
                yield from self._spooled()
                return
            yield from self._fill(sound.start)
            self._pending = self._pending[sound.start :]
            yield from self._samples(sound)
        while not self._ended:  # chunks behind the samples
            self._pending = b""
            yield from self._fill(_HEAD_BYTES)

    def _find_sound(self) -> Generator[None, None, Sound | None]:
        wanted = _HEAD_BYTES
        while True:
            sound = find_sound(FileBytes(io.BytesIO(self._pending)))
            if sound is not None or self._ended or wanted > _MOST_HEADER_BYTES:
                return sound
            wanted *= 4
            yield from self._fill(wanted)

    def _samples(self, sound: Sound) -> Iterator[Chunk | None]:
        left = sound.said or None  # None: nobody knows
        converter: Converter | None = None
        read = 0
        while True:
            if left is not None and left < sound.frame:
                self._pending = self._pending[left:]
                yield from self._fill(2 * _ID_BYTES)
                if self._is_end(sound):
                    break
                self._notes.append(
                    f"{self.name}: its header says {read / sound.byte_rate:.3f} s, but sound "
                    "follows: all of it was read"
                )
                left = None
            if not (yield from self._fill(sound.frame)):
                break
            data = self._take(sound.frame, left, _DECODED_FRAMES)
            y, rate = _decoded(sound, data)
            if converter is None:
                converter = self._converter_for(rate, y.shape[1])
                self._converters.append(converter)
            read += len(data)
            left = None if left is None else left - len(data)
            yield from converter.push(y)
        if converter is None:
            raise SourceError("standard input holds no audio: its length is 0 samples")
        yield from converter.flush()
        if left is not None and left > NO_DAMAGE_SECONDS * sound.byte_rate:
            whole = (read + left) / sound.byte_rate
            raise SourceError(
                f"standard input is cut off: {read / sound.byte_rate:.3f} s of {whole:.3f} s could "
                "be read and were classified"
            )

    def _is_end(self, sound: Sound) -> bool:
        """Tell whether the samples end here: with the stream, a chunk, or another file."""
        if len(self._pending) < _ID_BYTES:
            return True
        align = 1 if sound.container is None else sound.container.align
        for start in (0, -(sound.start + (sound.said or 0)) % align):
            if self._pending[start : start + 4] in MAGICS or self._is_chunk(sound, start):
                self._pending = self._pending[start:]
                return True
        return False

    def _is_chunk(self, sound: Sound, start: int) -> bool:
        container = sound.container
        if container is None:
            return False
        name = self._pending[start : start + container.id_bytes]
        return is_chunk(name, False, container)

    def _spooled(self) -> Iterator[Chunk | None]:
        """Keep it in a file that has no name, up to its end; then read that."""
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the source closes it
        begun = time.monotonic()
        told = False
        try:
            while self._pending or not self._ended:
                file.write(self._pending)
                self._pending = b""
                yield from self._fill(1)
                if not told and time.monotonic() - begun > _PATIENCE_SECONDS:
                    told = True
                    _log.warning(
                        "standard input is classified when it has ended; to classify it as it "
                        "comes, put 'ffmpeg -i - -f wav - |' before otic"
                    )
        except OSError as error:
            file.close()
            raise SourceError(
                f"can't keep standard input in {tempfile.gettempdir()}: {error.strerror}"
            ) from error
        self._file = FileSource("stdin", self._sr, self._block, self._channel, file)
        yield from self._file.chunks()

    def _take(self, frame: int, most: int | None, at_once: int = 1) -> bytes:
        """Whole frames of what is pending, at most a block, or ``at_once`` if that is more."""
        n = len(self._pending) if most is None else min(len(self._pending), most)
        n = min(n, max(self._block, at_once) * frame) // frame * frame
        data, self._pending = self._pending[:n], self._pending[n:]
        return data

    def _fill(self, wanted: int) -> Generator[None, None, bool]:
        """Read until so many bytes are pending; False where the stream ends before."""
        while len(self._pending) < wanted and not self._ended:
            # Polled, so that a person who presses Ctrl-C need not wait for the next sample.
            data = self._read()
            if data is None:
                yield None
            elif data:
                self._pending += data
            else:
                self._ended = True
        return len(self._pending) >= wanted

    def _read(self) -> bytes | None:
        """What there is, at most a block; None where there is nothing yet."""
        try:
            if not select.select([self._descriptor], [], [], _WAIT_SECONDS)[0]:
                return None
            return os.read(self._descriptor, max(_HEAD_BYTES, self._block * 4))
        except OSError as error:
            raise SourceError(
                f"can't read standard input ({error.strerror}): pipe audio into it"
            ) from error


def _decoded(sound: Sound, data: bytes) -> tuple[NDArray[np.float32], int]:
    """float32 [n, channels], and the rate in Hz."""
    import soundfile

    try:
        y, rate = soundfile.read(
            io.BytesIO(header(sound, len(data)) + data), dtype="float32", always_2d=True
        )
    except (soundfile.SoundFileError, OSError) as error:
        raise SourceError(f"can't read standard input as audio ({error})") from error
    return y, rate
