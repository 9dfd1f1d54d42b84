"""The self-describing model file: a ``.tflite`` with a zip of associated files behind it.

A TFLite runtime reads the flatbuffer from the start and ignores what follows;
``zipfile`` reads from the end and ignores what precedes. TFLite's own metadata
packs label files in the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from otic.config.values import DEFAULT_MODEL, check_keys, check_whole
from otic.detection.thresholds import DecisionParams
from otic.errors import BundleError, ParameterError, did_you_mean
from otic.features.params import FeatureParams
from otic.model.archive import (
    GOLDEN,
    JSON,
    LABELS,
    STATE,
    attach,
    check_json,
    detach,
    read_json,
    read_model,
)
from otic.model.foreign import is_saved_model, require_tflite
from otic.model.golden import GoldenCase, check_sizes, golden_cases_from
from otic.model.interface import PLAIN, ModelInterface
from otic.model.streaming import StreamParams

BUNDLE_FORMAT = 1
FOREIGN_FORMAT = 2
"""Format of a bundle with an interface or groups; written only where one is needed."""
STREAM_FORMAT = 3
"""Format of a streaming model, which has an interface, groups and a state."""
NOT_STATED = "not stated"
"""Licence of a model that came without one."""
MAX_LABELS = 4096
MAX_CHARACTERS = 200
"""Limit of a label and of the model's name."""

_SAME_LABELS = f"take '{DEFAULT_MODEL}', which names the same sounds"
_STREET = "train one on UrbanSound8K with 'otic train', as docs/training.md shows"
_RETIRED = {
    "esc10-logmel-cnn": _SAME_LABELS,
    "esc10-logmel-cnn-int8": _SAME_LABELS,
    "esc10-tiny": _SAME_LABELS,
    "esc10-tiny-int8": _SAME_LABELS,
    "urban-logmel-cnn": _STREET,
    "urban-logmel-cnn-int8": _STREET,
}
"""Names that were bundled once, and what to do instead."""
_DOWNLOADS = ("yamnet",)

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
_FOREIGN_KEYS = [*_KEYS, "interface", "groups"]
_FORMAT_KEYS = {
    BUNDLE_FORMAT: _KEYS,
    FOREIGN_FORMAT: _FOREIGN_KEYS,
    STREAM_FORMAT: [*_FOREIGN_KEYS, "stream"],
}
_MAX_STREAM_LAG_SECONDS = 10.0


Groups = Mapping[str, tuple[str, ...]]
"""A group's name to the labels in it. Its score is the greatest of theirs."""


