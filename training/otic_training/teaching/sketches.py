"""Sketches: log-mel frames of everyday sounds, small enough to come with otic.

They are what a taught model learns to keep quiet about, where its owner has no recordings of
that: speech, music, households, machines. A sketch is some seconds of a recording, as log-mel
frames in steps of 3 dB. It depends on the front end of a base and not on its weights.
:mod:`otic_training.teaching.make_sketches` makes the file.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic.features.frame_ring import FrameRing
from otic.features.params import FeatureParams

F32 = NDArray[np.float32]

FILE = "negatives.sketches"
STEP_DB, FLOOR_DB = 3.0, -75.0
_FRONT_END = ("sr", "n_fft", "hop_length", "n_mels", "fmin", "fmax")


@dataclass(frozen=True)
class Sketch:
    """Some seconds of a recording.

    Attributes
    ----------
    db : float32 [n_frames, n_mels]
        Log-mel frames of the recording at RMS 1.
    kind, label, recording : str
        As in the table that it comes from.
    """

    db: F32
    kind: str
    label: str
    recording: str


def log_mel(y: F32, p: FeatureParams) -> F32:
    """Compute all log-mel frames of samples, in dB: float32 [n] -> [n_frames, n_mels]."""
    n = 1 + (len(y) - p.n_fft) // p.hop_length
    ring = FrameRing(p, max(1, n))
    ring.push(y)
    return np.array(ring.log_mel[: max(0, n)], np.float32)


def load_sketches(p: FeatureParams, content: bytes | None = None) -> list[Sketch]:
    """Read the sketches that come with otic.

    Parameters
    ----------
    p : FeatureParams
        Front end of the base that is to hear them.
    content : bytes, optional
        Of another file than the one that comes with otic.

    Raises
    ------
    OticError
        If they were made by another front end.
    """
    if content is None:
        content = resources.files("otic_models").joinpath(FILE).read_bytes()
    with np.load(io.BytesIO(lzma.decompress(content))) as saved:
        steps, about, made_for = saved["steps"], saved["about"], saved["front_end"]
    if [float(getattr(p, name)) for name in _FRONT_END] != made_for.tolist():
        raise OticError(
            "the base hears through another front end than the negatives that come with otic: "
            f"{', '.join(_FRONT_END)} must be {', '.join(f'{v:g}' for v in made_for)}"
        )
    rng = np.random.default_rng(0)  # what was rounded off, for no two frames to be equal
    whole = np.concatenate(
        [np.cumsum(part, 0, np.uint8) for part in np.split(steps, *_ends(about))]
    )
    db = FLOOR_DB + STEP_DB * (whole + rng.random(whole.shape, np.float32) - np.float32(0.5))
    parts = np.split(db.astype(np.float32), *_ends(about))
    return [Sketch(part, *row[1:]) for part, row in zip(parts, about.tolist(), strict=True)]


def _ends(about: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    return [np.cumsum(about[:-1, 0].astype(np.int64))]


def sketches_bytes(sketches: Sequence[Sketch], p: FeatureParams) -> bytes:
    """Make the file that :func:`load_sketches` reads."""
    steps = [
        np.clip(np.round((s.db - FLOOR_DB) / STEP_DB), 0, 255).astype(np.uint8) for s in sketches
    ]
    changes = [np.diff(part, axis=0, prepend=np.uint8(0)) for part in steps]
    file = io.BytesIO()
    np.savez(
        file,
        steps=np.concatenate(changes),
        about=np.array([(str(len(s.db)), s.kind, s.label, s.recording) for s in sketches]),
        front_end=np.array([float(getattr(p, name)) for name in _FRONT_END]),
    )
    return lzma.compress(file.getvalue(), preset=9 | lzma.PRESET_EXTREME)
