"""Sources of samples: files and arrays; ``pcm`` and ``microphone`` have the others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from otic.audio.chunks import NO_DAMAGE_SECONDS
from otic.audio.converter import Converter
from otic.audio.decoder import Decoder, UnreadableError
from otic.audio.ffmpeg import FfmpegDecoder
from otic.audio.file_bytes import FileBytes
from otic.audio.parts import contents, needs_ffmpeg, refusal
from otic.config.stream_url import NOT_A_FILE, is_url, shown_url
from otic.errors import SourceError, printable
from otic.system.ffmpeg import NoFfmpegError
from otic.types import MAX_AMPLITUDE, Chunk, SourceHealth

MAX_CHANNELS = 256  # of a file; the largest microphone arrays have as many
STATES = ("listening", "waiting", "silent")  # of a source: what SourceHealth may say

_MAX_NUMBERS = 2**22  # of all channels in one read: 16 MiB, whatever the header and --block say


class Unbuffered:
    """What the sources here share: they are read at the pipeline's pace."""

    name: str
    live = False
    _converter: Converter

    def fileno(self) -> int | None:
        return None

    def health(self) -> SourceHealth:
        return SourceHealth()

    def warnings(self) -> list[str]:
        return converter_warnings(self.name, [self._converter])

    def close(self) -> None:
        pass


class ArraySource(Unbuffered):
    """Samples in memory: float32 [n], mono, already at the model's rate."""

    def __init__(self, name: str, y: NDArray[np.float32], sr: int, block: int) -> None:
        self.name = name
        self._y = y
        self._block = block
        self._converter = Converter(sr, 1, sr)

    def chunks(self) -> Iterator[Chunk | None]:
        for start in range(0, len(self._y), self._block):
            yield from self._converter.push(self._y[start : start + self._block, None])
        yield from self._converter.flush()