@dataclass(frozen=True)
class Bundle:
    """A model and everything that is needed to serve it.

    Attributes
    ----------
    name : str
        The model's name.
    labels : tuple of str
        Served labels: one for each output, in the model's order, and the names of
        the groups behind them.
    features : FeatureParams
        Features that the model was trained on.
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
    interface : ModelInterface
        How the model takes features and gives scores.
    groups : mapping of str to tuple of str
        Groups of the model's labels, by name; their names end ``labels``, in order.
    stream : StreamParams or None
        State of a streaming model; None for a model of windows.
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
    interface: ModelInterface = PLAIN
    groups: Groups = field(default_factory=dict)
    stream: StreamParams | None = None

    def __post_init__(self) -> None:
        check_whole("inference_hop_frames", self.inference_hop_frames)
        if self.labels[len(self.labels) - len(self.groups) :] != tuple(self.groups):
            raise ParameterError(f"labels must end with the groups {', '.join(self.groups)}")
        check_groups(self.groups, self.model_labels)
        self._check_names()
        self.interface.check_fits(self.features)
        if self.stream is not None:
            self.stream.check_fits(self.features, self.interface, self.inference_hop_frames)
            if self.decision.lag_seconds > _MAX_STREAM_LAG_SECONDS:
                raise ParameterError(
                    f"lag_seconds={self.decision.lag_seconds:g} must be at most "
                    f"{_MAX_STREAM_LAG_SECONDS:g}"
                )
        elif self.decision.lag_seconds > self.features.window_seconds:
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
        if not self.labels:
            raise ParameterError("at least one label is needed")
        seen: set[str] = set()
        for number, label in enumerate(self.labels, 1):
            if not label or label in seen or not label.isprintable():
                raise ParameterError(
                    f"label {number} is {label!r}: "
                    "labels must be different, not empty, and printable"
                )
            seen.add(label)
        if not self.name.isprintable():
            raise ParameterError(f"name {self.name!r} must be printable, on one line")

    @property
    def model_labels(self) -> tuple[str, ...]:
        """Labels of the model's own outputs, without groups."""
        return self.labels[: len(self.labels) - len(self.groups)]

    @property
    def inference_hop_samples(self) -> int:
        """Time from one prediction to the next, in samples."""
        return self.inference_hop_frames * self.features.hop_length

    @property
    def inference_hop_seconds(self) -> float:
        """Time from one prediction to the next, in seconds."""
        return self.inference_hop_samples / self.features.sr

    @property
    def window_samples(self) -> int:
        """Samples of unbroken audio before the first scores: the window, or the warm-up."""
        steps = 0 if self.stream is None else self.stream.warm_up_steps
        return self.features.window_samples + steps * self.inference_hop_samples

    @property
    def window_seconds(self) -> float:
        """Seconds of unbroken audio before the first scores."""
        return self.window_samples / self.features.sr

    @property
    def format(self) -> int:
        """Number of the file format that the bundle needs: the oldest that can hold it."""
        if self.stream is not None:
            return STREAM_FORMAT
        return FOREIGN_FORMAT if self.groups or not self.interface.plain else BUNDLE_FORMAT

    def to_dict(self) -> dict[str, Any]:
        """Make the content of ``otic.json``."""
        added: dict[str, Any] = {}
        if self.format >= FOREIGN_FORMAT:
            groups = {name: list(members) for name, members in self.groups.items()}
            added = {"interface": self.interface.to_dict(), "groups": groups}
        if self.stream is not None:
            added["stream"] = self.stream.to_dict()
        return {
            "format": self.format,
            "name": self.name,
            "features": self.features.to_dict(),
            "inference_hop_frames": self.inference_hop_frames,
            "decision": self.decision.to_dict(),
            "accuracy": self.accuracy,
            "license": self.license,
            "provenance": self.provenance,
            **added,
        }


def bundled_names() -> list[str]:
    """List the models that are installed with otic."""
    files = resources.files("otic_models").iterdir()
    return sorted(f.name.removesuffix(".tflite") for f in files if f.name.endswith(".tflite"))


