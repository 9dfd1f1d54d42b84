"""The tables are librosa's and scipy's."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal

from realtime import FeatureParams
from realtime.filters import dct_basis, fft_twiddles, hann_window, mel_bands, mel_filterbank
from tests.helpers import LIBROSA_DEFAULTS, SMALL


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
    expected = librosa.filters.mel(
        sr=params.sr, n_fft=params.n_fft, n_mels=params.n_mels, fmin=params.fmin, fmax=params.fmax
    )
    np.testing.assert_array_equal(mel_filterbank(params), expected)


def test_mel_bands_lose_nothing() -> None:
    # 256 bands over 129 bins: some filters are empty.
    weights = mel_filterbank(replace(SMALL, n_mels=256))
    packed, bands = mel_bands(weights)
    restored = np.zeros_like(weights)
    for row, (first, length, offset) in zip(restored, bands, strict=True):
        row[first : first + length] = packed[offset : offset + length]
    np.testing.assert_array_equal(restored, weights)
    assert (bands[:, 1] == 0).any()


def test_dct_basis() -> None:
    x = np.random.default_rng(0).standard_normal(128)
    expected = scipy.fft.dct(x, type=2, norm="ortho")[:40]
    np.testing.assert_allclose(dct_basis(40, 128) @ x, expected, rtol=0, atol=1e-12)


def test_fft_twiddles() -> None:
    expected = np.exp(-2j * np.pi * np.arange(128) / 256)
    real, imaginary = fft_twiddles(256)
    np.testing.assert_allclose(real + 1j * imaginary, expected, rtol=0, atol=1e-7)
