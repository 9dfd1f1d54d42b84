"""The numba FFT is NumPy's, and is the algorithm that its docstring describes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from otic.features.kernels import fft
from otic.features.tables import fft_shape, fft_tables, hann_window
from tests.support.helpers import F32, noise

SIZES = [256, 512, 1024, 2048, 4096]
C128 = NDArray[np.complex128]


def column_transforms(z: C128) -> C128:
    """The DFT of each column, by its definition."""
    k = np.arange(len(z))
    transformed: C128 = np.exp(-2j * np.pi * np.outer(k, k) / len(z)) @ z
    return transformed


def reference_power(frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """|rfft(frame)|**2 in the four steps of otic.features.kernels.fft, in plain float64 NumPy."""
    n_fft = len(frame)
    rows, columns = fft_shape(n_fft)
    n = rows * columns
    z: C128 = (frame[0::2] + 1j * frame[1::2]).reshape(rows, columns)
    z = column_transforms(z)
    z = z * np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(columns)) / n)
    z = column_transforms(z.T).ravel()
    k = np.arange(n + 1)
    mirrored = z[(n - k) % n].conj()
    even, odd = (z[k % n] + mirrored) / 2, (z[k % n] - mirrored) / 2j
    power: NDArray[np.float64] = np.abs(even + np.exp(-2j * np.pi * k / n_fft) * odd) ** 2
    return power


@cache
def compiled(n_fft: int) -> Callable[..., None]:
    kernel = getattr(fft, f"power_spectrum_{n_fft}")

    @numba.njit
    def call(y, start, window, roots, inner, outer, work, power):  # type: ignore[no-untyped-def]
        kernel(y, start, window, roots, inner, outer, work, power)

    compiled_call: Callable[..., None] = call
    return compiled_call


def magnitude(y: F32, start: int, n_fft: int) -> F32:
    """The square root of the kernel's power spectrum."""
    window = 0.5 * hann_window(n_fft)
    halves = np.concatenate([window[0::2], window[1::2]]).astype(np.float32)
    power = np.empty(n_fft // 2 + 1, np.float32)
    work = np.zeros(2 * n_fft, np.float32)
    compiled(n_fft)(y, start, halves, *fft_tables(n_fft), work, power)
    return np.sqrt(power)


@pytest.mark.parametrize("n_fft", SIZES)
def test_the_reference_is_numpys(n_fft: int) -> None:
    frame = noise(n_fft).astype(np.float64)
    np.testing.assert_allclose(
        reference_power(frame), np.abs(np.fft.rfft(frame)) ** 2, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("n_fft", SIZES)
def test_the_kernel_is_the_reference(n_fft: int) -> None:
    """Also for single sines, whose other bins are 0, and for one sample alone."""
    start = 5
    t = np.arange(n_fft + 2 * start)
    sine, between = np.cos(2 * np.pi * 7 * t / n_fft), np.cos(0.5 * t)
    for sound in (noise(len(t)), sine, between, t == 100, np.ones(len(t)), np.zeros(len(t))):
        y = np.asarray(sound, np.float32)
        frame = y[start : start + n_fft].astype(np.float64) * hann_window(n_fft)
        expected = np.sqrt(reference_power(frame))
        # float32 rounds by 6e-8; errors are relative to the spectrum's peak.
        limit = 4e-7 * expected.max()
        np.testing.assert_allclose(magnitude(y, start, n_fft), expected, rtol=0, atol=limit)


@given(
    st.integers(0, 300),
    st.floats(0.0078125, 1.0, width=32),
    st.integers(0, 2**32 - 1),
)
def test_any_frame_of_any_scale(start: int, scale: float, seed: int) -> None:
    y = noise(256 + 300, seed=seed) * np.float32(scale)
    frame = y[start : start + 256].astype(np.float64) * hann_window(256)
    expected = np.abs(np.fft.rfft(frame))
    limit = 4e-7 * expected.max()
    np.testing.assert_allclose(magnitude(y, start, 256), expected, rtol=0, atol=limit)
