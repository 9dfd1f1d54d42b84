"""Constant tables of the front end, built in float64 NumPy and equal to librosa's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from otic.features.params import FeatureParams

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]


def hann_window(n_fft: int) -> _F64:
    """Make the periodic Hann window, float64 ``[n_fft]``, as scipy's ``get_window`` does."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(n_fft) / n_fft)


def _hz_to_mel(hz: _F64) -> _F64:
    """Convert to Slaney's mel scale: linear below 1 kHz, logarithmic above (1998)."""
    linear = hz * 3.0 / 200.0
    log = 15.0 + np.log(np.maximum(hz, 1000.0) / 1000.0) * 27.0 / np.log(6.4)
    return np.where(hz < 1000.0, linear, log)


def _mel_to_hz(mel: _F64) -> _F64:
    """Invert :func:`_hz_to_mel`."""
    log = 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0))
    return np.where(mel < 15.0, mel * 200.0 / 3.0, log)


def mel_filterbank(params: FeatureParams) -> _F32:
    """Make triangular filters of unit area, float32 ``[n_mels, n_fft // 2 + 1]``.

    They equal ``librosa.filters.mel(sr=, n_fft=, n_mels=, fmin=, fmax=)`` with its
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


def pack_rows(matrix: _F32, lanes: int) -> tuple[_F32, NDArray[np.int64], int]:
    """Pack the nonzero part of each row of a matrix for the kernel ``log_mel.product``.

    Rows are taken in groups of ``lanes``. Each row of a group has the same
    number of chunks of ``lanes`` weights; they lie chunk by chunk, row by row.

    Parameters
    ----------
    matrix : float32 [n_rows, n_columns]
    lanes : int

    Returns
    -------
    packed : float32
        The weights, filled up with zeros.
    groups : int64 [n_groups + n_groups * lanes]
        The number of chunks of each group, then the column that each row's
        first weight is for.
    n_columns : int
        Columns that the chunks reach over: those of ``matrix``, or a few more.
    """
    n_groups = -(-len(matrix) // lanes)
    firsts = np.zeros(n_groups * lanes, dtype=np.int64)
    ends = np.zeros(n_groups * lanes, dtype=np.int64)
    for i, row in enumerate(matrix):
        kept = np.flatnonzero(row)
        if len(kept):
            firsts[i], ends[i] = kept[0], kept[-1] + 1
    longest = (ends - firsts).reshape(n_groups, lanes).max(axis=1)
    chunks = -(-longest // lanes)
    reach = firsts + lanes * np.repeat(chunks, lanes)
    n_columns = max(matrix.shape[1], int(reach.max()))

    padded = np.zeros((n_groups * lanes, n_columns), np.float32)
    padded[: len(matrix), : matrix.shape[1]] = matrix
    packed = [
        np.stack(
            [
                padded[i, firsts[i] : reach[i]].reshape(-1, lanes)
                for i in range(start, start + lanes)
            ],
            axis=1,
        ).ravel()
        for start in range(0, n_groups * lanes, lanes)
    ]
    return np.concatenate(packed), np.concatenate([chunks, firsts]), n_columns


def dct_basis(n_mfcc: int, n_mels: int) -> _F64:
    """Make the orthonormal DCT-II, float64 ``[n_mfcc, n_mels]``.

    ``basis @ x`` is ``scipy.fft.dct(x, type=2, norm="ortho")[:n_mfcc]``.

    Examples
    --------
    >>> basis = dct_basis(n_mfcc=40, n_mels=128)
    >>> bool(np.allclose(basis @ basis.T, np.eye(40)))
    True
    """
    k = np.arange(n_mfcc)[:, None]
    m = np.arange(n_mels)[None, :]
    basis: _F64 = np.sqrt(2.0 / n_mels) * np.cos(np.pi * k * (2 * m + 1) / (2 * n_mels))
    basis[0] *= np.sqrt(0.5)
    return basis


def fft_shape(n_fft: int) -> tuple[int, int]:
    """Choose rows and columns of the FFT kernel's matrix, ``n_fft / 2 = rows * columns``."""
    n = n_fft // 2
    rows = 1 << ((n.bit_length() - 1) // 2)
    return rows, n // rows


def fft_tables(n_fft: int) -> tuple[_F32, _F32, _F32]:
    """Make the complex factors of the FFT kernel, each as all real, then all imaginary parts.

    Returns
    -------
    roots : float32 [128]
        ``exp(-2 pi i k / 64)``, for the passes down the columns.
    inner_turns : float32 [n_fft]
        ``exp(-2 pi i k j / n)`` for row ``k`` and column ``j``, with ``n = n_fft / 2``.
    outer_turns : float32 [n_fft]
        ``exp(-2 pi i k / n_fft)`` for ``k < n``.
    """
    n = n_fft // 2
    rows, columns = fft_shape(n_fft)
    return (
        _turns(np.arange(64) / 64),
        _turns(np.outer(np.arange(rows), np.arange(columns)) / n),
        _turns(np.arange(n) / n_fft),
    )


def _turns(turns: _F64) -> _F32:
    angle = -2.0 * np.pi * turns.ravel()
    return np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)
