"""``otic pack``: turn any TFLite audio model into a bundle."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otic.cli.arguments import Parser, positive, whole
from otic.errors import BundleError, UsageError
from otic.features.params import MAX_WINDOW_SAMPLES, STATISTICS
from otic.model.archive import JSON, read_files, read_model
from otic.model.interface import ACTIVATIONS, ORDERS
from otic.packing.features import (
    HOP_LENGTH,
    INPUTS,
    N_FFT,
    N_MELS,
    N_MFCC,
    TOP_DB,
    FeatureRequest,
)
from otic.packing.tflite_file import ModelFile, read_model_file

if TYPE_CHECKING:
    from otic.model.bundle import Bundle
    from otic.packing.bundling import PackRequest
    from otic.packing.files import ModelMetadata

_log = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5
_SHOWN_GROUPS = 4
_TAKEN_OVER = (
    *("statistics", "n_fft", "hop_length", "n_mels", "n_mfcc", "fmin", "fmax", "top_db", "center"),
)


def add_pack_options(parser: Parser) -> None:
    """Add the options of ``otic pack``."""
    parser.epilog = (
        "example: otic pack yamnet.tflite --labels yamnet_class_map.csv --sr 16000 "
        "--out my-yamnet.tflite"
    )
    parser.add_argument("model", metavar="MODEL.tflite", help="the model to pack")
    parser.add_argument(
        "--out", required=True, metavar="BUNDLE.tflite", help="the bundle to write, another file"
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="one label a line, in the order of the model's outputs, or a CSV file with a column "
        "display_name (default: the labels in the model's metadata)",
    )
    parser.add_argument(
        "--groups",
        metavar="FILE.toml",
        help='groups of labels, animals = ["Dog", "Cat"]; a group\'s score is its highest label\'s',
    )
    parser.add_argument(
        "--threshold",
        action="append",
        type=threshold,
        default=[],
        metavar="X|LABEL=X",
        help="score at which a label turns on, for all labels or for one; may be repeated "
        f"(default {DEFAULT_THRESHOLD})",
    )
    parser.add_argument(
        "--hop-seconds",
        type=positive,
        metavar="S",
        help="time between two predictions (default: a quarter of the window, at most 1)",
    )
    _add_input_options(parser)
    _add_output_options(parser)
    about = parser.add_argument_group("description, stored in the bundle")
    about.add_argument("--name", help="name of the bundle (default: its file's name)")
    about.add_argument("--license", metavar="TEXT", help="the model's licence, and whom to credit")
    about.add_argument(
        "--accuracy-note", metavar="TEXT", help="how accurate the model is, and how measured"
    )


def _add_input_options(parser: Parser) -> None:
    group = parser.add_argument_group(
        "input",
        "The defaults are librosa's: they fit a model whose features came from "
        "librosa.feature.mfcc(y=y, sr=sr).",
    )
    group.add_argument(
        "--sr", type=whole, metavar="HZ", help="sampling rate (default: from the metadata)"
    )
    group.add_argument(
        "--input",
        choices=INPUTS,
        help="samples; a patch of log-mel bands or MFCCs; their means over the window; or several "
        "statistics (default: waveform, where the input is one long row)",
    )
    group.add_argument(
        "--statistics",
        type=_names,
        default=(),
        metavar="NAME,…",
        help=f"with --input statistics: {', '.join(STATISTICS)}",
    )
    window = group.add_mutually_exclusive_group()
    window.add_argument(
        "--window-seconds",
        type=positive,
        metavar="S",
        help="length of audio in one prediction (default: from the model's input)",
    )
    window.add_argument("--window-samples", type=whole, metavar="N", help="the same, in samples")
    group.add_argument("--n-fft", type=whole, metavar="N", help=f"(default {N_FFT})")
    group.add_argument("--hop-length", type=whole, metavar="N", help=f"(default {HOP_LENGTH})")
    group.add_argument(
        "--n-mels",
        type=whole,
        metavar="N",
        help=f"(default: from the model's input, else {N_MELS})",
    )
    group.add_argument(
        "--n-mfcc",
        type=whole,
        metavar="N",
        help=f"(default: from the model's input, else {N_MFCC})",
    )
    group.add_argument("--fmin", type=float, metavar="HZ", help="lowest mel band (default 0)")
    group.add_argument(
        "--fmax", type=positive, metavar="HZ", help="highest mel band (default sr / 2)"
    )
    group.add_argument(
        "--top-db",
        type=positive,
        metavar="DB",
        help=f"clamp log-mel this far below the window's peak (default {TOP_DB:g})",
    )
    group.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="pad each window with zeros at its edges, as librosa does by default",
    )
    group.add_argument(
        "--order",
        choices=[order.replace("_", "-") for order in ORDERS],
        help="axes of a patch; librosa's arrays, [n_mfcc, frames], are bands-first",
    )
    group.add_argument(
        "--relative-to-peak",
        action="store_true",
        help="log-mel relative to the window's peak, like power_to_db(S, ref=np.max)",
    )
    group.add_argument(
        "--scale",
        metavar="X|FILE",
        help="multiply the features by a number, or by a file with one number for each (32768 "
        "makes 16-bit samples; 1/s undoes a scaler's standard deviation s)",
    )
    group.add_argument(
        "--offset", metavar="X|FILE", help="then add this (-m/s for a scaler's mean m)"
    )


def _add_output_options(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        type=_index,
        metavar="N",
        help="index of the output with the scores, from 0 (default: the first that has a number "
        "for each label)",
    )
    group.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        default="none",
        help="turns logits into scores (default %(default)s)",
    )


def threshold(text: str) -> tuple[str, float]:
    """``X`` or ``LABEL=X``: the label, empty for all, and the number."""
    label, _, number = text.rpartition("=")
    value = positive(number)
    if value > 1.0:
        raise argparse.ArgumentTypeError(f"'{text}' must be above 0 and at most 1")
    return label, value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 0")
    return int(text)


def pack(args: argparse.Namespace) -> int:
    """Read, check, try and write; prints what the bundle holds."""
    from otic.packing.bundling import check_servable, make_bundle, prove, write
    from otic.packing.files import read_metadata

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
    from otic.packing.bundling import PackRequest
    from otic.packing.files import read_groups

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
    from otic.packing.files import read_attached_labels, read_labels

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
        _log.warning(f"--sr {sr} is taken, though the model's metadata says {metadata.sr} Hz")
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
    from otic.packing.files import read_numbers

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
