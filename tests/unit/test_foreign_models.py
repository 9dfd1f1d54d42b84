"""Models of other formats, numbered labels, inputs that are no waveform: named, with a remedy."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otic import Classifier, load_bundle
from otic.cli.main import main
from otic.errors import BundleError, UsageError
from otic.model import classifier
from otic.packing.features import FeatureRequest, derive_features
from otic.packing.files import read_labels, without_numbers
from otic.packing.tflite_file import TensorInfo, read_model_file
from tests.support.helpers import F32, bundled, noise, one_line
from tests.support.small_models import linear_model, of_16_bit_samples, with_files

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name in names:
            made.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.h5", HDF5, "is a Keras model (HDF5), not a TensorFlow Lite file: convert it"),
        ("renamed.tflite", HDF5, "is a Keras model (HDF5)"),
        ("m.keras", archive("metadata.json", "config.json", "w.h5"), "is a Keras model"),
        ("m.keras", b"not one", "is a damaged Keras model"),
        ("m.pt", archive("m/data.pkl", "m/version"), "is a PyTorch model, not"),
        ("m.pth", b"\x80\x02x", "is a PyTorch model, not"),
        ("m.onnx", b"\x08\x07pytorch", "is an ONNX model, not a TensorFlow Lite file"),
        ("m.pb", b"\x0a\x02", "is a TensorFlow graph"),
        ("m.pkl", b"\x80\x04", "is a Python pickle"),
        ("m.zip", archive("soundclassifier.tflite", "labels.txt"), "name the 'soundclass"),
        ("m.zip", archive("a/saved_model.pb"), "is a SavedModel in a zip"),
        ("m.tflite.gz", b"\x1f\x8b\x08", "is a compressed archive, not a TensorFlow"),
        ("m.tflite", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        ("m.tflite", b"<!DOCTYPE html><html>", "is a web page"),
        ("m.tflite", b"", "is an empty file"),
        ("model.json", b'{"modelTopology": {}}', "is a TensorFlow.js model"),
        ("m.bin", b"who knows what", "is not a TensorFlow Lite file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["inspect", "pack"])
def test_other_formats_are_named(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    content: bytes,
    words: str,
) -> None:
    """By a path, and by a bare name in the current folder."""
    (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    options = ["--labels", "x", "--out", "out.tflite"] if command == "pack" else []
    for path in (name, str(tmp_path / name)):
        assert main([command, path, *options]) == 1
        assert words in one_line(capfd.readouterr().err.encode())


@pytest.mark.parametrize("command", ["inspect", "pack"])
def test_folders_are_named(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    options = ["--labels", "x", "--out", "out.tflite"] if command == "pack" else []
    for path, words in (
        ("saved", "'saved' is a SavedModel, not a TensorFlow Lite file: convert it with tf.lite."),
        ("./saved/", "is a SavedModel"),
        ("./other", "is a folder: name a .tflite file"),
    ):
        assert main([command, path, *options]) == 1
        assert words in one_line(capfd.readouterr().err.encode())


@pytest.mark.parametrize(
    ("lines", "labels"),
    [
        (["0 alpha", "1 beta", "2 gamma ray"], ["alpha", "beta", "gamma ray"]),
        (["0 Background Noise", "1 dog"], ["Background Noise", "dog"]),
        (["0:alpha", "1: beta"], ["alpha", "beta"]),
        (["0,alpha", "1,beta"], ["alpha", "beta"]),
        (["1. alpha", "2. beta"], ["alpha", "beta"]),
        (["0\talpha", "1\tbeta"], ["alpha", "beta"]),
        (["0 alpha"], ["alpha"]),
        # names that have numbers of their own
        (["1 dog", "2 dogs"], ["1 dog", "2 dogs"]),
        (["0 alpha", "2 beta"], ["0 alpha", "2 beta"]),
        (["0 alpha", "beta"], ["0 alpha", "beta"]),
        (["0", "1", "2"], ["0", "1", "2"]),
        (["808 kick", "909 snare"], ["808 kick", "909 snare"]),
    ],
)
def test_numbers_before_labels_go(tmp_path: Path, lines: list[str], labels: list[str]) -> None:
    assert without_numbers(lines) == labels
    (tmp_path / "labels.txt").write_text("\n".join(lines) + "\n")
    assert read_labels(str(tmp_path / "labels.txt")) == labels


def test_numbers_in_a_column_without_a_heading_go(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text('0,alpha\n1,"beta, too"\n')
    assert read_labels(str(tmp_path / "labels.csv")) == ["alpha", "beta, too"]


@pytest.mark.parametrize(
    ("limits", "fits"),
    [
        (None, True),
        ((-1.0, 0.99), True),
        ((-0.3, 0.2), True),  # of quiet recordings
        ((-32768.0, 32767.0), True),
        ((0.0, 25.9), False),
        ((-80.0, 0.0), False),
        ((-13.2, 9.1), False),
        ((-1.0, 0.05), False),
        ((0.0, 255.0), False),
    ],
)
def test_an_inputs_steps_show_whether_it_takes_samples(
    limits: tuple[float, float] | None, fits: bool
) -> None:
    tensor = TensorInfo("x", "int8" if limits else "float32", (1, 16_000), limits)
    if fits:
        assert derive_features(FeatureRequest(16_000), tensor)[0].statistics == ("waveform",)
        return
    with pytest.raises(UsageError, match="which no waveform has: say --input waveform, log-mel"):
        derive_features(FeatureRequest(16_000), tensor)
    # a person knows better
    assert derive_features(FeatureRequest(16_000, "waveform"), tensor)[0].window_samples == 16_000


def test_a_models_steps_are_read() -> None:
    steps = ((0.5, -128), (1 / 256, -128))
    model = linear_model((1, 40), np.ones((3, 40), np.float32), int8=steps)
    assert read_model_file("m", model).inputs[0].limits == (0.0, 127.5)


def weights(n: int) -> F32:
    return (0.1 * np.random.default_rng(0).random((3, n)) / n).astype(np.float32)


def test_16_bit_samples_without_steps_are_served(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(of_16_bit_samples(weights(8000)))
    (tmp_path / "labels.txt").write_text("0 a\n1 b\n2 c\n")
    command = ["pack", str(tmp_path / "m.tflite"), "--labels", str(tmp_path / "labels.txt")]
    command += ["--sr", "8000", "--out", str(tmp_path / "out.tflite")]
    for more in ([], ["--scale", "32768"]):
        assert main([*command, *more]) == 0
        bundle = load_bundle(tmp_path / "out.tflite")
        assert bundle.labels == ("a", "b", "c")
        y = np.clip(noise(8000), -1.0, 1.0)
        got = Classifier(bundle).predict(y)
        np.testing.assert_allclose(got, weights(8000) @ y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("error", [IndexError, TypeError, KeyError, SystemError, OverflowError])
def test_whatever_the_runtime_raises_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class Broken:
        def __init__(self, **options: Any) -> None:
            raise error("out of range")

    monkeypatch.setattr(classifier, "_interpreter_class", lambda: Broken)
    with pytest.raises(BundleError, match=r"the TFLite runtime can't load it: .*out of range"):
        Classifier(bundled())
    monkeypatch.undo()
    good = Classifier(bundled())

    class Breaks:
        def set_tensor(self, index: int, value: Any) -> None:
            raise error("out of range")

    good._interpreter = Breaks()
    with pytest.raises(BundleError, match=r"the TFLite runtime can't run it: .*out of range"):
        good.predict(np.zeros(bundled().features.n_features, np.float32))


def test_a_zip_behind_a_model_is_no_archive(tmp_path: Path) -> None:
    model = with_files(linear_model((1, 40), np.ones((3, 40), np.float32)), {"labels.txt": "a"})
    assert read_model_file("m", model).inputs[0].shape == (1, 40)
    assert replace(bundled(), model=model).model == model
