"""Levels: against the standards' tables, scipy's filters, and themselves in other blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt

from otic import Pipeline
from otic.errors import ParameterError
from otic.features.level import LevelMeter, LevelParams, a_weighting, band_frequencies
from otic.types import Event, Gap, Item, Level, Scores
from tests.support.helpers import F32, FakeClassifier, cut, noise, small_bundle

# IEC 61672-1:2013, table 3; the frequencies are exact third octaves.
A_WEIGHTING = {
    "25": -44.7, "31.5": -39.4, "40": -34.6, "50": -30.2, "63": -26.2, "80": -22.5, "100": -19.1,
    "125": -16.1, "160": -13.4, "200": -10.9, "250": -8.6, "315": -6.6, "400": -4.8, "500": -3.2,
    "630": -1.9, "800": -0.8, "1000": 0.0, "1250": 0.6, "1600": 1.0, "2000": 1.2, "2500": 1.3,
    "3150": 1.2, "4000": 1.0, "5000": 0.5, "6300": -0.1, "8000": -1.1, "10000": -2.5,
    "12500": -4.3, "16000": -6.6, "20000": -9.3,
}  # fmt: skip
# IEC 61260-1:2014, table 1, class 1: the least attenuation at this ratio to the middle, and at its
# inverse, in dB; at the middle it is at most 0.4.
LEAST_ATTENUATION = {1.29437: 16.6, 1.88173: 40.5, 3.05365: 60.0, 5.39195: 70.0}


def tone(hz: float, sr: int, seconds: float = 4.0, rms_db: float = -20.0) -> F32:
    amplitude = np.sqrt(2.0) * 10.0 ** (rms_db / 20.0)
    time = np.arange(round(seconds * sr)) / sr
    y: F32 = (amplitude * np.sin(2.0 * np.pi * hz * time)).astype(np.float32)
    return y


def measure(y: F32, sr: int, params: LevelParams | None = None) -> Level:
    meter = LevelMeter(sr, params)
    (level,) = [*meter.push(y), *meter.flush()]
    return level


def test_a_weighting_is_the_standards() -> None:
    bands = band_frequencies(48000)
    assert list(bands) == list(A_WEIGHTING)
    found = 10.0 * np.log10(a_weighting(np.array(list(bands.values()))))
    np.testing.assert_allclose(found, list(A_WEIGHTING.values()), atol=0.06)


@pytest.mark.parametrize("sr", [8000, 22050, 48000])
def test_a_tone_has_its_level_in_its_band_and_weighted(sr: int) -> None:
    for name, hz in band_frequencies(sr).items():
        level = measure(tone(hz, sr), sr)
        assert level.bands[name] == pytest.approx(-20.0, abs=0.02)
        assert level.laeq == pytest.approx(-20.0 + A_WEIGHTING[name], abs=0.12)
        if hz > 60.0:  # they are from short frames, in which lower tones are blurred
            assert level.l50 == pytest.approx(-20.0 + A_WEIGHTING[name], abs=0.35)


def test_1_khz_at_minus_20_dbfs() -> None:
    level = measure(tone(1000.0, 22050, seconds=60.0), 22050)
    assert (level.sample, level.time, level.seconds) == (60 * 22050, 60.0, 60.0)
    assert [level.laeq, level.l10, level.l50, level.l90] == pytest.approx([-20.0] * 4, abs=0.01)
    assert level.bands["1000"] == pytest.approx(-20.0, abs=0.01)
    assert level.peak == pytest.approx(-20.0 + 3.01, abs=0.01)
    assert not level.calibrated


def test_calibration_is_added() -> None:
    y = tone(1000.0, 22050)
    level = measure(y, 22050, LevelParams(calibration_db=114.0))
    assert level.calibrated
    assert level.laeq == pytest.approx(94.0, abs=0.01)
    assert level.peak == pytest.approx(97.01, abs=0.01)
    assert level.record()["bands"]["1000"] == pytest.approx(94.0, abs=0.01)


def test_pink_noise_has_the_same_level_in_each_band() -> None:
    sr, rng = 22050, np.random.default_rng(1)
    n = 60 * sr
    f = np.fft.rfftfreq(n, 1.0 / sr)
    spectrum = np.zeros(len(f), complex)
    spectrum[1:] = np.exp(2j * np.pi * rng.random(len(f) - 1)) / np.sqrt(f[1:])
    y = np.fft.irfft(spectrum, n)
    y = (0.05 * y / y.std()).astype(np.float32)
    bands = measure(y, sr).bands
    power = 2.0 * np.abs(spectrum) ** 2
    in_a_band = power[(f >= 1000.0 * 10.0**-0.05) & (f < 1000.0 * 10.0**0.05)].sum() / power.sum()
    expected = 10.0 * np.log10(in_a_band * np.mean(y.astype(float) ** 2))
    np.testing.assert_allclose(list(bands.values()), expected, atol=0.5)


@pytest.mark.parametrize(
    ("sr", "name"), [(16000, "25"), (22050, "315"), (22050, "400"), (48000, "1000")]
)
def test_a_band_takes_its_own_and_leaves_the_rest(sr: int, name: str) -> None:
    middle = band_frequencies(sr)[name]
    for ratio, least in LEAST_ATTENUATION.items():
        for hz in (middle * ratio, middle / ratio):
            if 3.0 < hz < sr / 2:
                assert measure(tone(hz, sr), sr).bands[name] < -20.0 - least, (hz, least)
    for edge in (10.0**0.05, 10.0**-0.05):
        assert measure(tone(middle * edge, sr), sr).bands[name] == pytest.approx(-23.0, abs=0.7)
    for inside in (10.0**0.025, 10.0**-0.025):
        assert measure(tone(middle * inside, sr), sr).bands[name] == pytest.approx(-20.0, abs=0.4)


def test_bands_are_those_of_filters_in_the_time_domain() -> None:
    sr = 22050
    y = noise(60 * sr, seed=3)
    y *= (1.0 + np.sin(np.arange(len(y)) / 40_000.0)).astype(np.float32)
    bands = measure(y, sr).bands
    for name, middle in band_frequencies(sr).items():
        edges = [middle * 10.0**-0.05, middle * 10.0**0.05]
        filtered = sosfilt(butter(6, edges, "bandpass", fs=sr, output="sos"), y)
        expected = 10.0 * np.log10(np.mean(filtered**2))
        slack = 0.3 if middle < 100.0 else 0.15  # what is random has other values at the edges
        assert bands[name] == pytest.approx(expected, abs=slack), name


def test_percentiles_are_of_the_time() -> None:
    sr = 16000
    parts = [tone(1000.0, sr, 15.0, db) for db in (-60.0, -50.0, -40.0, -30.0)]
    level = measure(np.concatenate(parts), sr)
    assert [level.l90, level.l50, level.l10] == pytest.approx([-60.0, -45.0, -30.0], abs=5.1)
    assert level.l90 == pytest.approx(-60.0, abs=0.1)
    assert level.l10 == pytest.approx(-30.0, abs=0.1)
    mean = 10.0 * np.log10(np.mean([10.0 ** (db / 10.0) for db in (-60, -50, -40, -30)]))
    assert level.laeq == pytest.approx(mean, abs=0.1)


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=8), lost=st.integers(0, 900_000))
def test_any_cutting_gives_the_same(sizes: list[int], lost: int) -> None:
    y = noise(70 * 8000, seed=5)
    found = []
    for pieces in ([y], cut(y, sizes)):
        meter = LevelMeter(8000)
        levels = [level for piece in pieces for level in meter.push(piece)]
        if lost:
            levels += meter.lose(lost // 3) + meter.lose(lost - lost // 3)
        levels += [level for piece in pieces for level in meter.push(piece)]
        found.append(levels + meter.flush())
    assert found[0] == found[1]
    assert found[0][0].sample == 60 * 8000


def test_what_is_lost_is_not_heard() -> None:
    sr = 8000
    meter = LevelMeter(sr)
    assert meter.push(tone(1000.0, sr, 20.0)) == []
    assert meter.lose(30 * sr) == []
    (first,) = meter.push(tone(1000.0, sr, 15.0))
    assert (first.time, first.seconds) == (60.0, 30.0)
    assert first.laeq == pytest.approx(-20.0, abs=0.02)
    (second,) = meter.lose(200 * sr)  # what the gap began in; minutes of which nothing was heard
    assert (second.time, second.seconds) == (120.0, 5.0)
    assert meter.push(tone(1000.0, sr, 1.0)) == []
    assert meter.flush() == []  # not even one of the long frames
    meter.reset()
    assert [level.time for level in meter.push(tone(1000.0, sr, 60.0))] == [60.0]


def test_silence() -> None:
    level = measure(np.zeros(10 * 8000, np.float32), 8000)
    assert {level.laeq, level.l90, level.peak, *level.bands.values()} == {-120.0}


def test_a_rate_that_is_too_low() -> None:
    with pytest.raises(ParameterError, match="2000 Hz can't measure levels: 4000 Hz are needed"):
        LevelMeter(2000)


def pipeline(**params: float) -> Pipeline:
    bundle = small_bundle(labels=("a", "b", "c"), inference_hop_frames=80)
    return Pipeline(bundle, FakeClassifier(), level=LevelParams(**params))


def bursts() -> F32:
    y = tone(1000.0, 8000, 65.0, -60.0)
    y[80_000:96_000] *= np.float32(100.0)  # from 10 to 12 s: -20 dB
    y[480_000:500_000] *= np.float32(100.0)  # from 60 s on
    return y


@pytest.mark.parametrize("sizes", [[1000], [7, 480_000, 1, 333], [80_000]])
def test_a_pipeline_gives_levels_in_time_order_at_any_block_size(sizes: list[int]) -> None:
    def run(pieces: list[F32]) -> list[Item]:
        pipe = pipeline(loud_db=-30.0)
        items = [item for piece in pieces for item in pipe.process(piece)]
        items += pipe.lose(30_000)
        items += [item for piece in pieces for item in pipe.process(piece)]
        return items + pipe.flush()

    items = run(cut(bursts(), sizes))
    assert items == run([bursts()])
    times = [item.time for item in items if not isinstance(item, Gap)]
    assert times == sorted(times)
    assert [i.time for i in items if isinstance(i, Level)] == [60.0, 120.0, 133.75]
    loud = [i for i in items if isinstance(i, Event) and i.label == "loud"]
    assert [e.state for e in loud] == ["on", "off"] * 4
    assert loud[0].onset == pytest.approx(10.0, abs=0.1)
    assert loud[1].offset == pytest.approx(12.2, abs=0.3)  # F falls by 35 dB a second
    assert loud[1].time - (loud[1].offset or 0.0) == pytest.approx(1.0, abs=0.1)
    assert loud[1].peak == 1.0
    assert any(isinstance(i, Scores) for i in items)


def loud_events(y: F32, **params: float) -> list[Event]:
    items = pipeline(**params).process(y)
    return [i for i in items if isinstance(i, Event) and i.label == "loud"]


def test_loud_is_by_the_calibrated_level_and_ends_with_the_audio() -> None:
    y = bursts()[:90_000]
    assert loud_events(y) == []
    assert loud_events(y, calibration_db=100.0, loud_db=81.0) == []
    pipe = pipeline(calibration_db=100.0, loud_db=79.0)
    (on,) = (i for i in pipe.process(y) if isinstance(i, Event) and i.label == "loud")
    assert on.state == "on"
    assert on.score == pytest.approx(0.5, abs=0.06)
    (off,) = (i for i in pipe.lose(10) if isinstance(i, Event) and i.label == "loud")
    assert (off.state, off.offset, off.time) == ("off", pytest.approx(11.2, abs=0.1), 11.25)


def test_a_model_may_have_the_label() -> None:
    Pipeline(small_bundle(), FakeClassifier(), level=LevelParams())
    with pytest.raises(ParameterError, match="'loud' of its own"):
        Pipeline(small_bundle(), FakeClassifier(), level=LevelParams(loud_db=1.0))
