"""The commands that classify: their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from otic.cli.arguments import block, log_set, positive, speed, whole
from otic.config.values import DEFAULT_MODEL, LOG_DEFAULT

_LEAST_COLUMNS, _MOST_COLUMNS = 20, 400
_LEAST_ROWS, _MOST_ROWS = 5, 200
_LIVE = "otic.cli.live"
# Of the settings, what every live command has a flag for.
_LIVE_SETTINGS = frozenset({"model", "log", "block", "jsonl.path", "web.listen"})


def add_live_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``demo``, ``listen``, ``run`` and ``replay``."""
    demo = command(
        "demo",
        "otic.cli.demo:demo",
        "synthesise a short soundscape and classify it as if live",
        "otic demo --speed max",
    )
    _add_live_options(demo)
    _add_speed(demo)

    listen = command(
        "listen",
        f"{_LIVE}:listen",
        "classify live microphones",
        "otic listen --device USB --jsonl events.jsonl --log events",
    )
    _add_live_options(listen)
    _add_microphones(listen)
    listen.add_argument(
        "--wait", action="store_true", help="wait for a microphone that is not there yet"
    )
    _add_settings(listen, _LIVE_SETTINGS)
    listen.usage = "otic listen [OPTION]…"  # argparse would list them all

    run = command(
        "run",
        f"{_LIVE}:run",
        "be a permanent sensor: as listen, by a configuration file",
        "otic run --config /etc/otic.toml",
    )
    _add_live_options(run)
    run.add_argument("--config", metavar="FILE", help="settings, in TOML; flags go before them")
    _add_microphones(run)
    _add_settings(run, _LIVE_SETTINGS)
    run.usage = "otic run [--config FILE] [OPTION]…"
    # What is not given comes from the environment or the file.
    run.set_defaults(model=None, log=None, block=None, no_dashboard=True)

    replay = command(
        "replay",
        f"{_LIVE}:replay",
        "classify files as if they were live",
        "otic replay street.wav --speed max --jsonl -",
    )
    _add_live_options(replay)
    replay.add_argument(
        "files", nargs="+", metavar="FILE", help="audio files; - is raw s16le PCM on stdin"
    )
    replay.add_argument("--rate", type=whole, metavar="HZ", help="sampling rate of the PCM")
    replay.add_argument(
        "--channels", type=whole, default=1, metavar="N", help="channels of the PCM (default 1)"
    )
    replay.add_argument(
        "--report",
        metavar="PATH",
        help="write an HTML page: spectrogram, scores and events over time",
    )
    replay.add_argument(
        "--together", action="store_true", help="all files at the same time, as many microphones"
    )
    replay.add_argument(
        "--screenshot",
        metavar="PATH.svg",
        help="make a picture of the dashboard at --at seconds, as SVG, and end",
    )
    replay.add_argument("--at", type=positive, metavar="SECONDS", help="of the stream")
    replay.add_argument(
        "--size",
        type=_size,
        metavar="COLUMNSxROWS",
        help="of the picture (default 120x40)",
    )
    _add_speed(replay)
    _add_settings(replay, _LIVE_SETTINGS | {"silent_seconds"})
    replay.usage = "otic replay FILE… [OPTION]…"


def _add_settings(parser: Any, already: frozenset[str]) -> None:
    """Add a flag for each other setting, where the command has been chosen: there are many."""

    def add() -> None:
        from otic.config.load import add_setting_options

        add_setting_options(parser, already)

    parser.later = add


def _add_live_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help=f"bundled model or .tflite file (default {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--jsonl",
        "--jsonl-path",
        dest="jsonl_path",
        metavar="PATH|-",
        help="write scores and events as JSON lines; - is stdout",
    )
    parser.add_argument(
        "--no-dashboard", action="store_true", help="plain lines (implied without a terminal)"
    )
    parser.add_argument(
        "--web",
        "--web-listen",
        dest="web_listen",
        metavar="[HOST:]PORT",
        help="serve a page with live scores, spectrogram and events (extra web); without a host "
        "only to this machine",
    )
    parser.add_argument(
        "--log",
        type=log_set,
        default=frozenset(LOG_DEFAULT),
        metavar="scores,events",
        help="what the JSON lines hold (default: both); with unknown also sounds that stand out "
        "and are given to no label",
    )
    parser.add_argument(
        "--block",
        type=block,
        metavar="N",
        help="samples a read; does not change the output (default 1024; 2048 from a "
        "microphone; 16384 at --speed max)",
    )
    parser.set_defaults(duration=None)


def _add_microphones(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        action="append",
        metavar="NAME|INDEX|ID",
        help="input device (default: the system's); several for as many microphones",
    )
    parser.add_argument(
        "--input-name",
        action="append",
        metavar="NAME",
        help="what to call the microphone in the log; once for each --device",
    )
    parser.add_argument(
        "--channel",
        action="append",
        type=whole,
        metavar="N",
        help="use channel N, the first is 1; once for all, or once for each --device",
    )
    parser.add_argument(
        "--duration", type=positive, metavar="SECONDS", help="stop after this much audio"
    )
    parser.set_defaults(speed=1.0)


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="X|max",
        help="times real time (default 1); max: as fast as it goes",
    )


def _size(text: str) -> tuple[int, int]:
    """Columns and rows of a picture."""
    columns, cross, rows = text.partition("x")
    if not (cross and columns.isdecimal() and rows.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' must be COLUMNSxROWS, such as 120x40")
    if not (_LEAST_COLUMNS <= int(columns) <= _MOST_COLUMNS) or not (
        _LEAST_ROWS <= int(rows) <= _MOST_ROWS
    ):
        raise argparse.ArgumentTypeError(
            f"'{text}' must be from {_LEAST_COLUMNS}x{_LEAST_ROWS} to {_MOST_COLUMNS}x{_MOST_ROWS}"
        )
    return int(columns), int(rows)