def models_folder() -> Path:
    """Return the folder of models that this user downloaded."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111 - never fails
    return Path(data, "otic/models")


def known_names() -> list[str]:
    """List the models that a name is enough for: the bundled ones, then the downloaded ones."""
    kept = sorted(path.stem for path in models_folder().glob("*.tflite"))
    return list(dict.fromkeys([*bundled_names(), *kept]))


def load_bundle(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Read a bundled or downloaded model by name, or any bundle by path.

    Parameters
    ----------
    name_or_path : str or path
        A name from :func:`known_names`, or a path: something with a folder in
        it or that ends in ``.tflite``.

    Raises
    ------
    BundleError
        If there is no such model, or the file is damaged or contradicts itself.
    """
    text = os.fspath(name_or_path)
    if text.endswith(".tflite") or Path(text).name != text:
        return parse_bundle(text, read_model(Path(text)))
    if text not in bundled_names():
        if Path(text).is_file() or is_saved_model(Path(text)):
            return parse_bundle(text, read_model(Path(text)))
        if (kept := models_folder() / f"{text}.tflite").is_file():
            return parse_bundle(text, read_model(kept))
        if text in _DOWNLOADS:
            raise BundleError(f"model '{text}' is not here yet: run 'otic download {text}'")
        if text in _RETIRED:
            raise BundleError(f"model '{text}' is no longer bundled: {_RETIRED[text]}")
        names = known_names()
        raise BundleError(
            f"unknown model '{text}'{did_you_mean(text, names)}: known are "
            f"{', '.join(names) or 'none'}, or give the path of a .tflite file"
        )
    file = resources.files("otic_models").joinpath(f"{text}.tflite")
    return parse_bundle(text, file.read_bytes())


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> Bundle:
    """Write a bundle beside its place, then rename it: no half-written file is ever there.

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
    """Make the file that :func:`save_bundle` writes and :func:`parse_bundle` reads."""
    values = bundle.to_dict()
    check_json("bundle", values)
    texts = {JSON: json.dumps(values, indent=1, ensure_ascii=False)}
    texts[LABELS] = "\n".join(bundle.model_labels)
    if bundle.golden:
        cases = [case.to_dict() for case in bundle.golden]
        check_json("golden", cases)
        texts[GOLDEN] = json.dumps(cases)
    if bundle.stream is not None and (initial := bundle.stream.initial_to_json()):
        texts[STATE] = initial
    return attach(bundle.model, texts)


def parse_bundle(origin: str, content: bytes) -> Bundle:
    """Read a bundle from the bytes of its file; ``origin`` is what messages call it.

    Raises
    ------
    BundleError
        If it is damaged, contradicts itself, or asks for more than the limits.
    """
    require_tflite(origin, content)
    flatbuffer, files = detach(origin, content)
    try:
        values = read_json("bundle", files[JSON])
        form = values.get("format") if isinstance(values, dict) else BUNDLE_FORMAT
        if not isinstance(form, int) or isinstance(form, bool) or form not in _FORMAT_KEYS:
            raise ParameterError(
                f"it has bundle format {form!r}, this otic reads formats "
                f"{', '.join(map(str, _FORMAT_KEYS))}: use the otic that wrote it or a newer one"
            )
        check_keys("bundle", values, _FORMAT_KEYS[form])
        foreign, stream = form >= FOREIGN_FORMAT, None
        if form == STREAM_FORMAT:
            initial = read_json("initial states", files[STATE]) if STATE in files else None
            stream = StreamParams.from_dict(values["stream"], initial)
        groups = as_groups(values["groups"]) if foreign else {}
        own_labels = files[LABELS].decode().removesuffix("\n").split("\n")
        bundle = Bundle(
            name=_as_type(str, "name", values),
            labels=(*own_labels, *groups),
            features=FeatureParams.from_dict(values["features"]),
            inference_hop_frames=values["inference_hop_frames"],
            decision=DecisionParams.from_dict(values["decision"]),
            accuracy=_as_type(dict, "accuracy", values),
            license=_as_type(str, "license", values),
            provenance=_as_type(dict, "provenance", values),
            model=flatbuffer,
            golden=golden_cases_from(read_json("golden", files.get(GOLDEN, b"[]"))),
            sha256=hashlib.sha256(content).hexdigest(),
            origin=origin,
            interface=ModelInterface.from_dict(values["interface"]) if foreign else PLAIN,
            groups=groups,
            stream=stream,
        )
        check_sizes(
            bundle.golden, bundle.features.n_features, len(bundle.labels), stream is not None
        )
        return bundle
    except (ParameterError, ValueError, OverflowError) as error:
        raise BundleError(f"model '{origin}': {_readable(str(error))}") from error


def _readable(reason: str) -> str:
    """Make a short printable line of a message that may quote the file."""
    cut = "…" if len(reason) > _MAX_REASON else ""
    return "".join(c if c.isprintable() else "\ufffd" for c in reason[:_MAX_REASON]) + cut


def _as_type(kind: type, name: str, values: dict[str, Any]) -> Any:
    if not isinstance(values[name], kind):
        what = "a JSON object" if kind is dict else "text"
        raise ParameterError(f"{name} must be {what}, not {type(values[name]).__name__}")
    return values[name]


def as_groups(values: Any) -> dict[str, tuple[str, ...]]:
    """Read groups from a table of lists, as JSON and TOML give them.

    Raises
    ------
    ParameterError
        If it is something else.
    """
    if not isinstance(values, dict):
        raise ParameterError(f"groups must be a table of lists, not {type(values).__name__}")
    for name, members in values.items():
        texts = isinstance(members, list) and all(isinstance(m, str) for m in members)
        if not texts:
            raise ParameterError(f"group {name!r} must be a list of labels, not {members!r}")
    return {str(name): tuple(members) for name, members in values.items()}


def check_groups(groups: Groups, model_labels: tuple[str, ...]) -> None:
    """Require groups of labels that the model has, each at most once in a group.

    Raises
    ------
    ParameterError
        Naming the group and the label.
    """
    known = set(model_labels)
    for name, members in groups.items():
        if name in known:
            raise ParameterError(f"group {name!r} has the name of a label: give it another")
        strange = [member for member in members if member not in known]
        if strange:
            near = get_close_matches(strange[0], model_labels, n=1)
            raise ParameterError(
                f"group {name!r} names {strange[0]!r}, which is no label of the model"
                + (f": did you mean {near[0]!r}?" if near else "")
            )
        if not members or len(set(members)) < len(members):
            raise ParameterError(f"group {name!r} must name at least one label, and each only once")
