from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from otic.audio.converter import Converter
from otic.errors import SourceError
from otic.types import Lost
from tests.support.helpers import F32, cut, noise


def convert(y: F32, rate: int, sizes: list[int], **options: int) -> list[F32 | Lost]:
    """All chunks, neighbouring samples joined."""
    converter = Converter(rate, y.shape[1], 22050, **options)
    chunks = [c for block in cut(y, sizes) for c in converter.push(block)] + converter.flush()
    joined: list[F32 | Lost] = []
    for chunk in chunks:
        if joined and not isinstance(chunk, Lost) and not isinstance(joined[-1], Lost):
            joined[-1] = np.concatenate([joined[-1], chunk])
        else:
            joined.append(chunk)
    return joined


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 192000])
def test_streaming_is_soxrs_one_shot(rate: int) -> None:
    y = np.stack([noise(rate // 2, 1), noise(rate // 2, 2)], axis=1)
    (got,) = convert(y, rate, [1000])
    mono = y.mean(axis=1, dtype=np.float32)
    expected = mono if rate == 22050 else soxr.resample(mono, rate, 22050)
    np.testing.assert_array_equal(got, expected)


@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=8), seed=st.integers(0, 5))
@settings(max_examples=30)
def test_any_cutting_gives_the_same_bits_and_losses(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = noise(20000, seed)[:, None]
    for start in rng.integers(0, 20000, 4):
        y[start : start + rng.integers(1, 700)] = rng.choice([np.nan, np.inf, -np.inf])
    whole, parts = convert(y, 48000, [20000]), convert(y, 48000, sizes)
    assert [type(c) for c in whole] == [type(c) for c in parts]
    for a, b in zip(whole, parts, strict=True):
        if isinstance(a, Lost):
            assert a == b
        else:
            np.testing.assert_array_equal(a, b)


def test_losses_keep_the_clock() -> None:
    """A loss is as long, at the model's rate, as brings its clock in step with the source's."""
    y = noise(48000)[:, None]
    y[10000:20000] = np.nan
    y[30000] = np.inf
    chunks = convert(y, 48000, [777])
    kinds = [isinstance(c, Lost) for c in chunks]
    assert kinds == [False, True, False, True, False]
    at = 0
    for chunk, begins in zip(chunks, [0, 10000, 20000, 30000, 30001], strict=True):
        # Half a sample of rounding, and up to one where a loss is made a sample long.
        assert abs(at - begins * 22050 / 48000) <= 1.5
        at += chunk.samples if isinstance(chunk, Lost) else len(chunk)
    assert abs(at - 22050) <= 1


@pytest.mark.parametrize("rate", [22050, 48000, 192000])
@pytest.mark.parametrize("every", [2, 3, 50, 1000])
def test_many_tiny_losses_do_not_shift_the_clock(rate: int, every: int) -> None:
    y = noise(2 * rate)[:, None]
    y[::every] = np.nan
    chunks = convert(y, rate, [997])
    total = sum(c.samples if isinstance(c, Lost) else len(c) for c in chunks)
    assert abs(total - 2 * 22050) <= 2
    assert any(isinstance(c, Lost) for c in chunks)


def test_nothing_bleeds_over_a_loss() -> None:
    """What follows a loss is what it would be at the start of a stream."""
    y = noise(20000)[:, None]
    broken = y.copy()
    broken[8000:9000] = np.nan
    *_, after = convert(broken, 48000, [500])
    (alone,) = convert(y[9000:], 48000, [500])
    np.testing.assert_array_equal(after, alone)


def test_not_finite_samples_are_counted() -> None:
    converter = Converter(22050, 2, 22050)
    y = np.zeros((100, 2), np.float32)
    y[10:13, 1] = np.nan
    assert [*converter.push(y), *converter.flush()][1] == Lost(3)
    assert converter.unusable == 3


def test_a_loss_told_from_outside_joins_its_neighbours() -> None:
    converter = Converter(22050, 1, 22050)
    ones = np.ones((10, 1), np.float32)
    chunks = [*converter.push(ones), *converter.lose(5), *converter.lose(6)]
    chunks += [*converter.push(ones * np.nan), *converter.push(ones), *converter.lose(4)]
    chunks += converter.flush()
    assert [c.samples if isinstance(c, Lost) else len(c) for c in chunks] == [10, 21, 10, 4]


def test_a_channel_is_taken_alone() -> None:
    y = np.stack([noise(1000, 1), noise(1000, 2), noise(1000, 3)], axis=1)
    (got,) = convert(y, 22050, [300], channel=2)
    np.testing.assert_array_equal(got, y[:, 1])


def test_bad_rates_and_channels() -> None:
    with pytest.raises(SourceError, match="999 Hz is outside 1000 to 768000"):
        Converter(999, 1, 22050)
    with pytest.raises(SourceError, match="channel 3 is outside 1 to 2"):
        Converter(48000, 2, 22050, channel=3)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("cut", [17, 1000, 48000])
def test_random_bits_are_one_loss_however_they_are_cut(cut: int) -> None:
    """Some look like samples, for a moment: a device that gives garbage is no thousand gaps."""
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2**32, (48000, 2), np.uint32).view(np.float32)
    sound = np.full((24000, 2), 0.25, np.float32)
    y = np.concatenate([sound, bits, sound])
    converter = Converter(48000, 2, 48000)
    blocks = [y[i : i + cut] for i in range(0, len(y), cut)]
    chunks = [chunk for block in blocks for chunk in converter.push(block)] + converter.flush()
    kinds = [isinstance(chunk, Lost) for chunk in chunks]
    assert sum(a != b for a, b in pairwise(kinds)) == 2  # sound, one loss, sound
    losses = [chunk.samples for chunk in chunks if isinstance(chunk, Lost)]
    assert sum(losses) == pytest.approx(48000, abs=50)
    heard = [chunk for chunk in chunks if not isinstance(chunk, Lost)]
    assert sum(losses) + sum(map(len, heard)) == len(y)


def test_sound_that_is_held_behind_a_damage_is_not_lost_at_the_end() -> None:
    y = np.full((1000, 1), 0.25, np.float32)
    y[900] = np.nan
    converter = Converter(48000, 1, 48000)
    chunks = [*converter.push(y), *converter.flush()]
    assert [c if isinstance(c, Lost) else len(c) for c in chunks] == [900, Lost(1), 99]
