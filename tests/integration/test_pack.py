"""`otic pack`: what is derived, what is refused and why, and that what it makes is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import librosa
import numpy as np
import pytest

from otic import Classifier, Frontend, Pipeline, load_bundle
from otic.cli.main import main
from otic.diagnostics.verify import check_golden_cases, check_streaming_is_batch
from otic.errors import BundleError, OticError
from otic.model.interface import BANDS_FIRST, FRAMES_FIRST, ModelInterface
from otic.model.tensors import ModelInput
from otic.packing.bundling import check_servable
from otic.packing.features import FeatureRequest, derive_features
from otic.packing.files import ModelMetadata, read_metadata
from otic.packing.tflite_file import TensorInfo, read_model_file
from otic.types import Scores
from tests.fuzzing.damage import check_message, damage
from tests.support.helpers import F32, noise, one_line, otic
from tests.support.small_models import (
    audio_metadata,
    best_label,
    custom_operators,
    divided_by_level,
    linear_model,
    numbers_and_scores,
    scores_of_rows,
    two_inputs,
    with_files,
)

SR = 8000
WAVE = ("--sr", str(SR))
MEANS = ("--sr", "8000", "--input", "mean-mfcc", "--window-seconds", "1")


def weights(n_labels: int, n: int, level: float = 0.1) -> F32:
    """Scores of samples within -1 to 1 lie within 0 and ``level``, about."""
    rng = np.random.default_rng(0)
    return (level * rng.random((n_labels, n)) / n).astype(np.float32)


def pack(
    folder: Path,
    model: bytes,
    *options: str | Path,
    labels: str = "a\nb\nc\n",
    capfd: pytest.CaptureFixture[str] | None = None,
) -> tuple[int, str, str]:
    """Exit code and what was printed; the bundle is ``folder/out.tflite``."""
    (folder / "model.tflite").write_bytes(model)
    (folder / "labels.txt").write_text(labels)
    arguments = ["pack", folder / "model.tflite", "--out", folder / "out.tflite", *options]
    if labels:
        arguments += ["--labels", folder / "labels.txt"]
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = int(str(ended.code))
    out, err = capfd.readouterr() if capfd else ("", "")
    return code, out, err


def test_a_waveform_needs_only_labels_and_a_rate(tmp_path: Path) -> None:
    """As a person runs it, with what it prints; then it is served and proven as any other."""
    model = linear_model((1, SR), weights(3, SR))
    (tmp_path / "model.tflite").write_bytes(model)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    (tmp_path / "groups.toml").write_text('both = ["a", "c"]\n')
    done = otic(
        *("pack", tmp_path / "model.tflite", "--labels", tmp_path / "labels.txt", *WAVE),
        *("--groups", tmp_path / "groups.toml", "--out", tmp_path / "my.tflite"),
        *("--threshold", "0.4", "--threshold", "both=0.7", "--license", "MIT"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    lines = done.stdout.decode().splitlines()
    assert lines[1:6] == [
        "labels      3: a, b, c",
        "groups      both (2)",
        "looks at    the waveform at 8000 Hz, output 0",
        "window      8000 samples, 1.000 s; a prediction every 0.250 s",
        "thresholds  0.4 to 0.7",
    ]
    bundle = load_bundle(tmp_path / "my.tflite")
    assert bundle.model == model
    assert (bundle.name, bundle.license) == ("my", "MIT")
    assert bundle.labels == ("a", "b", "c", "both")
    assert bundle.model_labels == ("a", "b", "c")
    assert bundle.decision.on_thresholds == (0.4, 0.4, 0.4, 0.7)
    # A score for each label by itself: what is above a tenth of the threshold has left the ground.
    assert (bundle.decision.onset_ground, bundle.decision.onset_back_seconds) == (0.1, 4.0)
    assert bundle.features.statistics == ("waveform",)
    assert bundle.features.window_samples == SR
    assert check_golden_cases(bundle).passed
    y = noise(3 * SR)
    assert check_streaming_is_batch(bundle, y).passed
    scores = [item for item in Pipeline(bundle).process(y) if isinstance(item, Scores)]
    assert [s.sample for s in scores] == list(range(SR, 3 * SR + 1, SR // 4))
    for item in scores:
        expected = weights(3, SR) @ y[item.sample - SR : item.sample]
        got = item.scores
        np.testing.assert_allclose([got[x] for x in "abc"], expected, rtol=0, atol=1e-6)
        assert got["both"] == max(got["a"], got["c"])


@pytest.mark.parametrize(
    ("shape", "signature", "options"),
    [
        ((SR,), None, WAVE),
        ((1, SR, 1), (-1, SR, 1), WAVE),
        ((1, 1), (1, -1), (*WAVE, "--window-seconds", "1")),
        ((1,), (-1,), (*WAVE, "--window-samples", str(SR))),
    ],
)
def test_shapes_of_a_waveform(
    tmp_path: Path, shape: tuple[int, ...], signature: tuple[int, ...] | None, options: list[str]
) -> None:
    """Also open ones, which the runtime is told at the start."""
    model = linear_model(shape, weights(3, SR), signature)
    assert pack(tmp_path, model, *options)[0] == 0
    y = noise(SR)
    scores = Classifier(load_bundle(tmp_path / "out.tflite")).predict(y)
    np.testing.assert_allclose(scores, weights(3, SR) @ y, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "options", "code", "words"),
    [
        (custom_operators("FlexRFFT", "FlexMul"), WAVE, 1, "uses FlexRFFT, FlexMul, TensorFlow's"),
        (custom_operators("Mine"), (), 1, "uses Mine, which no TFLite runtime comes with"),
        (
            two_inputs((1,), "int32"),
            WAVE,
            1,
            "one is needed; state takes a single number, such as the sampling rate: make it a",
        ),
        (two_inputs(), WAVE, 1, "a state that is handed on is served only for models that are"),
        (
            linear_model((1, 1960), weights(3, 1960)),
            ("--sr", "16000"),
            2,
            "(a waveform of 0.122 s would be short): say --input waveform, log-mel",
        ),
        (
            linear_model((1, SR), weights(3, SR), int8=((0.1017, -128), (1 / 256, -128))),
            WAVE,
            2,
            "with values from 0 to 25.93, which no waveform has: say --input waveform, log-mel",
        ),
        (
            linear_model((1, SR), weights(9, SR), output=(1, 3, 3)),
            WAVE,
            1,
            "gives scores a frame, float32 [1, 3, 3], for 3 labels: one score for each label and",
        ),
        (linear_model((1, SR), weights(3, SR), version=77), WAVE, 1, "'FULLY_CONNECTED' version"),
        (two_inputs(), MEANS, 1, "2 inputs (sound float32 [1, 3], state float32 [1, 3])"),
        (best_label(SR), WAVE, 1, "gives int32 [1] at output 0, no scores"),
        (linear_model((1, SR), weights(4, SR)), WAVE, 1, "gives 4 numbers, but there are 3 labels"),
        (linear_model((1, SR), weights(3, SR)), (), 2, "give it with --sr HZ"),
        (linear_model((1, SR), weights(3, SR)), (*WAVE, "--output", "1"), 1, "has 1 outputs"),
        (
            linear_model((1, SR), weights(3, SR)),
            (*WAVE, "--hop-seconds", "1e308"),
            1,
            "inference_hop_frames=1000001 must be at most 1000000",
        ),
        (
            linear_model((1, SR), weights(3, SR)),
            (*WAVE, "--order", "bands-first"),
            1,
            "order=bands_first is for log_mel or mfcc alone, not for waveform",
        ),
        (
            linear_model((1, 1, 1, 1), weights(3, SR), (-1, -1, -1, 1)),
            (*WAVE, "--input", "mfcc", "--order", "frames-first", "--n-mfcc", "20"),
            1,
            "leaves frames and bands open: convert it with the number of bands fixed",
        ),
        (divided_by_level(weights(3, SR)), WAVE, 1, "has no finite scores for silence"),
        (
            scores_of_rows(weights(3, SR)),
            (*WAVE, "--window-samples", str(2 * SR)),
            1,
            "its output has shape [2, 3] now: give it a window of which it makes one score for",
        ),
        (
            linear_model((1, SR), weights(3, SR)),
            (*WAVE, "--window-seconds", "2"),
            1,
            "a window of 16000 samples is wanted, the model takes 8000",
        ),
        (linear_model((1, SR), weights(3, SR, 1e5)), WAVE, 1, "say --activation softmax"),
        (linear_model((1, SR), weights(3, SR)), (*WAVE, "--n-fft", "1000"), 1, "n_fft=1000"),
        (
            linear_model((1, 1), weights(3, SR), (1, -1)),
            (*WAVE, "--window-seconds", "1e9"),
            1,
            "at most 67108864 are possible",
        ),
        (
            linear_model((1, 40), weights(3, 40)),
            WAVE,
            2,
            "say --input waveform, log-mel",
        ),
        (
            linear_model((1, 40), weights(3, 40)),
            (*WAVE, "--input", "mean-mfcc"),
            2,
            "say --window-seconds",
        ),
        (
            linear_model((1, 40, 20, 1), weights(3, 800)),
            (*WAVE, "--input", "mfcc"),
            2,
            "40 frames of 20 bands or the reverse: say --order",
        ),
        (
            linear_model((1, 8, 8, 3), weights(3, 192)),
            (*WAVE, "--input", "log-mel"),
            1,
            "several channels can't be served",
        ),
        (
            linear_model((1, SR), weights(3, SR)),
            (*WAVE, "--threshold", "d=0.5"),
            2,
            "no such label",
        ),
        (linear_model((1, SR), weights(3, SR)), (*WAVE, "--scale", "x"), 1, "--scale x: a number"),
        (
            linear_model((1, SR), weights(3, SR), metadata=audio_metadata(SR, channels=2)),
            WAVE,
            1,
            "takes 2 channels",
        ),
        (b"hello, I am no model", WAVE, 1, "is not a TensorFlow Lite file"),
        (linear_model((1, SR), weights(3, SR))[:300], WAVE, 1, "is damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",  # not a model's bytes
)
def test_what_is_refused_and_why(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    model: bytes,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    ended, out, err = pack(tmp_path, model, *options, capfd=capfd)
    assert words in one_line(err.encode())
    assert (ended, out) == (code, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "model.tflite"]


def test_labels_groups_and_the_model_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = linear_model((1, SR), weights(3, SR))

    def refused(labels: str, *options: str | Path) -> str:
        code, _, err = pack(tmp_path, model, *WAVE, *options, labels=labels, capfd=capfd)
        assert code in (1, 2)
        return one_line(err.encode())

    assert "label 3 is 'a', as label 1 is" in refused("a\nb\na\n")
    assert "line 2 is empty" in refused("a\n\nb\n")
    assert refused("a\n1\tb\nc\n") == (
        "otic: label 2 is '1\\tb': labels must be different, not empty, and printable"
    )
    assert "has no labels in its metadata" in refused("")
    groups = tmp_path / "groups.toml"
    for text, words in (
        ('a = ["b"]', "group 'a' has the name of a label"),
        ('g = ["Baa", "b"]', "names 'Baa', which is no label"),
        ("g = []", "must name at least one label"),
        ("g = 3", "must be a list of labels"),
        ("g = [", "is not TOML"),
    ):
        groups.write_text(text)
        assert words in refused("a\nb\nc\n", "--groups", groups)
    model_path = tmp_path / "model.tflite"
    done = main(["pack", str(model_path), "--sr", "8000", "--out", str(model_path)])
    assert done == 2
    assert "is the model itself" in one_line(capfd.readouterr().err.encode())
    assert model_path.read_bytes() == model
    (tmp_path / "classes.csv").write_text('index,mid,display_name\n0,/x,"a, b"\n1,/y,c\n2,/z,d\n')
    assert pack(tmp_path, model, *WAVE, "--labels", tmp_path / "classes.csv", labels="")[0] == 0
    assert load_bundle(tmp_path / "out.tflite").labels == ("a, b", "c", "d")
    capfd.readouterr()
    (tmp_path / "again.tflite").write_bytes((tmp_path / "out.tflite").read_bytes())
    again = [str(tmp_path / name) for name in ("again.tflite", "bundle.tflite")]
    assert main(["pack", again[0], *WAVE, "--out", again[1]]) == 1
    assert "is a bundle already" in one_line(capfd.readouterr().err.encode())


def test_a_models_metadata_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rate, licence and labels; MediaPipe's writer puts them there as this builder does."""
    metadata = audio_metadata(SR, label_file="names.txt", model_license="Apache-2.0")
    bare = linear_model((1, SR), weights(3, SR), metadata=metadata)
    model = with_files(bare, {"names.txt": "\ufeffx\r\ny \r\nz\r\n\r\n", "other.txt": "!"})
    assert pack(tmp_path, model, labels="")[0] == 0
    bundle = load_bundle(tmp_path / "out.tflite")
    assert (bundle.labels, bundle.features.sr) == (("x", "y", "z"), SR)
    assert bundle.license == "Apache-2.0"
    assert bundle.provenance["metadata"]["label_files"] == ["names.txt"]
    assert bundle.model == model  # with its own zip: the file that was packed, byte for byte
    Classifier(bundle)
    capfd.readouterr()
    # What is said goes before what is read; what is missing is named.
    _, _, err = pack(tmp_path, model, "--sr", "16000", labels="", capfd=capfd)
    assert "--sr 16000 is taken, though the model's metadata says 8000 Hz" in one_line(err.encode())
    assert load_bundle(tmp_path / "out.tflite").features.sr == 16000
    _, _, err = pack(tmp_path, bare, labels="", capfd=capfd)
    assert "its metadata names 'names.txt'" in one_line(err.encode())


