"""The self-describing model file: a ``.tflite`` with a zip of associated files behind it.

A TFLite runtime reads the flatbuffer from the start and ignores what follows;
``zipfile`` reads from the end and ignores what precedes. TFLite's own metadata
packs label files in the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from realtime.attached import GOLDEN, JSON, LABELS, attach, check_json, detach, read_json
from realtime.decision import DecisionParams
from realtime.errors import BundleError, ParameterError
from realtime.golden import MAX_FEATURES, GoldenCase
from realtime.params import FeatureParams, check_keys

BUNDLE_FORMAT = 1
MAX_BYTES = 256 * 2**20
MAX_LABELS = 4096
MAX_CHARACTERS = 200
"""Of a label, and of the model's name."""

_MAX_REASON = 400  # characters of a message that may quote the file
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
        self._check_names()
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

    def _check_names(self) -> None:
        if len(self.labels) > MAX_LABELS:
            raise ParameterError(
                f"{len(self.labels)} labels, the limit is {MAX_LABELS}: use a model with fewer"
            )
        for name in (self.name, *self.labels):
            if len(name) > MAX_CHARACTERS:
                raise ParameterError(
                    f"name or label {name[:20]!r}… has {len(name)} characters, "
                    f"the limit is {MAX_CHARACTERS}: shorten it"
                )
        if not self.labels or len(set(self.labels)) < len(self.labels) or not all(self.labels):
            raise ParameterError(f"labels {list(self.labels)} must be different and not empty")
        if not all(label.isprintable() for label in self.labels):
            raise ParameterError(f"labels {list(self.labels)} must be printable, one line each")
        if not self.name.isprintable():
            raise ParameterError(f"name {self.name!r} must be printable, on one line")

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
        return parse_bundle(text, _read_file(Path(text)))
    if text not in bundled_names():
        raise BundleError(
            f"unknown model '{text}': known are {', '.join(bundled_names()) or 'none'}, "
            "or give the path of a .tflite file"
        )
    return parse_bundle(text, resources.files("models").joinpath(f"{text}.tflite").read_bytes())


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
    ParameterError
        If it holds what could not be read again, such as NaN.
    """
    content = bundle_bytes(bundle)
    beside = Path(f"{os.fspath(path)}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise BundleError(f"can't write '{os.fspath(path)}': {error.strerror}") from error
    return replace(bundle, sha256=hashlib.sha256(content).hexdigest())


def bundle_bytes(bundle: Bundle) -> bytes:
    """What :func:`save_bundle` writes and :func:`parse_bundle` reads."""
    values = bundle.to_dict()
    check_json("bundle", values)
    texts = {JSON: json.dumps(values, indent=1, ensure_ascii=False)}
    texts[LABELS] = "\n".join(bundle.labels)
    if bundle.golden:
        cases = [case.to_dict() for case in bundle.golden]
        check_json("golden", cases)
        texts[GOLDEN] = json.dumps(cases)
    return attach(bundle.model, texts)


def _read_file(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise BundleError(f"can't read model '{path}': it is no file; copy it into one first")
        if status.st_size > MAX_BYTES:
            raise BundleError(
                f"model '{path}' has {status.st_size} bytes: the limit is {MAX_BYTES}, "
                "is it a model at all?"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BundleError(f"can't read model '{path}': {reason}") from error


def parse_bundle(origin: str, content: bytes) -> Bundle:
    """Read a bundle from the bytes of its file; ``origin`` is what messages call it.

    Raises
    ------
    BundleError
        If it is damaged, contradicts itself, or asks for more than the limits.
    """
    if content[4:8] != b"TFL3":
        raise BundleError(f"model '{origin}' is not a TensorFlow Lite file")
    flatbuffer, files = detach(origin, content)
    try:
        values = read_json("bundle", files[JSON])
        if isinstance(values, dict) and values.get("format") != BUNDLE_FORMAT:
            raise ParameterError(
                f"it has bundle format {values.get('format')!r}, this otic reads format "
                f"{BUNDLE_FORMAT}: use the otic that wrote it or a newer one"
            )
        check_keys("bundle", values, _KEYS)
        bundle = Bundle(
            name=_as_type(str, "name", values),
            labels=tuple(files[LABELS].decode().removesuffix("\n").split("\n")),
            features=FeatureParams.from_dict(values["features"]),
            inference_hop_frames=values["inference_hop_frames"],
            decision=DecisionParams.from_dict(values["decision"]),
            accuracy=_as_type(dict, "accuracy", values),
            license=_as_type(str, "license", values),
            provenance=_as_type(dict, "provenance", values),
            model=flatbuffer,
            golden=_golden_cases(files.get(GOLDEN, b"[]")),
            sha256=hashlib.sha256(content).hexdigest(),
            origin=origin,
        )
        _check_golden_cases(bundle)
        return bundle
    except (ParameterError, ValueError, OverflowError) as error:
        raise BundleError(f"model '{origin}': {_readable(str(error))}") from error


def _readable(reason: str) -> str:
    """What may quote the file, as one line that no terminal obeys and nobody scrolls through."""
    cut = "…" if len(reason) > _MAX_REASON else ""
    return "".join(c if c.isprintable() else "\ufffd" for c in reason[:_MAX_REASON]) + cut


def _golden_cases(content: bytes) -> tuple[GoldenCase, ...]:
    values = read_json("golden", content)
    if not isinstance(values, list):
        raise ParameterError(f"golden cases must be a JSON list, not {type(values).__name__}")
    return tuple(GoldenCase.from_dict(value) for value in values)


def _check_golden_cases(bundle: Bundle) -> None:
    sounds = [case.sound for case in bundle.golden]
    if len(set(sounds)) < len(sounds):
        raise ParameterError(f"golden sounds {', '.join(sounds)} must be different")
    for case in bundle.golden:
        widths = len(case.features), len(case.scores)
        n = bundle.features.n_features  # of these kept_features keeps, of no array of that size:
        n_features = len(range(0, n, -(-n // MAX_FEATURES)))
        if widths != (n_features, len(bundle.labels)):
            raise ParameterError(
                f"golden case '{case.sound}' has {widths[0]} features and {widths[1]} scores: "
                f"{n_features} and {len(bundle.labels)} are needed"
            )


def _as_type(kind: type, name: str, values: dict[str, Any]) -> Any:
    if not isinstance(values[name], kind):
        what = "a JSON object" if kind is dict else "text"
        raise ParameterError(f"{name} must be {what}, not {type(values[name]).__name__}")
    return values[name]
