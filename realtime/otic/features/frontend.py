"""Streaming MFCC front end: samples in, rolling-window features out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otic.errors import ParameterError
from otic.features.frame_ring import CenteredFrames, FrameRing, WaveformFrames
from otic.features.kernels.mfcc_statistics import make_rolling_statistics
from otic.features.kernels.simd import LANES
from otic.features.params import LOG_MEL, MFCC, STATISTICS, WAVEFORM, FeatureParams
from otic.features.tables import dct_basis, pack_rows


class Frontend:
    """Log-mel frames, one by one, and rolling MFCC statistics.

    The same samples give the same features, bit for bit, however they are cut
    into blocks. All state is allocated here, once: :meth:`push` allocates nothing.

    With ``center=False`` the window ends with the last complete frame; with
    ``center=True``, as in librosa's clips, with the last sample pushed (see
    :class:`otic.features.frame_ring.CenteredFrames`).

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    params : FeatureParams

    Examples
    --------
    >>> params = FeatureParams(
    ...     sr=22050,
    ...     n_fft=2048,
    ...     hop_length=512,
    ...     n_mels=128,
    ...     n_mfcc=40,
    ...     fmin=0.0,
    ...     fmax=11025.0,
    ...     top_db=80.0,
    ...     center=False,
    ...     window_frames=83,
    ...     statistics=("mean", "std"),
    ... )
    >>> frontend = Frontend(params)
    >>> y = np.sin(np.arange(44032, dtype=np.float32))
    >>> frontend.push(y[:2048]), frontend.push(y[2048:2559]), frontend.push(y[2559:2560])
    (1, 0, 1)
    >>> frontend.ready
    False
    >>> frontend.push(y[2560:])
    81
    >>> frontend.ready, frontend.features().shape, frontend.log_mel().shape
    (True, (80,), (83, 128))
    """

    def __init__(self, params: FeatureParams) -> None:
        self.params = params
        self._frames = _frames(params)
        basis = dct_basis(params.n_mfcc, params.n_mels)
        self._dct = np.ascontiguousarray(basis.T)
        self._basis, self._groups, width = pack_rows(basis.astype(np.float32), LANES)
        self._clamped = np.zeros(width, np.float32)
        padded = -(-params.n_mfcc // LANES) * LANES
        self._mfcc = np.zeros((params.window_frames, padded), np.float32)
        self._mel_sums = np.zeros(params.n_mels)
        self._sums = np.zeros((len(STATISTICS), params.n_mfcc))
        self._names = tuple(name for name in params.statistics if name in STATISTICS)
        computed = self._names
        if MFCC in params.statistics and set(computed) <= {"mean"}:
            computed += ("std",)  # the mean alone needs no MFCCs of single frames
        self._selected = np.array([STATISTICS.index(name) for name in computed], np.int64)
        self._n_averages = params.n_mfcc * len(computed)
        self._only_averages = self._names == params.statistics
        self._only_samples = params.statistics == (WAVEFORM,)
        self._rolling_statistics = make_rolling_statistics()

    def push(self, y: ArrayLike) -> int:
        """Take samples and compute every frame that they complete.

        Parameters
        ----------
        y : float32 [n]
            Mono samples at ``params.sr``, nominally in [-1, 1], any ``n``. Must
            be finite: one NaN would spoil every window that holds it
            (:class:`otic.Pipeline` takes such samples out).

        Returns
        -------
        int
            The number of new frames.

        Raises
        ------
        ParameterError
            If ``y`` is not one-dimensional.
        """
        return self._frames.push(y)

    @property
    def n_frames(self) -> int:
        """Frames computed from the stream since the start or the last :meth:`reset`."""
        return self._frames.n_frames

    @property
    def ready(self) -> bool:
        """True once the window is full of real audio."""
        return self._frames.ready

    def features(self) -> NDArray[np.float32]:
        """Compute the window's features; log-mel is clamped ``top_db`` below the window's maximum.

        Returns
        -------
        float32 [params.n_features]
            ``n_mfcc`` numbers for each of ``params.statistics``, in that order; for
            ``log_mel`` ``window_frames * n_mels`` and for ``mfcc`` ``window_frames * n_mfcc``,
            frame by frame, and for ``waveform`` the ``window_samples`` samples, as they were
            pushed; oldest first. With ``center=True`` these are the latest ones.

        Raises
        ------
        ParameterError
            If the window is not full yet (see :attr:`ready`).
        """
        self._check_ready()
        if self._only_samples:  # the frames are not needed, and may cost something
            return self._samples()
        window = self._frames.window()
        if self._only_averages:
            return self._mfcc_statistics(window)
        statistics = self.params.statistics
        parts: dict[str, NDArray[np.float32]] = {}
        if self._n_averages:
            rows = self._mfcc_statistics(window).reshape(-1, self.params.n_mfcc)
            parts.update(zip(self._names, rows, strict=False))
        if LOG_MEL in statistics:
            parts[LOG_MEL] = self._clamped_log_mel(window)
        if MFCC in statistics:
            frames = np.roll(self._mfcc, -window.oldest_row, axis=0)
            parts[MFCC] = frames[:, : self.params.n_mfcc].ravel()
        if WAVEFORM in statistics:
            parts[WAVEFORM] = self._samples()
        return np.concatenate([parts[name] for name in statistics])

    def _samples(self) -> NDArray[np.float32]:
        assert isinstance(self._frames, CenteredFrames | WaveformFrames)  # as _frames() chose
        return self._frames.samples()

    def _clamped_log_mel(self, window: FrameRing) -> NDArray[np.float32]:
        floor = np.float32(float(window.peaks.max()) - self.params.top_db)  # as the kernel has it
        return np.maximum(np.roll(window.log_mel, -window.oldest_row, axis=0).ravel(), floor)

    def _mfcc_statistics(self, window: FrameRing) -> NDArray[np.float32]:
        features = np.empty(self._n_averages, np.float32)
        self._rolling_statistics(
            window.state,
            window.oldest_row,
            self.params.top_db,
            self._dct,
            self._basis,
            self._groups,
            self._clamped,
            self._mfcc,
            self._mel_sums,
            self._sums,
            self._selected,
            features,
        )
        return features

    def log_mel(self) -> NDArray[np.float32]:
        """Copy the window's log-mel frames in dB re 1, not clamped, oldest first.

        Returns
        -------
        float32 [params.window_frames, params.n_mels]

        Raises
        ------
        ParameterError
            If the window is not full yet (see :attr:`ready`).
        """
        self._check_ready()
        window = self._frames.window()
        return np.roll(window.log_mel, -window.oldest_row, axis=0)

    def level_db(self, n_frames: int) -> float:
        """Average the power of the bands in the window's latest frames, in dB re 1.

        Raises
        ------
        ParameterError
            If the window is not full yet (see :attr:`ready`).
        """
        self._check_ready()
        return _level_db(self._frames.window(), n_frames)

    def reset(self) -> None:
        """Forget all samples; the next one starts a new first frame."""
        self._frames.reset()

    def _check_ready(self) -> None:
        if not self.ready:
            raise _not_ready(self.n_frames, self.params)


def _frames(params: FeatureParams) -> CenteredFrames | WaveformFrames | FrameRing:
    """Make the ring of frames that the parameters need."""
    if params.center:
        return CenteredFrames(params)
    if WAVEFORM in params.statistics:
        return WaveformFrames(params)
    return FrameRing(params, params.window_frames)


class StreamFrontend:
    """Log-mel frames of a streaming model: those of each step, and some before for onsets.

    Frames are not clamped, so that each depends on its own samples only. The same samples
    give the same frames, bit for bit, however they are cut into blocks.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    params : FeatureParams
        Those of a model of ``log_mel`` with ``center=False``; a step takes ``window_frames``.
    history_frames : int
        Frames to keep.
    """

    def __init__(self, params: FeatureParams, history_frames: int) -> None:
        self.params = params
        self._ring = FrameRing(params, max(params.window_frames, history_frames))

    def push(self, y: ArrayLike) -> int:
        """Take samples, float32 [n], and return the number of new frames."""
        return self._ring.push(y)

    @property
    def n_frames(self) -> int:
        """Frames computed since the start or the last :meth:`reset`."""
        return self._ring.n_frames

    @property
    def ready(self) -> bool:
        """True once there are the frames of a step."""
        return self.n_frames >= self.params.window_frames

    def features(self) -> NDArray[np.float32]:
        """Copy the frames of a step, in dB re 1, oldest first: float32 [params.n_features].

        Raises
        ------
        ParameterError
            If there are not enough frames yet (see :attr:`ready`).
        """
        return self._latest(self.params.window_frames).ravel()

    def log_mel(self) -> NDArray[np.float32]:
        """Copy all frames that are kept, in dB re 1, oldest first: float32 [n, n_mels].

        Raises
        ------
        ParameterError
            If there are not enough frames for a step yet (see :attr:`ready`).
        """
        return self._latest(min(self.n_frames, len(self._ring.log_mel)))

    def level_db(self, n_frames: int) -> float:
        """Average the power of the bands in the latest frames, in dB re 1.

        Raises
        ------
        ParameterError
            If there are not enough frames for a step yet (see :attr:`ready`).
        """
        self._check_ready()
        return _level_db(self._ring, n_frames)

    def reset(self) -> None:
        """Forget all samples; the next one starts a new first frame."""
        self._ring.reset()

    def _latest(self, n: int) -> NDArray[np.float32]:
        self._check_ready()
        rows = np.arange(self.n_frames - n, self.n_frames)
        return self._ring.log_mel.take(rows, axis=0, mode="wrap")

    def _check_ready(self) -> None:
        if not self.ready:
            raise _not_ready(self.n_frames, self.params)


def _level_db(ring: FrameRing, n_frames: int) -> float:
    """Average the power of the bands in a ring's latest frames, in dB re 1."""
    rows = np.arange(ring.oldest_row - n_frames, ring.oldest_row)
    recent = ring.log_mel.take(rows, axis=0, mode="wrap")
    loudest = recent.max()
    power = np.mean(np.float32(10.0) ** ((recent - loudest) / np.float32(10.0)))
    return float(loudest) + 10.0 * float(np.log10(power))


def _not_ready(n_frames: int, params: FeatureParams) -> ParameterError:
    return ParameterError(
        f"the window holds {n_frames} of {params.window_frames} frames: push more samples first"
    )
