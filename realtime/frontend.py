"""Streaming MFCC front end: samples in, rolling-window features out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realtime import kernels
from realtime.errors import ParameterError
from realtime.filters import dct_basis, fft_twiddles, hann_window, mel_bands, mel_filterbank
from realtime.params import STATISTICS, FeatureParams


class Frontend:
    """Incremental log-mel frames and rolling MFCC statistics.

    The same samples give the same features, bit for bit, however they are cut
    into blocks. All state is allocated here, once: :meth:`push` allocates nothing.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    params : FeatureParams
        What to compute.
    """

    def __init__(self, params: FeatureParams) -> None:
        self.params = params
        self._window = hann_window(params.n_fft).astype(np.float32)
        self._twiddles = fft_twiddles(params.n_fft)
        self._mel_weights, self._mel_bands = mel_bands(mel_filterbank(params))
        self._dct = np.ascontiguousarray(dct_basis(params.n_mfcc, params.n_mels).T)
        self._selected = [STATISTICS.index(name) for name in params.statistics]

        self._counters = np.zeros(3, np.int64)
        self._frame = np.zeros(params.n_fft, np.float32)
        self._work = np.zeros((4, params.n_fft // 2), np.float32)
        self._power = np.zeros(params.n_bins, np.float32)
        self._ring = np.zeros((params.window_frames, params.n_mels), np.float32)
        self._peaks = np.zeros(params.window_frames, np.float32)
        self._mel_mean = np.zeros(params.n_mels, np.float64)
        self._mfcc = np.zeros((2, params.n_mfcc), np.float64)
        self._statistics = np.zeros((len(STATISTICS), params.n_mfcc), np.float64)

    def push(self, y: ArrayLike) -> int:
        """Take samples and compute every frame that they complete.

        Parameters
        ----------
        y : float32 [n]
            Mono samples at ``params.sr``, nominally in [-1, 1], any ``n``. Must
            be finite: one NaN would spoil every window that holds it
            (:class:`realtime.Pipeline` takes such samples out).

        Returns
        -------
        int
            The number of new frames.

        Raises
        ------
        ParameterError
            If ``y`` is not one-dimensional.
        """
        return int(
            kernels.push(
                mono_samples(y),
                self.params.hop_length,
                self._counters,
                self._frame,
                self._window,
                self._twiddles,
                self._work,
                self._power,
                self._mel_weights,
                self._mel_bands,
                self._ring,
                self._peaks,
            )
        )

    @property
    def n_frames(self) -> int:
        """Frames computed since the start or the last :meth:`reset`."""
        return int(self._counters[kernels.FRAMES])

    @property
    def ready(self) -> bool:
        """True once the window is full of real audio."""
        return self.n_frames >= self.params.window_frames

    def features(self) -> NDArray[np.float32]:
        """Statistics of the window's MFCCs, clamped at the window's maximum - ``top_db``.

        Returns
        -------
        float32 [params.n_features]
            ``n_mfcc`` numbers for each of ``params.statistics``, in that order.

        Raises
        ------
        ParameterError
            If the window is not full yet (see :attr:`ready`).
        """
        self._check_ready()
        kernels.rolling_statistics(
            self._ring,
            self._peaks,
            self._oldest_row(),
            self.params.top_db,
            self._dct,
            self._mel_mean,
            self._mfcc,
            self._statistics,
            self._selected != [0],
        )
        return self._statistics[self._selected].astype(np.float32).ravel()

    def log_mel(self) -> NDArray[np.float32]:
        """The window's log-mel frames in dB re 1, not clamped, oldest first.

        Returns
        -------
        float32 [params.window_frames, params.n_mels]
            A copy.

        Raises
        ------
        ParameterError
            If the window is not full yet (see :attr:`ready`).
        """
        self._check_ready()
        return np.roll(self._ring, -self._oldest_row(), axis=0)

    def reset(self) -> None:
        """Forget all samples; the next one starts a new first frame."""
        self._counters[:] = 0

    def _oldest_row(self) -> int:
        return self.n_frames % self.params.window_frames

    def _check_ready(self) -> None:
        if not self.ready:
            raise ParameterError(
                f"the window holds {self.n_frames} of {self.params.window_frames} frames: "
                "push more samples first"
            )


def mono_samples(y: ArrayLike) -> NDArray[np.float32]:
    """``y`` as contiguous float32 [n]; a copy only where it must be.

    Raises
    ------
    ParameterError
        If ``y`` is not one-dimensional.
    """
    samples = np.ascontiguousarray(y, dtype=np.float32)
    if samples.ndim != 1:
        raise ParameterError(f"y has shape {samples.shape}: mono samples of shape [n] are needed")
    return samples
