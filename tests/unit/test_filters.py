"""The tables are librosa's and scipy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import scipy.signal
from librosa.filters import mel

from otic import FeatureParams
from otic.features.tables import (
    dct_basis,
    fft_shape,
    fft_tables,
    hann_window,
    mel_filterbank,
    pack_rows,
)
from tests.support.helpers import LIBROSA_DEFAULTS, SMALL


@pytest.mark.parametrize("n_fft", [256, 2048])
def test_hann_window(n_fft: int) -> None:
    np.testing.assert_allclose(
        hann_window(n_fft), scipy.signal.get_window("hann", n_fft), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    "params",
    [
        LIBROSA_DEFAULTS,
        SMALL,
        replace(LIBROSA_DEFAULTS, n_mels=64, fmin=125.0, fmax=7500.0),
        replace(LIBROSA_DEFAULTS, sr=16000, n_fft=512, fmax=8000.0),
    ],
)
@pytest.mark.filterwarnings("ignore:Empty filters")
def test_mel_filterbank_is_librosas_to_the_bit(params: FeatureParams) -> None:
    expected = mel(
        sr=params.sr, n_fft=params.n_fft, n_mels=params.n_mels, fmin=params.fmin, fmax=params.fmax
    )
    np.testing.assert_array_equal(mel_filterbank(params), expected)


@pytest.mark.parametrize("n_mels", [256, 24, 13])
def test_packed_rows_lose_nothing(n_mels: int) -> None:
    # 256 bands over 129 bins: some filters are empty.
    weights = mel_filterbank(replace(SMALL, n_mels=n_mels))
    packed, groups, n_columns = pack_rows(weights, 8)
    n_groups = -(-n_mels // 8)
    chunks, firsts = groups[:n_groups], groups[n_groups:]
    restored = np.zeros((n_groups * 8, n_columns), np.float32)
    place = 0
    for i, first in enumerate(firsts):
        if i % 8 == 0:
            block = packed[place : place + 64 * chunks[i // 8]].reshape(-1, 8, 8)
            place += block.size
        restored[i, first : first + block[:, 0].size] = block[:, i % 8].ravel()
    assert place == len(packed)
    np.testing.assert_array_equal(restored[:n_mels, :129], weights)
    assert not restored[:, 129:].any()
    assert not restored[n_mels:].any()


def test_dct_basis() -> None:
    x = np.random.default_rng(0).standard_normal(128)
    expected = scipy.fft.dct(x, type=2, norm="ortho")[:40]
    np.testing.assert_allclose(dct_basis(40, 128) @ x, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_fft", [256, 512, 1024, 2048, 4096])
def test_fft_tables(n_fft: int) -> None:
    rows, columns = fft_shape(n_fft)
    assert 2 * rows * columns == n_fft
    k, j = np.divmod(np.arange(n_fft // 2), columns)
    roots, inner_turns, outer_turns = (
        real + 1j * imaginary
        for real, imaginary in (np.split(table, 2) for table in fft_tables(n_fft))
    )
    for table, turns in (
        (roots, np.arange(64) / 64),
        (inner_turns, k * j / (n_fft // 2)),
        (outer_turns, np.arange(n_fft // 2) / n_fft),
    ):
        np.testing.assert_allclose(table, np.exp(-2j * np.pi * turns), rtol=0, atol=1e-7)
