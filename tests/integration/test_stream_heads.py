"""A head on a base: one graph and one bundle, taken apart again; what it learns it also serves."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import Bundle, Pipeline, load_bundle, save_bundle
from otic.cli.main import main
from otic.diagnostics.verify import check_golden_cases, verify_bundle
from otic.errors import OticError
from otic.model.streaming import BASE, HEAD
from otic.types import Scores
from otic_training.base import distil, features, student, to_bundle, trainer
from otic_training.base.export import StepGraph, base_bundle
from otic_training.base.head import (
    BaseFrames,
    Fit,
    Head,
    fit_head,
    join,
    keep_of,
    with_means,
    without_head,
)
from otic_training.base.head_graph import head_tflite
from otic_training.cli import stream as stream_command
from otic_training.data.dataset import Clip, Dataset
from otic_training.data.scenes import Mixer, Sound
from otic_training.data.sounds import save_sounds
from otic_training.experiment import load_tensorflow
from otic_training.fitting.stream import StreamRecipe
from tests.integration.test_base import TINY, some_log_mel, some_student
from tests.support.helpers import F32, bundled, decision, noise

pytestmark = pytest.mark.xdist_group("tensorflow")  # one process loads it


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()  # as other tests, which may share the process, expect it


@dataclass(frozen=True)
class Made:
    """A small base, a head with some weights, and both as one bundle."""

    base: Bundle
    head: Head
    whole: Bundle


def some_head(width: int, step_seconds: float, n_labels: int = 3) -> Head:
    rng = np.random.default_rng(4)
    sizes = [(width,), (3 * width, 8), (8,), (8, n_labels), (n_labels,)]
    mean, w1, b1, w2, b2 = (rng.normal(0.0, 0.5, size).astype(np.float32) for size in sizes)
    return Head(mean, np.full(width, 0.5, np.float32), w1, b1, w2, b2, keep_of(step_seconds))


@pytest.fixture(scope="module", params=["float32", "int8"])
def made(request: pytest.FixtureRequest) -> Made:
    graph = StepGraph(some_student(), features.N_MELS)
    examples: tuple[tuple[F32, F32], ...] = ()
    if request.param == "int8":
        mel = some_log_mel(40, TINY.hops)
        examples = tuple((x, state) for x, state, _ in graph.walk(mel))
    base = base_bundle(graph, graph.tflite(examples), "tiny", "CC0-1.0", {"weights": request.param})
    head = some_head(TINY.out, base.inference_hop_seconds)
    named = replace(base, name="both", labels=("a", "b", "c"), decision=decision(3))
    return Made(base, head, join(base, head, {"data": "none"}, named))


def scores(bundle: Bundle, y: F32) -> F32:
    items = Pipeline(bundle).process(y)
    return np.array([list(i.scores.values()) for i in items if isinstance(i, Scores)], np.float32)


def test_a_stream_gives_what_the_head_makes_of_the_bases_frames(made: Made) -> None:
    y = noise(5 * 22_050)
    expected = made.head.in_8_bits().scores(BaseFrames(made.base)(y))[trainer.COLD_STEPS :]
    got = scores(made.whole, y)
    assert got.shape == expected.shape
    assert expected.std() > 0.01
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_the_bundle_is_proven_and_says_what_its_parts_are(made: Made, tmp_path: Path) -> None:
    save_bundle(tmp_path / "both.tflite", made.whole)
    read = load_bundle(tmp_path / "both.tflite")
    for proof in verify_bundle(read, noise(5 * 22_050)):
        assert proof.passed, proof
    assert read.stream is not None
    assert [state.part for state in read.stream.states] == [BASE, HEAD, HEAD]
    assert list(read.stream.parts) == [BASE, HEAD]
    first = features.FIRST_MIDDLE - TINY.delay_hops * features.HOP_SECONDS
    assert read.stream.delay_seconds == pytest.approx(
        read.features.window_seconds - first, abs=1e-5
    )


def test_another_head_is_put_on_the_same_base(made: Made, tmp_path: Path) -> None:
    save_bundle(tmp_path / "both.tflite", made.whole)
    base = without_head(load_bundle(tmp_path / "both.tflite"))
    y = noise(3 * 22_050)
    np.testing.assert_array_equal(BaseFrames(base)(y), BaseFrames(made.base)(y))
    assert len(base.model) < len(made.whole.model)
    again = join(base, made.head, {}, replace(made.whole, name="again"))
    np.testing.assert_array_equal(scores(again, y), scores(made.whole, y))
    other = replace(made.head, b2=made.head.b2 + np.float32(2.0))
    assert (scores(join(base, other, {}, made.whole), y) > scores(made.whole, y)).all()
    assert without_head(made.base).model == base.model
    with pytest.raises(OticError, match="is no streaming model with a base in it"):
        without_head(bundled())
    with pytest.raises(OticError, match="takes frames of 9 numbers, the base gives 16"):
        join(base, some_head(9, 0.32), {}, made.whole)


def test_a_heads_matrix_is_kept_in_8_bits_and_computed_in_float32(made: Made) -> None:
    """A quarter of the bytes; the scores move by some hundredths at most."""
    rng = np.random.default_rng(0)
    head, frames = made.head, rng.normal(size=(50, TINY.out)).astype(np.float32)
    rounded = head.in_8_bits()
    np.testing.assert_allclose(rounded.in_8_bits().w1, rounded.w1, rtol=1e-6)
    assert 0.0 < np.abs(rounded.scores(frames) - head.scores(frames)).max() < 0.05
    wide = replace(head, w1=rng.normal(size=(3 * TINY.out, 1000)).astype(np.float32))
    wide = replace(wide, b1=np.zeros(1000, np.float32), w2=np.zeros((1000, 3), np.float32))
    assert wide.w1.size < len(head_tflite(wide)) < 1.5 * wide.w1.size + 16_000


def test_means_decay_and_begin_with_the_first_frame() -> None:
    frames = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    x = with_means(frames, np.array([0.5, 0.9], np.float32))
    mean = frames[0]
    for step, frame in enumerate(frames):
        mean = frame if step == 0 else 0.9 * mean + 0.1 * frame
        np.testing.assert_allclose(x[step], [*x[step, :8], *mean], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(x[:, :4], frames)


def test_a_head_learns_what_its_frames_say_and_only_where_it_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(400, 12, 6)).astype(np.float16)
    labels = np.stack([frames[..., 0] > 0.5, rng.random((400, 12)) > 0.5], -1).astype(np.float32)
    weights = np.ones_like(labels)
    weights[..., 1] = 0.0
    head = fit_head(frames, labels, weights, 0.32, Fit(hidden=16, epochs=60, batch=20, drop=0.0))
    found = head.scores(frames.astype(np.float32))
    right = (found[..., 0] > 0.5) == (labels[..., 0] > 0.5)
    assert right.mean() > 0.93  # 0.69 without having learned anything
    assert found[..., 1].max() < 0.2  # what nobody knows was never learned
    head.save(tmp_path / "head.npz")
    np.testing.assert_array_equal(
        Head.load(tmp_path / "head.npz").scores(frames[:3].astype(np.float32)), found[:3]
    )
    again = fit_head(frames, labels, weights, 0.32, Fit(hidden=16, epochs=60, batch=20, drop=0.0))
    np.testing.assert_array_equal(again.w1, head.w1)


def tones(folder: Path, folds: int = 0) -> Path:
    """Class folders: hisses and tones, six recordings each; or as many folds of them."""
    t = np.arange(22_050 * 3) / 22_050
    for label in ("hiss", "tone"):
        for i in range(6):
            place = folder / (f"fold{i % folds + 1}" if folds else "") / label
            place.mkdir(parents=True, exist_ok=True)
            tone = 0.3 * np.sin(2 * np.pi * 400.0 * (1.0 + 0.05 * i) * t)
            y = tone if label == "tone" else noise(len(t), seed=i)
            soundfile.write(place / f"{i}.wav", y, 22_050)
    return folder


def a_base(path: Path, **about: object) -> Path:
    """Write a small base that has heard these ``folds`` of ``data``."""
    graph = StepGraph(some_student(), features.N_MELS)
    told = {"weights": "float32", "folds": [], **about}
    save_bundle(path, base_bundle(graph, graph.tflite(), path.stem, "CC0-1.0", told))
    return path


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few scenes, kept in a store of this test."""
    monkeypatch.setenv("OTIC_STORE", str(tmp_path / "store"))
    recipe = StreamRecipe(scenes=60, steps=24, fit=Fit(hidden=16, epochs=30, batch=10, rate=0.01))
    monkeypatch.setattr(stream_command, "RECIPE", recipe)


