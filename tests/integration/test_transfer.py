"""A head on a base model: trained on what it will see live, written as one plain model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from otic import Classifier, Frontend, load_bundle
from otic.cli.main import main
from otic.errors import OticError
from otic.model.golden import SOUNDS, golden_sound
from otic_training.data.cache import Store
from otic_training.data.layouts import load_dataset
from otic_training.data.negatives import license_on
from otic_training.data.windows import read_clip
from otic_training.experiment import Experiment, experiment_from
from otic_training.fitting.prepare import prepare
from otic_training.fitting.validate import calibration_windows, reservations
from otic_training.networks.base_model import Base, recipe_on
from otic_training.networks.presets import YAMNET, preset
from tests.support.helpers import F32, noise, of_type, one_line, otic, write_dataset

SMALL_BASE = "esc10-mfcc-mlp"


@pytest.fixture(scope="session")
def yamnet(esc10: Path) -> Path:
    """YAMNet as TFLite, beside the recordings."""
    return esc10.parent / "yamnet" / "yamnet.tflite"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones and noises in three folds."""
    t = np.arange(round(22050 * 2.5)) / 22050
    rows = []
    for i in range(6):
        tone = 0.3 * np.sin(2 * np.pi * (400 + 50 * i) * t) + noise(len(t), i, 1e-3)
        rows.append((f"tone{i}.wav", i % 3 + 1, "tone", tone.astype(np.float32)))
        rows.append((f"hiss{i}.wav", i % 3 + 1, "hiss", noise(len(t), 50 + i, 0.2)))
    return write_dataset(tmp_path_factory.mktemp("toy") / "set", rows)


def windows_of(base: Base) -> F32:
    frontend = Frontend(base.features)
    found = []
    for sound in SOUNDS:
        frontend.reset()
        frontend.push(golden_sound(sound, base.features.sr, base.features.window_samples))
        found.append(frontend.features())
    return np.stack(found)


def test_yamnets_embedding_is_found_in_its_graph(yamnet: Path, esc10: Path) -> None:
    """And what is cut there gives the very numbers that the whole model has there."""
    base = Base(str(yamnet))
    assert base.origin["embedding"] == "yamnet_frames/global_average_pooling2d/Mean"
    assert base.has_8_bit_weights
    assert base.features == YAMNET
    assert YAMNET.window_samples == YAMNET.n_features == 15600
    y = read_clip(load_dataset(str(esc10)).clips[7], 16000)
    x = np.stack([y[at : at + 15600] for at in (0, 8000, 20000)])
    embeddings = base.embeddings(x)
    assert embeddings.shape == (3, 1024)
    assert embeddings.std() > 0.1
    np.testing.assert_allclose(embeddings, base.read_off(x), rtol=0, atol=1e-5)


