"""A model of a few clips: folder, scenes, tests, thresholds and bundle, on a base that is tiny."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import Bundle, Pipeline, load_bundle, save_bundle
from otic.audio.recent_audio import as_int16
from otic.cli.arguments import Parser
from otic.cli.main import main
from otic.config.values import DEFAULT_MODEL
from otic.diagnostics.verify import verify_bundle
from otic.review.folder import ReviewFolder
from otic.types import Event, Scores
from otic_training.cli import choose
from otic_training.cli.train import add_train_options
from otic_training.data.dataset import Clip, Dataset, DatasetError
from otic_training.scoring.reported import Reported, reported
from otic_training.teaching import learn
from otic_training.teaching.recorded import Recordings
from tests.support.helpers import F32, noise
from tests.support.review_marks import live_mark
from tests.support.teaching import SR, quick_plan, tone, write_base, written


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "levels.tflite")


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learn, "Plan", quick_plan)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sounds")
    written(root / "low", 330.0)
    written(root / "high", 3000.0)
    return root


def teach(*words: object) -> None:
    assert main(["teach", *map(str, words)]) == 0


def scores(bundle: Bundle, y: F32) -> F32:
    items = Pipeline(bundle).process(y)
    return np.array([list(i.scores.values()) for i in items if isinstance(i, Scores)], np.float32)


def test_two_sounds_are_taught_tested_and_heard(
    base: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.tflite"
    teach("mine", "--from", sounds, "--base", base, "--out", out, "--budget", "50")
    text = capsys.readouterr().out
    assert "12 clips, each tested by a head that did not learn from its recording (3 tests)" in text
    assert f"try it: otic listen --model {out}" in text
    bundle = load_bundle(out)
    assert bundle.labels == ("high", "low")
    for proof in verify_bundle(bundle, noise(5 * SR)):
        assert proof.passed, proof
    y = 0.001 * noise(20 * SR, 9)
    for hz, at in ((330.0, 5), (3000.0, 12)):
        y[at * SR : at * SR + round(1.1 * SR)] += tone(hz, 1.1, 40)
    pipe = Pipeline(bundle)
    events = [i for i in (*pipe.process(y), *pipe.flush()) if isinstance(i, Event)]
    begun = {e.label: e.onset for e in events if e.state == "on"}
    assert begun == pytest.approx({"low": 5.0, "high": 12.0}, abs=0.7)


def test_the_same_clips_give_the_same_bytes_and_figures_as_json(
    base: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = []
    for name in "ab":
        out = tmp_path / name / "mine.tflite"
        out.parent.mkdir()
        teach("mine", "--from", sounds, "--base", base, "--out", out, "--json")
        contents.append(out.read_bytes())
        values = json.loads(capsys.readouterr().out)
    assert contents[0] == contents[1]
    assert {each["label"]: each["clips"] for each in values["labels"]} == {"high": 6, "low": 6}
    assert all(each["low"] <= each["recall"] <= each["high"] for each in values["labels"])


def test_a_sound_is_added_to_a_model_whose_scores_stay(
    base: Path, sounds: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "one.tflite", tmp_path / "two.tflite"
    teach("mine", "--from", sounds, "--base", base, "--out", first)
    bell = written(tmp_path / "bell", 1200.0)
    teach("bell", "--from", bell, "--into", first, "--out", second)
    one, two = load_bundle(first), load_bundle(second)
    assert two.labels == ("high", "low", "bell")
    assert two.decision.on_thresholds[:2] == one.decision.on_thresholds
    y = 0.1 * noise(5 * SR)
    np.testing.assert_array_equal(scores(two, y)[:, :2], scores(one, y))
    for proof in verify_bundle(two, noise(5 * SR)):
        assert proof.passed, proof
    third = tmp_path / "three.tflite"
    teach("hum", "--from", written(tmp_path / "hum", 90.0), "--into", second, "--out", third)
    np.testing.assert_array_equal(scores(load_bundle(third), y)[:, :3], scores(two, y))


def test_nothing_heavier_than_the_base_install_is_imported(
    base: Path, sounds: Path, tmp_path: Path
) -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'librosa', 'sklearn', 'matplotlib', 'scipy',"
        " 'pooch', 'tensorboard'):\n"
        "    sys.modules[name] = None\n"
        "from otic.cli.main import main\n"
        "from otic_training.teaching import learn\n"
        "plan = learn.Plan(scenes=12, quiet=12, folds=3)\n"
        "learn.Plan = lambda seed: plan\n"
        f"sys.exit(main(['teach', 'mine', '--from', {str(sounds)!r}, '--base', {str(base)!r},"
        f" '--out', {str(tmp_path / 'mine.tflite')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.tflite").exists()


def test_faults_of_clips_are_named(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "sounds"
    written(root / "low", 330.0)
    written(root / "high", 3000.0)
    soundfile.write(root / "high" / "again.ogg", tone(3000.0 * 1.02**-3, 0.8, 0), SR)
    soundfile.write(root / "low" / "loud.wav", np.clip(20 * tone(330.0, 1.0, 7), -1, 1), SR)
    soundfile.write(root / "low" / "empty.wav", np.zeros(SR, np.float32), SR)
    (root / "_background").mkdir()
    soundfile.write(root / "_background" / "room.wav", 0.01 * noise(60 * SR, 3), SR)
    out = tmp_path / "mine.tflite"
    teach("mine", "--from", root, "--base", base, "--out", out)
    text = capsys.readouterr().out
    assert "'high/again.ogg' seems to be 'high/0.wav' again: they count as one recording" in text
    assert "'low/loud.wav' is clipped" in text
    assert "low/empty.wav' is silent or shorter than 0.1 s" in text
    assert "of other sounds, 1.0 min of them yours" in text


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ("background", (), "is 'background' a sound to report, or recordings of what is not to be"),
        ("few", (), "'few' has 1 recording: 2 at least are needed, 10 are better"),
        ("", ("--out", "a.onnx"), "must end in .tflite"),
        ("", ("--base", "esc10-mfcc-mlp"), "is no streaming model with a base in it"),
        ("", ("--negatives", "cat"), "--negatives cat: the folders are high, low"),
    ],
)
def test_what_can_not_be_taught(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    words: tuple[str, ...],
    message: str,
) -> None:
    root = tmp_path / "sounds"
    written(root / "low", 330.0, 3)
    written(root / "high", 3000.0, 3)
    if change:
        written(root / change, 600.0, 1 if change == "few" else 2)
    command = ["teach", "mine", "--from", str(root), "--base", str(base)]
    command += ["--out", str(tmp_path / "mine.tflite"), *words]
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine.tflite").exists()


def test_a_label_that_the_model_has_is_not_added(
    base: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.tflite"
    teach("mine", "--from", sounds, "--base", base, "--out", out)
    command = ["teach", "more", "--from", str(sounds), "--into", str(out)]
    assert main([*command, "--out", str(tmp_path / "more.tflite")]) == 1
    assert "'mine' has a label 'high' already" in capsys.readouterr().err


def test_takes_are_recordings_of_their_own_however_alike(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chime plays the same samples each time."""
    root, copies = tmp_path / "chime-sounds", tmp_path / "copies"
    recordings = Recordings(root, "chime", SR, "mic")
    copies.mkdir()
    chime = tone(1200.0, 1.0, 0)
    for i in range(4):
        y = chime + np.float32(0.001) * noise(len(chime), i)
        recordings.keep_example(as_int16(y))
        soundfile.write(copies / f"{i}.wav", y, SR)
    recordings.keep_room([np.float32(0.01) * noise(30 * SR, 9)])
    assert recordings.n_examples == 4
    out = tmp_path / "chime.tflite"
    teach("chime", "--from", root, "--base", base, "--out", out, "--budget", "50")
    text = capsys.readouterr().out
    assert "4 clips, each tested by a head that did not learn from its recording (3 tests)" in text
    assert "they count as one recording" not in text
    assert "0.5 min of them yours" in text
    assert main(["teach", "chime", "--from", str(copies), "--base", str(base)]) == 1
    assert "'chime' has 1 recording" in capsys.readouterr().err


