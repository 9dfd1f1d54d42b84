"""A ring of log-mel frames, filled from a stream of samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otic.features.kernels import log_mel as kernels
from otic.features.kernels.simd import LANES
from otic.features.params import FeatureParams
from otic.features.tables import fft_tables, hann_window, mel_filterbank, pack_rows
from otic.types import mono_samples

_ALIGNMENT = 16  # floats: 64 bytes, a cache line and the widest vector
_CAPACITY = 4  # frames that the audio buffer holds, so that it is seldom moved


class FrameRing:
    """The latest ``length`` log-mel frames of a stream.

    All state lies in one array that is allocated here, once: :meth:`push`
    allocates nothing. Frame ``i`` of the stream is in row ``i % length``.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    params : FeatureParams
        What to compute.
    length : int
        Frames in the ring.
    lead_in : int
        Samples to drop before the first frame.
    """

    def __init__(self, params: FeatureParams, length: int, lead_in: int = 0) -> None:
        n_fft, n_mels = params.n_fft, params.n_mels
        window = 0.5 * hann_window(n_fft)
        roots, inner_turns, outer_turns = fft_tables(n_fft)
        weights, groups, n_bins = pack_rows(mel_filterbank(params), LANES)
        n_groups = len(groups) // (1 + LANES)
        parts = {
            kernels.AUDIO: np.zeros(_CAPACITY * n_fft),
            kernels.HALF_WINDOW: np.concatenate([window[0::2], window[1::2]]),
            kernels.ROOTS: roots,
            kernels.INNER_TURNS: inner_turns,
            kernels.OUTER_TURNS: outer_turns,
            kernels.WORK: np.zeros(2 * n_fft),
            kernels.POWER: np.zeros(n_bins),
            kernels.ENERGIES: np.zeros(n_groups * LANES),
            kernels.RING: np.zeros(length * n_mels),
            kernels.PEAKS: np.zeros(length),
            kernels.LOWS: np.zeros(length),
            kernels.STALE: np.zeros(length),
            kernels.MEL_WEIGHTS: weights,  # last: what is behind the others is its own
        }
        head = _aligned(2 * (kernels.GROUPS + len(groups)))  # an int64 takes two float32
        starts = np.cumsum([head, *(_aligned(part.size) for part in parts.values())])
        self.state = _aligned_zeros(int(starts[-1]) // 2)
        self._arena = self.state.view(np.float32)
        for (index, part), start in zip(parts.items(), starts, strict=False):
            self.state[index] = start
            self._arena[start : start + part.size] = part
        self.state[kernels.HOP_LENGTH] = params.hop_length
        self.state[kernels.N_MELS] = n_mels
        self.state[kernels.WINDOW_FRAMES] = length
        self.state[kernels.CAPACITY] = _CAPACITY * n_fft
        self.state[kernels.N_GROUPS] = n_groups
        self.state[kernels.GROUPS : kernels.GROUPS + len(groups)] = groups

        self.log_mel = self._part(kernels.RING, length * n_mels).reshape(length, n_mels)
        self.peaks = self._part(kernels.PEAKS, length)
        self.lows = self._part(kernels.LOWS, length)
        self.stale = self._part(kernels.STALE, length)
        self._lead_in = lead_in
        self._push = kernels.make_push(n_fft)
        self.reset()

    def _part(self, index: int, size: int) -> NDArray[np.float32]:
        start = self.state[index]
        return self._arena[start : start + size]

    @property
    def n_frames(self) -> int:
        """Frames computed since the start or the last :meth:`reset`."""
        return int(self.state[kernels.FRAMES])

    @property
    def ready(self) -> bool:
        """True once the ring is full."""
        return self.n_frames >= len(self.log_mel)

    @property
    def oldest_row(self) -> int:
        """The row of the oldest frame in a full ring."""
        return self.n_frames % len(self.log_mel)

    def window(self) -> FrameRing:
        """The ring with the window's frames: this one."""
        return self

    def push(self, y: ArrayLike) -> int:
        """Take samples, compute every frame that they complete, and return their number."""
        try:
            return self._push(y, self.state)  # type: ignore[no-any-return]
        except TypeError:  # not contiguous float32 [n]: found out by numba for nothing
            return self._push(mono_samples(y), self.state)  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Forget all samples; the next one starts a new stream."""
        self.restart(0)
        self.state[kernels.SKIP] = self._lead_in

    def restart(self, n_frames: int) -> None:
        """Forget all samples, but not the frames; the next one is frame ``n_frames``."""
        self.state[[kernels.START, kernels.END, kernels.SKIP]] = 0
        self.state[kernels.FRAMES] = n_frames


def _aligned(n: int) -> int:
    return -(-n // _ALIGNMENT) * _ALIGNMENT


def _aligned_zeros(n: int) -> NDArray[np.int64]:
    """int64 [n] that begins at a multiple of 64 bytes."""
    memory = np.zeros(n + 8, np.int64)
    skip = -(memory.ctypes.data // memory.itemsize) % 8
    return memory[skip : skip + n]