def test_the_scores_are_found_beside_other_numbers(tmp_path: Path) -> None:
    """And rows of scores, where the window makes one."""
    window = (*WAVE, "--window-samples", str(SR))
    for model in (numbers_and_scores(weights(3, SR)), scores_of_rows(weights(3, SR))):
        assert pack(tmp_path, model, *window)[0] == 0
        scores = Classifier(load_bundle(tmp_path / "out.tflite")).predict(noise(SR))
        np.testing.assert_allclose(scores, weights(3, SR) @ noise(SR), rtol=0, atol=1e-6)


def test_an_int8_model(tmp_path: Path) -> None:
    w = np.round(weights(3, SR, 1e5)) / np.float32(100)
    steps = ((1 / 128, 0), (1 / 256, -128))
    assert pack(tmp_path, linear_model((1, SR), w, int8=steps), *WAVE)[0] == 0
    bundle = load_bundle(tmp_path / "out.tflite")
    assert bundle.provenance["weights"] == "int8"
    y = np.abs(noise(SR, level=1e-3))
    expected = np.clip(w @ (np.round(y * 128) / 128), 0, 255 / 256)
    np.testing.assert_allclose(Classifier(bundle).predict(y), expected, rtol=0, atol=1 / 256)


def test_scale_order_peak_and_activation(tmp_path: Path) -> None:
    """Each in its place: peak, order, scale and offset, model, activation."""
    frames, bands = 7, 24
    w = weights(3, frames * bands, 10.0)
    model = linear_model((1, bands, frames, 1), w)
    scale = np.linspace(0.01, 0.02, frames * bands)
    (tmp_path / "scale.txt").write_text("\n".join(map(str, scale)))
    options = ["--sr", "8000", "--input", "log-mel", "--n-mels", str(bands), "--n-fft", "256"]
    options += ["--hop-length", "100", "--relative-to-peak", "--activation", "softmax"]
    options += ["--scale", str(tmp_path / "scale.txt"), "--offset", "-0.5"]
    assert pack(tmp_path, model, *options)[0] == 0
    bundle = load_bundle(tmp_path / "out.tflite")
    p = bundle.features
    assert (p.window_frames, p.window_samples, p.center) == (frames, 600, True)
    assert bundle.interface.order == BANDS_FIRST
    assert bundle.decision.onset_ground == 0.5  # shares, of which some label has to have more
    patch = np.random.default_rng(1).uniform(-80, 0, (frames, bands)).astype(np.float32)
    logits = w @ ((patch - patch.max()).T.ravel() * scale - 0.5)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(Classifier(bundle).predict(patch.ravel()), expected, atol=1e-6)
    sigmoid = replace(bundle, interface=replace(bundle.interface, activation="sigmoid"))
    expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(Classifier(sigmoid).predict(patch.ravel()), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("request_", "shape", "expected"),
    [
        # YAMNet: frames and a tail say any length of window exactly.
        (FeatureRequest(16000), (1, 15600), ("waveform", 98, 15600)),
        (FeatureRequest(44100), (-1, 44032), ("waveform", 100, 44032)),
        (FeatureRequest(22050, "mean-mfcc", window_samples=88200), (-1, 40), ("mean", 173, 88200)),
        (FeatureRequest(22050, "mfcc", n_mfcc=40), (-1, 40, 173, 1), ("mfcc", 173, 172 * 512)),
        (
            FeatureRequest(22050, "mfcc", n_mfcc=40, window_samples=88200),
            (-1, 40, 173, 1),
            ("mfcc", 173, 88200),
        ),
        (
            FeatureRequest(22050, "log-mel", center=False, order=FRAMES_FIRST),
            (1, 96, 64),
            ("log_mel", 96, 95 * 512 + 2048),
        ),
        (FeatureRequest(22050, "log-mel"), (1, 128 * 10), ("log_mel", 10, 9 * 512)),
        (
            FeatureRequest(22050, "statistics", ("mean", "std"), window_samples=44100),
            (1, 80),
            ("mean", 87, 44100),
        ),
    ],
)
def test_what_is_derived_from_a_shape(
    request_: FeatureRequest, shape: tuple[int, ...], expected: tuple[str, int, int]
) -> None:
    features, order = derive_features(request_, TensorInfo("x", "float32", shape))
    got = (features.statistics[0], features.window_frames, features.window_samples)
    assert got == expected
    assert order == (BANDS_FIRST if shape == (-1, 40, 173, 1) else FRAMES_FIRST)


