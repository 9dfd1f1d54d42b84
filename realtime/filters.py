"""Constant tables of the front end, built once in float64 NumPy and equal to librosa's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from realtime.params import FeatureParams

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]


def hann_window(n_fft: int) -> _F64:
    """Periodic Hann window, float64 ``[n_fft]`` (``scipy.signal.get_window("hann", n_fft)``)."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)


def _hz_to_mel(hz: _F64) -> _F64:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    linear = hz * 3.0 / 200.0
    log = 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) * 27.0 / np.log(6.4)
    return np.where(hz < 1000.0, linear, log)


def _mel_to_hz(mel: _F64) -> _F64:
    """Inverse of :func:`_hz_to_mel`."""
    log = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0))
    return np.where(mel < 15.0, mel * 200.0 / 3.0, log)


def mel_filterbank(params: FeatureParams) -> _F32:
    """Triangular filters of unit area, float32 ``[n_mels, n_fft // 2 + 1]``.

    Equal to ``librosa.filters.mel(sr=, n_fft=, n_mels=, fmin=, fmax=)`` with its
    defaults ``htk=False, norm="slaney"``.
    """
    bins_hz = np.fft.rfftfreq(params.n_fft, 1.0 / params.sr)
    low, high = _hz_to_mel(np.array([params.fmin, params.fmax]))
    edges_hz = _mel_to_hz(np.linspace(low, high, params.n_mels + 2))
    widths = np.diff(edges_hz)
    ramps = edges_hz[:, None] - bins_hz[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    # Rounded to float32 before and after scaling, as librosa does: equal to the last bit.
    weights = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    weights *= (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return weights


def mel_bands(weights: _F32) -> tuple[_F32, NDArray[np.int64]]:
    """Keep only the part of each filter that is not zero.

    Returns
    -------
    packed : float32 [number of kept weights]
        The filters' non-zero runs, one after the other.
    bands : int64 [n_mels, 3]
        For each filter its first bin, its number of bins (0 for an empty
        filter) and where its weights start in ``packed``.
    """
    bands = np.zeros((len(weights), 3), dtype=np.int64)
    runs = []
    offset = 0
    for i, row in enumerate(weights):
        bins = np.flatnonzero(row)
        if len(bins):
            run = row[bins[0] : bins[-1] + 1]
            bands[i] = bins[0], len(run), offset
            runs.append(run)
            offset += len(run)
    packed = np.concatenate(runs) if runs else np.zeros(0, np.float32)
    return np.ascontiguousarray(packed), bands


def dct_basis(n_mfcc: int, n_mels: int) -> _F64:
    """Orthonormal DCT-II, float64 ``[n_mfcc, n_mels]``.

    ``basis @ x`` is ``scipy.fft.dct(x, type=2, norm="ortho")[:n_mfcc]``.
    """
    k = np.arange(n_mfcc)[:, None]
    m = np.arange(n_mels)[None, :]
    basis: _F64 = np.sqrt(2.0 / n_mels) * np.cos(np.pi * k * (2 * m + 1) / (2 * n_mels))
    basis[0] *= np.sqrt(0.5)
    return basis


def fft_twiddles(n_fft: int) -> _F32:
    """Roots of unity ``exp(-2j pi k / n_fft)``, ``k < n_fft / 2``.

    float32 ``[2, n_fft // 2]``: the real parts, then the imaginary parts.
    """
    angle = -2.0 * np.pi * np.arange(n_fft // 2) / n_fft
    return np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
