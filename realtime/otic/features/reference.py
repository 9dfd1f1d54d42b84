"""Features of one window in plain float64 NumPy: what the kernels are checked against.

This is some hundred times too slow for a stream. The tests check it against
librosa, and ``otic verify`` the kernels against it where librosa is not installed.
"""

from __future__ import annotations

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
    signal = y.astype(np.float64)
    if params.statistics == (WAVEFORM,):  # frames of a long window would need much memory
        return signal
    if params.center:
        signal = np.pad(signal, params.n_fft // 2)
    frames = sliding_window_view(signal, params.n_fft)[:: params.hop_length]
    spectrum = np.abs(np.fft.rfft(frames * hann_window(params.n_fft))) ** 2
    spectrum += noise_share * spectrum.max(axis=1, keepdims=True)
    mel = spectrum @ mel_filterbank(params).astype(np.float64).T
    log_mel = 10.0 * np.log10(np.maximum(1e-10, mel))
    clamped = np.maximum(log_mel, log_mel.max() - params.top_db)
    mfcc = clamped @ dct_basis(params.n_mfcc, params.n_mels).T
    steps = np.diff(mfcc, axis=0) if len(mfcc) > 1 else np.zeros((1, params.n_mfcc))
    statistics = {
        "mean": mfcc.mean(axis=0),
        "std": mfcc.std(axis=0),
        "delta_mean": np.abs(steps).mean(axis=0),
        "delta_rms": np.sqrt((steps**2).mean(axis=0)),
        LOG_MEL: clamped.ravel(),
        MFCC: mfcc.ravel(),
        WAVEFORM: y.astype(np.float64),
    }
    return np.concatenate([statistics[name] for name in params.statistics])
