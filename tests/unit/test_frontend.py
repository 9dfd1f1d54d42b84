"""The front end is librosa's on every window, and does not care how the stream is cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from otic import FeatureParams, Frontend
from otic.errors import ParameterError
from otic_training.data.dataset import Clip
from otic_training.data.layouts import load_dataset
from otic_training.data.windows import read_clip
from tests.support.helpers import F32, LIBROSA_DEFAULTS, SMALL, cut, noise

TOLERANCE = 5e-4


def librosa_mfcc(y: F32, p: FeatureParams) -> F32:
    """librosa's MFCCs of one window, [n_mfcc, window_frames]."""
    mfcc: F32 = librosa.feature.mfcc(
        y=y,
        sr=p.sr,
        n_mfcc=p.n_mfcc,
        n_fft=p.n_fft,
        hop_length=p.hop_length,
        n_mels=p.n_mels,
        fmin=p.fmin,
        fmax=p.fmax,
        center=p.center,
    )
    return mfcc


def librosa_features(y: F32, p: FeatureParams) -> F32:
    mfcc = librosa_mfcc(y, p).astype(np.float64)
    delta = np.diff(mfcc, axis=1)
    statistics = {
        "mean": lambda: mfcc.mean(axis=1),
        "std": lambda: mfcc.std(axis=1),
        "delta_mean": lambda: np.abs(delta).mean(axis=1),
        "delta_rms": lambda: np.sqrt((delta**2).mean(axis=1)),
    }
    return np.concatenate([statistics[name]() for name in p.statistics])