def test_a_patch_that_its_window_does_not_fill() -> None:
    """174 frames, as a popular tutorial pads them, are not the 173 of 4 s."""
    request = FeatureRequest(22050, "mfcc", n_mfcc=40, window_samples=88200)
    with pytest.raises(BundleError, match=r"has 173 frames, but the model's input .* has 174"):
        derive_features(request, TensorInfo("x", "float32", (1, 40, 174, 1)))


def test_an_interface_survives_json_and_names_what_does_not_fit() -> None:
    interface = ModelInterface(BANDS_FIRST, True, (2.0, 3.0), (1.0,), 3, "sigmoid")
    assert ModelInterface.from_dict(interface.to_dict()) == interface
    for changes, words in (
        ({"order": "sideways"}, "order='sideways' must be one of frames_first"),
        ({"activation": "relu"}, "activation='relu'"),
        ({"output": -1}, "output=-1"),
        ({"scale": [float("nan")]}, "scale=nan must be a finite number"),
        ({"scale": "1"}, "must be a list"),
        ({"relative_to_peak": 1}, "true or false"),
    ):
        with pytest.raises(OticError, match=words):
            ModelInterface.from_dict({**interface.to_dict(), **changes})


def test_damaged_models_are_one_line() -> None:
    """Some thousand, through the readers that look before anything runs."""
    metadata = audio_metadata(SR)
    whole = linear_model((1, 4), weights(3, 4), metadata=metadata)
    rng, ends = Random(0), {"read": 0, "refused": 0}
    for _ in range(3000):
        data = whole[:8] + damage(whole[8:], rng)
        try:
            found = read_model_file("fuzz", data).metadata
            read_metadata("fuzz", metadata[:8] + damage(found or metadata, rng)[8:])
            ends["read"] += 1
        except OticError as error:
            check_message(error)
            ends["refused"] += 1
    assert min(ends.values()) > 100, ends


