"""Drawn windows are those of the live path, changed as asked, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from otic import Frontend
from otic_training.data.augmentation import DrawnWindows, fitted, mixed
from otic_training.data.backgrounds import (
    Backgrounds,
    background,
    background_features,
    hum,
    level,
    shaped,
)
from otic_training.data.backgrounds import noise as coloured
from otic_training.networks.presets import Augmentation
from otic_training.networks.teacher import DistillationTarget, centres_of, distillation_targets
from tests.support.helpers import F32, SMALL, noise

P = replace(SMALL, statistics=("log_mel",))
PLAIN = Augmentation(
    views=2,
    speed=1.0,
    speed_share=0.0,
    mix_share=0.0,
    gain_db=0.0,
    equaliser_db=0.0,
    negative_share=0.4,
    late_share=0.0,
    noise_share=0.0,
    snr_db=(0.0, 20.0),
)
ALL = replace(
    PLAIN,
    views=1,
    speed=1.25,
    speed_share=0.8,
    mix_share=0.7,
    gain_db=10.0,
    equaliser_db=4.0,
    late_share=0.3,
    noise_share=0.5,
)


def around(others: tuple[F32, ...] = ()) -> Backgrounds:
    return Backgrounds(P.window_samples, P.sr, -20.0, others, np.random.default_rng(3))


def clips(n: int = 6, seconds: float = 1.0) -> list[F32]:
    return [noise(round(P.sr * seconds), seed, 0.1) for seed in range(n)]


def drawn(how: Augmentation, none_share: float = 0.0, taught: bool = False) -> DrawnWindows:
    rng = np.random.default_rng(9)
    lesson = [
        DistillationTarget(
            rng.random((5, 4)).astype(np.float32), np.eye(4, dtype=np.float32)[[i % 3] * 5]
        )
        for i in range(6)
    ]
    target = np.arange(6) % 3
    return DrawnWindows(
        clips(), target, 4, P, how, none_share, around(), lesson if taught else [], 0.5
    )


def test_without_changes_they_are_the_front_ends() -> None:
    ys = [noise(P.window_samples, seed, 0.1) for seed in range(6)]  # one place for a window each
    windows = DrawnWindows(ys, np.arange(6) % 3, 4, P, PLAIN, 0.0, around(), [], 0.0)
    rng = np.random.default_rng(0)
    assert len(windows) == 12
    order = windows.order(rng)
    assert sorted(order.tolist()) == sorted(list(range(6)) * 2)
    batch = windows.batch(order, rng)
    for x, y, clip in zip(batch.x, batch.y, order, strict=True):
        assert y.tolist() == np.eye(4)[clip % 3].tolist()
        frontend = Frontend(P)
        frontend.push(ys[clip])
        np.testing.assert_array_equal(x, frontend.features())


def test_the_same_seed_draws_the_same() -> None:
    first, second = (
        drawn(ALL, 0.2, taught=True).batch(np.arange(6), np.random.default_rng(4)) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_targets_are_probabilities_and_background_is_none() -> None:
    rng = np.random.default_rng(1)
    batch = drawn(ALL, 0.3, taught=True).batch(np.tile(np.arange(6), 20), rng)
    np.testing.assert_allclose(batch.y.sum(axis=1), 1.0, atol=1e-5)
    none = batch.y[:, -1] == 1.0
    assert 0.15 < none.mean() < 0.45
    np.testing.assert_array_equal(batch.known, np.where(none, 0.0, 1.0))
    assert not batch.distilled[none].any()
    assert batch.distilled[~none].any()
    assert np.isfinite(batch.x).all()
    assert (batch.x.max(axis=1) - batch.x.min(axis=1) <= P.top_db + 1e-3).all()


def test_a_mixture_holds_as_much_of_each_as_it_says() -> None:
    loud, soft = noise(8000, 1, 0.5), noise(8000, 2, 0.005)
    half = mixed(loud, soft, 0.5)
    # Of two sounds that are alike but for their level, one hears the same of each.
    powers = [float(np.dot(half, y) / np.dot(y, y)) * np.sqrt(np.mean(y**2)) for y in (loud, soft)]
    assert powers[0] == pytest.approx(powers[1], rel=0.15)
    np.testing.assert_allclose(mixed(loud, soft, 1.0), loud, rtol=1e-3, atol=1e-6)
    silence = np.zeros(8000, np.float32)
    assert np.isfinite(mixed(loud, silence, 0.3)).all()
    assert np.isfinite(mixed(silence, silence, 0.3)).all()


def test_windows_are_drawn_from_the_sound() -> None:
    """A short sound in silence is in every window that is drawn."""
    y = np.zeros(P.sr, np.float32)
    y[5000:5200] = noise(200, 1, 0.3)
    how = replace(ALL, noise_share=0.0)
    windows = DrawnWindows([y, y], np.array([0, 1]), 3, P, how, 0.0, around(), [], 0.0)
    batch = windows.batch(np.array([0, 1] * 10), np.random.default_rng(2))
    assert (batch.x.max(axis=1) > -60.0).all()


def test_a_sound_that_has_only_begun_ends_the_window() -> None:
    y = noise(100)
    assert len(fitted(y, 101)) == 101
    np.testing.assert_array_equal(fitted(y, 99), y[-99:])
    long = replace(P, window_frames=80)
    clip = np.zeros(4 * P.sr, np.float32)
    clip[9000:20000] = noise(11000, 1, 0.3)
    how = replace(PLAIN, late_share=1.0)
    windows = DrawnWindows([clip] * 2, np.array([0, 1]), 3, long, how, 0.0, around(), [], 0.0)
    batch = windows.batch(np.zeros(40, int), np.random.default_rng(2))
    frames = batch.x.reshape(40, long.window_frames, P.n_mels)
    loud = frames.max(axis=2) > -60.0
    assert loud[:, -1].all()
    # Once it has begun it does not end, and it begins at different places.
    assert (np.diff(loud.astype(int), axis=1) >= 0).all()
    assert len(set(loud.sum(axis=1).tolist())) > 1


def test_noise_beside_a_sound_is_as_soft_as_it_says() -> None:
    tone = np.sin(np.arange(4 * P.sr) * 0.3).astype(np.float32) * 0.1
    how = replace(PLAIN, noise_share=1.0, snr_db=(30.0, 30.0))
    steady = Backgrounds(P.window_samples, P.sr, -20.0, (), np.random.default_rng(3))
    windows = DrawnWindows([tone], np.array([0]), 2, P, how, 0.0, steady, [], 0.0)
    rng = np.random.default_rng(1)
    for _ in range(10):
        window, _, _ = windows._window(0, rng)
        t = np.arange(len(window)) * 0.3
        basis = np.stack([np.sin(t), np.cos(t)])
        gain = np.linalg.lstsq(basis.T, window, rcond=None)[0]
        left = window - gain @ basis
        snr_db = 10 * np.log10(np.mean((gain @ basis) ** 2) / np.mean(left**2))
        assert snr_db == pytest.approx(30.0, abs=6.0)  # of the loudest frames, not of all


def test_sounds_without_a_label_are_none_of_the_labels() -> None:
    ys = clips(8)
    target = np.array([0, 1, 2, 0, 1, 2, 3, 3])
    windows = DrawnWindows(ys, target, 4, P, PLAIN, 0.1, around(tuple(ys[6:])), [], 0.0)
    order = windows.order(np.random.default_rng(0))
    assert len(order) == len(windows) == 20  # two views of six, and 40 % of others
    assert np.isin(order, (6, 7)).sum() == 8
    batch = windows.batch(np.array([6, 7, 6, 7]), np.random.default_rng(0))
    np.testing.assert_array_equal(batch.y[:, 3], 1.0)


def test_backgrounds_are_silent_faint_or_loud_and_hold_what_they_are_given() -> None:
    rng = np.random.default_rng(0)
    tick = np.zeros(300, np.float32)
    tick[100] = 1.0
    backgrounds = around((tick, np.zeros(500, np.float32)))
    windows = [backgrounds.alone(rng) for _ in range(200)]
    loudest = [level(y) for y in windows]
    assert all(len(y) == P.window_samples for y in windows)
    assert 0.03 < np.mean(np.array(loudest) == 0.0) < 0.25
    assert max(loudest) <= 2.0 * 10 ** (-20 / 20)  # two things at once
    assert level(backgrounds.beside(rng)) == pytest.approx(1.0, rel=1e-3)
    sparse = [np.count_nonzero(backgrounds.beside(rng)) == 1 for _ in range(100)]
    assert 30 < sum(sparse) < 90  # the tick, somewhere in silence


def test_background_is_silent_faint_or_loud() -> None:
    rng = np.random.default_rng(0)
    rms = [float(np.sqrt(np.mean(background(4000, 8000, -20.0, rng) ** 2))) for _ in range(200)]
    assert 0.05 < np.mean(np.array(rms) == 0.0) < 0.3
    assert max(rms) <= 10 ** (-20 / 20) + 1e-6
    for y in (coloured(4000, 8000, rng), shaped(4000, 8000, rng), hum(4000, 8000, rng)):
        assert float(np.mean(y**2)) == pytest.approx(1.0, rel=1e-3)
    assert background_features(SMALL, 3, -20.0, rng).shape == (3, SMALL.n_features)
    assert background_features(SMALL, 0, -20.0, rng).shape == (0, SMALL.n_features)


def test_distillation_targets_come_from_other_folds_only() -> None:
    """The probabilities of a clip do not change with its own label."""
    rng = np.random.default_rng(5)
    target, fold = np.arange(24) % 2, np.arange(24) // 8
    heard = [rng.random((6, 80)).astype(np.float32) + target[i] * 0.2 for i in range(24)]
    before = distillation_targets(heard, target, fold, 3)
    changed = target.copy()
    changed[0] = 1 - changed[0]
    after = distillation_targets(heard, changed, fold, 3)
    np.testing.assert_array_equal(before[0].probabilities, after[0].probabilities)
    assert np.abs(before[-1].probabilities - after[-1].probabilities).max() > 0.0
    assert before[0].components.shape == (6, 64)
    assert np.all(before[0].probabilities[:, 2] == 0.0)
    one_fold = distillation_targets(heard, target, np.ones(24, int), 3)
    assert one_fold[1].probabilities.tolist() == [[0.0, 1.0, 0.0]] * 6
    assert centres_of(2)[1] - centres_of(2)[0] == pytest.approx(0.24)