class FileSource(Unbuffered):
    """An audio file in any format that libsndfile or an installed ffmpeg reads, to its end.

    Parameters
    ----------
    path : str
    sr : int or None
        The model's rate in Hz; None: the file's own, which :attr:`format` tells.
    block : int
        Frames a read.
    channel : int, optional
        Take this channel, the first is 1, in place of the mean of all.
    file : binary file, optional
        Read this; ``path`` is only what it is called. It is closed with the source.

    Raises
    ------
    SourceError
        If the file is missing, is not audio, holds none, or has too many channels.
    """

    def __init__(
        self,
        path: str,
        sr: int | None,
        block: int,
        channel: int | None = None,
        file: BinaryIO | None = None,
    ) -> None:
        if file is None and is_url(path):
            raise SourceError(f"can't read '{shown_url(path)}': {NOT_A_FILE}")
        self._shown = printable(path)
        self._path = path if file is None else None
        if file is None and (problem := _not_a_file(path)):
            raise SourceError(f"can't read '{self._shown}': {problem}")
        self.name = Path(self._shown).name
        self.recording = None if file is not None else _identity(path)
        """The same each time that the file is read; None for what has no path."""
        self.recorded: str | None = None
        """Start of the recording, ISO 8601 with its offset from UTC; None while it is unknown."""
        self._sr, self._block, self._channel = sr, block, channel
        self._seconds = 0.0  # read so far
        self._decoder: Decoder | FfmpegDecoder | None = None
        try:
            self._file = file or Path(path).open("rb", buffering=0)  # noqa: SIM115
            try:
                if not (found := FileBytes(self._file)).size:
                    raise SourceError(f"'{self._shown}' is empty: it has 0 bytes")
                self._contents = contents(found)
                self._begin()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise SourceError(f"can't read '{self._shown}': {error.strerror}") from error

    def _begin(self) -> None:
        self._open_next()
        if self._decoder is None:
            raise SourceError(f"'{self._shown}': it holds no audio: its length is 0 samples")
        try:
            self._converters = [self._converter_for(self._decoder)]
        except SourceError as error:
            raise SourceError(f"'{self._shown}': {error}") from error

    def _converter_for(self, decoder: Decoder | FfmpegDecoder) -> Converter:
        if decoder.channels > MAX_CHANNELS:
            raise SourceError(
                f"it has {decoder.channels} channels, the limit is {MAX_CHANNELS}: "
                "extract some of them with ffmpeg, if the file is whole"
            )
        self._sr = self._sr or decoder.rate
        return Converter(decoder.rate, decoder.channels, self._sr, self._channel)

    def _open_next(self) -> None:
        """Open the next part that holds sound; none is open where there is none."""
        while True:
            if self._decoder is not None:
                self._decoder.close()
                self._decoder = None
            part = next(self._contents.parts, None)
            if part is None:
                return
            kind, demuxer = self._contents.kind, self._contents.demuxer
            try:
                if demuxer:
                    self._decoder = FfmpegDecoder(self._file, demuxer)
                else:
                    self._decoder = Decoder(self._file, self._path, part)
            except UnreadableError as error:
                raise SourceError(refusal(self._shown, kind, str(error))) from error
            except NoFfmpegError as error:
                raise SourceError(needs_ffmpeg(self._shown, kind)) from error
            if self._decoder.promised != 0:
                return

    @property
    def format(self) -> tuple[int, int]:
        """Sampling rate in Hz and number of channels of what the file begins with."""
        return self._converters[0].rate, self._converters[0].channels

    def chunks(self) -> Iterator[Chunk | None]:
        problem, missing = "", 0.0
        while (decoder := self._decoder) is not None:
            converter = self._converters[-1]
            for block in decoder.blocks(max(1, min(self._block, _MAX_NUMBERS // decoder.channels))):
                yield from converter.push(block)
            self._seconds += decoder.read / decoder.rate
            missing += decoder.missing_seconds
            try:
                self._open_next()
                following = self._decoder
                if decoder.failed and not decoder.ran_into(following):
                    problem = "damaged or cut off"
                if following is not None and (following.rate, following.channels) != (
                    converter.rate,
                    converter.channels,
                ):
                    self._converters.append(self._converter_for(following))
                    yield from converter.flush()
            except (SourceError, OSError):
                problem = "damaged or cut off" if decoder.failed else "damaged"
                break
        yield from self._converters[-1].flush()
        self._complain(problem, missing + self._contents.missing_seconds)

    def _complain(self, problem: str, missing: float) -> None:
        """Raise where something could not be read."""
        whole = ""
        if missing > NO_DAMAGE_SECONDS:
            problem = problem or "damaged or cut off"
            whole = f" of {self._seconds + missing:.3f} s"
        if self._contents.skipped and not problem:
            problem = f"damaged, {self._contents.skipped} bytes within it are no sound"
        if problem:
            raise SourceError(
                f"'{self.name}' is {problem}: {self._seconds:.3f} s{whole} "
                "could be read and were classified"
            )

    def warnings(self) -> list[str]:
        lines = converter_warnings(self.name, self._converters)
        said = self._contents.said_seconds
        if said is not None and said < self._seconds:
            lines.append(
                f"{self.name}: its header says {said:.3f} s, but sound follows: "
                f"{self._seconds:.3f} s were read"
            )
        return lines

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None
        self._file.close()


def _not_a_file(path: str) -> str:
    """Why this can't be read as a file; empty where it can."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if stat.S_ISREG(mode):
        return "" if os.access(path, os.R_OK) else "you may not read it (permission denied)"
    return "it is a folder" if stat.S_ISDIR(mode) else "it is no file; for a pipe use -"


def unusable_warning(name: str, n: int) -> list[str]:
    """What to say of a source's NaN, infinite and absurdly large samples, if it had any."""
    what = f"{n} samples are NaN, infinite or above {MAX_AMPLITUDE:g}"
    return [f"{name}: {what}: counted as lost"] if n else []


def converter_warnings(name: str, converters: Sequence[Converter]) -> list[str]:
    """What to say of the samples that went through these, a line each."""
    lines = unusable_warning(name, sum(converter.unusable for converter in converters))
    return lines + [line for each in converters if (line := each.mix_warning(name))]


def _identity(path: str) -> str:
    """Name a file by where it is and how long, as far as that can be told."""
    size = Path(path).stat().st_size if Path(path).is_file() else 0
    return f"{printable(str(Path(path).resolve()))} {size}"
