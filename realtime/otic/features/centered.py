"""librosa's ``center=True`` from a stream: the frames at the window's edges are computed anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otic.features.frame_ring import FrameRing
from otic.features.history import SampleHistory
from otic.features.params import FeatureParams
from otic.types import mono_samples


class CenteredFrames:
    """The frames of ``librosa.stft(window, center=True)``, zero-padded at both edges.

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
        """Frames computed since the start or the last :meth:`reset`, those at edges aside."""
        return self._stream.n_frames

    @property
    def ready(self) -> bool:
        """True once the window is full of real audio."""
        return self._history.n_samples >= self.params.window_samples

    def push(self, y: ArrayLike) -> int:
        """Take samples; returns the number of new frames."""
        samples = mono_samples(y)
        self._history.push(samples)
        return self._stream.push(samples)

    def reset(self) -> None:
        """Forget all samples."""
        self._history.reset()
        self._stream.reset()

    def samples(self) -> NDArray[np.float32]:
        """The latest ``params.window_samples`` samples, float32, oldest first; a copy."""
        return self._history.latest(self.params.window_samples).copy()

    def window(self) -> FrameRing:
        """The window's frames, the oldest in row 0; valid until the next call."""
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
        """Rows ``left`` to ``right`` of the window are the stream's latest frames."""
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
