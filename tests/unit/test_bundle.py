"""One self-describing file: what is read is what was written, and damage is named."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otic import Bundle, load_bundle, save_bundle
from otic.cli.main import main
from otic.config.values import DEFAULT_MODEL
from otic.errors import BundleError, ParameterError
from otic.model.bundle import bundle_bytes, bundled_names, parse_bundle
from otic.model.golden import GoldenCase
from otic.model.interface import ModelInterface
from tests.conftest import ROOT
from tests.support.helpers import bundled, decision, one_line, small_bundle


def write_raw(path: Path, model: bytes, members: dict[str, str]) -> Path:
    """A bundle with whatever in it."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    path.write_bytes(buffer.getvalue())
    return path


def members(change: Callable[[dict[str, Any]], None]) -> dict[str, str]:
    bundle = small_bundle()
    values = bundle.to_dict()
    change(values)
    return {"otic.json": json.dumps(values), "labels.txt": "\n".join(bundle.labels)}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    bundle = replace(bundled(), name="copy", license="über", sha256="")
    written = save_bundle(tmp_path / "copy.tflite", bundle)
    read = load_bundle(tmp_path / "copy.tflite")
    assert read == written
    assert replace(read, sha256="") == bundle
    # The same content gives the same bytes; saving what was read does not grow the file.
    save_bundle(tmp_path / "again.tflite", read)
    assert (tmp_path / "again.tflite").read_bytes() == (tmp_path / "copy.tflite").read_bytes()
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["again.tflite", "copy.tflite"]


def test_a_bundle_says_how_onsets_are_dated_back_only_where_they_are(tmp_path: Path) -> None:
    old = bundled().decision  # as otic 0.1 wrote it
    assert old.onset_ground == old.onset_back_seconds == 0.0
    for name in bundled_names():
        with zipfile.ZipFile(ROOT / "models" / "otic_models" / f"{name}.tflite") as archive:
            written = json.loads(archive.read("otic.json"))["decision"]
        assert written == load_bundle(name).decision.to_dict()
    dated = small_bundle(decision=decision(3, onset_ground=0.5, onset_back_seconds=4))
    save_bundle(tmp_path / "dated.tflite", dated)
    assert load_bundle(tmp_path / "dated.tflite").decision == dated.decision


def test_any_zip_tool_reads_it(tmp_path: Path) -> None:
    save_bundle(tmp_path / "m.tflite", small_bundle())
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().split() == ["quiet", "loud", "odd"]
        assert json.loads(archive.read("otic.json"))["name"] == "small"


def test_bundled_names_load() -> None:
    assert "esc10-mfcc-mlp" in bundled_names()
    for name in bundled_names():
        bundle = load_bundle(name)
        assert bundle.name == name
        assert len(bundle.sha256) == 64


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(BundleError, match=r"unknown model 'nope': known are .*esc10-mfcc-mlp"):
        load_bundle("nope")


def test_a_retired_name_says_what_to_take(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match=f"no longer bundled: take '{DEFAULT_MODEL}', which"):
        load_bundle("esc10-tiny")
    assert main(["replay", "a.wav", "--model", "urban-logmel-cnn"]) == 1
    assert "no longer bundled: train one on UrbanSound8K" in one_line(
        capfd.readouterr().err.encode()
    )


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nope\.tflite': No such file"):
        load_bundle(tmp_path / "nope.tflite")
    (tmp_path / "text.tflite").write_text("hello, I am not a model")
    with pytest.raises(BundleError, match="not a TensorFlow Lite file"):
        load_bundle(tmp_path / "text.tflite")
    (tmp_path / "empty.tflite").touch()
    with pytest.raises(BundleError, match="not a TensorFlow Lite file"):
        load_bundle(tmp_path / "empty.tflite")


def test_a_tflite_without_bundle_data(tmp_path: Path) -> None:
    (tmp_path / "bare.tflite").write_bytes(bundled().model)
    with pytest.raises(BundleError, match="has no bundle data"):
        load_bundle(tmp_path / "bare.tflite")
    write_raw(tmp_path / "other.tflite", bundled().model, {"labelmap.txt": "a\nb"})
    with pytest.raises(BundleError, match="has no bundle data"):
        load_bundle(tmp_path / "other.tflite")


def test_a_damaged_zip(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    save_bundle(path, small_bundle())
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(path)
    at = whole.index(b'"features"')
    path.write_bytes(whole[:at] + b"XXXXXXXX" + whole[at + 8 :])
    with pytest.raises(BundleError, match="is damaged"):
        load_bundle(path)


def test_every_flipped_byte_is_an_otic_error_or_harmless() -> None:
    whole = bundle_bytes(small_bundle())
    for at in range(len(whole)):
        for mask in (0x55, 0xFF):
            with suppress(BundleError):  # anything else fails the test
                parse_bundle("flipped", whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("decision"), "missing keys decision"),
        (lambda v: v.update(extra=1), "unknown keys extra"),
        (lambda v: v["features"].update(n_fft=1000), "n_fft=1000"),
        (lambda v: v["features"].pop("top_db"), "missing keys top_db"),
        (lambda v: v["decision"]["on_thresholds"].pop(), "2 on_thresholds and 3 off_thresholds"),
        (lambda v: v["decision"].update(onset_ground=0.5), "missing keys onset_back_seconds"),
        (
            lambda v: v["decision"].update(onset_ground=1, onset_back_seconds=2),
            "onset_ground=1 must be from 0 to below 1",
        ),
        (
            lambda v: v["decision"].update(onset_ground=0.5, onset_back_seconds=0),
            "onset_back_seconds=0 must be 0 just where it is 0",
        ),
        (lambda v: v["decision"].update(onset_ground=-1, onset_back_seconds=0), "at least 0"),
        (lambda v: v.update(format=4), "bundle format 4"),
        (lambda v: v.update(format=2), "missing keys interface, groups"),
        (lambda v: v.update(groups={}), "unknown keys groups"),
        (lambda v: v.update(inference_hop_frames=0), "inference_hop_frames=0"),
        (lambda v: v["features"].update(window_frames=10**400), "window_frames="),
        (lambda v: v["features"].update(fmin=10**400), "too large"),
        (lambda v: v.update(features=[]), "must be a JSON object"),
        (lambda v: v.update(accuracy=3), "accuracy must be a JSON object"),
    ],
)
def test_contradictions_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    path = write_raw(tmp_path / "m.tflite", small_bundle().model, members(change))
    with pytest.raises(BundleError, match=words):
        load_bundle(path)


