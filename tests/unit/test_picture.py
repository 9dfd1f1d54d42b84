"""The latest minutes of a spectrogram, in columns."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otic.features.spectrogram import COLUMN_SECONDS, LatestPicture, levels_of
from otic.features.tables import hann_window, mel_filterbank
from tests.support.helpers import F32, SMALL, cut, noise

P = SMALL


def made(blocks: list[F32], seconds: float = 60.0) -> LatestPicture:
    picture = LatestPicture(P, seconds)
    for block in blocks:
        picture.push(block)
    return picture


def expected(y: F32, column_samples: int, n_columns: int) -> NDArray[np.int64]:
    """Each column's loudest frame by band, by plain NumPy in float64."""
    columns = np.zeros((n_columns, P.n_mels), np.int64)
    weights = mel_filterbank(P).astype(np.float64)
    for start in range(0, len(y) - P.n_fft + 1, P.hop_length):
        frame = y[start : start + P.n_fft].astype(np.float64) * hann_window(P.n_fft)
        mel = weights @ np.abs(np.fft.rfft(frame)) ** 2
        level = levels_of((10.0 * np.log10(np.maximum(1e-10, mel))).astype(np.float32))
        column = (start + P.n_fft // 2) // column_samples
        columns[column] = np.maximum(columns[column], level)
    return columns


def test_a_column_is_the_loudest_of_its_frames() -> None:
    y = noise(P.sr * 2) * np.linspace(0.01, 1, P.sr * 2, dtype=np.float32)
    picture = made([y])
    n = picture.next_column
    assert abs(picture.column_samples / P.sr - COLUMN_SECONDS) < COLUMN_SECONDS / 2
    assert picture.column_samples % P.hop_length == 0
    assert n == -(-len(y) // picture.column_samples)
    got = picture.columns(0, n)
    assert np.abs(got - expected(y, picture.column_samples, n)).max() <= 1  # float32's rounding
    assert got[1:-2].min() > 0


@settings(max_examples=25)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
def test_it_is_the_same_however_it_is_cut(sizes: list[int]) -> None:
    y = noise(9000)
    one, other = made([y]), made(cut(y, sizes))
    assert one.next_column == other.next_column
    n = one.next_column
    assert np.array_equal(one.columns(0, n), other.columns(0, n))


def test_what_is_lost_is_empty_and_the_rest_keeps_its_place() -> None:
    picture = made([noise(P.sr)])
    before = picture.columns(0, picture.next_column)
    picture.lose(P.sr)
    picture.push(noise(P.sr, seed=1))
    second = round(P.sr / picture.column_samples)
    got = picture.columns(0, picture.next_column)
    assert np.array_equal(got[: len(before)], before)
    assert not got[second + 1 : 2 * second - 1].any()
    assert got[2 * second + 2 : -2].all()
    assert picture.next_column == -(-3 * P.sr // picture.column_samples)


def test_it_forgets_the_oldest_and_never_grows() -> None:
    picture = LatestPicture(P, 1.0)
    kept = round(P.sr / picture.column_samples)
    for seed in range(5):
        picture.push(noise(P.sr, seed))
    n = picture.next_column
    assert picture.columns(n - kept + 1, n - 2).all()
    assert not picture.columns(0, n - kept - 1).any()
    assert not picture.columns(-5, 0).any()  # before the beginning
    assert not picture.columns(n, n + 3).any()  # and what has not come yet
    assert picture.columns(5, 5).shape == (0, P.n_mels)
