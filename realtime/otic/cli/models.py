"""``otic devices``, ``models`` and ``inspect``: show what is there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from otic.cli.arguments import MODEL_HELP, Parser, add_json_option
from otic.config.values import DEFAULT_MODEL
from otic.errors import DeviceError


def add_devices_options(parser: Parser) -> None:
    """Add the options of ``otic devices``: it has none."""
    parser.epilog = "example: otic devices"


def devices(_: argparse.Namespace) -> int:
    """List the input devices."""
    from otic.audio.devices import input_devices

    found = input_devices()
    if not found:
        raise DeviceError("there is no input device: plug in a microphone")
    for device in found:
        mark = "*" if device["default"] else " "
        print(
            f"{mark} {device['index']:3d}  {device['name']}"
            f"  ({device['channels']} channels, {device['rate']} Hz)"
            + (f"  id {' or '.join(device['ids'])}" if device["ids"] else "")
        )
    print(
        "* default; choose another with 'otic listen --device INDEX', a part of its name, or its id"
    )
    return 0


def add_models_options(parser: Parser) -> None:
    """Add the options of ``otic models``: it has none."""
    parser.epilog = "example: otic models"


def models(_: argparse.Namespace) -> int:
    """List the bundled and the downloaded models, one a line."""
    from otic.model.bundle import known_names, load_bundle

    rows = [("", "model", "labels", "accuracy", "window", "size", "licence")]
    for name in known_names():
        bundle = load_bundle(name)
        accuracy = bundle.accuracy.get("clip_mean")
        rows.append(
            (
                "*" if name == DEFAULT_MODEL else "",
                name,
                str(len(bundle.labels)),
                "not measured" if accuracy is None else f"{accuracy:.1%}",
                f"{bundle.window_seconds:.2f} s",
                f"{len(bundle.model) / 1000:.0f} kB",
                bundle.license.removeprefix("model: ").partition(";")[0],
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{c:{n}}" for c, n in zip(row, widths, strict=True)).rstrip())
    print("* default; 'otic inspect MODEL' shows its labels, features, accuracy and full licence")
    if "yamnet" not in (row[1] for row in rows):
        print("'otic download yamnet' brings one more: YAMNet, with 521 labels")
    return 0


def add_inspect_options(parser: Parser) -> None:
    """Add the options of ``otic inspect``."""
    parser.epilog = f"example: otic inspect {DEFAULT_MODEL} --json"
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    add_json_option(parser)


def inspect(args: argparse.Namespace) -> int:
    """Print what a bundle holds."""
    from otic.model.classifier import Classifier
    from otic.model.sandbox import load_checked_bundle

    bundle = load_checked_bundle(args.model)
    Classifier(bundle)  # fails, and says why, where the model and the bundle's data do not fit
    values: dict[str, Any] = {
        **bundle.to_dict(),
        "labels": list(bundle.labels),
        "sha256": bundle.sha256,
        "model_bytes": len(bundle.model),
        "window_seconds": bundle.window_seconds,
        "inference_hop_seconds": bundle.inference_hop_seconds,
        "n_features": bundle.features.n_features,
        "looked_at": bundle.features.looked_at,
        "kind": "windows" if bundle.stream is None else "streaming",
    }
    if args.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        _print_tree(values, values["labels"])
    return 0


def _print_tree(values: dict[str, Any], labels: Sequence[str], indent: int = 0) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            print(f"{'':{indent}}{key}")
            _print_tree(value, labels, indent + 2)
        elif isinstance(value, list) and value and isinstance(value[0], list):
            print(f"{'':{indent}}{key}")
            # A square table counts labels: a row is what it was, a column what the model said.
            square = all(len(row) == len(value) == len(labels) for row in value)
            names = [f"{label}  " for label in labels] if square else [""] * len(value)
            width = max(map(len, names))
            for name, row in zip(names, value, strict=True):
                cells = " ".join(f"{cell!s:>4}" for cell in row)
                print(f"{'':{indent + 2}}{name:<{width}}{cells}")
        else:
            text = ", ".join(map(_item_text, value)) if isinstance(value, list) else value
            print(f"{'':{indent}}{key:{max(1, 24 - indent)}} {text}")


def _item_text(item: Any) -> str:
    """One item of a list; some labels of YAMNet contain commas."""
    return json.dumps(item, ensure_ascii=False) if "," in str(item) else str(item)
