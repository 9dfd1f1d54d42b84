"""``otic listen``, ``run`` and ``replay``: their options, and from those to a plan.

What computes is imported where it is used, so that ``--help`` and wrong usage do not wait for it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otic.cli.arguments import (
    Parser,
    add_time_options,
    block,
    input_device,
    input_url,
    input_url_file,
    log_set,
    picture_size,
    positive,
    speed,
    time_rule,
    whole,
)
from otic.config.load import add_setting_options, keys, load_settings
from otic.config.settings import JsonlSettings, ReviewSettings, Settings, WebSettings
from otic.config.values import (
    DEFAULT_MODEL,
    FAST_BLOCK,
    LOG_DEFAULT,
    MICROPHONE_BLOCK,
    PACED_BLOCK,
    threshold_words,
)
from otic.errors import ConfigurationError, ParameterError, SinkError, UsageError, did_you_mean
from otic.sinks import receivers

if TYPE_CHECKING:
    from otic.model.bundle import Bundle
    from otic.session import Still
    from otic.types import Sink

_STILL_SIZE = (120, 40)  # columns and rows
# The settings for which every live command has a flag of its own.
_LIVE_SETTINGS = frozenset({"model", "log", "block", "jsonl.path", "web.listen"})


def add_live_options(parser: Parser) -> None:
    """Add the options that ``demo``, ``listen``, ``run`` and ``replay`` share."""
    group = parser.add_argument_group("model and output")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help=f"bundled model or .tflite file (default {DEFAULT_MODEL})",
    )
    group.add_argument(
        "--jsonl",
        "--jsonl-path",
        dest="jsonl_path",
        metavar="PATH|-",
        help="write scores and events as JSON lines; - is standard output",
    )
    group.add_argument(
        "--no-dashboard", action="store_true", help="print plain lines (implied without a terminal)"
    )
    group.add_argument(
        "--web",
        "--web-listen",
        dest="web_listen",
        metavar="[HOST:]PORT",
        help="serve a page with live scores, spectrogram and events (needs the extra web); "
        "without HOST, for this machine only",
    )
    group.add_argument(
        "--log",
        type=log_set,
        default=frozenset(LOG_DEFAULT),
        metavar="scores,events",
        help="what the JSON lines contain (default: both); add unknown for sounds that stand out "
        "but get no label",
    )
    group.add_argument(
        "--block",
        type=block,
        metavar="N",
        help=f"samples per read; does not change the results (default {PACED_BLOCK}; "
        f"{MICROPHONE_BLOCK} from a microphone; {FAST_BLOCK} with --speed max)",
    )
    parser.set_defaults(duration=None)


def add_speed_option(parser: Parser) -> None:
    """Add ``--speed``."""
    parser.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="X|max",
        help="multiple of real time (default 1); max: as fast as possible",
    )


def _add_microphone_options(parser: Parser) -> None:
    group = parser.add_argument_group("microphones")
    group.add_argument(
        "--device",
        dest="inputs",
        action="append",
        type=input_device,
        metavar="NAME|INDEX|ID",
        help="input device (default: the system's); repeat it for several microphones",
    )
    group.add_argument(
        "--url",
        dest="inputs",
        action="append",
        type=input_url,
        metavar="URL",
        help="in place of a device, a live stream (needs ffmpeg): rtsp://host/path, http://…, "
        "udp://…, or the path of a FIFO or a growing file",
    )
    group.add_argument(
        "--url-file",
        dest="inputs",
        action="append",
        type=input_url_file,
        metavar="FILE",
        help="read the URL from this file: others on this machine can read a command line, "
        "and a password in it",
    )
    group.add_argument(
        "--input-name",
        action="append",
        metavar="NAME",
        help="name of the microphone in the log; once for each --device or --url",
    )
    group.add_argument(
        "--channel",
        action="append",
        type=whole,
        metavar="N",
        help="use channel N, counted from 1; once for all, or once for each of these",
    )
    group.add_argument(
        "--duration", type=positive, metavar="SECONDS", help="stop after this much audio"
    )
    parser.set_defaults(speed=1.0)


def _add_setting_options(parser: Parser, already: frozenset[str]) -> None:
    """Add a flag for every other setting; other packages' receivers follow an unknown one."""
    known = receivers.sections()
    add_setting_options(parser, already, keys(known))
    parser.add_more = lambda: add_setting_options(
        parser, already | {key.dotted for key in keys(known)}, keys(receivers.sections(True))
    )


def add_listen_options(parser: Parser) -> None:
    """Add the options of ``otic listen``."""
    parser.usage = "otic listen [OPTION]…"  # argparse would list them all
    parser.common = ("--device", "--model", "--jsonl")
    parser.epilog = "example: otic listen --device USB --jsonl events.jsonl --log events"
    add_live_options(parser)
    _add_microphone_options(parser)
    parser.add_argument(
        "--wait", action="store_true", help="wait for a microphone that is not plugged in yet"
    )
    _add_setting_options(parser, _LIVE_SETTINGS)


def listen(args: argparse.Namespace) -> int:
    """Classify microphones."""
    return _listen(args, _flags(args), permanent=False, wait=args.wait)


