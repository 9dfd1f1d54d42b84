"""Where samples come from: files and arrays; `pcm` and `microphone` have the others."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.audio.converter import Converter
from otic.errors import SourceError
from otic.system.log import silence_native_stderr
from otic.types import MAX_AMPLITUDE, Chunk, SourceHealth

MAX_CHANNELS = 256  # of a file; the largest microphone arrays have as many
STATES = ("listening", "waiting", "silent")  # of a source: what SourceHealth may say

_MAX_NUMBERS = 2**22  # of all channels in one read: 16 MiB, whatever the header and --block say
_UNKNOWN_LENGTH = 2**62  # frames; of a piped FLAC libsndfile gives its largest number
_PIPED_WAV = 0x7FFFF000  # bytes; a WAV written into a pipe promises the most that it can


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
        return unusable_warning(self.name, self._converter.unusable)

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
    """An audio file in any format that libsndfile reads.

    Parameters
    ----------
    path : str
    sr : int
        The model's rate in Hz.
    block : int
        Frames a read.

    Raises
    ------
    SourceError
        If the file is missing, is not audio, holds none, or has too many channels.
    """

    def __init__(self, path: str, sr: int, block: int) -> None:
        import soundfile

        class Sequential(soundfile.SoundFile):  # type: ignore[misc]
            """Reads front to back.

            soundfile seeks to where it is after every read. That fails near the
            fault of a cut-off FLAC, and it resets an MP3's decoder, so that the
            samples would depend on the block size.
            """

            def seekable(self) -> bool:
                return False

        # Names that are not UTF-8 reach us with surrogates, which nothing can print.
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        shown = "".join(c if c.isprintable() else "\ufffd" for c in shown)
        problem = _not_a_file(path)
        if problem:
            raise SourceError(f"can't read '{shown}': {problem}")
        self.name = Path(shown).name
        self._failure: type[Exception] = soundfile.SoundFileError
        try:
            with silence_native_stderr():
                self._file = Sequential(os.fsencode(path))
        except (soundfile.SoundFileError, OSError) as error:
            raise SourceError(
                f"can't read '{shown}' as audio ({_first_line(error)}): "
                "WAV, FLAC, Ogg and MP3 files are read, for others convert with ffmpeg"
            ) from error
        except TypeError as error:  # of .raw soundfile wants to be told the rate
            raise SourceError(
                f"can't read '{shown}': raw PCM has no header; pipe it in with - and --rate"
            ) from error
        try:
            self._converter = self._checked(sr)
        except SourceError as error:
            self._file.close()
            raise SourceError(f"'{shown}': {error}") from error
        self._block = max(1, min(block, _MAX_NUMBERS // self._file.channels))

    def _checked(self, sr: int) -> Converter:
        channels = self._file.channels
        if channels > MAX_CHANNELS:
            raise SourceError(
                f"it has {channels} channels, the limit is {MAX_CHANNELS}: "
                "extract some of them with ffmpeg, if the file is whole"
            )
        if self._file.frames == 0:
            raise SourceError("it holds no audio: its length is 0 samples")
        return Converter(self._file.samplerate, channels, sr)

    def chunks(self) -> Iterator[Chunk | None]:
        expected = _expected_frames(self._file.frames, self._file.extra_info)
        read = 0
        while True:
            block, failure = self._read()
            read += len(block)
            yield from self._converter.push(block)
            if failure is not None or len(block) == 0:
                break
        yield from self._converter.flush()
        if read < expected or failure is not None:
            rate = self._file.samplerate
            whole = f" of {expected / rate:.3f} s" if expected else ""
            raise SourceError(
                f"'{self.name}' is damaged or cut off: {read / rate:.3f} s{whole} "
                "could be read and were classified"
            )

    def _read(self) -> tuple[NDArray[np.float32], Exception | None]:
        """One block; where libsndfile fails within it, the frames before the fault."""
        block = np.full((self._block, self._file.channels), np.nan, np.float32)
        try:
            return self._file.read(out=block, dtype="float32", always_2d=True), None
        except self._failure as error:
            # How many frames it decoded is not told: they are those that are not NaN any more.
            rest = np.flatnonzero(np.isnan(block[:, 0]))
            return block[: rest[0] if len(rest) else len(block)], error

    def close(self) -> None:
        self._file.close()


def _expected_frames(frames: int, parser_log: str) -> int:
    """Frames that the file's header promises; 0 where it was written into a pipe and can't know.

    Of a cut-off WAV libsndfile tells the frames that are there, and what the
    header promised only in its log.
    """
    if frames >= _UNKNOWN_LENGTH:
        return 0
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", parser_log, re.MULTILINE)
    if sizes is None:
        return frames
    promised, there = int(sizes[1]), int(sizes[2])
    cut_off = there < promised < _PIPED_WAV
    return round(frames * promised / there) if cut_off else frames


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
    return "it is a folder" if stat.S_ISDIR(mode) else "it is no file; for a pipe use - and --rate"


def unusable_warning(name: str, n: int) -> list[str]:
    """What to say of a source's NaN, infinite and absurdly large samples, if it had any."""
    what = f"{n} samples are NaN, infinite or above {MAX_AMPLITUDE:g}"
    return [f"{name}: {what}: counted as lost"] if n else []


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)  # without soundfile's b'path'
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