def test_a_packed_base_is_as_good(yamnet: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tflite"
    done = otic(
        *("pack", yamnet, "--labels", yamnet.parent / "yamnet_class_map.csv"),
        *("--sr", "16000", "--license", "Apache-2.0", "--out", packed),
    )
    assert done.returncode == 0, done.stderr.decode()
    bare, base = Base(str(yamnet)), Base(str(packed))
    assert (base.features, base.inference_hop_frames) == (bare.features, bare.inference_hop_frames)
    x = windows_of(base)
    np.testing.assert_array_equal(base.embeddings(x), bare.embeddings(x))
    assert (base.name, base.license) == ("packed", "Apache-2.0")
    assert base.key != bare.key


def test_a_bundle_of_otic_s_is_a_base_too() -> None:
    base = Base(SMALL_BASE)
    bundle = load_bundle(SMALL_BASE)
    recipe = recipe_on(base, preset("yamnet-head"))
    assert recipe.features == bundle.features
    assert recipe.inference_hop_frames == bundle.inference_hop_frames
    x = windows_of(base)
    np.testing.assert_allclose(base.embeddings(x), base.read_off(x), rtol=1e-5, atol=1e-5)


def test_windows_are_kept_as_embeddings(toy: Path, tmp_path: Path) -> None:
    dataset, base = load_dataset(str(toy)), Base(SMALL_BASE)
    recipe = recipe_on(base, preset("yamnet-head"))
    experiment = Experiment(dataset, recipe, 0, 1, Store(tmp_path), base=base)
    first, again = prepare(experiment), prepare(experiment)
    np.testing.assert_array_equal(first.test.x, again.test.x)
    assert first.test.x.shape[1] == 64
    assert len(list(tmp_path.glob("*.npz"))) == 12
    probe = calibration_windows(first, experiment, [1, 2])
    assert probe.shape[1] == recipe.features.n_features
    np.testing.assert_allclose(base.embeddings(probe[:1]), first.test.x[:1], rtol=0, atol=0)
    # The toy data calls itself ESC-10, which this base was trained on.
    assert "a LEAK: the base was trained on ESC-10" in reservations(first, experiment)


@pytest.mark.xdist_group("tensorflow")  # it is loaded there already
def test_one_bundle_runs_both(
    toy: Path, yamnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "head.tflite"
    words = ("train", toy, "--preset", "yamnet-head", "--base", yamnet, "--out", out)
    rest = ("--epochs", "30", "--test-folds", "3", "--tracker", "none")
    assert main([*map(str, words), *rest]) == 0
    assert "of 4 clips" in capsys.readouterr().out
    bundle = load_bundle(out)
    assert bundle.features == YAMNET
    assert bundle.accuracy["clip_mean"] == 1.0
    assert len(bundle.model) < 0.9 * yamnet.stat().st_size  # without the 521 labels' weights
    assert bundle.provenance["base"]["sha256"] == Base(str(yamnet)).origin["sha256"]
    assert "built on YAMNet (Google, Apache-2.0" in bundle.license
    assert bundle.interface.plain
    assert Classifier(bundle).predict(golden_sound("noise", 16000, 15600)).shape == (2,)
    found = json.loads(otic("evaluate", out, toy, "--json").stdout)["presets"]["head"]
    for kind in ("clips", "clip_mean", "window_mean", "confusion"):
        assert found[kind] == bundle.accuracy[kind]
    log = otic(
        *("replay", toy / "audio" / "tone2.wav", "--model", out, "--speed", "max", "--jsonl", "-")
    )
    events = of_type(log.stdout, "event")
    assert events
    assert {event["label"] for event in events} == {"tone"}


def request(toy: Path, **changes: object) -> argparse.Namespace:
    values: dict[str, object] = {
        "dataset": str(toy),
        "preset": "yamnet-head",
        "teacher": None,
        "base": [],
        "any_use": False,
        "negatives": [],
        "budget": 20.0,
        "int8": False,
        "seed": 0,
        "epochs": None,
        "group_regex": None,
        "subset": None,
        **changes,
    }
    return argparse.Namespace(**values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "is a head on another model: name that, --base yamnet.tflite"),
        ({"base": [SMALL_BASE], "preset": "tiny"}, "--base: tiny is not built on another model"),
        ({"base": [SMALL_BASE], "teacher": "y.tflite"}, "--teacher: yamnet-head can't learn from"),
        ({"base": [SMALL_BASE], "int8": True}, "--int8: yamnet-head keeps the base's weights"),
        ({"base": ["nowhere.tflite"]}, "can't read model 'nowhere.tflite': No such file"),
        ({"base": ["/dev/zero"]}, "can't read model '/dev/zero': it is no file"),
        (
            {"base": ["esc10-mfcc-mlp-int8"]},
            "has no embedding to build on: its last layer with weights",
        ),
    ],
)
def test_bad_requests_fail_before_the_work(
    toy: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(OticError, match=words) as failure:
        experiment_from(request(toy, **changes))
    assert "\n" not in str(failure.value)


def test_a_file_that_is_no_base_is_named(toy: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.tflite"
    for content in (b"text", load_bundle(SMALL_BASE).model):
        foreign.write_bytes(content)
        done = otic("crossval", toy, "--preset", "yamnet-head", "--base", foreign)
        assert done.returncode == 1
        line = one_line(done.stderr)
        assert "is neither a bundle nor YAMNet as TFLite" in line
        assert "'otic pack' first" in line


def test_a_bases_licence_counts() -> None:
    own = "model: Apache-2.0; trained on A"
    assert license_on(own, "B", "MIT") == "model: Apache-2.0; trained on A; built on B (MIT)"
    strict = license_on(own, "B", "model: non-commercial use only; trained on C")
    assert strict.startswith("model: non-commercial use only; trained on A; built on B (")
    assert license_on(own, "B", "CC BY-NC 4.0, C").startswith("model: non-commercial use only; ")
    assert license_on("model: as its data", "B", "CC BY-NC 4.0") == (
        "model: non-commercial use only; otherwise as its data; built on B (CC BY-NC 4.0)"
    )
    unknown = license_on(own, "B", "not stated")
    assert unknown.startswith("model: as its base, whose licence is not known; trained on A; ")
