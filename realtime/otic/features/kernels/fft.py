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
one place in the scratch array ``work`` and writes another. A matrix takes two
neighbouring stretches of n numbers there: its real parts, then its imaginary
parts. Places and sizes are compile-time constants, which is what lets LLVM see
that the reads and writes of a pass do not overlap; so the kernels are made for
one size each.

The tables are built in :mod:`otic.features.tables`; tests/unit/test_fft.py has the plain
reference implementation.
"""

from __future__ import annotations

import numpy as np

from otic.features.kernels.jit import Kernel, inner, leaf
from otic.features.kernels.simd import LANES, transpose_block
from otic.features.tables import fft_shape

_SQRT_HALF = np.float32(np.sqrt(0.5))

# An index that is seen to be unsigned costs no check for wrapping round to the array's end.
_at = np.uint64


@leaf
def _load(array, k, n):  # type: ignore[no-untyped-def]
    """The complex number with its real part at ``k`` and its imaginary part ``n`` further on."""
    return complex(array[_at(k)], array[_at(k + n)])


@leaf
def _store(array, k, n, z):  # type: ignore[no-untyped-def]
    """Inverse of :func:`_load`."""
    array[_at(k)] = z.real
    array[_at(k + n)] = z.imag


@leaf
def _quarter_turn(z):  # type: ignore[no-untyped-def]
    """``-i z``, without a multiplication."""
    return complex(z.imag, -z.real)


@leaf
def _dft4(a, b, c, d):  # type: ignore[no-untyped-def]
    """Four-point DFT."""
    even, odd = a + c, b + d
    even_difference, odd_difference = a - c, _quarter_turn(b - d)
    return (
        even + odd,
        even_difference + odd_difference,
        even - odd,
        even_difference - odd_difference,
    )


@leaf
def _dft8(a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """Eight-point DFT: of the sums, and of the differences turned by exp(-i pi k / 4)."""
    bf, dh = b - f, _quarter_turn(d - h)
    bf_turned = complex(_SQRT_HALF * (bf.real + bf.imag), _SQRT_HALF * (bf.imag - bf.real))
    dh_turned = complex(_SQRT_HALF * (dh.real + dh.imag), _SQRT_HALF * (dh.imag - dh.real))
    y0, y2, y4, y6 = _dft4(a + e, b + f, c + g, d + h)
    y1, y3, y5, y7 = _dft4(a - e, bf_turned, _quarter_turn(c - g), dh_turned)
    return y0, y1, y2, y3, y4, y5, y6, y7


def _make_pass4(length: int, stride: int, x: int, y: int, n: int) -> Kernel:
    """One Stockham pass of radix 4, from place ``x`` in ``work`` to place ``y``.

    ``x`` holds ``stride`` interleaved signals, of which the transforms of
    ``length`` points are wanted; ``y`` gets four times as many signals of a
    quarter of the length. roots : float32 [2 * 64], the 64th roots of unity.

    In the last pass, of length 4, all factors are 1; leaving them out, and
    fusing the turn below into it, was tried and saves nothing.
    """
    every = 64 // length
    span = length // 4 * stride

    @inner(length, stride, x, y, n)
    def pass4(work, roots):  # type: ignore[no-untyped-def]
        for p in range(length // 4):
            w1 = _load(roots, every * p, 64)
            w2 = _load(roots, every * 2 * p, 64)
            w3 = _load(roots, every * 3 * p, 64)
            for q in range(stride):
                i = x + p * stride + q
                o = y + 4 * p * stride + q
                y0, y1, y2, y3 = _dft4(
                    _load(work, i, n),
                    _load(work, i + span, n),
                    _load(work, i + 2 * span, n),
                    _load(work, i + 3 * span, n),
                )
                _store(work, o, n, y0)
                _store(work, o + stride, n, y1 * w1)
                _store(work, o + 2 * stride, n, y2 * w2)
                _store(work, o + 3 * stride, n, y3 * w3)

    return pass4


def _make_pass8(length: int, stride: int, x: int, y: int, n: int) -> Kernel:
    """One Stockham pass of radix 8; as :func:`_make_pass4`."""
    every = 64 // length
    span = length // 8 * stride

    @inner(length, stride, x, y, n)
    def pass8(work, roots):  # type: ignore[no-untyped-def]
        for p in range(length // 8):
            w1 = _load(roots, every * p, 64)
            w2 = _load(roots, every * 2 * p, 64)
            w3 = _load(roots, every * 3 * p, 64)
            w4 = _load(roots, every * 4 * p, 64)
            w5 = _load(roots, every * 5 * p, 64)
            w6 = _load(roots, every * 6 * p, 64)
            w7 = _load(roots, every * 7 * p, 64)
            for q in range(stride):
                i = x + p * stride + q
                o = y + 8 * p * stride + q
                y0, y1, y2, y3, y4, y5, y6, y7 = _dft8(
                    _load(work, i, n),
                    _load(work, i + span, n),
                    _load(work, i + 2 * span, n),
                    _load(work, i + 3 * span, n),
                    _load(work, i + 4 * span, n),
                    _load(work, i + 5 * span, n),
                    _load(work, i + 6 * span, n),
                    _load(work, i + 7 * span, n),
                )
                _store(work, o, n, y0)
                _store(work, o + stride, n, y1 * w1)
                _store(work, o + 2 * stride, n, y2 * w2)
                _store(work, o + 3 * stride, n, y3 * w3)
                _store(work, o + 4 * stride, n, y4 * w4)
                _store(work, o + 5 * stride, n, y5 * w5)
                _store(work, o + 6 * stride, n, y6 * w6)
                _store(work, o + 7 * stride, n, y7 * w7)

    return pass8


def _make_column_transforms(rows: int, columns: int, x: int, y: int) -> Kernel:
    """In place ``x``: the transform of each column of a matrix; place ``y`` is scratch."""
    n = rows * columns
    if rows == 8:
        only = _make_pass8(8, columns, x, y, n)

        @inner(rows, columns, x, y)
        def one_pass(work, roots):  # type: ignore[no-untyped-def]
            only(work, roots)
            for k in range(2 * n):
                work[_at(x + k)] = work[_at(y + k)]

        return one_pass

    first_radix, last_radix = {16: (4, 4), 32: (4, 8), 64: (8, 8)}[rows]
    make_pass = {4: _make_pass4, 8: _make_pass8}
    first = make_pass[first_radix](rows, columns, x, y, n)
    last = make_pass[last_radix](last_radix, first_radix * columns, y, x, n)

    @inner(rows, columns, x, y)
    def two_passes(work, roots):  # type: ignore[no-untyped-def]
        first(work, roots)
        last(work, roots)

    return two_passes


def _make_turned_transpose(rows: int, columns: int, x: int, y: int) -> Kernel:
    """The matrix at ``x`` times ``turns``, element by element, transposed to ``y``.

    turns : float32 [2 * n], real parts, then imaginary parts.
    """
    n = rows * columns

    @inner(rows, columns, x, y)
    def turned_transpose(work, turns):  # type: ignore[no-untyped-def]
        for k in range(n):
            _store(work, x + k, n, _load(work, x + k, n) * _load(turns, k, n))
        for part in range(2):
            for i in range(rows // LANES):
                for j in range(columns // LANES):
                    source = x + part * n + LANES * (i * columns + j)
                    target = y + part * n + LANES * (j * rows + i)
                    transpose_block(work, source, columns, target, rows)

    return turned_transpose


def _make_real_power(n: int, z: int) -> Kernel:
    """|X[k]|**2 of the real frame from Z / 2, the transform of its ``n`` packed numbers, at ``z``.

    X[k] = E + exp(-2 pi i k / n_fft) O, where E = (Z[k] + conj Z[n-k]) / 2 and
    O = (Z[k] - conj Z[n-k]) / 2i. turns : float32 [2 * n], the exponentials.
    """

    @inner(n, z)
    def real_power(work, turns, power):  # type: ignore[no-untyped-def]
        for k in range(1, n):
            a = _load(work, z + k, n)
            b = _load(work, z + n - k, n).conjugate()
            x = a + b + _quarter_turn(a - b) * _load(turns, k, n)
            power[_at(k)] = x.real * x.real + x.imag * x.imag
        z0, two = _load(work, z, n), np.float32(2.0)
        power[0] = (two * (z0.real + z0.imag)) ** 2
        power[n] = (two * (z0.real - z0.imag)) ** 2

    return real_power


def _make_power_spectrum(n_fft: int) -> Kernel:
    """The kernel ``power = |rfft(y[start : start + n_fft] * window)|**2`` for one ``n_fft``.

    half_window : float32 [n_fft], half the window: its even samples, then its odd ones.
    roots, inner_turns, outer_turns : from :func:`otic.features.tables.fft_tables`.
    work : float32 [2 * n_fft], scratch.
    power : float32 [n_fft / 2 + 1], the result.
    """
    rows, columns = fft_shape(n_fft)
    n = rows * columns
    x, y = 0, 2 * n
    down_columns = _make_column_transforms(rows, columns, x, y)
    turned_transpose = _make_turned_transpose(rows, columns, x, y)
    down_rows = _make_column_transforms(columns, rows, y, x)
    real_power = _make_real_power(n, y)

    @inner(n_fft)
    def power_spectrum(  # type: ignore[no-untyped-def]
        samples, start, half_window, roots, inner_turns, outer_turns, work, power
    ):
        for k in range(n):
            work[_at(x + k)] = samples[_at(start + 2 * k)] * half_window[_at(k)]
            work[_at(x + n + k)] = samples[_at(start + 2 * k + 1)] * half_window[_at(n + k)]
        down_columns(work, roots)
        turned_transpose(work, inner_turns)
        down_rows(work, roots)
        real_power(work, outer_turns, power)

    return power_spectrum


power_spectrum_256 = _make_power_spectrum(256)
power_spectrum_512 = _make_power_spectrum(512)
power_spectrum_1024 = _make_power_spectrum(1024)
power_spectrum_2048 = _make_power_spectrum(2048)
power_spectrum_4096 = _make_power_spectrum(4096)
