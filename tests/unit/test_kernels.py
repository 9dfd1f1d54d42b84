"""The small kernels: the logarithm, the packed product, and samples that are not finite."""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from otic import Frontend
from otic.features.kernels import log_mel as kernels
from otic.features.kernels.simd import LANES
from otic.features.tables import pack_rows
from tests.support.helpers import F32, LIBROSA_DEFAULTS, SMALL, noise

log_mel, product = kernels.log_mel, kernels.product


@numba.njit
def log_of_all(energies, out):  # type: ignore[no-untyped-def]
    return log_mel(energies, out)


@numba.njit
def product_of(weights, groups, n_groups, x, out):  # type: ignore[no-untyped-def]
    product(weights, groups, n_groups, x, out)


def decibels(energies: F32) -> F32:
    out = np.empty_like(energies)
    log_of_all(energies.copy(), out)
    return out


def test_decibels_to_half_a_float32s_step() -> None:
    """Over all that a spectrum can hold, and densely within an octave."""
    energies = np.concatenate(
        [
            np.geomspace(1e-10, 1e18, 200_000),
            np.linspace(1.0, 2.0, 200_000),
            2.0 ** np.arange(-33.0, 60.0),
        ]
    ).astype(np.float32)
    exact = 10.0 * np.log10(np.maximum(energies.astype(np.float64), 1e-10))
    # A polynomial error of 6e-7 dB, and float32's roundings of a number up to 180 dB.
    limit = 6e-7 + 2.5 * np.spacing(np.abs(exact).astype(np.float32))
    assert (np.abs(decibels(energies) - exact) <= limit).all()
    assert (decibels(np.array([0.0, 1e-30, 1e-10], np.float32)) == decibels(energies[:1])).all()


def test_the_polynomial_is_the_interpolation_that_it_says() -> None:
    def rest(f: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.log2(1.0 + f) - f) / (f * (1.0 - f))

    fit = Chebyshev.interpolate(rest, 6, domain=[0, 1])
    expected = fit.convert(kind=Polynomial, domain=[-1, 1], window=[-1, 1]).coef.astype(float)
    coefficients = [getattr(kernels, f"_Q{i}") for i in range(7)]
    np.testing.assert_allclose(coefficients, expected, rtol=1e-6)


@cache
def matrix(n_rows: int, n_columns: int, seed: int) -> F32:
    """Rows that are zero outside of a stretch; some are empty."""
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((n_rows, n_columns)).astype(np.float32)
    edges = np.sort(rng.integers(0, n_columns + 1, (n_rows, 2)), axis=1)
    column = np.arange(n_columns)
    return np.where((column >= edges[:, :1]) & (column < edges[:, 1:]), dense, np.float32(0.0))


@given(st.integers(1, 40), st.integers(1, 90), st.integers(0, 10**6))
@settings(max_examples=200)
def test_product_of_a_packed_matrix(n_rows: int, n_columns: int, seed: int) -> None:
    m = matrix(n_rows, n_columns, seed)
    packed, groups, width = pack_rows(m, LANES)
    n_groups = -(-n_rows // LANES)
    x = np.zeros(width, np.float32)
    x[:n_columns] = noise(n_columns, seed=seed, level=1.0)
    out = np.full(n_groups * LANES, np.nan, np.float32)
    product_of(packed, groups, n_groups, x, out)
    expected = m.astype(np.float64) @ x[:n_columns].astype(np.float64)
    np.testing.assert_allclose(out[:n_rows], expected, rtol=0, atol=2e-5)
    assert not out[n_rows:].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_not_hidden(bad: float) -> None:
    """The front end is not for them, and says so by features that are not finite."""
    frontend = Frontend(SMALL)
    y = noise(2 * SMALL.window_samples)
    y[SMALL.window_samples // 2] = bad
    frontend.push(y[: SMALL.window_samples])
    assert not np.isfinite(frontend.features()).all()
    frontend.push(y[SMALL.window_samples :])  # they have left the window
    assert np.isfinite(frontend.features()).all()


def test_features_after_each_hop_are_a_fresh_front_ends() -> None:
    """Also where the clamp comes and goes: what is kept between calls never shows."""
    p = LIBROSA_DEFAULTS
    rng = np.random.default_rng(3)
    n_hops = 300
    levels = 10.0 ** rng.uniform(-5, 0, n_hops // 10).repeat(10)
    y = (rng.standard_normal((n_hops, p.hop_length)) * levels[:, None]).astype(np.float32).ravel()
    frontend = Frontend(p)
    for i in range(n_hops):
        frontend.push(y[i * p.hop_length : (i + 1) * p.hop_length])
        if frontend.ready and i % 7 == 0:
            stop = (i + 1) * p.hop_length
            fresh = Frontend(p)
            fresh.push(y[stop - p.window_samples : stop])
            np.testing.assert_array_equal(frontend.features(), fresh.features())
