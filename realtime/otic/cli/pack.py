"""``otic pack``: make any TFLite audio model a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from otic.errors import BundleError, UsageError
from otic.features.params import MAX_WINDOW_SAMPLES
from otic.model.archive import JSON, read_files, read_model
from otic.model.bundle import Bundle
from otic.packing.bundling import PackRequest, check_servable, make_bundle, prove, write
from otic.packing.features import FeatureRequest
from otic.packing.files import (
    ModelMetadata,
    read_attached_labels,
    read_groups,
    read_labels,
    read_metadata,
    read_numbers,
)
from otic.packing.tflite_file import ModelFile, read_model_file
from otic.system.log import say

DEFAULT_THRESHOLD = 0.5
_SHOWN_GROUPS = 4
_TAKEN_OVER = (
    *("statistics", "n_fft", "hop_length", "n_mels", "n_mfcc", "fmin", "fmax", "top_db", "center"),
)


def pack(args: argparse.Namespace) -> int:
    """Read, check, try out, write; prints what was made."""
    if _same_file(Path(args.out), Path(args.model)):
        raise UsageError(f"--out {args.out} is the model itself: give the bundle another name")
    content = read_model(Path(args.model))
    model = read_model_file(args.model, content)
    if _is_bundle(content):
        raise BundleError(f"model '{args.model}' is a bundle already: it can be served as it is")
    metadata = read_metadata(args.model, model.metadata)
    check_servable(args.model, model, metadata)
    bundle = write(prove(make_bundle(_request(args, content, model, metadata))), args.out)
    print("\n".join(_report(args.model, args.out, bundle)))
    return 0


def _same_file(out: Path, model: Path) -> bool:
    return out.exists() and model.exists() and out.samefile(model)


def _is_bundle(content: bytes) -> bool:
    try:
        return bool(read_files("the zip behind the model", content, (JSON,)))
    except BundleError:
        return False


def _request(
    args: argparse.Namespace, content: bytes, model: ModelFile, metadata: ModelMetadata
) -> PackRequest:
    thresholds = dict(args.threshold)
    return PackRequest(
        origin=args.model,
        content=content,
        model=model,
        metadata=metadata,
        labels=_labels(args, content, metadata),
        features=_features(args, metadata),
        interface=_interface(args),
        output=args.output,
        hop_seconds=args.hop_seconds,
        threshold=thresholds.pop("", DEFAULT_THRESHOLD),
        thresholds=thresholds,
        groups=read_groups(args.groups) if args.groups else {},
        name=args.name or Path(args.out).name.removesuffix(".tflite"),
        license=args.license or "",
        accuracy_note=args.accuracy_note or "",
    )


def _labels(args: argparse.Namespace, content: bytes, metadata: ModelMetadata) -> tuple[str, ...]:
    if args.labels:
        source, labels = args.labels, read_labels(args.labels)
    else:
        named = metadata.label_files[args.output or 0 :]
        file = next((name for name in named if name), None)
        if file is None:
            raise UsageError(
                f"model '{args.model}' has no labels in its metadata: give them with --labels FILE"
            )
        source, labels = file, read_attached_labels(args.model, content, file)
    seen: dict[str, int] = {}
    for number, label in enumerate(labels, 1):
        if label in seen:
            raise BundleError(
                f"'{source}': label {number} is {label!r}, as label {seen[label]} is: "
                "give them different names"
            )
        seen[label] = number
    return tuple(labels)


def _features(args: argparse.Namespace, metadata: ModelMetadata) -> FeatureRequest:
    sr = args.sr or metadata.sr
    if not sr:
        raise UsageError(
            f"model '{args.model}' does not say its sampling rate: give it with --sr HZ"
        )
    if metadata.sr not in (0, sr):
        say(f"--sr {sr} is taken, though the model's metadata says {metadata.sr} Hz")
    if args.statistics and args.input != "statistics":
        raise UsageError("--statistics goes with --input statistics")
    n = args.window_samples
    if args.window_seconds is not None:
        n = max(1, round(min(args.window_seconds * sr, MAX_WINDOW_SAMPLES + 1)))
    if n is not None and n > MAX_WINDOW_SAMPLES:
        raise BundleError(
            f"a window of {n} samples or more is wanted: at most {MAX_WINDOW_SAMPLES} are possible"
        )
    given = {key: getattr(args, key) for key in _TAKEN_OVER}
    order = args.order and args.order.replace("-", "_")
    return FeatureRequest(sr=sr, kind=args.input, window_samples=n, order=order, **given)


def _interface(args: argparse.Namespace) -> dict[str, Any]:
    values: dict[str, Any] = {
        "relative_to_peak": args.relative_to_peak,
        "activation": args.activation,
    }
    for name in ("scale", "offset"):
        if (given := getattr(args, name)) is not None:
            values[name] = read_numbers(f"--{name}", given)
    return values


def _report(model: str, out: str, bundle: Bundle) -> list[str]:
    p, labels = bundle.features, bundle.model_labels
    named = f"{labels[0]} … {labels[-1]}" if len(labels) > _SHOWN_GROUPS else ", ".join(labels)
    lines = [
        f"packed {model} as {out}",
        f"labels      {len(labels)}: {named}",
    ]
    if bundle.groups:
        shown = [f"{name} ({len(members)})" for name, members in bundle.groups.items()]
        more = f" and {len(shown) - _SHOWN_GROUPS} more" if len(shown) > _SHOWN_GROUPS else ""
        lines.append(f"groups      {', '.join(shown[:_SHOWN_GROUPS])}{more}")
    on = bundle.decision.on_thresholds
    thresholds = f"{min(on):g}" if min(on) == max(on) else f"{min(on):g} to {max(on):g}"
    return [
        *lines,
        f"looks at    {p.looked_at}, {_details(bundle)}",
        f"window      {p.window_samples} samples, {p.window_seconds:.3f} s; "
        f"a prediction every {bundle.inference_hop_seconds:.3f} s",
        f"thresholds  {thresholds}",
        f"tried       on {len(bundle.golden)} synthetic sounds: it runs, and keeps no state",
        f"next        otic verify {out}",
        f"            otic replay FILE --model {out}",
    ]


def _details(bundle: Bundle) -> str:
    p, interface = bundle.features, bundle.interface
    if p.statistics == ("waveform",):
        words = []
    else:
        edges = "padded at its edges, as librosa's default is" if p.center else "not padded"
        words = [f"sr {p.sr}", f"n_fft {p.n_fft}", f"hop_length {p.hop_length}"]
        words += [f"n_mels {p.n_mels}", f"each window {edges}"]
    if interface.order != "frames_first":
        words.append("bands first")
    if interface.relative_to_peak:
        words.append("relative to the window's peak")
    if interface.scale != (1.0,) or interface.offset != (0.0,):
        words.append("scaled")
    if interface.activation != "none":
        words.append(f"{interface.activation} of its outputs")
    words.append(f"output {interface.output}")
    return ", ".join(words)