def sweep(n: int, sr: int) -> F32:
    """A loud tone over faint noise, then near silence: top_db clamps much of it."""
    t = np.arange(n) / sr
    y = 0.5 * np.sin(2 * np.pi * (200 + 300 * t) * t) + 1e-6 * noise(n)
    y[n // 2 :] *= 1e-3
    return y.astype(np.float32)


@pytest.mark.parametrize(
    "params",
    [
        LIBROSA_DEFAULTS,
        replace(LIBROSA_DEFAULTS, window_frames=169, statistics=("mean",)),
        replace(LIBROSA_DEFAULTS, statistics=("delta_rms", "mean")),
        replace(LIBROSA_DEFAULTS, n_fft=4096, hop_length=441),
        replace(LIBROSA_DEFAULTS, sr=16000, n_fft=512, hop_length=160, n_mels=64, fmax=8000.0),
        replace(SMALL, hop_length=300),  # hop_length > n_fft: samples between frames are unused
        replace(SMALL, hop_length=256),
        replace(SMALL, window_frames=1),
        replace(SMALL, hop_length=1),
    ],
    ids=lambda p: f"{p.sr}-{p.n_fft}-{p.hop_length}-{'+'.join(p.statistics)}",
)
@pytest.mark.parametrize("kind", ["noise", "sweep", "silence", "impulse"])
def test_features_are_librosas(params: FeatureParams, kind: str) -> None:
    n = params.window_samples
    y = {
        "noise": noise(n),
        "sweep": sweep(n, params.sr),
        "silence": np.zeros(n, np.float32),
        "impulse": np.eye(1, n, n // 3, dtype=np.float32)[0],
    }[kind]
    frontend = Frontend(params)
    frontend.push(noise(params.window_samples, seed=9))  # something to be pushed out of the ring
    frontend.reset()
    frontend.push(y)
    expected = librosa_features(y, params)
    np.testing.assert_allclose(frontend.features(), expected, rtol=0, atol=TOLERANCE)


def test_log_mel_is_librosas() -> None:
    p = LIBROSA_DEFAULTS
    y = noise(p.window_samples)
    frontend = Frontend(p)
    frontend.push(noise(5000))
    frontend.reset()
    frontend.push(y)
    mel = librosa.feature.melspectrogram(
        y=y, sr=p.sr, n_fft=p.n_fft, hop_length=p.hop_length, center=False
    )
    expected = librosa.power_to_db(mel, top_db=None).T
    np.testing.assert_allclose(frontend.log_mel(), expected, rtol=0, atol=1e-3)
    copy = frontend.log_mel()
    copy[:] = 0.0
    assert not (frontend.log_mel() == 0.0).all()


def one_clip_a_class(esc10: Path) -> list[Clip]:
    clips = load_dataset(str(esc10)).clips
    chosen = list({clip.label: clip for clip in clips if clip.fold == 1}.values())
    assert len(chosen) == 10
    return chosen


def mean_mfcc_errors(y: F32, p: FeatureParams, stops: Iterable[int]) -> list[float]:
    """Largest difference from librosa in the mean MFCCs of the windows that end at ``stops``."""
    frontend = Frontend(p)
    errors = []
    position = 0
    for stop in stops:
        frontend.push(y[position:stop])
        position = stop
        expected = librosa_mfcc(y[stop - p.window_samples : stop], p).mean(axis=1)
        errors.append(float(np.abs(frontend.features() - expected).max()))
    return errors


def test_every_window_of_ten_real_clips_is_librosas(esc10: Path) -> None:
    """Mean MFCC of every window, one hop apart, within 5e-4 of librosa."""
    p = replace(LIBROSA_DEFAULTS, statistics=("mean",))
    worst = 0.0
    for clip in one_clip_a_class(esc10):
        y = read_clip(clip, p.sr)
        stops = range(p.window_samples, len(y) + 1, p.hop_length)
        worst = max(worst, *mean_mfcc_errors(y, p, stops))
    print(f"largest difference from librosa in any mean MFCC: {worst:.2e}")
    assert worst <= TOLERANCE


def test_all_real_clips_are_librosas(esc10: Path) -> None:
    """Mean MFCC of a window of 2 s at the start, in the middle and at the end of every clip."""
    p = replace(LIBROSA_DEFAULTS, statistics=("mean",))
    errors = []
    for clip in load_dataset(str(esc10)).clips:
        y = read_clip(clip, p.sr)
        n_hops = (len(y) - p.window_samples) // p.hop_length
        stops = {p.window_samples + i * p.hop_length for i in (0, n_hops // 2, n_hops) if i >= 0}
        errors.append(max(mean_mfcc_errors(y, p, sorted(stops)), default=0.0))
    assert len(errors) == 400
    print(
        f"largest difference from librosa in any mean MFCC of {len(errors)} clips: "
        f"{max(errors):.2e}, in the median clip {np.median(errors):.2e}"
    )
    assert max(errors) <= TOLERANCE


CENTERED = replace(LIBROSA_DEFAULTS, center=True, window_frames=173, tail_samples=136)


@pytest.mark.parametrize(
    "params",
    [
        CENTERED,
        replace(CENTERED, statistics=("mean",)),
        replace(CENTERED, window_frames=20, tail_samples=511),
        replace(CENTERED, n_fft=4096, hop_length=441, window_frames=9, tail_samples=440),
        # Frames that reach over both edges, one frame alone, and gaps between the frames.
        replace(CENTERED, window_frames=3, tail_samples=0),
        replace(SMALL, center=True, window_frames=1, tail_samples=99),
        replace(SMALL, center=True, hop_length=700, window_frames=5, tail_samples=3),
        replace(SMALL, center=True, hop_length=256),
        replace(SMALL, center=True, hop_length=1, window_frames=300),
    ],
    ids=lambda p: f"{p.n_fft}-{p.hop_length}-{p.window_frames}-{p.tail_samples}",
)
@pytest.mark.parametrize("kind", ["noise", "sweep"])
@pytest.mark.filterwarnings("ignore:n_fft")
def test_centered_windows_are_librosas(params: FeatureParams, kind: str) -> None:
    """Window after window: from its first sample, a multiple of hop_length, to the last pushed."""
    n = params.window_samples
    # For five windows on, in steps of a third of one: the history goes round and round.
    step = -(-params.window_frames // 3) * params.hop_length
    stops = [n, n + params.hop_length, *range(n + 2 * params.hop_length, n + 5 * n + step, step)]
    y = noise(stops[-1]) if kind == "noise" else sweep(stops[-1], params.sr)
    frontend = Frontend(params)
    position = 0
    for stop in stops:
        frontend.push(y[position:stop])
        position = stop
        expected = librosa_features(y[stop - n : stop], params)
        np.testing.assert_allclose(frontend.features(), expected, rtol=0, atol=TOLERANCE)
        assert frontend.log_mel().shape == (params.window_frames, params.n_mels)


def test_a_centered_window_ends_with_the_last_sample() -> None:
    """Also off the grid: it has window_frames frames and begins at a multiple of hop_length."""
    p = replace(CENTERED, tail_samples=0, statistics=("mean",))
    y = noise(150_000)
    frontend = Frontend(p)
    position = 0
    for stop in (88_200, 100_000, 100_001, 149_999):
        frontend.push(y[position:stop])
        position = stop
        window = y[(stop // 512 - 172) * 512 : stop]
        expected = librosa.feature.mfcc(y=window, sr=p.sr, n_mfcc=40).mean(axis=1)
        np.testing.assert_allclose(frontend.features(), expected, rtol=0, atol=TOLERANCE)


def test_centered_windows_of_real_clips_are_librosas(esc10: Path) -> None:
    """The first 4 s of a clip of each class, with librosa's defaults throughout."""
    p = replace(CENTERED, statistics=("mean",))
    worst = 0.0
    for clip in one_clip_a_class(esc10):
        y = read_clip(clip, p.sr)[: p.window_samples]
        frontend = Frontend(p)
        frontend.push(y)
        expected = librosa.feature.mfcc(y=y, sr=p.sr, n_mfcc=40).mean(axis=1)
        worst = max(worst, float(np.abs(frontend.features() - expected).max()))
    print(f"largest difference from librosa's defaults in any mean MFCC: {worst:.2e}")
    assert worst <= TOLERANCE


sizes = st.lists(st.integers(1, 900), min_size=1, max_size=20)


@given(sizes=sizes, hop_length=st.sampled_from([1, 100, 255, 256, 257, 700]), center=st.booleans())
@settings(max_examples=100)
def test_any_cutting_gives_the_same_bits(sizes: list[int], hop_length: int, center: bool) -> None:
    params = replace(
        SMALL,
        hop_length=hop_length,
        statistics=("mean", "std", "delta_mean", "delta_rms"),
        center=center,
    )
    y = noise(params.window_samples + 5 * hop_length + 17)
    whole, parts = Frontend(params), Frontend(params)
    n_whole = whole.push(y)
    n_parts = sum(parts.push(block) for block in cut(y, sizes))
    assert n_whole == n_parts == whole.n_frames
    np.testing.assert_array_equal(whole.log_mel(), parts.log_mel())
    np.testing.assert_array_equal(whole.features(), parts.features())


@given(
    sizes=sizes,
    hop_length=st.sampled_from([1, 100, 256, 700]),
    window=st.integers(300, 3000),
    center=st.booleans(),
    hops=st.integers(0, 40),
)
@settings(max_examples=100)
def test_a_waveform_window_is_the_samples(
    sizes: list[int], hop_length: int, window: int, center: bool, hops: int
) -> None:
    """Bit for bit, at each inference, however the stream is cut; any length with ``center``."""
    params = replace(
        SMALL,
        hop_length=hop_length,
        center=center,
        window_frames=1 + (window if center else window - SMALL.n_fft) // hop_length,
        tail_samples=window % hop_length if center else 0,
        statistics=("waveform",),
    )
    n = params.window_samples
    assert not center or n == window == params.n_features
    y = noise(n + hops * hop_length)
    frontend = Frontend(params)
    position = 0
    for stop in range(n, len(y) + 1, hop_length * max(1, hops // 3)):
        for block in cut(y[position:stop], sizes):
            frontend.push(block)
        position = stop
        assert frontend.ready
        np.testing.assert_array_equal(frontend.features(), y[stop - n : stop])
    frontend.reset()
    assert not frontend.ready
    frontend.push(y)
    features = frontend.features()
    frontend.push(np.zeros(5000, np.float32))
    np.testing.assert_array_equal(features, y[len(y) - n :])  # a copy


def test_a_waveform_off_the_grid() -> None:
    """Without ``center`` it ends with the last complete frame, with it with the last sample."""
    y = noise(SMALL.window_samples + 3 * SMALL.hop_length + 37)
    for center, stop in ((False, len(y) - 37), (True, len(y))):
        p = replace(SMALL, center=center, statistics=("waveform",))
        frontend = Frontend(p)
        frontend.push(y)
        np.testing.assert_array_equal(frontend.features(), y[stop - p.window_samples : stop])


@pytest.mark.parametrize("center", [True, False])
def test_mfcc_frames_are_librosas(center: bool) -> None:
    """Of a window in a stream; alone and between others, each in its place."""
    p = replace(CENTERED, center=center, tail_samples=0, window_frames=40, statistics=("mfcc",))
    y = noise(p.window_samples + 3 * p.hop_length, level=0.01)
    y[: len(y) // 2] = sweep(len(y), p.sr)[: len(y) // 2]
    window = y[3 * p.hop_length :]
    expected = librosa_mfcc(window, p).T.ravel()
    several = replace(p, statistics=("mean", "mfcc", "waveform", "log_mel", "std"))
    for params in (p, several):
        frontend = Frontend(params)
        frontend.push(y)
        features = frontend.features()
        parts = np.split(features, np.cumsum([params.width(s) for s in params.statistics])[:-1])
        named = dict(zip(params.statistics, parts, strict=True))
        np.testing.assert_allclose(named["mfcc"], expected, rtol=0, atol=5e-3)
    np.testing.assert_array_equal(named["waveform"], window)
    averages = replace(p, statistics=("mean", "std"))
    both = np.concatenate([named["mean"], named["std"]])
    np.testing.assert_allclose(both, librosa_features(window, averages), rtol=0, atol=TOLERANCE)
    floor = frontend.log_mel().max() - p.top_db
    np.testing.assert_array_equal(named["log_mel"], frontend.log_mel().ravel().clip(floor))


def test_a_long_stream_equals_a_fresh_front_end() -> None:
    y = noise(200 * SMALL.hop_length + SMALL.n_fft)
    long, fresh = Frontend(SMALL), Frontend(SMALL)
    long.push(y)
    fresh.push(y[-SMALL.window_samples :])
    np.testing.assert_array_equal(long.features(), fresh.features())


def test_reset_forgets() -> None:
    y = noise(SMALL.window_samples)
    used, fresh = Frontend(SMALL), Frontend(SMALL)
    used.push(noise(1234, seed=5))
    used.reset()
    assert not used.ready
    assert used.n_frames == 0
    used.push(y)
    fresh.push(y)
    np.testing.assert_array_equal(used.features(), fresh.features())


def test_ready_and_what_push_takes() -> None:
    frontend = Frontend(SMALL)
    assert frontend.push(np.zeros(0, np.float32)) == 0
    assert frontend.push(np.zeros(SMALL.window_samples - 1, np.float32)) == SMALL.window_frames - 1
    assert not frontend.ready
    with pytest.raises(ParameterError, match="6 of 7 frames"):
        frontend.features()
    with pytest.raises(ParameterError, match="6 of 7 frames"):
        frontend.log_mel()
    assert frontend.push([0.0]) == 1
    assert frontend.ready
    assert frontend.features().dtype == np.float32
    assert frontend.features().shape == (SMALL.n_features,)
    with pytest.raises(ParameterError, match=r"shape \(3, 2\)"):
        frontend.push(np.zeros((3, 2), np.float32))
    for nothing in (None, 1.0, "noise", [[1.0], [1.0, 2.0]], np.zeros(3, complex)):
        with pytest.raises(ParameterError, match="y "):
            frontend.push(nothing)
    # Other dtypes and strides are converted, not misread.
    y = noise(2 * SMALL.window_samples).astype(np.float64)[::2]
    one, other = Frontend(SMALL), Frontend(SMALL)
    one.push(y)
    other.push(y.astype(np.float32))
    np.testing.assert_array_equal(one.features(), other.features())


def test_steady_state_does_not_allocate() -> None:
    """Not a byte that stays, nor one that is given back at once, in a thousand hops."""
    frontend = Frontend(LIBROSA_DEFAULTS)
    block = noise(512)

    def push_a_thousand() -> None:
        push = frontend.push
        for _ in range(1000):
            push(block)

    push_a_thousand()
    tracemalloc.start()
    try:
        push_a_thousand()
        grown, peaks = [], []
        for _ in range(5):  # other threads of this process may allocate in one of them
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]  # only this is kept: it takes its own place
            push_a_thousand()
            after, peak = tracemalloc.get_traced_memory()
            grown.append(after - before)
            peaks.append(peak - before)
    finally:
        tracemalloc.stop()
    # The peak holds the function's own frame and loop; a single hop of float32 has 2 kB.
    assert min(grown) <= 0
    assert min(peaks) < 512


def test_resampled_input_is_what_training_sees() -> None:
    """soxr in one shot and the front end agree on length: nothing is padded or dropped."""
    y = soxr.resample(noise(48000 * 3), 48000, 22050)
    frontend = Frontend(LIBROSA_DEFAULTS)
    expected = (len(y) - LIBROSA_DEFAULTS.n_fft) // LIBROSA_DEFAULTS.hop_length + 1
    assert frontend.push(y) == expected