@pytest.mark.usefixtures("quick")
def test_otic_train_puts_a_head_on_a_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From folders and plain negatives to a bundle that is served, on the frames that it kept."""
    base = a_base(tmp_path / "tiny.tflite")
    (tmp_path / "clicks").mkdir()
    clicks = 0.5 * (np.arange(22_050 * 4) % 5000 == 0)
    soundfile.write(tmp_path / "clicks" / "a.wav", clicks, 22_050)
    command = ["train", str(tones(tmp_path / "tones")), "--preset", "stream", "--base"]
    command += [str(base), "--negatives", str(tmp_path / "clicks")]
    assert main([*command, "--out", str(tmp_path / "a.tflite")]) == 0
    assert "trained on folds" in capsys.readouterr().out
    bundle = load_bundle(tmp_path / "a.tflite")
    assert bundle.labels == ("hiss", "tone")
    assert bundle.accuracy["clip_mean"] == 1.0
    assert bundle.provenance["base"]["name"] == "tiny"
    assert (bundle.decision.onset_ground, bundle.decision.onset_back_seconds) == (0.1, 4.0)
    assert "built on tiny (CC0-1.0)" in bundle.license
    # Another head on the base of that bundle, by kept frames: the same scenes, the same head.
    monkeypatch.setattr(Mixer, "scene", None)
    command[5] = str(tmp_path / "a.tflite")
    assert main([*command, "--out", str(tmp_path / "b.tflite")]) == 0
    capsys.readouterr()
    y = noise(2 * 22_050)
    np.testing.assert_array_equal(scores(load_bundle(tmp_path / "b.tflite"), y), scores(bundle, y))


@pytest.mark.usefixtures("quick")
def test_each_fold_is_tested_on_a_base_that_has_not_heard_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cross-validation, and a model of all folds with its figures on a card."""
    data = tones(tmp_path / "tones", folds=2)
    everything = a_base(tmp_path / "all.tflite", data="tones", folds=[1, 2])
    late = a_base(tmp_path / "late.tflite", data="tones", folds=[2], teacher="a teacher (MIT)")
    early = a_base(tmp_path / "early.tflite", data="tones", folds=[1])
    command = ["crossval", str(data), "--preset", "stream", "--models", str(tmp_path), "--base"]
    assert main([*command, *map(str, (everything, late, early))]) == 0
    out = capsys.readouterr().out
    assert "each held out in turn, by base and head" in out
    assert "confusion" in out
    for fold, base in ((1, "late"), (2, "early")):
        bundle = load_bundle(tmp_path / f"stream-fold{fold}.tflite")
        assert bundle.provenance["base"]["name"] == base
        assert bundle.provenance["folds"] == [3 - fold]
        assert bundle.accuracy["clip_mean"] > 0.5
    assert main([*command, str(everything), str(early)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert "no base may be tested on fold 1 of tones" in last
    assert "all.tflite' has heard folds 1, 2; " in last
    # What is shipped has heard all; its figures, on a card, come from the others.
    command = ["train", str(data), "--preset", "stream", "--test-folds", "none", "--base"]
    written = ["--out", str(tmp_path / "a.tflite"), "--card", str(tmp_path / "a.md")]
    assert main([*command, str(late), str(early), *written]) == 0
    card = (tmp_path / "a.md").read_text()
    assert "Teacher of the base: a teacher (MIT)." in card
    assert "Base: late, licence: CC0-1.0" in card
    assert "it has heard folds [2] of tones" in card
    capsys.readouterr()
    assert main([*command, str(everything), *written]) == 1
    assert "has heard folds 1, 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "stream is a head on a base: name a streaming model, --base MODEL.tflite"),
        (
            ("--base", "esc10-mfcc-mlp"),
            "the base 'esc10-mfcc-mlp' is no streaming model with a base in",
        ),
        (("--base", "esc10-mfcc-mlp", "--int8"), "a model is int8 where its base is"),
        (("--base", "esc10-mfcc-mlp", "--teacher", "x"), "its base has learned from one"),
        (("--base", "silent.tflite"), "does not say what it has heard"),
    ],
)
def test_what_the_preset_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    silent = load_bundle(a_base(tmp_path / "heard.tflite").absolute())
    save_bundle("silent.tflite", replace(silent, provenance={"weights": "float32"}))
    tones(tmp_path / "tones")
    for command in ("train", "crossval"):
        if command == "crossval" and "--int8" in options:
            continue
        assert main([command, "tones", "--preset", "stream", *options]) == 1
        assert words in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("int8", [False, True])
