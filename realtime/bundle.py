"""The self-describing model file: a ``.tflite`` with a zip of associated files behind it.

A TFLite runtime reads the flatbuffer from the start and ignores what follows;
``zipfile`` reads from the end and ignores what precedes. TFLite's own metadata
packs label files in the same way.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from realtime.decision import DecisionParams
from realtime.errors import BundleError, ParameterError
from realtime.golden import GoldenCase, kept_features
from realtime.params import FeatureParams, check_keys

BUNDLE_FORMAT = 1
MAX_BYTES = 256 * 2**20
_JSON, _LABELS, _GOLDEN = "otic.json", "labels.txt", "golden.json"
_KEYS = [
    "format",
    "name",
    "features",
    "inference_hop_frames",
    "decision",
    "accuracy",
    "license",
    "provenance",
]
_ZIP_MEMBER = b"PK\x03\x04"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest date: the same content gives the same bytes


@dataclass(frozen=True)
class Bundle:
    """A model and all that is needed to serve it.

    Attributes
    ----------
    name : str
        The model's name.
    labels : tuple of str
        One for each output, in the model's order.
    features : FeatureParams
        What the model was trained on.
    inference_hop_frames : int
        Frames from one prediction to the next.
    decision : DecisionParams
        Thresholds and times.
    accuracy : dict
        Measured figures with their ``protocol``.
    license : str
        Licence of the model and attribution of its data.
    provenance : dict
        Data, folds, preset, epochs, seed and versions.
    model : bytes
        The TFLite flatbuffer alone.
    golden : tuple of GoldenCase
        For ``otic verify``; empty where the file has none.
    sha256 : str
        Of the whole file, in hexadecimal; empty for a bundle not read from one.
    origin : str
        The name or path that it was read from, for messages.
    """

    name: str
    labels: tuple[str, ...]
    features: FeatureParams
    inference_hop_frames: int
    decision: DecisionParams
    accuracy: dict[str, Any]
    license: str
    provenance: dict[str, Any]
    model: bytes = field(repr=False)
    golden: tuple[GoldenCase, ...] = field(default=(), repr=False)
    sha256: str = ""
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        hop = self.inference_hop_frames
        if isinstance(hop, bool) or not isinstance(hop, int) or hop < 1:
            raise ParameterError(f"inference_hop_frames={hop!r} must be a whole number above 0")
        if not self.labels or len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise ParameterError(f"labels {list(self.labels)} must be different and not empty")
        if not all(label.isprintable() for label in self.labels):
            raise ParameterError(f"labels {list(self.labels)} must be printable, one line each")
        if self.decision.lag_seconds > self.features.window_seconds:
            raise ParameterError(
                f"lag_seconds={self.decision.lag_seconds:g} must be at most the window's "
                f"{self.features.window_seconds:g}"
            )
        if len(self.decision.on_thresholds) != len(self.labels):
            raise ParameterError(
                f"{len(self.labels)} labels, but thresholds for "
                f"{len(self.decision.on_thresholds)}: one for each label is needed"
            )

    @property
    def inference_hop_samples(self) -> int:
        """Samples from one prediction to the next."""
        return self.inference_hop_frames * self.features.hop_length

    @property
    def inference_hop_seconds(self) -> float:
        """The same in seconds."""
        return self.inference_hop_samples / self.features.sr

    def to_dict(self) -> dict[str, Any]:
        """What ``otic.json`` holds."""
        return {
            "format": BUNDLE_FORMAT,
            "name": self.name,
            "features": self.features.to_dict(),
            "inference_hop_frames": self.inference_hop_frames,
            "decision": self.decision.to_dict(),
            "accuracy": self.accuracy,
            "license": self.license,
            "provenance": self.provenance,
        }


def bundled_names() -> list[str]:
    """Names of the models that are installed with otic."""
    files = resources.files("models").iterdir()
    return sorted(f.name.removesuffix(".tflite") for f in files if f.name.endswith(".tflite"))


def load_bundle(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Read a bundled model by name, or any bundle by path.

    Parameters
    ----------
    name_or_path : str or path
        A name from :func:`bundled_names`, or a path: something with a folder in
        it or that ends in ``.tflite``.

    Raises
    ------
    BundleError
        If there is no such model, or the file is damaged or contradicts itself.
    """
    text = os.fspath(name_or_path)
    if text.endswith(".tflite") or Path(text).name != text:
        return _parse(text, _read_file(Path(text)))
    if text not in bundled_names():
        raise BundleError(
            f"unknown model '{text}': known are {', '.join(bundled_names()) or 'none'}, "
            "or give the path of a .tflite file"
        )
    return _parse(text, resources.files("models").joinpath(f"{text}.tflite").read_bytes())


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> Bundle:
    """Write a bundle, beside its place first, then rename: no half-written file is ever there.

    Returns
    -------
    Bundle
        The same with the written file's ``sha256``.

    Raises
    ------
    BundleError
        If the file can't be written.
    """
    buffer = io.BytesIO(bundle.model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        text = json.dumps(bundle.to_dict(), indent=1, ensure_ascii=False)
        archive.writestr(zipfile.ZipInfo(_JSON, _EPOCH), text + "\n")
        archive.writestr(zipfile.ZipInfo(_LABELS, _EPOCH), "\n".join(bundle.labels) + "\n")
        if bundle.golden:
            cases = json.dumps([case.to_dict() for case in bundle.golden])
            archive.writestr(zipfile.ZipInfo(_GOLDEN, _EPOCH), cases + "\n")
    content = buffer.getvalue()
    beside = Path(f"{os.fspath(path)}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise BundleError(f"can't write '{os.fspath(path)}': {error.strerror}") from error
    return replace(bundle, sha256=hashlib.sha256(content).hexdigest())


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BundleError(
                f"model '{path}' has {size} bytes: the limit is {MAX_BYTES}, is it a model at all?"
            )
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"can't read model '{path}': {error.strerror}") from error


def _parse(origin: str, content: bytes) -> Bundle:
    if content[4:8] != b"TFL3":
        raise BundleError(f"model '{origin}' is not a TensorFlow Lite file")
    flatbuffer, members = _read_zip(origin, content)
    try:
        values = json.loads(members[_JSON].decode())
        if isinstance(values, dict) and values.get("format") != BUNDLE_FORMAT:
            raise BundleError(
                f"model '{origin}' has bundle format {values.get('format')!r}: "
                f"this otic reads format {BUNDLE_FORMAT}; use the otic that wrote it or a newer one"
            )
        check_keys("bundle", values, _KEYS)
        bundle = Bundle(
            name=str(values["name"]),
            labels=tuple(members[_LABELS].decode().removesuffix("\n").split("\n")),
            features=FeatureParams.from_dict(values["features"]),
            inference_hop_frames=values["inference_hop_frames"],
            decision=DecisionParams.from_dict(values["decision"]),
            accuracy=_as_object("accuracy", values["accuracy"]),
            license=str(values["license"]),
            provenance=_as_object("provenance", values["provenance"]),
            model=flatbuffer,
            golden=_golden_cases(members.get(_GOLDEN, b"[]")),
            sha256=hashlib.sha256(content).hexdigest(),
            origin=origin,
        )
        _check_golden_cases(bundle)
        return bundle
    except (ParameterError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(f"model '{origin}': {error}") from error


def _golden_cases(content: bytes) -> tuple[GoldenCase, ...]:
    values = json.loads(content.decode())
    if not isinstance(values, list):
        raise ParameterError(f"golden cases must be a JSON list, not {type(values).__name__}")
    return tuple(GoldenCase.from_dict(value) for value in values)


def _check_golden_cases(bundle: Bundle) -> None:
    sounds = [case.sound for case in bundle.golden]
    if len(set(sounds)) < len(sounds):
        raise ParameterError(f"golden sounds {', '.join(sounds)} must be different")
    for case in bundle.golden:
        widths = len(case.features), len(case.scores)
        n_features = len(kept_features(np.empty(bundle.features.n_features)))
        if widths != (n_features, len(bundle.labels)):
            raise ParameterError(
                f"golden case '{case.sound}' has {widths[0]} features and {widths[1]} scores: "
                f"{n_features} and {len(bundle.labels)} are needed"
            )


def _as_object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ParameterError(f"{name} must be a JSON object, not {type(value).__name__}")
    return value


def _read_zip(origin: str, content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Split into the flatbuffer and the associated files, each of which may take 1 MiB."""
    damaged = BundleError(
        f"model '{origin}': the bundle data behind the model is damaged: copy the file again"
    )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {i.filename: i for i in archive.infolist()}
            if _JSON in members and _LABELS in members:
                wanted = [n for n in (_JSON, _LABELS, _GOLDEN) if n in members]
                if max(members[n].file_size for n in wanted) > 2**20:
                    raise damaged
                flatbuffer = content[: min(i.header_offset for i in members.values())]
                return flatbuffer, {n: archive.read(n) for n in wanted}
    except zipfile.BadZipFile as error:
        if _ZIP_MEMBER in content and _JSON.encode() in content:
            raise damaged from error
    except (zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise damaged from error
    raise BundleError(
        f"model '{origin}' has no bundle data (labels, feature parameters): "
        "otic serves models that 'otic train' wrote"
    )
