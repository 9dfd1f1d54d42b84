"""One part of a file, decoded by libsndfile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from otic.audio.chunks import NO_DAMAGE_SECONDS
from otic.audio.file_bytes import Part, PartFile
from otic.audio.parts import RAW
from otic.system.log import silence_native_stderr

_UNKNOWN_LENGTH = 2**40  # frames: of what does not say its length libsndfile gives more


class UnreadableError(Exception):
    """libsndfile refuses it; the text says why."""


class Decoder:
    """Reads a part of a file front to back.

    Parameters
    ----------
    file : binary file
        Unbuffered and seekable; stays open.
    path : str or None
        Its path, if it has one: a part that is the whole file is read without a detour.
    part : Part

    Attributes
    ----------
    rate, channels : int
    promised : int or None
        Frames that should come; None where nobody knows.
    read : int
        Frames that came so far.
    failed : bool
        Whether it ended with an error, and not behind what was promised: that is a tag.
    missing_seconds : float
        What was promised and did not come, at the end.

    Raises
    ------
    UnreadableError
    """

    def __init__(self, file: BinaryIO, path: str | None, part: Part) -> None:
        import soundfile

        class Sequential(soundfile.SoundFile):  # type: ignore[misc]
            """Reads front to back.

            soundfile seeks to where it is after every read. That fails near the
            fault of a cut-off FLAC, and it resets an MP3's decoder, so that the
            samples would depend on the block size.
            """

            def seekable(self) -> bool:
                return False

        self._failure: type[Exception] = soundfile.SoundFileError
        self._part = part
        self._part_file = PartFile(file, part)
        try:
            with silence_native_stderr():
                if part.whole and path is not None:
                    self._sound = Sequential(os.fsencode(path))
                else:
                    self._sound = Sequential(self._part_file)
        except (soundfile.SoundFileError, OSError) as error:
            raise UnreadableError(_first_line(error)) from error
        except TypeError as error:  # of .raw soundfile wants to be told the rate
            raise UnreadableError(RAW) from error
        self.rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        frames = self._sound.frames if part.frames is None else part.frames
        self.promised = frames if frames < _UNKNOWN_LENGTH else None
        self.read = 0
        self.failed = False
        self.missing_seconds = 0.0

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Yield float32 [up to size, channels] until the end or a fault."""
        while True:
            block, error = self._read(size)
            self.read += len(block)
            if len(block):
                yield block
            if error is not None or len(block) == 0:
                break
        if self.promised is not None:
            self.missing_seconds = max(0, self.promised - self.read) / self.rate
        failed = error is not None or self._part_file.error is not None
        self.failed = failed and (self.promised is None or self.missing_seconds > NO_DAMAGE_SECONDS)

    def _read(self, size: int) -> tuple[NDArray[np.float32], Exception | None]:
        """One block; where libsndfile fails within it, the frames before the fault."""
        block = np.full((size, self.channels), np.nan, np.float32)
        try:
            return self._sound.read(out=block, dtype="float32", always_2d=True), None
        except self._failure as error:
            # It does not say how many frames it decoded: those that are not NaN any more.
            rest = np.flatnonzero(np.isnan(block[:, 0]))
            return block[: rest[0] if len(rest) else len(block)], error

    def ran_into(self, following: object) -> bool:
        """Tell whether it failed only where the next part begins: its own length is unknown."""
        return (
            isinstance(following, Decoder)
            and self.promised is None
            and following._part.start <= self._part.reached
        )

    def close(self) -> None:
        """Release the decoder; the file stays open."""
        self._sound.close()


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)  # without soundfile's b'path'
    if "possibly a pipe" in text:  # what libsndfile says where its MP3 decoder finds no frame
        return "no part of it can be decoded"
    return (text.splitlines() or [type(error).__name__])[0].rstrip(".")
