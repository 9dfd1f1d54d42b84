"""The samples of a window beside its frames, for models that take the waveform itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otic.features.frame_ring import FrameRing
from otic.features.history import SampleHistory
from otic.features.params import FeatureParams
from otic.types import mono_samples


class WaveformFrames:
    """A :class:`otic.features.frame_ring.FrameRing` that keeps its window's samples too.

    For ``center=False``; :class:`otic.features.centered.CenteredFrames` has them anyway.

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
        """Take samples; returns the number of new frames."""
        samples = mono_samples(y)
        self._history.push(samples)
        return self._ring.push(samples)

    def reset(self) -> None:
        """Forget all samples."""
        self._history.reset()
        self._ring.reset()

    def window(self) -> FrameRing:
        """The ring with the window's frames."""
        return self._ring

    def samples(self) -> NDArray[np.float32]:
        """The window's samples, float32 [params.window_samples], oldest first; a copy."""
        p = self.params
        end = (self.n_frames - 1) * p.hop_length + p.n_fft
        behind = self._history.n_samples - end
        return self._history.latest(p.window_samples, behind).copy()
