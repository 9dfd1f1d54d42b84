"""A whole audio file as one array."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from otic.audio.sources import FileSource
from otic.types import Lost

_BLOCK_FRAMES = 65536  # of one read; the samples are the same with any


def load_audio(path: str | os.PathLike[str], sr: int) -> NDArray[np.float32]:
    """Read a file as the pipeline would hear it: mono, at the model's rate.

    These are the samples that ``otic replay`` classifies, bit for bit. Long files are better
    read piece by piece, with :class:`otic.audio.sources.FileSource`.

    Parameters
    ----------
    path : str or path
        Any format that libsndfile or an installed ffmpeg reads, any rate, any channels.
    sr : int
        The rate wanted, in Hz: ``bundle.features.sr``.

    Returns
    -------
    float32 [n]
        Nominally in [-1, 1]. Samples that the file has no usable values for are NaN:
        :class:`otic.Pipeline` counts those as lost.

    Raises
    ------
    SourceError
        If the file is missing, is not audio, holds none, or is damaged or cut off.

    Examples
    --------
    >>> load_audio("nowhere.wav", 22050)
    Traceback (most recent call last):
        ...
    otic.errors.SourceError: can't read 'nowhere.wav': there is no such file
    """
    source = FileSource(os.fspath(path), sr, _BLOCK_FRAMES)
    try:
        parts = [
            np.full(chunk.samples, np.nan, np.float32) if isinstance(chunk, Lost) else chunk
            for chunk in source.chunks()
            if chunk is not None
        ]
    finally:
        source.close()
    return np.concatenate([np.zeros(0, np.float32), *parts])
