"""The power spectrum of a real frame, in numba: a four-step FFT.

A real frame of ``n_fft`` samples is packed into ``n = n_fft / 2`` complex
numbers z[j] = y[2j] + i y[2j+1] (W. H. Press et al., Numerical Recipes, 3rd
edition, section 12.3.2). Their transform is taken in four steps (D. H. Bailey,
"FFTs in external or hierarchical memory", J. Supercomputing 4, 1990; C. Van
Loan, Computational Frameworks for the Fast Fourier Transform, 1992, section
3.3). With n = rows * columns and z as a matrix [rows, columns]:

1. a transform of length ``rows`` down each column,
2. element [k, j] times exp(-2 pi i k j / n),
3. a transposition,
4. a transform of length ``columns`` down each column of the transposed matrix,

after which the matrix holds Z in its natural order. Why this one: in steps 1, 2
and 4 neighbouring columns do the same thing to neighbouring numbers, so that
each loop vectorises at full width on any machine, with real and imaginary parts
in arrays of their own. Only step 3 moves numbers across lanes.

A transform down the columns is one or two passes of the Stockham algorithm (Van
Loan, section 1.7: self-sorting, no bit reversal) with radix 4 or 8. A pass reads
one pair of arrays and writes another.

Sizes are compile-time constants, which is what lets LLVM see that the reads and
writes of a pass do not overlap: :func:`realtime.kernels.make_push` fixes them.

The tables are built in :mod:`realtime.filters`; tests/test_fft.py has the plain
reference implementation.
"""

from __future__ import annotations

import numpy as np

from realtime.compiling import Kernel, inner, leaf
from realtime.filters import fft_shape
from realtime.simd import LANES, section, transpose_block

_SQRT_HALF = np.float32(np.sqrt(0.5))

# An index that is seen to be unsigned costs no check for wrapping round to the array's end.
_at = np.uint64


@leaf
def _dft4(r0, i0, r1, i1, r2, i2, r3, i3):  # type: ignore[no-untyped-def]
    """Four-point DFT: four complex numbers in, four out, each as real, imaginary."""
    ar, ai, br, bi = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    cr, ci, dr, di = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    return ar + cr, ai + ci, br + di, bi - dr, ar - cr, ai - ci, br - di, bi + dr


@leaf
def _dft8(r0, i0, r1, i1, r2, i2, r3, i3, r4, i4, r5, i5, r6, i6, r7, i7):  # type: ignore[no-untyped-def]
    """Eight-point DFT: of the sums, and of the differences turned by exp(-i pi k / 4)."""
    e0r, e0i, e1r, e1i, e2r, e2i, e3r, e3i = _dft4(
        r0 + r4, i0 + i4, r1 + r5, i1 + i5, r2 + r6, i2 + i6, r3 + r7, i3 + i7
    )
    ar, ai, br, bi = r1 - r5, i1 - i5, r3 - r7, i3 - i7
    o0r, o0i, o1r, o1i, o2r, o2i, o3r, o3i = _dft4(
        r0 - r4,
        i0 - i4,
        _SQRT_HALF * (ar + ai),
        _SQRT_HALF * (ai - ar),
        i2 - i6,
        r6 - r2,
        _SQRT_HALF * (bi - br),
        -_SQRT_HALF * (br + bi),
    )
    return e0r, e0i, o0r, o0i, e1r, e1i, o1r, o1i, e2r, e2i, o2r, o2i, e3r, e3i, o3r, o3i


