"""What the base hears: otic's own log-mel frames, and where they lie in time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import soxr
from numpy.typing import NDArray

from otic.features.frame_ring import FrameRing
from otic.features.params import LOG_MEL, FeatureParams
from otic_training.base import teacher
from otic_training.base.student import OVERLAP, STEM_AHEAD

F32 = NDArray[np.float32]

SR, N_FFT, HOP_LENGTH, N_MELS, FMAX = 22_050, 1024, 441, 56, 10_500.0
"""Half of the bands lie where the teacher's rows do: row ``i`` of both is about one frequency."""
LEVEL_DB, SPREAD_DB = -35.0, 20.0
"""What log-mel values are reduced by and divided by before the network."""
HOP_SECONDS = HOP_LENGTH / SR
FIRST_MIDDLE = (STEM_AHEAD * HOP_LENGTH + N_FFT // 2) / SR
"""Seconds of the stream that the first step would be about if nothing looked ahead."""


def n_hops(steps: int, hops: int) -> int:
    """Log-mel frames that so many steps need."""
    return OVERLAP + steps * hops


def n_samples(steps: int, hops: int) -> int:
    """Samples that so many steps need."""
    return (n_hops(steps, hops) - 1) * HOP_LENGTH + N_FFT


def params(n_frames: int) -> FeatureParams:
    """The front end of a window of so many frames."""
    return FeatureParams(
        sr=SR,
        n_fft=N_FFT,
        hop_length=HOP_LENGTH,
        n_mels=N_MELS,
        n_mfcc=1,
        fmin=0.0,
        fmax=FMAX,
        top_db=80.0,
        center=False,
        window_frames=n_frames,
        statistics=(LOG_MEL,),
    )


class LogMel:
    """Log-mel frames of recordings of one length, as the network takes them.

    Not thread safe.

    Parameters
    ----------
    n_frames : int
    """

    def __init__(self, n_frames: int) -> None:
        self._ring = FrameRing(params(n_frames), n_frames)

    def __call__(self, y: F32) -> F32:
        """float32 [n] -> float32 [n_frames, N_MELS]; ``n`` is what so many frames need."""
        return self.of_blocks([y])

    def of_blocks(self, blocks: Iterable[F32]) -> F32:
        """The same, of samples that come in blocks."""
        self._ring.reset()
        for y in blocks:
            self._ring.push(y)
        assert self._ring.n_frames == len(self._ring.log_mel), "the length of a scene"
        return np.asarray((self._ring.log_mel - LEVEL_DB) / SPREAD_DB, np.float32)


def for_teacher(y: F32, delay_hops: int, n: int) -> F32:
    """The same stretch at the teacher's rate, so that its frame ``j`` is about the base's ``j``.

    Parameters
    ----------
    y : float32 [n_samples]
    delay_hops : int
        How far the base lags behind what it hears, in log-mel frames.
    n : int
        Samples to return; zeros where the scene has none.
    """
    z = soxr.resample(y, SR, teacher.SR, "HQ").astype(np.float32)
    first = round((FIRST_MIDDLE - delay_hops * HOP_SECONDS) * teacher.SR)
    before = max(0, -first)
    z = z[max(0, first) :][: n - before]
    return np.pad(z, (before, n - before - len(z)))
