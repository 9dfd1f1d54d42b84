"""``otic devices``, ``models`` and ``inspect``: print what there is."""

from __future__ import annotations

import argparse
import json
from typing import Any

from otic.model.bundle import Bundle, bundled_names, load_bundle
from otic.model.classifier import Classifier
from otic.model.sandbox import load_checked_bundle
from otic.system.log import say


def devices(args: argparse.Namespace) -> int:
    """List the input devices."""
    from otic.audio.devices import input_devices

    found = input_devices()
    if not found:
        say("no input device: plug in a microphone")
        return 1
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


def models(args: argparse.Namespace) -> int:
    """List the bundled models."""
    for name in bundled_names():
        bundle = load_bundle(name)
        features = bundle.features
        print(name)
        print(f"  labels    {', '.join(bundle.labels)}")
        print(f"  features  {_features_text(bundle)}")
        print(
            f"  window    {features.window_seconds:.3f} s, "
            f"a score every {bundle.inference_hop_seconds:.3f} s"
        )
        print(f"  accuracy  {_accuracy_text(bundle.accuracy)}")
        print(f"  size      {len(bundle.model) / 1000:.0f} kB")
        print(f"  licence   {bundle.license}")
    return 0


def inspect(args: argparse.Namespace) -> int:
    """Print what a bundle holds."""
    bundle = load_checked_bundle(args.model)
    Classifier(bundle)  # says what is wrong where model and bundle data do not fit
    values: dict[str, Any] = {
        **bundle.to_dict(),
        "labels": list(bundle.labels),
        "sha256": bundle.sha256,
        "model_bytes": len(bundle.model),
        "window_seconds": bundle.features.window_seconds,
        "inference_hop_seconds": bundle.inference_hop_seconds,
        "n_features": bundle.features.n_features,
        "looked_at": bundle.features.looked_at,
    }
    if args.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        _print_tree(values)
    return 0


def _features_text(bundle: Bundle) -> str:
    p = bundle.features
    return (
        f"{p.looked_at}; sr {p.sr}, n_fft {p.n_fft}, "
        f"hop_length {p.hop_length}, n_mels {p.n_mels}, top_db {p.top_db:g}"
    )


def _accuracy_text(accuracy: dict[str, Any]) -> str:
    if "clip_mean" not in accuracy:
        return str(accuracy.get("protocol", "not measured"))
    spread = f" ± {accuracy['clip_sd']:.1%}" if len(accuracy["clip_by_fold"]) > 1 else ""
    return f"{accuracy['clip_mean']:.1%}{spread} of clips ({accuracy['protocol']})"


def _print_tree(values: dict[str, Any], indent: int = 0) -> None:
    for key, value in values.items():
        if isinstance(value, dict):
            print(f"{'':{indent}}{key}")
            _print_tree(value, indent + 2)
        elif isinstance(value, list) and value and isinstance(value[0], list):
            print(f"{'':{indent}}{key}")
            for row in value:
                print(f"{'':{indent + 2}}{' '.join(f'{cell!s:>4}' for cell in row)}")
        else:
            text = ", ".join(map(_item_text, value)) if isinstance(value, list) else value
            print(f"{'':{indent}}{key:{max(1, 24 - indent)}} {text}")


def _item_text(item: Any) -> str:
    """Of a list; YAMNet has labels with commas in them."""
    return json.dumps(item, ensure_ascii=False) if "," in str(item) else str(item)
