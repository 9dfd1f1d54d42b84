"""The everyday labels: their table, what is true of a recording, how recordings are split."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otic.sinks.receivers.homeassistant import _icon
from otic_training.data.dataset import DatasetError
from otic_training.data.scenes import Placed
from otic_training.data.signals import SIGNALS, signal_of
from otic_training.data.sound_tables import ListedSound
from otic_training.everyday.figures import merged, precisions
from otic_training.everyday.head import QUIET, TEST, TRAIN, parts_of
from otic_training.everyday.labelling import (
    MADE,
    SIGNAL,
    Labelled,
    judge,
    read_labels,
    write_labels,
)
from otic_training.everyday.table import everyday_labels, groups_of, mapped
from otic_training.everyday.tagged import WINDOWS, group_of, spread_windows

TABLE = everyday_labels()
NAMES = [label.name for label in TABLE]
CLASSES = sorted({name for label in TABLE for name in label.classes})


def listed(label: str, kind: str = "household", recording: str = "", fold: str = "") -> ListedSound:
    return ListedSound(Path(f"{label}.ogg"), kind, label, recording, "CC0-1.0", fold=fold)


def test_each_label_can_be_shown_muted_and_learned() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 30
    for label in TABLE:
        assert label.words
        assert label.truths
        assert _icon(label.name) == f"mdi:{label.icon}", label.name
    groups = groups_of(TABLE)
    assert {"voices", "animals", "machines", "weather", "alarms"} <= set(groups)
    assert not set(groups) & set(NAMES)
    assert all(len(members) > 1 for members in groups.values())


def test_a_label_has_the_greatest_score_of_its_classes() -> None:
    dog, rain = (TABLE[NAMES.index(name)] for name in ("dog", "rain"))
    found = mapped(
        np.array([[0.1, 0.7, 0.2], [0.9, 0.0, 0.3]]), ("Bark", "Rain", "Dog"), (dog, rain)
    )
    np.testing.assert_allclose(found, [[0.2, 0.7], [0.9, 0.0]], atol=1e-6)
    with pytest.raises(DatasetError, match=r"no class of rain \(Rain, Raindrop"):
        mapped(np.zeros((1, 1)), ("Dog",), (rain,))


def test_a_recordings_own_label_is_truth() -> None:
    def truths(sound: ListedSound) -> list[str]:
        return [label.name for label in TABLE if label.is_truth_of(sound)]

    assert truths(listed("dog_bark")) == ["dog"]
    assert truths(listed("rain_thunder")) == ["rain", "thunder"]
    assert truths(listed("anything", "speech")) == ["speech"]
    assert truths(listed("running_water")) == ["running_water"]
    assert truths(listed("running_water", "environment")) == []
    assert {label for kind in SIGNALS for label in truths(listed(kind, SIGNAL))} == set(SIGNALS)


def test_table_and_teacher_are_weighed() -> None:
    """Truth outweighs the teacher, who is believed of some labels only and doubted below that."""
    truths, taught = np.array([True, False, False]), np.array([False, True, False])

    def of(truths: np.ndarray, *peaks: float) -> tuple[list[bool], list[bool], bool]:
        true, doubt, disagreed = judge(truths, np.array(peaks, np.float32), taught)
        return true.tolist(), doubt.tolist(), disagreed

    none = np.zeros(3, bool)
    assert of(truths, 0.1, 0.6, 0.6) == ([True, True, False], [False, False, True], False)
    assert of(truths, 0.1, 0.2, 0.2) == ([True, False, False], [False, False, False], False)
    assert of(none, 0.05, 0.2, 0.9) == ([False, False, False], [False, True, True], False)
    assert of(truths, 0.01, 0.0, 0.7)[2]
    assert not of(none, 0.01, 0.0, 0.7)[2]


def test_labels_are_written_and_read_and_disagreements_left_out(tmp_path: Path) -> None:
    def said(**peaks: float) -> np.ndarray:
        scores = np.zeros((2, len(CLASSES)), np.float32)
        for name, peak in peaks.items():
            scores[1, CLASSES.index(name)] = peak
        return scores

    sounds = [
        replace(listed("dog", "esc10", "123", "5"), author='Ann, "A"', source="here"),
        listed("box"),
        listed("rooster"),
        listed("siren", SIGNAL),
        listed("alarm", SIGNAL),
    ]
    scores = [
        said(Speech=0.8, Cat=0.4, Dog=0.1),
        said(Cat=0.4),
        said(Engine=0.6),
        said(Siren=0.05),
        said(Alarm=0.2),
    ]
    left_out = write_labels(tmp_path / "labels.csv", sounds, scores, CLASSES, TABLE)
    assert len(left_out) == 1
    assert left_out[0].startswith("rooster.ogg: rooster by its table; teacher: Engine 0.60, ")
    assert read_labels(tmp_path / "labels.csv") == [
        Labelled(sounds[0], ("speech", "dog"), ("cat",)),
        Labelled(sounds[1], (), ("cat",)),
        Labelled(sounds[4], ("alarm",), ()),
    ]


def test_a_recording_is_on_one_side_and_every_label_is_tested() -> None:
    labelled = [
        Labelled(listed(f"{name}{i}", recording=f"fs{i}{name}"), (name,), ())
        for name in ("wind", "cat")
        for i in range(12 if name == "wind" else 3)
        for _ in range(2)
    ]
    labelled += [
        Labelled(listed("d", "esc10", f"{fold}7", str(fold)), ("dog",), ()) for fold in (1, 5)
    ]
    labelled += [
        Labelled(listed("s", "speech", f"voice{i}", MADE), ("speech",), ()) for i in range(9)
    ]
    labelled += [Labelled(listed("x", recording="fs57"), (), ())]
    parts = parts_of(labelled)
    assert set(parts) == {group_of(each.sound) for each in labelled}

    def counts(label: str) -> tuple[int, ...]:
        groups = {group_of(each.sound) for each in labelled if label in each.true}
        return tuple(sum(parts[g] == part for g in groups) for part in (TEST, QUIET, TRAIN))

    assert counts("wind") == (4, 2, 6)
    assert counts("cat") == (1, 0, 2)
    assert counts("dog") == (1, 0, 1)
    assert counts("speech") == (0, 0, 9)
    assert parts["57"] == TEST  # fold 5's, by another name


def test_windows_are_spread_and_short_sounds_filled() -> None:
    np.testing.assert_array_equal(
        spread_windows(np.arange(3.0, dtype=np.float32), 5), [0, 1, 2, 0, 0]
    )
    spread = spread_windows(np.arange(101.0, dtype=np.float32), 10).reshape(-1, 10)
    assert len(spread) == WINDOWS
    np.testing.assert_array_equal(spread[:, 0], np.linspace(0, 91, WINDOWS).astype(int))


def test_pieces_of_a_label_are_one_event() -> None:
    sr = 22_050
    placed = [
        Placed(1, (), 5 * sr, 7 * sr, 3.0),
        Placed(0, (), 0, 2 * sr, 0.0),
        Placed(0, (), round(2.5 * sr), 4 * sr, 9.0),
        Placed(-1, (0,), 0, sr, 0.0),
        Placed(0, (), 6 * sr, 8 * sr, 9.0),
    ]
    found = [(t.label, t.onset, t.offset) for t in merged(placed, ["a", "b"])]
    assert found == [("a", 0.0, 4.0), ("a", 6.0, 8.0), ("b", 5.0, 7.0)]


def test_average_precision_leaves_out_what_nobody_knows() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.1, 0.4]], np.float32)
    true = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    counts = np.array([[1, 1], [0, 1], [1, 1], [1, 1]], bool)
    found = precisions(scores, true, counts)
    assert found[0] == pytest.approx(1.0)
    assert math.isnan(found[1])
    assert precisions(scores, true, np.ones_like(counts))[0] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("label", SIGNALS)
def test_signals_differ_and_are_sound(label: str) -> None:
    first, again, other = (signal_of(label, 8000, np.random.default_rng(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first).max() == pytest.approx(1.0)
    assert 0.3 * 8000 < len(first) < 12 * 8000
    assert len(first) != len(other) or not np.array_equal(first, other)