def test_not_json_and_not_an_object(tmp_path: Path) -> None:
    for text in ("{", "[]", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        path = write_raw(
            tmp_path / "m.tflite", small_bundle().model, {"otic.json": text, "labels.txt": "a\nb"}
        )
        with pytest.raises(BundleError):
            load_bundle(path)


def test_labels_must_be_different() -> None:
    with pytest.raises(ParameterError, match="different"):
        small_bundle(labels=("a", "a", "b"))
    with pytest.raises(ParameterError, match="2 labels, but thresholds for 3"):
        small_bundle(labels=("a", "b"))


def test_an_unwritable_place_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="can't write"):
        save_bundle(tmp_path / "no" / "m.tflite", small_bundle())
    (tmp_path / "folder.tflite").mkdir()
    with pytest.raises(BundleError, match="can't write"):
        save_bundle(tmp_path / "folder.tflite", small_bundle())
    assert [p.name for p in tmp_path.iterdir()] == ["folder.tflite"]


def test_a_bundle_is_not_printed_whole() -> None:
    bundle: Bundle = small_bundle()
    assert "TFL3" not in repr(bundle)


def test_golden_cases_travel_with_the_model(tmp_path: Path) -> None:
    case = GoldenCase("sweep", (0.5,) * 16, (0.2, 0.3, 0.5))
    save_bundle(tmp_path / "m.tflite", small_bundle(golden=(case,)))
    assert load_bundle(tmp_path / "m.tflite").golden == (case,)
    save_bundle(tmp_path / "m.tflite", small_bundle())
    assert load_bundle(tmp_path / "m.tflite").golden == ()


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        ("{}", "must be a JSON list, not dict"),
        ("[1]", "golden case must be a JSON object, not int"),
        ('[{"sound": "noise"}]', "missing keys features, scores"),
        ('[{"sound": "howl", "features": [], "scores": []}]', "'howl' is unknown: it must be"),
        ('[{"sound": "noise", "features": [NaN], "scores": []}]', "finite numbers"),
        ('[{"sound": "noise", "features": [1], "scores": [1]}]', "1 features and 1 scores: 16"),
        ("not json", "Expecting value"),
    ],
)
def test_damaged_golden_cases_are_named(tmp_path: Path, golden: str, words: str) -> None:
    content = {**members(lambda values: None), "golden.json": golden}
    path = write_raw(tmp_path / "m.tflite", small_bundle().model, content)
    with pytest.raises(BundleError, match=words):
        load_bundle(path)


FOREIGN = ModelInterface("frames_first", False, (0.5,), (1.0,) * 16, 1, "sigmoid")


def grouped() -> Bundle:
    return small_bundle(
        labels=("quiet", "loud", "odd", "heard"),
        groups={"heard": ("loud", "odd")},
        interface=FOREIGN,
        decision=decision(4),
    )


def test_an_interface_and_groups_travel_with_the_model(tmp_path: Path) -> None:
    """In format 2; what needs neither stays as it was, so that older programs read it."""
    written = save_bundle(tmp_path / "m.tflite", grouped())
    read = load_bundle(tmp_path / "m.tflite")
    assert read == written
    assert read.model_labels == ("quiet", "loud", "odd")
    assert read.to_dict()["format"] == 2
    with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
        assert archive.read("labels.txt").decode().split() == ["quiet", "loud", "odd"]
    plain = small_bundle().to_dict()
    assert plain["format"] == 1
    assert not {"interface", "groups"} & set(plain)
    assert bundled().to_dict()["format"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ("quiet", "loud", "heard", "odd")}, "labels must end with the groups heard"),
        ({"groups": {"heard": ("noisy",)}}, "names 'noisy', which is no label"),
        ({"groups": {"heard": ()}}, "at least one label"),
        ({"groups": {"heard": ("odd", "odd")}}, "only once"),
        ({"interface": replace(FOREIGN, scale=(1.0, 2.0))}, "scale has 2 numbers: 1 or 16"),
        ({"interface": replace(FOREIGN, order="bands_first")}, "not for mean, std"),
        ({"interface": replace(FOREIGN, relative_to_peak=True)}, "not for mean, std"),
    ],
)
def test_an_interface_and_groups_that_do_not_fit(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        replace(grouped(), **change)
