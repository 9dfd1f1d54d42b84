"""The folder of what a person recorded: class folders, and the room as ``_background``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.audio.folders import audio_files
from otic.audio.recent_audio import as_int16
from otic.errors import SinkError
from otic.review.export import LIVE
from otic.review.folder import reason, write_new
from otic.sinks.clip_folder import Clip, stamp
from otic.sinks.clips import file_name_part
from otic.system.clock import utc_now

BACKGROUND = "_background"
_COMMENT = "recorded by otic teach"


def is_take(path: Path) -> bool:
    """Tell if a clip was recorded live by otic, for teaching or as an event that was marked.

    However alike, such clips are recordings of their own: a chime plays the same each time.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            return str(file.comment).startswith((_COMMENT, LIVE))
    except (OSError, RuntimeError):
        return False


class Recordings:
    """Examples of a label and recordings of the room, kept as FLAC files.

    Each is whole on the disk when the method that keeps it returns.

    Parameters
    ----------
    root : Path
        The data set; made with the first recording.
    label : str
        The class folder.
    sr : int
        Samples per second.
    source : str
        Name of the microphone, for the files' names.
    """

    def __init__(self, root: Path, label: str, sr: int, source: str) -> None:
        self.root = root
        self.label = label
        self._sr = sr
        self._source = source

    @property
    def n_examples(self) -> int:
        """Recordings of the label, those of earlier days included."""
        return len(audio_files(self.root / self.label))

    def keep_example(self, y: NDArray[np.int16]) -> None:
        """Keep an example, int16 [n]. Raises :class:`SinkError`."""
        self._keep(self.label, [y])

    def keep_room(self, chunks: Sequence[NDArray[np.float32]]) -> None:
        """Keep a recording of the room, each float32 [n]. Raises :class:`SinkError`."""
        self._keep(BACKGROUND, [as_int16(chunk) for chunk in chunks])

    def _keep(self, folder: str, pieces: Sequence[NDArray[np.int16]]) -> None:
        place = self.root / folder
        clip = Clip(
            at=stamp(utc_now()),
            source=file_name_part(self._source),
            label=file_name_part(folder),
            sr=self._sr,
            pieces=tuple(pieces),
            title=folder,
            comment=_COMMENT,
        )
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_new(place, clip)
        except (OSError, RuntimeError, AssertionError) as error:  # soundfile raises the last two
            raise SinkError(
                f"can't keep a recording in '{place}': {reason(error)}: make room, or name another "
                "folder with --recordings"
            ) from error