def add_run_options(parser: Parser) -> None:
    """Add the options of ``otic run``."""
    parser.usage = "otic run [--config FILE] [OPTION]…"
    parser.common = ("--config", "--device", "--model")
    parser.epilog = "example: otic run --config /etc/otic.toml"
    add_live_options(parser)
    parser.add_argument(
        "--config", metavar="FILE", help="settings in TOML; flags take precedence over them"
    )
    _add_microphone_options(parser)
    _add_setting_options(parser, _LIVE_SETTINGS)
    # What is not given comes from the environment or the file.
    parser.set_defaults(model=None, log=None, block=None, no_dashboard=True)


def run(args: argparse.Namespace) -> int:
    """Be a sensor: like ``listen``, but configured by a file, and it waits for its microphones."""
    from otic.audio.open import input_settings

    settings = load_settings(args.config, os.environ, vars(args), sections=receivers.sections)
    if (inputs := input_settings(args, settings.inputs)) is not None:
        settings = replace(settings, inputs=inputs)
    return _listen(args, settings, permanent=True, wait=True)


def _listen(args: argparse.Namespace, settings: Settings, permanent: bool, wait: bool) -> int:
    from otic.audio.open import microphones
    from otic.model.sandbox import load_checked_bundle
    from otic.session import Plan, run_plan

    _refuse_to_overwrite(args, "--jsonl", settings.jsonl.path, settings)
    bundle = with_thresholds(
        load_checked_bundle(settings.model or DEFAULT_MODEL), settings.thresholds
    )
    return run_plan(
        Plan(
            settings,
            bundle,
            microphones(settings, bundle.features.sr),
            duration_seconds=args.duration,
            concurrent=True,
            require_devices=not wait,
            permanent=permanent,
            live=True,
            dashboard=not args.no_dashboard,
        )
    )


def add_replay_options(parser: Parser) -> None:
    """Add the options of ``otic replay``."""
    parser.usage = "otic replay FILE… [OPTION]…"
    parser.common = ("files", "--model", "--speed", "--report")
    parser.epilog = "example: otic replay street.wav --speed max --jsonl -"
    add_live_options(parser)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="audio files, folders of them, or patterns such as '*.wav'; - is a sound file or "
        "raw s16le PCM from standard input",
    )
    parser.add_argument("--rate", type=whole, metavar="HZ", help="sampling rate of raw PCM")
    parser.add_argument(
        "--channels", type=whole, metavar="N", help="channels of raw PCM (default 1)"
    )
    parser.add_argument(
        "--channel",
        type=whole,
        metavar="N",
        help="use channel N, counted from 1 (default: the mean of all)",
    )
    parser.add_argument(
        "--report",
        metavar="PATH",
        help="write an HTML page: spectrogram, scores and events over time",
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="replay all files at the same time, as if each were a microphone",
    )
    parser.add_argument(
        "--screenshot",
        metavar="PATH.svg",
        help="draw the dashboard as it is at --at seconds, as SVG, and stop",
    )
    parser.add_argument(
        "--at", type=positive, metavar="SECONDS", help="time of the screenshot in the stream"
    )
    parser.add_argument(
        "--size",
        type=picture_size,
        metavar="COLUMNSxROWS",
        help=f"size of the screenshot (default {_STILL_SIZE[0]}x{_STILL_SIZE[1]})",
    )
    add_speed_option(parser)
    add_time_options(parser)
    # A microphone's, and one for events that wait for the next start.
    _add_setting_options(parser, _LIVE_SETTINGS | {"silent_seconds", "spool.directory"})


def replay(args: argparse.Namespace) -> int:
    """Classify files, one after the other or all at once."""
    from otic.audio.open import find_recordings, recordings, source_names
    from otic.model.sandbox import load_checked_bundle
    from otic.session import Plan, run_plan
    from otic.sinks.summary import ReplaySummary
    from otic.system.log import print_lines

    if "-" not in args.files and (args.rate is not None or args.channels is not None):
        raise UsageError(
            "--rate and --channels describe raw PCM from standard input: a file's header says its "
            "own; leave them out"
        )
    if "-" in args.files and args.rate is None and sys.stdin.isatty():
        raise UsageError("replay -: standard input is a terminal: pipe a sound file or PCM into it")
    if args.report == "":
        raise UsageError("--report needs the path of a page, such as report.html")
    args.files = find_recordings(args.files)
    rule = time_rule(args, len(args.files))
    settings = _flags(args)
    if settings.name is None:
        import socket

        # Another name than a sensor's on this machine: a broker would confuse the two.
        settings = replace(settings, name=f"{socket.gethostname()}-replay")
    _refuse_to_overwrite(args, "--jsonl", settings.jsonl.path, settings)
    _refuse_to_overwrite(args, "--report", args.report, settings)
    still = _still(args, settings)
    bundle = with_thresholds(
        load_checked_bundle(settings.model or DEFAULT_MODEL), settings.thresholds
    )
    extra_sinks: list[Sink] = []
    if args.report is not None:
        from otic.sinks.html_report import ReplayReport

        extra_sinks.append(ReplayReport(args.report, bundle))
    summary = ReplaySummary()
    plan = Plan(
        settings,
        bundle,
        recordings(args, bundle.features.sr, block_size(args), rule),
        source_names(args.files),
        [*extra_sinks, summary],
        args.speed if still is None else None,
        # Cut there to the sample; of several streams, each must get there before one ends.
        duration_seconds=None if still is None else still.at_seconds + (len(args.files) > 1),
        concurrent=args.together,
        dashboard=not args.no_dashboard,
        still=still,
    )
    try:
        return run_plan(plan)
    finally:
        if still is None and settings.jsonl.path is None:  # a person reads along
            print_lines(*summary.lines())


