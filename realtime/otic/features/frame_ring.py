"""Rings of log-mel frames, filled from a stream of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    """Ring of the latest ``length`` log-mel frames of a stream.

    All state lies in one array that is allocated here, once: :meth:`push`
    allocates nothing. Frame ``i`` of the stream is in row ``i % length``.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    params : FeatureParams
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
        self.state = lay_out(parts, kernels.GROUPS + len(groups))
        self._arena = self.state.view(np.float32)
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
        """Row of the oldest frame in a full ring."""
        return self.n_frames % len(self.log_mel)

    def window(self) -> FrameRing:
        """Return the ring with the window's frames: this one."""
        return self

    def push(self, y: ArrayLike) -> int:
        """Take samples, compute every frame that they complete, and return their number."""
        try:
            return self._push(y, self.state)  # type: ignore[no-any-return]
        except TypeError:  # not contiguous float32 [n]: numba finds that out for nothing
            return self._push(mono_samples(y), self.state)  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Forget all samples; the next one starts a new stream."""
        self.restart(0)
        self.state[kernels.SKIP] = self._lead_in

    def restart(self, n_frames: int) -> None:
        """Forget all samples but no frame; the next frame is number ``n_frames``."""
        self.state[[kernels.START, kernels.END, kernels.SKIP]] = 0
        self.state[kernels.FRAMES] = n_frames


def lay_out(parts: Mapping[int, NDArray[Any]], head: int) -> NDArray[np.int64]:
    """Make the state of a kernel: ``head`` numbers, then the arena with the parts in order.

    Parameters
    ----------
    parts : mapping of int to array
        What each part holds, by the index at which the state says where it begins.
    head : int

    Returns
    -------
    int64 [n]
        Zero but for the places; read as float32, each part begins at a multiple of 64 bytes.
    """
    starts = np.cumsum([_aligned(2 * head), *(_aligned(part.size) for part in parts.values())])
    state = _aligned_zeros(int(starts[-1]) // 2)  # an int64 takes two float32
    arena = state.view(np.float32)
    for (index, part), start in zip(parts.items(), starts, strict=False):
        state[index] = start
        arena[start : start + part.size] = part
    return state


def _aligned(n: int) -> int:
    return -(-n // _ALIGNMENT) * _ALIGNMENT


def _aligned_zeros(n: int) -> NDArray[np.int64]:
    """Make int64 [n] that begins at a multiple of 64 bytes."""
    memory = np.zeros(n + 8, np.int64)
    skip = -(memory.ctypes.data // memory.itemsize) % 8
    return memory[skip : skip + n]


class SampleHistory:
    """Keep at least the latest ``length`` samples of a stream.

    Samples are appended to an array twice as long; when it is full, its later half moves to
    the front. So each sample is copied about twice, and the latest lie side by side.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    length : int
        Samples to keep.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._kept_samples = np.zeros(2 * length, np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self.n_samples = 0
        self._end = 0

    def push(self, y: NDArray[np.float32]) -> None:
        """Take samples, float32 [n], any ``n``."""
        self.n_samples += len(y)
        y = y[-self._length :]
        if self._end + len(y) > len(self._kept_samples):
            kept = self._kept_samples[self._end - self._length : self._end]
            self._kept_samples[: self._length] = kept
            self._end = self._length
        self._kept_samples[self._end : self._end + len(y)] = y
        self._end += len(y)

    def latest(self, n: int, behind: int = 0) -> NDArray[np.float32]:
        """Return the ``n`` samples before the last ``behind``: a view, valid until the next call.

        Parameters
        ----------
        n, behind : int
            Together at most ``length``, and at most the samples pushed.

        Returns
        -------
        float32 [n]
        """
        return self._kept_samples[self._end - behind - n : self._end - behind]


class WaveformFrames:
    """Ring of frames that keeps its window's samples too, for models of the waveform.

    It is for ``center=False``; :class:`CenteredFrames` keeps the samples anyway.

    Not thread safe: one thread owns an instance at a time.
    """

    def __init__(self, params: FeatureParams) -> None:
        self.params = params
        self._ring = FrameRing(params, params.window_frames)
        # Behind the last complete frame there are fewer than hop_length samples.
        self._history = SampleHistory(params.window_samples + params.hop_length)

    @property
    def n_frames(self) -> int:
        """Frames computed since the start or the last :meth:`reset`."""
        return self._ring.n_frames

    @property
    def ready(self) -> bool:
        """True once the window is full of real audio."""
        return self._ring.ready

    def push(self, y: ArrayLike) -> int:
        """Take samples and return the number of new frames."""
        samples = mono_samples(y)
        self._history.push(samples)
        return self._ring.push(samples)

    def reset(self) -> None:
        """Forget all samples."""
        self._history.reset()
        self._ring.reset()

    def window(self) -> FrameRing:
        """Return the ring with the window's frames."""
        return self._ring

    def samples(self) -> NDArray[np.float32]:
        """Copy the window's samples, float32 [params.window_samples], oldest first."""
        p = self.params
        end = (self.n_frames - 1) * p.hop_length + p.n_fft
        behind = self._history.n_samples - end
        return self._history.latest(p.window_samples, behind).copy()


class CenteredFrames:
    """Frames of ``librosa.stft(window, center=True)``, zero-padded at both edges.

    librosa puts frame ``i`` around sample ``i * hop_length`` of a clip that has
    ``n_fft / 2`` zeros before and behind it. Frames that hold none of these
    zeros are the stream's own and come from a ring; the others, four with
    librosa's defaults, are computed for each window from the samples kept here.

    The window begins at a multiple of ``hop_length`` and ends with the last
    sample pushed, so that it has ``window_frames`` frames: from
    ``(window_frames - 1) * hop_length`` samples to ``hop_length - 1`` more.

    Not thread safe: one thread owns an instance at a time.
    """

    def __init__(self, params: FeatureParams) -> None:
        self.params = params
        self._pad = params.n_fft // 2
        # A stream's frame must begin half a frame before a multiple of hop_length.
        self._stream = FrameRing(
            params, params.window_frames, lead_in=-self._pad % params.hop_length
        )
        self._window = FrameRing(params, params.window_frames)
        self._history = SampleHistory(params.window_frames * params.hop_length)
        self.reset()

    @property
    def n_frames(self) -> int:
        """Frames computed since the start or the last :meth:`reset`, without those at edges."""
        return self._stream.n_frames

    @property
    def ready(self) -> bool:
        """True once the window is full of real audio."""
        return self._history.n_samples >= self.params.window_samples

    def push(self, y: ArrayLike) -> int:
        """Take samples and return the number of new frames."""
        samples = mono_samples(y)
        self._history.push(samples)
        return self._stream.push(samples)

    def reset(self) -> None:
        """Forget all samples."""
        self._history.reset()
        self._stream.reset()

    def samples(self) -> NDArray[np.float32]:
        """Copy the latest samples, float32 [params.window_samples], oldest first."""
        return self._history.latest(self.params.window_samples).copy()

    def window(self) -> FrameRing:
        """Compute the window's frames, the oldest in row 0; valid until the next call."""
        p = self.params
        tail = self._history.n_samples % p.hop_length
        n_samples = (p.window_frames - 1) * p.hop_length + tail
        padded = np.zeros(n_samples + 2 * self._pad, np.float32)
        padded[self._pad : self._pad + n_samples] = self._history.latest(n_samples)
        # Frames [0, left) hold zeros before the window, and [right, window_frames) behind it.
        left = min(-(-self._pad // p.hop_length), p.window_frames)
        right = max(left, (n_samples - self._pad) // p.hop_length + 1)
        right = min(right, p.window_frames)

        window = self._window
        if left > 0:
            window.restart(0)
            window.push(padded[: (left - 1) * p.hop_length + p.n_fft])
        self._copy_from_stream(left, right)
        if right < p.window_frames:
            window.restart(right)
            window.push(padded[right * p.hop_length :])
        window.restart(0)
        return window

    def _copy_from_stream(self, left: int, right: int) -> None:
        """Fill rows ``left`` to ``right`` of the window with the stream's latest frames."""
        stream, window = self._stream, self._window
        n = right - left
        rows = (stream.n_frames - n + np.arange(n)) % self.params.window_frames
        for kept, wanted in (
            (stream.log_mel, window.log_mel),
            (stream.peaks, window.peaks),
            (stream.lows, window.lows),
        ):
            np.take(kept, rows, axis=0, out=wanted[left:right])
        window.stale[left:right] = 1.0
