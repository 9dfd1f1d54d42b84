"""Networks within their limits, and the same answers after every stage of the export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otic import Bundle, load_bundle
from otic.errors import OticError
from otic_training.experiment import load_tensorflow
from otic_training.fitting import export as exporting
from otic_training.fitting.fit import logits_of
from otic_training.fitting.validate import probabilities
from otic_training.networks.layers import logmel_cnn, tiny
from otic_training.networks.presets import PRESETS, preset
from otic_training.networks.tflite import scores_of, served, to_float, to_int8
from otic_training.reports.cost import cost_of
from otic_training.scoring.metrics import Figures
from tests.support.helpers import F32, SMALL, decision

PATCH = replace(
    SMALL, n_mels=32, n_mfcc=8, window_frames=24, statistics=("log_mel",), hop_length=128
)


INT8_FIGURES = Figures("int8", 5, 0.4, 0.0, [0.4], 0.4, 0.0, 0.1, [[2, 0, 0], [3, 0, 0], [0, 0, 0]])


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()


def windows(n: int = 40) -> F32:
    rng = np.random.default_rng(0)
    return rng.normal(-30.0, 15.0, (n, PATCH.n_features)).astype(np.float32)


def bundle() -> Bundle:
    return Bundle(
        name="",
        labels=("a", "b", "c"),
        features=PATCH,
        inference_hop_frames=3,
        decision=decision(3),
        accuracy={"clip_mean": 0.5},
        license="none",
        provenance={},
        model=b"",
    )


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [("tiny", 20_000, 1_000_000), ("logmel-cnn", 100_000, 10_000_000)],
)
def test_networks_keep_their_limits(name: str, parameters: int, macs: int) -> None:
    recipe = preset(name)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, recipe.features.n_features)).astype(np.float32)
    model = recipe.build(recipe.features, x, 11)
    assert model.output.shape == (None, 11)
    flatbuffer = to_float(served(model, 10, 1.0))
    whole = replace(
        bundle(),
        features=recipe.features,
        labels=tuple("abcdefghij"),
        decision=decision(10),
        model=flatbuffer,
    )
    cost = cost_of(whole)
    assert 0.8 * parameters < cost.parameters <= parameters
    assert 0.6 * macs < cost.macs <= macs
    # Weights are all that there is, but for a few constants.
    assert len(flatbuffer) < 4 * cost.parameters + 20_000


def test_every_stage_says_the_same(tmp_path: Path) -> None:
    x = windows()
    model = tiny(PATCH, x, 4)
    logits = logits_of(model, x)
    expected = probabilities(logits, 2.0, 3)
    scores = served(model, 3, 2.0)
    np.testing.assert_allclose(np.asarray(scores(x)), expected, atol=1e-6)
    np.testing.assert_allclose(scores_of(to_float(scores), x), expected, atol=1e-5)
    small = scores_of(to_int8(scores, x), x)
    assert np.abs(small - expected).mean() < 0.02
    np.testing.assert_array_equal(logits_of(model, x), logits)  # the model is not changed

    path = tmp_path / "m.tflite"
    found = exporting.export(str(path), model, 2.0, bundle(), x, INT8_FIGURES)
    assert found.float32.name == "m"
    assert found.int8 is not None
    assert found.int8.name == "m-int8"
    assert found.int8.accuracy == INT8_FIGURES.to_dict()
    assert scores_of(load_bundle(path).model, x) == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(scores_of(found.int8.model, x), small)
    assert len(found.int8.golden) == 3


def test_a_stage_that_says_something_else_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = windows()
    model = logmel_cnn(PATCH, x, 4)
    other = to_float(served(logmel_cnn(PATCH, x + 5.0, 4), 3, 1.0))
    monkeypatch.setattr(exporting, "to_float", lambda final: other)
    with pytest.raises(OticError, match=r"differ from Keras's by .* nothing was written"):
        exporting.export(str(tmp_path / "m.tflite"), model, 1.0, bundle(), x, None)
    monkeypatch.setattr(exporting, "MAX_MEAN_DIFFERENCE_INT8", 0.0)
    with pytest.raises(OticError, match="the int8 model's scores differ"):
        exporting.export(str(tmp_path / "m.tflite"), model, 1.0, bundle(), x, INT8_FIGURES)
    assert list(tmp_path.iterdir()) == []


def test_presets_stand_for_all_they_hold() -> None:
    keys = [p.key for p in PRESETS]
    assert len(set(keys)) == len(keys)
    assert "0x" not in "".join(keys)  # no place in memory, which differs from run to run