def _still(args: argparse.Namespace, settings: Settings) -> Still | None:
    """The picture that the arguments ask for; None where they ask for none."""
    if args.screenshot is None:
        if args.at is not None or args.size is not None:
            raise ConfigurationError(
                "--at and --size describe a screenshot: add --screenshot PATH.svg"
            )
        return None
    if args.at is None:
        raise ConfigurationError("--screenshot needs a time: add --at SECONDS")
    if not args.screenshot.lower().endswith(".svg"):
        raise ConfigurationError(f"--screenshot '{args.screenshot}' must end in .svg")
    if len(args.files) > 1 and not args.together:
        raise ConfigurationError("--screenshot shows one file: give one, or add --together")
    _refuse_to_overwrite(args, "--screenshot", args.screenshot, settings)
    width, height = args.size or _STILL_SIZE
    from otic.session import Still

    return Still(Path(args.screenshot), args.at, width, height)


def block_size(args: argparse.Namespace) -> int:
    """Samples per read: what was asked for, else few where time matters and many elsewhere."""
    if args.block is not None:
        return int(args.block)
    return FAST_BLOCK if args.speed is None else PACED_BLOCK


def log_settings(args: argparse.Namespace) -> Settings:
    """The settings of a command that has a log and a page, and nothing more."""
    _refuse_to_overwrite(args, "--jsonl", args.jsonl_path, Settings(model=args.model))
    return Settings(
        log=tuple(args.log),
        jsonl=JsonlSettings(path=args.jsonl_path),
        web=WebSettings(listen=args.web_listen, token=os.environ.get("OTIC_WEB_TOKEN") or None),
        review=ReviewSettings(enabled=False),  # synthetic sounds are nobody's training data
    )


def _flags(args: argparse.Namespace) -> Settings:
    """Settings from flags; of the environment only the secrets, which have none."""
    from otic.audio.open import input_settings

    known = keys(receivers.sections())
    secrets = {key.variable for key in known if key.secret}
    environment = {name: value for name, value in os.environ.items() if name in secrets}
    unread = [
        key
        for key in known
        if os.environ.get(key.variable) and not key.secret and getattr(args, key.dest, None) is None
    ]
    if unread:
        import logging

        logging.getLogger(__name__).warning(
            f"{', '.join(key.variable for key in unread)}: only 'otic run' reads this: give "
            f"{' '.join(key.flag for key in unread)}"
        )
    inputs = input_settings(args) if hasattr(args, "inputs") else None
    return load_settings(None, environment, vars(args), inputs, receivers.sections)


def with_thresholds(bundle: Bundle, texts: Sequence[str]) -> Bundle:
    """Put thresholds, ``LABEL=X`` each, in place of the model's own."""
    from otic.types import label_text

    decision = bundle.decision
    shown = {label_text(label): label for label in bundle.labels}
    for word in (each for text in texts for each in threshold_words(text)):
        label, _, value = word.rpartition("=")
        label = shown.get(label, label)
        if label and label not in bundle.labels:
            raise ConfigurationError(
                f"thresholds: model '{bundle.name}' has no label '{label}'"
                f"{did_you_mean(label, bundle.labels)}: 'otic inspect {bundle.name}' lists them"
            )
        try:
            decision = decision.with_threshold(bundle.labels.index(label), float(value))
        except (ParameterError, ValueError) as error:
            raise ConfigurationError(
                f"thresholds: '{word}' must be LABEL=X, with X above 0 and at most 1 (1 is never)"
            ) from error
    return replace(bundle, decision=decision)


def _refuse_to_overwrite(
    args: argparse.Namespace, option: str, path: str | None, settings: Settings
) -> None:
    """Refuse an output that is one of the files read, or another output, under any name."""
    if path is None:
        return
    others = [*getattr(args, "files", ()), settings.model or DEFAULT_MODEL]
    if option != "--jsonl" and settings.jsonl.path is not None:
        others.append(settings.jsonl.path)
    for name in others:
        if "-" not in (name, path) and _same_file(name, path):
            raise SinkError(f"{option} '{path}' would overwrite '{name}': name another file")


def _same_file(one: str, other: str) -> bool:
    with suppress(OSError):  # one of them does not exist
        return os.path.samefile(one, other)  # noqa: PTH121 - pathlib's is no shorter
    return Path(one).resolve() == Path(other).resolve()  # neither exists yet
