"""``otic listen``, ``run`` and ``replay``: from what a person typed to a plan."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from otic.audio.open import input_settings, microphones, recordings
from otic.config.load import KEYS, load_settings
from otic.config.settings import JsonlSettings, Settings, WebSettings
from otic.config.values import DEFAULT_MODEL
from otic.errors import ConfigurationError, ParameterError, SinkError
from otic.model.bundle import Bundle
from otic.model.sandbox import load_checked_bundle
from otic.session import Plan, Still, run_plan
from otic.types import Sink

_PACED_BLOCK, _FAST_BLOCK = 1024, 16384
_STILL_SIZE = (120, 40)  # columns and rows


def listen(args: argparse.Namespace) -> int:
    """Classify microphones."""
    return _listen(args, _flags(args), permanent=False, wait=args.wait)


def run(args: argparse.Namespace) -> int:
    """Be a sensor: as ``listen``, by a configuration, waiting for what is not there yet."""
    settings = load_settings(args.config, os.environ, vars(args))
    if (inputs := input_settings(args, settings.inputs)) is not None:
        settings = replace(settings, inputs=inputs)
    return _listen(args, settings, permanent=True, wait=True)


def _listen(args: argparse.Namespace, settings: Settings, permanent: bool, wait: bool) -> int:
    _refuse_to_overwrite(args, "--jsonl", settings.jsonl.path, settings)
    bundle = _with_thresholds(load_checked_bundle(settings.model or DEFAULT_MODEL), settings)
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


def replay(args: argparse.Namespace) -> int:
    """Classify files, one after the other or all at once."""
    settings = _flags(args)
    if settings.name is None:
        # Not the name of a sensor that runs here: a broker would take one for the other.
        settings = replace(settings, name=f"{socket.gethostname()}-replay")
    _refuse_to_overwrite(args, "--jsonl", settings.jsonl.path, settings)
    _refuse_to_overwrite(args, "--report", args.report, settings)
    still = _still(args, settings)
    bundle = _with_thresholds(load_checked_bundle(args.model), settings)
    extra_sinks: list[Sink] = []
    if args.report is not None:
        from otic.sinks.html_report import ReplayReport

        extra_sinks.append(ReplayReport(args.report, bundle))
    return run_plan(
        Plan(
            settings,
            bundle,
            recordings(args, bundle.features.sr, block_size(args)),
            ["stdin" if name == "-" else Path(name).name for name in args.files],
            extra_sinks,
            args.speed if still is None else None,
            # Cut there to the sample; of several streams, each must get there before one ends.
            duration_seconds=None if still is None else still.at_seconds + (len(args.files) > 1),
            concurrent=args.together,
            dashboard=not args.no_dashboard,
            still=still,
        )
    )


def _still(args: argparse.Namespace, settings: Settings) -> Still | None:
    """The picture that is asked for."""
    if args.screenshot is None:
        if args.at is not None or args.size is not None:
            raise ConfigurationError("--at and --size are for a picture: give --screenshot, too")
        return None
    if args.at is None:
        raise ConfigurationError("--screenshot needs --at SECONDS: when the picture is made")
    if not args.screenshot.lower().endswith(".svg"):
        raise ConfigurationError(f"--screenshot '{args.screenshot}' must end in .svg")
    if len(args.files) > 1 and not args.together:
        raise ConfigurationError("--screenshot is of one file, or of several with --together")
    _refuse_to_overwrite(args, "--screenshot", args.screenshot, settings)
    width, height = args.size or _STILL_SIZE
    return Still(Path(args.screenshot), args.at, width, height)


def block_size(args: argparse.Namespace) -> int:
    """Samples a read: what was asked for, else small where time matters and large elsewhere."""
    if args.block is not None:
        return int(args.block)
    return _FAST_BLOCK if args.speed is None else _PACED_BLOCK


def log_settings(args: argparse.Namespace) -> Settings:
    """The settings of a command that has a log and nothing more."""
    _refuse_to_overwrite(args, "--jsonl", args.jsonl_path, Settings(model=args.model))
    return Settings(
        log=tuple(args.log),
        jsonl=JsonlSettings(path=args.jsonl_path),
        web=WebSettings(listen=args.web_listen, token=os.environ.get("OTIC_WEB_TOKEN")),
    )


def _flags(args: argparse.Namespace) -> Settings:
    """Settings from flags; of the environment only the secrets, which have none."""
    secrets = {key.variable for key in KEYS if key.secret}
    environment = {name: value for name, value in os.environ.items() if name in secrets}
    inputs = input_settings(args) if hasattr(args, "device") else None
    return load_settings(None, environment, vars(args), inputs)


def _with_thresholds(bundle: Bundle, settings: Settings) -> Bundle:
    """The model with the thresholds that are set in place of its own."""
    decision = bundle.decision
    for word in settings.thresholds:
        label, _, value = word.rpartition("=")
        try:
            decision = decision.with_threshold(bundle.labels.index(label), float(value))
        except (ParameterError, ValueError) as error:
            raise ConfigurationError(
                f"thresholds: '{word}' is not LABEL=X with a label of model '{bundle.name}' and X "
                "above 0 and at most 1 (never); a label with spaces needs quotes of its own, "
                "\"'a b=0.4'\""
            ) from error
    return replace(bundle, decision=decision)


def _refuse_to_overwrite(
    args: argparse.Namespace, option: str, path: str | None, settings: Settings
) -> None:
    """No output may be one of the files that are read, or another output, by whatever name."""
    if path is None:
        return
    others = [*getattr(args, "files", ()), settings.model or DEFAULT_MODEL]
    if option != "--jsonl" and settings.jsonl.path is not None:
        others.append(settings.jsonl.path)
    for name in others:
        if "-" not in (name, path) and _same_file(name, path):
            raise SinkError(f"{option} '{path}' would overwrite '{name}': name another file")


def _same_file(one: str, other: str) -> bool:
    with suppress(OSError):  # one of them is not there
        return os.path.samefile(one, other)  # noqa: PTH121 - pathlib has no words for less
    return Path(one).resolve() == Path(other).resolve()  # two outputs that are still to be made
