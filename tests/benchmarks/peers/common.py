"""What the contestants have in common: the audio, the parameters, what is timed and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

from otic import FeatureParams
from otic.audio.soundscape import synthesise

SR, N_FFT, HOP, N_MELS, N_MFCC, TOP_DB = 22050, 2048, 512, 128, 40, 80.0
CLIP_FRAMES = 169  # 4 s
CLIP_SAMPLES = N_FFT + (CLIP_FRAMES - 1) * HOP
SIGNAL_HOPS = 640  # 15 s, whole numbers of blocks of 8 and of 64 hops

PARAMS = FeatureParams(
    sr=SR,
    n_fft=N_FFT,
    hop_length=HOP,
    n_mels=N_MELS,
    n_mfcc=N_MFCC,
    fmin=0.0,
    fmax=SR / 2,
    top_db=TOP_DB,
    center=False,
    window_frames=CLIP_FRAMES,
    statistics=("mean",),
)

F32 = NDArray[np.float32]
Array = NDArray[Any]


class Audio:
    """What everyone gets: synthetic sounds with pauses between, the same in every run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # for temporary files
        y, _ = synthesise(SR)
        begin = 5 * SR  # two seconds of the first sound, then the pause: top_db clamps
        self.signal: F32 = y[begin : begin + SIGNAL_HOPS * HOP].copy()
        self.clip: F32 = self.signal[:CLIP_SAMPLES].copy()
        self.frames: list[F32] = [self.clip[i * HOP : i * HOP + N_FFT] for i in range(CLIP_FRAMES)]

    def blocks(self, n_hops: int) -> list[F32]:
        """The signal, cut into blocks of ``n_hops``."""
        return list(self.signal.reshape(-1, n_hops * HOP))


@dataclass(frozen=True)
class Contestant:
    """What is timed, and its output for the check."""

    run: Callable[[], object]
    hops: int  # frames (or inferences) that one run computes
    output: Array
    expected: Array | None = None  # librosa's numbers, where it computes them
    tolerance: float = 1e-3  # dB

    def check(self) -> None:
        shape = (CLIP_FRAMES, N_MFCC) if self.expected is None else self.expected.shape
        assert self.output.shape == shape, (self.output.shape, shape)
        assert np.isfinite(self.output).all()
        if self.expected is not None:
            error = float(np.abs(self.output - self.expected).max())
            assert error <= self.tolerance, f"{error:.2g} from what librosa computes"


@dataclass(frozen=True)
class Peer:
    """A row of the table."""

    name: str
    note: str
    distribution: str  # what to install; its version is reported
    make: Callable[[Audio], Contestant]


def each(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    for item in items:
        function(item)


def librosa_mfcc(y: F32) -> F32:
    """[n_frames, N_MFCC]"""
    mfcc: F32 = librosa.feature.mfcc(
        y=y, sr=SR, n_mfcc=N_MFCC, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, center=False
    )
    return mfcc.T


def librosa_mfcc_by_blocks(y: F32, n_frames: int) -> F32:
    """The same, n_frames at a time: top_db then is from the maximum of each block."""
    starts = range(0, len(y) - N_FFT + 1, n_frames * HOP)
    span = N_FFT + (n_frames - 1) * HOP
    return np.vstack([librosa_mfcc(y[start : start + span]) for start in starts])


def librosa_log_mel(y: F32) -> F32:
    """[n_frames, N_MELS], without top_db"""
    power = librosa.feature.melspectrogram(
        y=y, sr=SR, n_fft=N_FFT, hop_length=HOP, n_mels=N_MELS, center=False
    )
    log_mel: F32 = librosa.power_to_db(power, top_db=None)
    return log_mel.T


def librosa_mfcc_unclamped(y: F32) -> F32:
    """MFCCs without top_db, which few others have."""
    mfcc: F32 = librosa.feature.mfcc(S=librosa_log_mel(y).T, n_mfcc=N_MFCC)
    return mfcc.T
