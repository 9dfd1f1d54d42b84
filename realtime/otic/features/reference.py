"""Features of one window in plain float64 NumPy: what the kernels are checked against.

This is some hundred times too slow for a stream. The tests check it against
librosa, and ``otic verify`` the kernels against it where librosa is not installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from otic.features.params import LOG_MEL, MFCC, WAVEFORM, FeatureParams
from otic.features.tables import dct_basis, hann_window, mel_filterbank


def reference_features(
    y: NDArray[np.float32], params: FeatureParams, noise_share: float = 0.0
) -> NDArray[np.float64]:
    """Compute a window's features, as :meth:`otic.Frontend.features` defines them.

    Parameters
    ----------
    y : float32 [params.window_samples]
        The window's samples.
    params : FeatureParams
    noise_share : float
        Power added to every bin of a frame, as a share of its loudest bin's: this gives
        the features over the noise of a less exact transform.

    Returns
    -------
    float64 [params.n_features]
    """
    if params.statistics == (WAVEFORM,):  # frames of a long window would need much memory
        return y.astype(np.float64)
    log_mel = reference_log_mel(y, params, noise_share)
    audible = clamped(log_mel, params)
    mfcc = audible @ dct_basis(params.n_mfcc, params.n_mels).T
    steps = np.diff(mfcc, axis=0) if len(mfcc) > 1 else np.zeros((1, params.n_mfcc))
    statistics = {
        "mean": mfcc.mean(axis=0),
        "std": mfcc.std(axis=0),
        "delta_mean": np.abs(steps).mean(axis=0),
        "delta_rms": np.sqrt((steps**2).mean(axis=0)),
        LOG_MEL: audible.ravel(),
        MFCC: mfcc.ravel(),
        WAVEFORM: y.astype(np.float64),
    }
    return np.concatenate([statistics[name] for name in params.statistics])


def reference_log_mel(
    y: NDArray[np.float32], params: FeatureParams, noise_share: float = 0.0
) -> NDArray[np.float64]:
    """Compute log-mel frames in dB re 1, not clamped.

    Parameters
    ----------
    y : float32 [n]
    params : FeatureParams
    noise_share : float
        See :func:`reference_features`.

    Returns
    -------
    float64 [n_frames, n_mels]
        All complete frames of the samples, padded where ``params.center`` is true.
    """
    signal = y.astype(np.float64)
    if params.center:
        signal = np.pad(signal, params.n_fft // 2)
    frames = sliding_window_view(signal, params.n_fft)[:: params.hop_length]
    spectrum = np.abs(np.fft.rfft(frames * hann_window(params.n_fft))) ** 2
    spectrum += noise_share * spectrum.max(axis=1, keepdims=True)
    mel = spectrum @ mel_filterbank(params).astype(np.float64).T
    log_mel: NDArray[np.float64] = 10.0 * np.log10(np.maximum(1e-10, mel))
    return log_mel


def clamped(log_mel: NDArray[Any], params: FeatureParams) -> NDArray[Any]:
    """Clamp log-mel values at ``top_db`` below their maximum."""
    raised: NDArray[Any] = np.maximum(log_mel, log_mel.max() - params.top_db)
    return raised
