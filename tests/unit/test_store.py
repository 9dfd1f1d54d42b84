"""What is kept comes back, and damage is as if nothing was kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otic_training.data.cache import STORE_VARIABLE, Store, default_store, key_of
from otic_training.data.layouts import load_dataset
from otic_training.data.negatives import NEGATIVE_FOLD, NEGATIVE_LABEL
from otic_training.experiment import Experiment
from otic_training.fitting.prepare import prepare
from otic_training.networks.presets import preset
from tests.support.helpers import noise, write_dataset

SR = 22050


def test_arrays_come_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    key = key_of(b"content", ("a", 1))
    assert store.load(key) is None
    store.save(key, {"x": np.arange(3, dtype=np.float32)})
    found = store.load(key)
    assert found is not None
    np.testing.assert_array_equal(found["x"], [0.0, 1.0, 2.0])
    assert [p.name for p in (tmp_path / "new").iterdir()] == [f"{key}.npz"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_damage_is_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k.npz").write_bytes(content)
    assert Store(tmp_path).load("k") is None


def test_keys_tell_parts_apart() -> None:
    assert key_of(b"ab", b"c") != key_of(b"a", b"bc")
    assert key_of("1") != key_of(1)
    assert key_of(b"a", 1) == key_of(b"a", 1)


def test_where_nothing_can_be_kept_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "below")
    store.save("k", {"x": np.zeros(1)})
    assert store.load("k") is None
    Store(None).save("k", {"x": np.zeros(1)})
    assert Store(None).load("k") is None


def test_the_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in [(STORE_VARIABLE, str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path))]:
        monkeypatch.delenv(STORE_VARIABLE, raising=False)
        monkeypatch.setenv(name, value)
        default_store().save("k", {"x": np.zeros(1)})
    assert (tmp_path / "k.npz").is_file()
    assert (tmp_path / "otic" / "training" / "k.npz").is_file()
    monkeypatch.setenv(STORE_VARIABLE, "off")
    assert default_store().load("k") is None


def test_a_file_is_kept_apart_as_another_sound_and_as_a_labelled_one(tmp_path: Path) -> None:
    """As another sound it is cut to what is active and given room; labelled it is as it is."""
    y = np.zeros(SR * 5, np.float32)
    y[SR : SR * 3] = noise(SR * 2, 1, 0.1)
    rows = [(f"{i}.wav", i % 2 + 1, "ab"[i // 2], y + noise(len(y), i, 1e-3)) for i in range(4)]
    folder = write_dataset(tmp_path / "set", rows)
    dataset = load_dataset(str(folder))
    negatives = tuple(
        replace(clip, label=NEGATIVE_LABEL, fold=NEGATIVE_FOLD) for clip in dataset.clips[:2]
    )
    plain = Experiment(dataset, preset("mfcc-mlp"), 0, 1, Store(tmp_path / "store"))
    first = prepare(replace(plain, negatives=negatives))
    known = prepare(plain)
    fresh = prepare(replace(plain, store=Store(None)))
    np.testing.assert_array_equal(known.test.x, fresh.test.x)
    np.testing.assert_array_equal(known.train.x, fresh.train.x)
    assert len(first.negatives) == 2
    assert first.fold.tolist() == [1, 2, 1, 2, NEGATIVE_FOLD, NEGATIVE_FOLD]
    assert first.target.tolist() == [0, 0, 1, 1, 2, 2]
    assert first.left_out == 0