@leaf
def _root(roots, k):  # type: ignore[no-untyped-def]
    """``exp(-2 pi i k / n)`` from the table of all n: real parts, then imaginary parts."""
    return roots[_at(k)], roots[_at(k + roots.shape[0] // 2)]


@leaf
def _put(yr, yi, k, r, i, w):  # type: ignore[no-untyped-def]
    """``y[k] = (r + i i) * w``."""
    wr, wi = w
    yr[_at(k)] = r * wr - i * wi
    yi[_at(k)] = r * wi + i * wr


def _make_pass4(length: int, stride: int) -> Kernel:
    """One Stockham pass of radix 4.

    ``x`` holds ``stride`` interleaved signals, of which the transforms of
    ``length`` points are wanted; ``y`` gets four times as many signals of a
    quarter of the length. roots : float32 [2 * 64], the 64th roots of unity.
    """
    every = 64 // length
    span = length // 4 * stride

    @inner
    def pass4(xr, xi, yr, yi, roots):  # type: ignore[no-untyped-def]
        for p in range(length // 4):
            w1 = _root(roots, every * p)
            w2 = _root(roots, every * 2 * p)
            w3 = _root(roots, every * 3 * p)
            for q in range(stride):
                k, o = p * stride + q, 4 * p * stride + q
                y0r, y0i, y1r, y1i, y2r, y2i, y3r, y3i = _dft4(
                    xr[_at(k)],
                    xi[_at(k)],
                    xr[_at(k + span)],
                    xi[_at(k + span)],
                    xr[_at(k + 2 * span)],
                    xi[_at(k + 2 * span)],
                    xr[_at(k + 3 * span)],
                    xi[_at(k + 3 * span)],
                )
                yr[_at(o)] = y0r
                yi[_at(o)] = y0i
                _put(yr, yi, o + stride, y1r, y1i, w1)
                _put(yr, yi, o + 2 * stride, y2r, y2i, w2)
                _put(yr, yi, o + 3 * stride, y3r, y3i, w3)

    return pass4


def _make_pass8(length: int, stride: int) -> Kernel:
    """One Stockham pass of radix 8; as :func:`_make_pass4`."""
    every = 64 // length
    span = length // 8 * stride

    @inner
    def pass8(xr, xi, yr, yi, roots):  # type: ignore[no-untyped-def]
        for p in range(length // 8):
            w1 = _root(roots, every * p)
            w2 = _root(roots, every * 2 * p)
            w3 = _root(roots, every * 3 * p)
            w4 = _root(roots, every * 4 * p)
            w5 = _root(roots, every * 5 * p)
            w6 = _root(roots, every * 6 * p)
            w7 = _root(roots, every * 7 * p)
            for q in range(stride):
                k, o = p * stride + q, 8 * p * stride + q
                y0r, y0i, y1r, y1i, y2r, y2i, y3r, y3i, y4r, y4i, y5r, y5i, y6r, y6i, y7r, y7i = (
                    _dft8(
                        xr[_at(k)],
                        xi[_at(k)],
                        xr[_at(k + span)],
                        xi[_at(k + span)],
                        xr[_at(k + 2 * span)],
                        xi[_at(k + 2 * span)],
                        xr[_at(k + 3 * span)],
                        xi[_at(k + 3 * span)],
                        xr[_at(k + 4 * span)],
                        xi[_at(k + 4 * span)],
                        xr[_at(k + 5 * span)],
                        xi[_at(k + 5 * span)],
                        xr[_at(k + 6 * span)],
                        xi[_at(k + 6 * span)],
                        xr[_at(k + 7 * span)],
                        xi[_at(k + 7 * span)],
                    )
                )
                yr[_at(o)] = y0r
                yi[_at(o)] = y0i
                _put(yr, yi, o + stride, y1r, y1i, w1)
                _put(yr, yi, o + 2 * stride, y2r, y2i, w2)
                _put(yr, yi, o + 3 * stride, y3r, y3i, w3)
                _put(yr, yi, o + 4 * stride, y4r, y4i, w4)
                _put(yr, yi, o + 5 * stride, y5r, y5i, w5)
                _put(yr, yi, o + 6 * stride, y6r, y6i, w6)
                _put(yr, yi, o + 7 * stride, y7r, y7i, w7)

    return pass8


def _make_column_transforms(rows: int, columns: int) -> Kernel:
    """In place: the transform of each column of ``x``, [rows, columns]; ``y`` is scratch."""
    if rows == 8:
        only = _make_pass8(8, columns)

        @inner
        def one_pass(xr, xi, yr, yi, roots):  # type: ignore[no-untyped-def]
            only(xr, xi, yr, yi, roots)
            for k in range(rows * columns):
                xr[_at(k)] = yr[_at(k)]
                xi[_at(k)] = yi[_at(k)]

        return one_pass

    first_radix, second_radix = {16: (4, 4), 32: (4, 8), 64: (8, 8)}[rows]
    make_pass = {4: _make_pass4, 8: _make_pass8}
    first = make_pass[first_radix](rows, columns)
    second = make_pass[second_radix](second_radix, first_radix * columns)

    @inner
    def two_passes(xr, xi, yr, yi, roots):  # type: ignore[no-untyped-def]
        first(xr, xi, yr, yi, roots)
        second(yr, yi, xr, xi, roots)

    return two_passes


def _make_turn(n: int) -> Kernel:
    """``x *= turns``; turns : float32 [2 * n], real parts, then imaginary parts."""

    @inner
    def turn(xr, xi, turns):  # type: ignore[no-untyped-def]
        for k in range(n):
            r, i = xr[_at(k)], xi[_at(k)]
            _put(xr, xi, k, r, i, _root(turns, k))

    return turn


def _make_transpose(rows: int, columns: int) -> Kernel:
    """``y``, [columns, rows], is the transpose of ``x``, [rows, columns]."""

    @inner
    def transpose(x, y):  # type: ignore[no-untyped-def]
        for i in range(rows // LANES):
            for j in range(columns // LANES):
                transpose_block(
                    x,
                    LANES * (i * columns + j),
                    columns,
                    y,
                    LANES * (j * rows + i),
                    rows,
                )

    return transpose


def _make_real_power(n: int) -> Kernel:
    """|X[k]|**2 of the real frame from Z / 2, the transform of its ``n`` packed numbers.

    X[k] = E + exp(-2 pi i k / n_fft) O, where E = (Z[k] + conj Z[n-k]) / 2 and
    O = (Z[k] - conj Z[n-k]) / 2i. turns : float32 [2 * n], the exponentials.
    """

    @inner
    def real_power(zr, zi, turns, power):  # type: ignore[no-untyped-def]
        for k in range(1, n):
            er, ei = zr[_at(k)] + zr[_at(n - k)], zi[_at(k)] - zi[_at(n - k)]
            odd_r, odd_i = zi[_at(k)] + zi[_at(n - k)], zr[_at(n - k)] - zr[_at(k)]
            wr, wi = _root(turns, k)
            r = er + odd_r * wr - odd_i * wi
            i = ei + odd_r * wi + odd_i * wr
            power[_at(k)] = r * r + i * i
        two = np.float32(2.0)
        power[0] = (two * (zr[0] + zi[0])) ** 2
        power[n] = (two * (zr[0] - zi[0])) ** 2

    return real_power


def _make_power_spectrum(n_fft: int) -> Kernel:
    """The kernel ``power = |rfft(y[start : start + n_fft] * window)|**2`` for one ``n_fft``.

    half_window : float32 [n_fft], half the window: its even samples, then its odd ones.
    roots, inner_turns, outer_turns : from :func:`realtime.filters.fft_tables`.
    work : float32 [2 * n_fft], scratch.
    power : float32 [n_fft / 2 + 1], the result.
    """
    rows, columns = fft_shape(n_fft)
    n = rows * columns
    down_columns = _make_column_transforms(rows, columns)
    turn = _make_turn(n)
    transpose = _make_transpose(rows, columns)
    down_rows = _make_column_transforms(columns, rows)
    real_power = _make_real_power(n)

    @inner
    def power_spectrum(y, start, half_window, roots, inner_turns, outer_turns, work, power):  # type: ignore[no-untyped-def]
        xr, xi = section(work, 0, n), section(work, n, n)
        yr, yi = section(work, 2 * n, n), section(work, 3 * n, n)
        for k in range(n):
            xr[_at(k)] = y[_at(start + 2 * k)] * half_window[_at(k)]
            xi[_at(k)] = y[_at(start + 2 * k + 1)] * half_window[_at(n + k)]
        down_columns(xr, xi, yr, yi, roots)
        turn(xr, xi, inner_turns)
        transpose(xr, yr)
        transpose(xi, yi)
        down_rows(yr, yi, xr, xi, roots)
        real_power(yr, yi, outer_turns, power)

    return power_spectrum


power_spectrum_256 = _make_power_spectrum(256)
power_spectrum_512 = _make_power_spectrum(512)
power_spectrum_1024 = _make_power_spectrum(1024)
power_spectrum_2048 = _make_power_spectrum(2048)
power_spectrum_4096 = _make_power_spectrum(4096)