def test_names_in_damaged_models_are_printable() -> None:
    named, rng, refused = two_inputs((1,), "int32"), Random(3), 0
    for _ in range(3000):
        try:
            read = read_model_file("fuzz", named[:8] + damage(named[8:], rng))
            check_servable("fuzz", read, ModelMetadata())
        except OticError as error:
            check_message(error)
            refused += "sampling rate" in str(error)
    assert refused > 100


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (
            ("--input", "mfcc", "--order", "bands-first"),
            lambda y: librosa.feature.mfcc(y=y, sr=22050, n_mfcc=40),
        ),
        (
            ("--input", "log-mel", "--order", "bands-first", "--relative-to-peak"),
            lambda y: librosa.power_to_db(power(y), ref=np.max),
        ),
        (
            ("--input", "log-mel", "--order", "frames-first", "--no-center"),
            lambda y: librosa.power_to_db(power(y, center=False)).T,
        ),
        (
            ("--input", "log-mel", "--order", "bands-first", "--scale", "0.2302585"),
            lambda y: np.log(np.maximum(1e-10, power(y))),
        ),
    ],
    ids=["mfcc", "relative", "turned", "natural logarithm"],
)
def test_what_tutorials_compute(
    tmp_path: Path, options: tuple[str, ...], given: Callable[[F32], F32]
) -> None:
    """As docs/models.md has it: the model is given librosa's array, cell for cell."""
    frames, n = 30, 29 * 512 if "--no-center" not in options else 29 * 512 + 2048
    y = noise(n, level=0.01) + np.eye(1, n, 5000, dtype=np.float32)[0]
    expected = given(y)
    shape = (1, *expected.shape, 1)
    model = linear_model(shape, weights(3, expected.size, 1e-3))
    options += ("--sr", "22050", "--top-db", "200" if "--scale" in options else "80")
    options += ("--activation", "softmax")
    assert pack(tmp_path, model, *options)[0] == 0
    bundle = load_bundle(tmp_path / "out.tflite")
    assert (bundle.features.window_frames, bundle.features.window_samples) == (frames, n)
    frontend = Frontend(bundle.features)
    frontend.push(y)
    detail = {"index": 0, "shape": np.array(shape), "dtype": np.float32}
    tensor = ModelInput(bundle, [detail]).tensor(frontend.features())
    assert tensor.shape == shape
    np.testing.assert_allclose(tensor[0, ..., 0], expected, rtol=0, atol=2e-3)


def power(y: F32, center: bool = True) -> F32:
    mel: F32 = librosa.feature.melspectrogram(y=y, sr=22050, center=center)
    return mel
