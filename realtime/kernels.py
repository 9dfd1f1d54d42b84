"""Every numba kernel, and nothing else that imports numba.

Kernels take arrays, write into arrays that the caller owns, and check nothing:
the checks are in the classes that call them. They do not allocate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

# Sums may be reordered and fused, so that they vectorise; NaN and infinity keep their meaning.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

# Indices of the `counters` array that `push` keeps its position in.
FILL, SKIP, FRAMES = 0, 1, 2

_AMIN = np.float32(1e-10)  # librosa.power_to_db's floor, -100 dB


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel that only other kernels call (no wrapper, no cache file)."""
    return numba.njit(fastmath=_FASTMATH, no_cpython_wrapper=True)(function)  # type: ignore[no-any-return]


def _entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel that Python calls, and keep the machine code on disk.

    Numba raises RuntimeError here where it finds no folder that it can write
    (a read-only install without a home folder): then every start compiles anew.
    """
    try:
        return numba.njit(fastmath=_FASTMATH, cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        return numba.njit(fastmath=_FASTMATH, nogil=True)(function)  # type: ignore[no-any-return]


@_inner
def _complex_fft(work, twiddles):  # type: ignore[no-untyped-def]
    """Radix-2 Stockham FFT: self-sorting, no bit reversal.

    (P. N. Swarztrauber, "FFT algorithms for vector computers", 1984, and
    C. Van Loan, "Computational Frameworks for the FFT", 1992, section 1.7.)

    work : float32 [4, n], rows: real and imaginary part, and as much scratch.
    twiddles : float32 [2, n]; of the 2 n-th roots of unity every second is used.

    Returns the row at which the result's real part is (0 or 2).
    """
    n = work.shape[1]
    half = n // 2
    source, target = 0, 2
    stride = 1  # butterflies that share a twiddle
    while stride < n:
        xr, xi = work[source], work[source + 1]
        yr, yi = work[target], work[target + 1]
        for p in range(half // stride):
            wr = twiddles[0, 2 * p * stride]
            wi = twiddles[1, 2 * p * stride]
            i = p * stride
            o = 2 * i
            for q in range(stride):
                ar, ai = xr[i + q], xi[i + q]
                br, bi = xr[i + q + half], xi[i + q + half]
                dr, di = ar - br, ai - bi
                yr[o + q] = ar + br
                yi[o + q] = ai + bi
                yr[o + q + stride] = dr * wr - di * wi
                yi[o + q + stride] = dr * wi + di * wr
        source, target = target, source
        stride *= 2
    return source


@_inner
def _power_spectrum(frame, window, twiddles, work, power):  # type: ignore[no-untyped-def]
    """|rfft(frame * window)|**2 into power, float32 [n_fft // 2 + 1].

    Even and odd samples are the real and imaginary part of one complex signal
    z of half the length; with Z its transform and w the n_fft-th root of unity,
    X[k] = (Z[k] + Z*[n - k]) / 2 - i w**k (Z[k] - Z*[n - k]) / 2.
    (Press et al., Numerical Recipes, section 12.3.)
    """
    n = work.shape[1]
    for k in range(n):
        work[0, k] = frame[2 * k] * window[2 * k]
        work[1, k] = frame[2 * k + 1] * window[2 * k + 1]
    row = _complex_fft(work, twiddles)
    zr, zi = work[row], work[row + 1]
    power[0] = (zr[0] + zi[0]) ** 2
    power[n] = (zr[0] - zi[0]) ** 2
    half = np.float32(0.5)
    for k in range(1, n):
        even_r = half * (zr[k] + zr[n - k])
        even_i = half * (zi[k] - zi[n - k])
        odd_r = half * (zi[k] + zi[n - k])
        odd_i = half * (zr[n - k] - zr[k])
        wr, wi = twiddles[0, k], twiddles[1, k]
        xr = even_r + odd_r * wr - odd_i * wi
        xi = even_i + odd_r * wi + odd_i * wr
        power[k] = xr * xr + xi * xi


@_inner
def _log_mel(power, mel_weights, mel_bands, out):  # type: ignore[no-untyped-def]
    """10 log10(max(1e-10, mel @ power)) into out, float32 [n_mels]; returns its maximum."""
    loudest = np.float32(-np.inf)
    for band in range(mel_bands.shape[0]):
        first, length, offset = mel_bands[band]
        energy = np.float32(0.0)
        for j in range(length):
            energy += mel_weights[offset + j] * power[first + j]
        db = np.float32(10.0) * np.log10(max(_AMIN, energy))
        out[band] = db
        loudest = max(loudest, db)
    return loudest


@_entry
def push(  # type: ignore[no-untyped-def]
    y,
    hop_length,
    counters,
    frame,
    window,
    twiddles,
    work,
    power,
    mel_weights,
    mel_bands,
    ring,
    peaks,
):
    """Take samples; compute every frame that they complete.

    y : float32 [n], any n.
    counters : int64 [3], at FILL the samples in `frame`, at SKIP the samples to
        drop before the next frame (where hop_length > n_fft), at FRAMES the
        frames computed so far.
    frame : float32 [n_fft], the samples of the frame that is being filled.
    window, twiddles, mel_weights, mel_bands : the tables of `filters`.
    work, power : float32 [4, n_fft // 2] and [n_fft // 2 + 1], scratch.
    ring : float32 [window_frames, n_mels], log-mel frames in dB; frame i is in
        row i % window_frames.
    peaks : float32 [window_frames], each row's maximum.

    Returns the number of new frames.
    """
    n_fft = frame.shape[0]
    before = counters[FRAMES]
    position = 0
    while position < y.shape[0]:
        if counters[SKIP] > 0:
            step = min(counters[SKIP], y.shape[0] - position)
            counters[SKIP] -= step
            position += step
            continue
        fill = counters[FILL]
        step = min(n_fft - fill, y.shape[0] - position)
        for i in range(step):
            frame[fill + i] = y[position + i]
        position += step
        fill += step
        if fill == n_fft:
            row = counters[FRAMES] % ring.shape[0]
            _power_spectrum(frame, window, twiddles, work, power)
            peaks[row] = _log_mel(power, mel_weights, mel_bands, ring[row])
            counters[FRAMES] += 1
            fill = max(0, n_fft - hop_length)
            for i in range(fill):
                frame[i] = frame[i + hop_length]
            counters[SKIP] = max(0, hop_length - n_fft)
        counters[FILL] = fill
    return counters[FRAMES] - before


@_inner
def _frame_mfcc(log_mel, floor, dct, out):  # type: ignore[no-untyped-def]
    """MFCCs of one frame, clamped from below at floor, into out, float64 [n_mfcc]."""
    out[:] = 0.0
    for m in range(log_mel.shape[0]):
        value = np.float64(max(log_mel[m], floor))
        for c in range(out.shape[0]):
            out[c] += dct[m, c] * value


@_entry
def rolling_statistics(ring, peaks, oldest, top_db, dct, mel_mean, mfcc, sums, with_frames):  # type: ignore[no-untyped-def]
    """Statistics over the whole ring of the MFCCs, clamped at the window's maximum - top_db.

    The clamp depends on every frame in the window, so nothing is carried over
    from one call to the next: the result can't drift. The DCT is linear, so the
    mean MFCC is the DCT of the mean clamped log-mel frame: one DCT. The other
    statistics are not linear and need one for each frame.

    Frames are added oldest first, so that the sums do not depend on where in
    the ring the window begins. Sums are float64.

    oldest : the row of the oldest frame.
    dct : float64 [n_mels, n_mfcc].
    mel_mean, mfcc : float64 [n_mels] and [2, n_mfcc], scratch.
    sums : float64 [4, n_mfcc], filled with mean, standard deviation, mean
        absolute and root mean square first difference; only the mean where
        with_frames is False.
    """
    n_frames, n_mels = ring.shape
    n_mfcc = dct.shape[1]
    floor = np.max(peaks) - np.float32(top_db)

    mel_mean[:] = 0.0
    for i in range(n_frames):
        row = oldest + i if oldest + i < n_frames else oldest + i - n_frames
        for m in range(n_mels):
            mel_mean[m] += np.float64(max(ring[row, m], floor))
    sums[:] = 0.0
    for m in range(n_mels):
        for c in range(n_mfcc):
            sums[0, c] += dct[m, c] * (mel_mean[m] / n_frames)
    if not with_frames:
        return

    for i in range(n_frames):
        row = oldest + i if oldest + i < n_frames else oldest + i - n_frames
        now, last = mfcc[i % 2], mfcc[(i + 1) % 2]
        _frame_mfcc(ring[row], floor, dct, now)
        for c in range(n_mfcc):
            sums[1, c] += (now[c] - sums[0, c]) ** 2
            if i > 0:
                sums[2, c] += abs(now[c] - last[c])
                sums[3, c] += (now[c] - last[c]) ** 2
    for c in range(n_mfcc):
        sums[1, c] = np.sqrt(sums[1, c] / n_frames)
        sums[2, c] /= max(1, n_frames - 1)
        sums[3, c] = np.sqrt(sums[3, c] / max(1, n_frames - 1))
