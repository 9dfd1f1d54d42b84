"""Models made with TensorFlow: the tutorial's, exactly as it is written, and two to be refused."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest

from otic import Frontend, load_bundle
from otic.audio.sources import FileSource
from otic_training.experiment import load_tensorflow
from tests.conftest import DATA
from tests.support.helpers import F32, of_type, one_line, otic

pytestmark = [
    pytest.mark.xdist_group("tensorflow"),  # one process loads it
    pytest.mark.real_audio,
]

CLIPS_A_CLASS = 5
_URBAN = DATA / "urbansound8k"


@dataclass(frozen=True)
class Tutorial:
    """The tutorial's model, and what it was made with."""

    model: Any
    clips: list[Path]
    features: F32
    tflite: Path
    bundle: Path


def extract_features(path: Path) -> F32:
    """As the tutorial has it, with librosa's defaults throughout, over the whole clip."""
    audio, sample_rate = librosa.load(path)
    mfccs = librosa.feature.mfcc(y=audio, sr=sample_rate, n_mfcc=40)
    features: F32 = np.mean(mfccs.T, axis=0)
    return features


@pytest.fixture(scope="module")
def tutorial(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tutorial:
    """Trained for a few epochs on a handful of real clips of each class, converted, packed."""
    if not _URBAN.is_dir():
        reason = f"no recordings at {_URBAN}: set OTIC_DATA to a folder that holds urbansound8k"
        if request.config.getoption("--require-real-audio"):
            pytest.fail(reason)
        pytest.skip(reason)
    load_tensorflow()  # as other tests, which may share the process, expect it
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tutorial")
    seen: Counter[str] = Counter()
    clips, classes, names = [], [], {}
    with (_URBAN / "metadata" / "UrbanSound8K.csv").open() as file:
        for row in csv.DictReader(file):
            if row["fold"] == "1" and seen[row["classID"]] < CLIPS_A_CLASS:
                seen[row["classID"]] += 1
                clips.append(_URBAN / "audio" / "fold1" / row["slice_file_name"])
                classes.append(int(row["classID"]))
                names[int(row["classID"])] = row["class"]
    features = np.array([extract_features(path) for path in clips])

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((40,)),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"], optimizer="adam")
    targets = keras.utils.to_categorical(classes, 10)
    model.fit(features, targets, batch_size=32, epochs=30, verbose=0)
    (folder / "tutorial.tflite").write_bytes(
        tf.lite.TFLiteConverter.from_keras_model(model).convert()
    )
    (folder / "labels.txt").write_text("\n".join(names[i] for i in range(10)))
    done = otic(
        *("pack", folder / "tutorial.tflite", "--labels", folder / "labels.txt"),
        *("--sr", "22050", "--input", "mean-mfcc", "--window-seconds", "4"),
        *("--out", folder / "urban.tflite"),
    )
    assert done.returncode == 0, done.stderr
    return Tutorial(model, clips, features, folder / "tutorial.tflite", folder / "urban.tflite")


def test_features_are_librosas_end_to_end(tutorial: Tutorial) -> None:
    """From the file on the disk to the numbers that the model is given, for every clip."""
    bundle = load_bundle(tutorial.bundle)
    p = bundle.features
    assert (p.n_features, p.window_samples, p.center) == (40, 88200, True)
    frontend = Frontend(p)
    errors = []
    for path, expected in zip(tutorial.clips, tutorial.features, strict=True):
        frontend.reset()
        source = FileSource(str(path), p.sr, 4096)
        for chunk in source.chunks():
            if isinstance(chunk, np.ndarray):
                frontend.push(chunk)
        source.close()
        errors.append(float(np.abs(frontend.features() - expected).max()))
    print(f"largest difference from librosa in {len(errors)} clips: {max(errors):.1e}")
    assert len(errors) == 10 * CLIPS_A_CLASS
    assert max(errors) <= 5e-4


def test_scores_are_keras_end_to_end(tutorial: Tutorial) -> None:
    """`otic replay` of whole clips gives what model.predict gives on librosa's features."""
    chosen = range(0, len(tutorial.clips), 2)
    done = otic(
        "replay",
        *(tutorial.clips[i] for i in chosen),
        *("--model", tutorial.bundle),
        *("--speed", "max", "--jsonl", "-", "--log", "scores"),
    )
    assert done.returncode == 0, done.stderr
    lines = of_type(done.stdout, "scores")
    assert [line["time"] for line in lines] == [4.0] * len(chosen)
    got = np.array([list(line["scores"].values()) for line in lines])
    expected = tutorial.model.predict(tutorial.features[list(chosen)], verbose=0)
    worst = float(np.abs(got - expected).max())
    print(f"largest difference from Keras in {len(chosen)} clips: {worst:.1e}")
    assert worst <= 1e-4
    assert len(set(got.argmax(axis=1))) >= 5  # a model that tells classes apart


def test_it_is_verified(tutorial: Tutorial) -> None:
    done = otic("verify", tutorial.bundle, "--audio", tutorial.clips[0])
    assert done.returncode == 0, done.stdout


def test_a_model_that_needs_tensorflow_is_refused(tutorial: Tutorial, tmp_path: Path) -> None:
    """Converted with SELECT_TF_OPS; it would load, and fail when it runs."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 40))])  # type: ignore[untyped-decorator]
    def spectral(x: Any) -> Any:
        return tf.nn.softmax(tf.signal.irfft(tf.signal.rfft(x, [64])[:, :8])[:, :10])

    converter = tf.lite.TFLiteConverter.from_concrete_functions([spectral.get_concrete_function()])
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    (tmp_path / "flex.tflite").write_bytes(converter.convert())
    assert "uses FlexStridedSlice, FlexIRFFT, TensorFlow's own" in refused(
        tmp_path / "flex.tflite", tutorial.bundle.with_name("labels.txt")
    )


def test_a_model_that_remembers_is_refused(tutorial: Tutorial, tmp_path: Path) -> None:
    """Its scores would depend on what was heard before, and on when it was started."""
    import tensorflow as tf

    class Remembering(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.last = tf.Variable(tf.zeros((1, 10)))

        @tf.function(input_signature=[tf.TensorSpec((1, 40))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            self.last.assign(0.9 * self.last + 0.1 * tf.sigmoid(x[:, :10]))
            return self.last.read_value()

    model = Remembering()
    function = model.__call__.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.experimental_enable_resource_variables = True
    (tmp_path / "state.tflite").write_bytes(converter.convert())
    message = refused(tmp_path / "state.tflite", tutorial.bundle.with_name("labels.txt"))
    assert "it keeps a state from window to window and can't be served" in message


def refused(model: Path, labels: Path) -> str:
    out = model.with_name("out.tflite")
    done = otic(
        *("pack", model, "--labels", labels, "--sr", "22050", "--input", "mean-mfcc"),
        *("--window-seconds", "4", "--out", out),
    )
    assert done.returncode == 1
    assert not out.exists()
    return one_line(done.stderr)
