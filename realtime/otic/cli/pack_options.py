"""The options of ``otic pack``."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from otic.cli.arguments import positive, whole

# As otic.packing.features and otic.model.interface have them, which a parser should not load.
_INPUTS = ("waveform", "log-mel", "mfcc", "mean-mfcc", "statistics")
_ORDERS = ("frames-first", "bands-first")
_ACTIVATIONS = ("none", "softmax", "sigmoid")


def add_pack_command(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``pack``."""
    pack = command(
        "pack",
        "otic.cli.pack:pack",
        "make a bundle of any TFLite audio model, to be served like otic's own",
        "otic pack yamnet.tflite --labels yamnet_class_map.csv --sr 16000 --out my-yamnet.tflite",
    )
    pack.add_argument("model", metavar="MODEL.tflite", help="the model, of whatever origin")
    pack.add_argument(
        "--out", required=True, metavar="BUNDLE.tflite", help="the bundle to write, another file"
    )
    pack.add_argument(
        "--labels",
        metavar="FILE",
        help="one a line, in the order of the model's outputs, or a CSV file with a column "
        "display_name (default: those in the model's metadata)",
    )
    pack.add_argument(
        "--groups",
        metavar="FILE.toml",
        help='groups of labels, animals = ["Dog", "Cat"]; a group scores what its best label does',
    )
    pack.add_argument(
        "--threshold",
        action="append",
        type=threshold,
        default=[],
        metavar="X|LABEL=X",
        help="score from which a label is on, for all or for one; may be repeated (default 0.5)",
    )
    pack.add_argument(
        "--hop-seconds",
        type=positive,
        metavar="S",
        help="time between two predictions (default: a quarter of the window, at most 1)",
    )
    _add_input_options(pack)
    _add_output_options(pack)
    about = pack.add_argument_group("what is written down")
    about.add_argument("--name", help="of the bundle (default: that of its file)")
    about.add_argument("--license", metavar="TEXT", help="of the model, and whom to credit")
    about.add_argument(
        "--accuracy-note", metavar="TEXT", help="what is known of its accuracy, and how measured"
    )


def _add_input_options(pack: argparse.ArgumentParser) -> None:
    group = pack.add_argument_group(
        "what it looks at",
        "Defaults are librosa's: what a tutorial that calls librosa.feature.mfcc(y=y, sr=sr) has.",
    )
    group.add_argument(
        "--sr", type=whole, metavar="HZ", help="sampling rate (default: the metadata's)"
    )
    group.add_argument(
        "--input",
        choices=_INPUTS,
        help="samples; a patch of log-mel bands or of MFCCs; their means over the window; several "
        "statistics (default: waveform, where the input is one long row)",
    )
    group.add_argument(
        "--statistics",
        type=_names,
        default=(),
        metavar="NAME,…",
        help="with --input statistics: mean, std, delta_mean, delta_rms",
    )
    window = group.add_mutually_exclusive_group()
    window.add_argument(
        "--window-seconds",
        type=positive,
        metavar="S",
        help="what one prediction looks at (default: what the model's input says)",
    )
    window.add_argument("--window-samples", type=whole, metavar="N", help="the same in samples")
    group.add_argument("--n-fft", type=whole, metavar="N", help="(default 2048)")
    group.add_argument("--hop-length", type=whole, metavar="N", help="(default 512)")
    group.add_argument(
        "--n-mels", type=whole, metavar="N", help="(default 128, or what the model's input says)"
    )
    group.add_argument(
        "--n-mfcc", type=whole, metavar="N", help="(default: what the model's input says, else 20)"
    )
    group.add_argument("--fmin", type=float, metavar="HZ", help="of the mel bands (default 0)")
    group.add_argument("--fmax", type=positive, metavar="HZ", help="(default sr / 2)")
    group.add_argument(
        "--top-db",
        type=positive,
        metavar="DB",
        help="log-mel is clamped so far below the window's peak (default 80)",
    )
    group.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="librosa's zero padding at the edges of each window (default: with it)",
    )
    group.add_argument(
        "--order",
        choices=_ORDERS,
        help="of a patch; librosa's arrays, [n_mfcc, frames], are bands-first",
    )
    group.add_argument(
        "--relative-to-peak",
        action="store_true",
        help="log-mel relative to the window's peak, as power_to_db(S, ref=np.max) has it",
    )
    group.add_argument(
        "--scale",
        metavar="X|FILE",
        help="features are multiplied by it: a number, or a file with one for each (32768 makes "
        "16-bit samples; 1/s for a scaler's standard deviation s)",
    )
    group.add_argument(
        "--offset", metavar="X|FILE", help="then it is added (-m/s for a scaler's mean m)"
    )


def _add_output_options(pack: argparse.ArgumentParser) -> None:
    group = pack.add_argument_group("what it gives")
    group.add_argument(
        "--output",
        type=_index,
        metavar="N",
        help="which output is the scores, from 0 (default: the first with a number for each label)",
    )
    group.add_argument(
        "--activation",
        choices=_ACTIVATIONS,
        default="none",
        help="what makes scores of its outputs, where they are logits (default %(default)s)",
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