def test_marked_events_are_learned(
    base: Path,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Right ones of its sounds are examples, wrong ones negatives; the rest is left out."""
    review = ReviewFolder(tmp_path / "review")
    command = ["teach", "mine", "--from", str(sounds), "--base", str(base), "--json"]
    command += ["--out", str(tmp_path / "mine.tflite"), "--budget", "50", "--reviewed"]
    assert main([*command, str(review.path)]) == 1
    assert f"no marks in '{review.path}'" in capsys.readouterr().err
    marks = [
        ("right", "low", 330.0, 10.0),
        ("right", "low", 330.0, 20.0),
        ("wrong", "high", 1500.0, 30.0),
        ("right", "dog", 700.0, 40.0),
    ]
    for verdict, label, hz, onset in marks:
        mark = live_mark(onset, verdict=verdict, label=label, offset=onset + 1.0)
        sound = np.concatenate([np.zeros(SR, np.float32), tone(hz, 1.0, 5)])
        review.mark(replace(mark, clip_start=onset - 1.0), SR, [as_int16(sound)])
    monkeypatch.setenv("OTIC_REVIEW_DIRECTORY", str(review.path))
    assert main(command) == 0
    done = capsys.readouterr()
    assert (
        "marked events: 2 of the sounds to learn, 1 that were none, 1 of other labels" in done.err
    )
    figures = json.loads(done.out)
    assert {each["label"]: each["clips"] for each in figures["labels"]} == {"high": 6, "low": 8}
    assert not any("of the place itself" in line for line in figures["remarks"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "recording from the microphone asks questions: run it in a terminal"),
        (("--from", "x", "--device", "USB"), "--device is for the microphone"),
        (("--from", "x", "--more"), "--more needs a FOLDER beside --from"),
    ],
)
def test_options_of_the_microphone_and_of_folders(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["teach", "mine", *words]) == 2
    assert message in capsys.readouterr().err


# otic train without a preset


def train(*words: object) -> int:
    return main(["train", *map(str, words)])


def test_a_few_clips_are_trained_tested_and_tried(
    base: Path,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my sounds").symlink_to(sounds)
    monkeypatch.setattr(Path, "resolve", Path.absolute)  # its name is the link's
    assert train("my sounds", "--base", base, "--budget", "50") == 0
    text, said = capfd.readouterr()
    assert "12 recordings of 2 sounds: a small head on a base that is there" in said
    lines = said.splitlines()
    assert len(lines) == len(set(lines))
    assert sum(line.startswith("label ") for line in text.splitlines()) == 2  # two tables
    assert "to models that had not heard them, " in text
    assert "The model that is written has learned from all 12 clips; " in text
    assert text.endswith("try it: otic listen --model 'my sounds.tflite'\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my sounds", "my sounds.tflite"]
    assert load_bundle("my sounds.tflite").labels == ("high", "low")


def test_a_model_that_reports_nothing_is_not_written(
    base: Path,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def nothing(models: Iterable[tuple[Bundle, Sequence[Clip]]]) -> tuple[Reported, ...]:
        return reported((deaf(model), clips) for model, clips in models)

    def deaf(model: Bundle) -> Bundle:
        never_on = replace(model.decision, on_thresholds=(1.0,) * 2, off_thresholds=(1.0,) * 2)
        return replace(model, decision=never_on)

    monkeypatch.setattr("otic_training.cli.choose.reported", nothing)
    out = tmp_path / "m.tflite"
    assert train(sounds, "--base", base, "--out", out) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert "the model reports none of the 12 clips that were played to it, it is of no use" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--int8",), "--int8 is for a preset: name one, such as --preset stream"),
        (("--test-folds", "2"), "--test-folds is for a preset"),
        (("--tracker", "none"), "--tracker is for a preset"),
        (("--out", "x"), "must end in .tflite"),
    ],
)
def test_what_goes_with_a_preset_is_refused_without_one(
    sounds: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    assert train(sounds, *options) in (1, 2)
    assert words in capfd.readouterr().err


def test_many_recordings_take_the_streaming_preset(
    sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it then fits is another test's matter; here a model of one base is written."""

    def fitted(
        args: object, out: str, dataset: Dataset, test_folds: Sequence[int], command: str
    ) -> int:
        assert list(test_folds) == [dataset.folds[-1]]
        save_bundle(out, replace(load_bundle(DEFAULT_MODEL), name="m"))
        return 0

    monkeypatch.setattr("otic_training.cli.choose.MANY_RECORDINGS", 12)
    monkeypatch.setattr("otic_training.cli.stream.train_streaming_model", fitted)
    assert train(sounds, "--out", tmp_path / "m.tflite") == 1
    said = capfd.readouterr().err
    assert "12 recordings of 2 sounds: the preset stream" in said
    assert said.count("each file is taken for a recording of its own") == 1
    assert "reports none of the " in said.splitlines()[-1]  # it knows other labels


def test_negatives_are_class_folders_or_recordings(sounds: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sounds, root)
    for name in ("noise", "_other"):
        (root / name).mkdir()
        soundfile.write(root / name / "1.wav", noise(SR), SR)
    soundfile.write(tmp_path / "room.wav", noise(SR), SR)
    parser = Parser()
    add_train_options(parser)

    def read(*negatives: object) -> tuple[set[str], list[str]]:
        args = parser.parse_args([str(root), "--negatives", *map(str, negatives)])
        folder = choose._folder(args, root, "set")
        return {c.label for c in folder.clips}, sorted(c.path.name for c in folder.negatives)

    assert read("noise") == ({"high", "low"}, ["1.wav", "1.wav"])
    assert read("none") == ({"high", "low", "noise"}, ["1.wav"])
    assert read("noise", root / "_other", tmp_path / "room.wav") == (
        {"high", "low"},
        ["1.wav", "1.wav", "room.wav"],
    )
    with pytest.raises(DatasetError, match="Add --negatives noise, or --negatives none"):
        read(root / "_other")