def test_a_runs_base_becomes_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8: bool
) -> None:
    monkeypatch.setitem(student.SHAPES, "tiny", TINY)
    monkeypatch.setattr(to_bundle, "_CALIBRATION_SCENES", 2)
    trainer.Trainer(trainer.Plan("tiny", 3)).save(tmp_path / "state.npz")
    samples = np.round(noise(60_000) * 5000).astype(np.int16)
    save_sounds(tmp_path / "sounds.npy", [Sound(samples, "room"), Sound(samples, "machine")])
    command = [str(tmp_path / "state.npz"), str(tmp_path / "base.tflite"), "--licence", "CC0-1.0"]
    command += ["--int8", str(tmp_path / "sounds.npy")] if int8 else []
    command += ["--heard", "ESC-10=3,1", "--teacher", "mn04 (MIT)"] if int8 else []
    (tmp_path / "heard.json").write_text('{"data": "ESC-10", "folds": [2]}')
    monkeypatch.setattr("sys.argv", ["to_bundle", *command])
    to_bundle.main()
    bundle = load_bundle(tmp_path / "base.tflite")
    assert (bundle.name, bundle.license) == ("base", "CC0-1.0")
    assert bundle.provenance["weights"] == ("int8" if int8 else "float32")
    assert bundle.provenance["folds"] == ([1, 3] if int8 else [2])
    assert bundle.provenance.get("teacher") == ("mn04 (MIT)" if int8 else None)
    assert check_golden_cases(bundle).passed
    assert BaseFrames(without_head(bundle))(noise(22_050)).shape[1] == TINY.out


def test_a_run_notes_the_folds_that_it_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = tuple(Clip(Path(f"{fold}.wav"), "dog", fold, str(fold)) for fold in (1, 2, 3))
    monkeypatch.setattr(
        distil, "load_dataset", lambda *_: Dataset("ESC-10", "CC BY", clips, "folds")
    )
    for name in ("clean", "tuned"):
        (tmp_path / name).mkdir()
    distil.note_heard(tmp_path / "clean", None, [], None)
    assert json.loads((tmp_path / "clean/heard.json").read_text()) == {"folds": []}
    earlier = tmp_path / "clean" / "state.npz"
    distil.note_heard(tmp_path / "tuned", "esc10", [2, 3], earlier)
    distil.note_heard(tmp_path, "esc10", [3, 1], tmp_path / "tuned" / "state.npz")
    assert json.loads((tmp_path / "heard.json").read_text()) == {"data": "ESC-10", "folds": [1, 2]}
