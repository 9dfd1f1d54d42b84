"""Scenes are made by number; what is in them, and what nobody knows, is told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from otic_training.data.scenes import Mixer, Placed, Recipe, Scene, Sound, step_targets
from otic_training.data.sound_tables import sounds_of
from otic_training.data.sounds import negative_sounds, save_sounds, saved_sounds
from otic_training.data.synthetic import made

SR, N = 8000, 40_000
QUIET = Recipe(
    bed_share=0.0,
    synthetic_share=0.0,
    others=(1.0,),
    known=(0.0, 1.0),
    gain_db=(0.0, 0.0),
    colour_share=0.0,
    snr_db=(30.0, 30.0),
)


def tone(hz: float, seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * SR)) / SR
    return np.round(20_000 * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def bank() -> list[Sound]:
    return [
        Sound(tone(300, 9.0), "speech"),
        Sound(tone(500, 2.0), "machine", doubt=(1,)),
        Sound(tone(900, 0.7), "bell", 0),
        Sound(tone(1500, 3.0), "horn", 1),
    ]


def test_a_number_gives_the_same_scene_in_any_order() -> None:
    mixer = Mixer(bank(), SR, N, 3)
    first = [mixer.scene(i) for i in range(6)]
    again = [Mixer(bank(), SR, N, 3).scene(i) for i in reversed(range(6))][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.y, b.y)
        assert a.placed == b.placed
    assert not np.array_equal(first[0].y, first[1].y)
    assert not np.array_equal(first[0].y, Mixer(bank(), SR, N, 4).scene(0).y)


def test_samples_are_finite_and_below_full_scale() -> None:
    mixer = Mixer(bank(), SR, N, 0)
    for i in range(40):
        y = mixer.scene(i).y
        assert y.dtype == np.float32
        assert y.shape == (N,)
        assert np.isfinite(y).all()
        assert np.abs(y).max() <= 0.981


def test_a_sound_is_where_the_scene_says() -> None:
    mixer = Mixer(bank(), SR, N, 1, QUIET)
    for i in range(20):
        scene = mixer.scene(i)
        (sound,) = scene.placed
        inside = scene.y[sound.onset + 100 : sound.offset - 100]
        outside = np.concatenate([scene.y[: sound.onset], scene.y[sound.offset :]])
        assert np.mean(inside**2) > 100 * np.mean(outside**2)


def test_targets_weigh_nothing_where_nobody_knows() -> None:
    times = np.arange(20) * 0.32
    known = Placed(0, (), round(1.6 * SR), round(3.2 * SR), 10.0)
    doubtful = Placed(-1, (1,), round(4.85 * SR), round(5.1 * SR), 10.0)
    labels, weights = step_targets(Scene(np.zeros(0, "f4"), (known, doubtful)), times, SR, 2)
    on = np.flatnonzero(labels[:, 0])
    assert times[on[0]] == pytest.approx(1.92)  # 1.6 s is too early to know
    assert times[on[-1]] == pytest.approx(3.52)
    assert weights[on, 0].min() == 1.0
    assert weights[on[0] - 1, 0] == weights[on[-1] + 1, 0] == 0.0
    assert not labels[:, 1].any()
    assert np.flatnonzero(weights[:, 1] == 0).tolist() == [15, 16, 17, 18]
    assert weights[:3].min() == 1.0


def test_faint_sounds_weigh_less() -> None:
    times = np.arange(10) * 0.32
    faint = Placed(0, (), 0, 2 * SR, -3.0)
    labels, weights = step_targets(Scene(np.zeros(0, "f4"), (faint,)), times, SR, 1)
    assert set(weights[labels > 0]) == {np.float32(0.3)}


def test_a_bank_comes_back(tmp_path: Path) -> None:
    save_sounds(tmp_path / "bank.npy", bank())
    back = saved_sounds(tmp_path / "bank.npy")
    assert [(s.kind, s.label, s.doubt) for s in back] == [
        ("speech", -1, ()),
        ("machine", -1, (1,)),
        ("bell", 0, ()),
        ("horn", 1, ()),
    ]
    for a, b in zip(bank(), back, strict=True):
        np.testing.assert_array_equal(a.y, b.y)


def test_a_table_names_kinds_doubts_and_what_esc50_has(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        sf.write(tmp_path / f"{name}.wav", tone(400, 1.0), SR)
    (tmp_path / "clips.csv").write_text(
        "file,kind,recording,source,fold,may_contain\n"
        "a.wav,music,r1,somewhere,,rain:0.46;dog:0.1\n"
        "b.wav,animal,r2,ESC-50 (x),4,\n"
        "c.wav,animal,r3,somewhere,,\n"
    )
    labels = ("dog", "rain")
    listed = sounds_of([str(tmp_path)], ("recording", "source"))
    sounds = negative_sounds(listed, labels, SR)
    assert [(s.kind, s.label, s.doubt) for s in sounds] == [
        ("music", -1, (1,)),
        ("animal", -1, ()),
        ("animal", -1, ()),
    ]
    assert [sound.of_esc50 for sound in listed] == [False, True, False]


def test_made_sounds_are_many_and_sound() -> None:
    sounds = [made(SR, np.random.default_rng(i)) for i in range(60)]
    for y in sounds:
        assert y.dtype == np.float32
        assert np.isfinite(y).all()
        assert np.abs(y).max() == pytest.approx(1.0)
        assert 0.05 <= len(y) / SR <= 7.0
    assert len({len(y) for y in sounds}) > 50
    np.testing.assert_array_equal(sounds[7], made(SR, np.random.default_rng(7)))


def test_a_recipe_may_change_sounds_beyond_recognition() -> None:
    how = Recipe(made_share=0.5, strange_share=1.0, speed=1.9, speed_share=1.0)
    mixer = Mixer(bank(), SR, N, 2, how)
    for i in range(30):
        assert np.isfinite(mixer.scene(i).y).all()
    np.testing.assert_array_equal(mixer.scene(4).y, Mixer(bank(), SR, N, 2, how).scene(4).y)


def test_a_sound_of_two_labels_may_be_a_background_too() -> None:
    """Its labels are true while it sounds, as an event, among the others or behind them."""
    storm = Sound(tone(300, 9.0), "weather", 0, doubt=(2,), also=(1,))
    assert storm.labels == (0, 1)
    as_bed = replace(QUIET, bed_share=1.0, known=(1.0,), known_anywhere=True)
    placed = Mixer([storm], SR, N, 0, as_bed).scene(0).placed
    assert {p.label for p in placed} == {0, 1}
    assert {p.snr_db for p in placed} == {0.0}
    assert all(p.doubt == (2,) for p in placed)
    assert max(p.offset for p in placed) == N
    times = np.arange(0.5, 4.5, 0.5)
    labels, weights = step_targets(Mixer([storm], SR, N, 0, as_bed).scene(0), times, SR, 3)
    assert labels.tolist() == [[1.0, 1.0, 0.0]] * len(times)
    assert weights.tolist() == [[1.0, 1.0, 0.0]] * len(times)
    assert Mixer([storm], SR, N, 0, replace(as_bed, known_anywhere=False)).scene(0).placed == ()
    only_known = Mixer([storm], SR, N, 0, QUIET).scene(0).placed
    assert sorted(p.label for p in only_known) == [0, 1]
