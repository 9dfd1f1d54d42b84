"""The ``otic`` command: arguments, dispatch, errors as one line.

Nothing heavy is imported here: each command loads what it needs when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NoReturn

from otic import __version__
from otic.cli.live_options import add_live_commands
from otic.cli.pack_options import add_pack_command
from otic.cli.review_options import add_review_commands
from otic.cli.sensor_options import add_sensor_commands
from otic.cli.training_options import add_training_commands
from otic.config.values import DEFAULT_MODEL
from otic.errors import OticError
from otic.system.log import say


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line, with exit code 2; has options that are added when needed."""

    later: Callable[[], None] | None = None
    """Adds what takes time to add, once this parser's command has been chosen."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        if self.later is not None:
            self.later()
            self.later = None
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        say(f"{message}: see '{self.prog} --help'")
        sys.exit(2)


def console() -> NoReturn:
    """Be the command: :func:`main`, and end.

    At once, where the libraries that are loaded have nothing to do at their end: taking down
    the interpreter with all that numba loaded is 0.7 s of a stop's second.
    """
    code = main()
    if "tensorflow" in sys.modules:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: print() would take the other one
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(getattr(sys, name), io.TextIOWrapper):
            getattr(sys, name).reconfigure(errors="replace")  # a terminal that can't show ✓
    args = _parser().parse_args(argv)
    module, function = args.handler.split(":")
    try:
        if args.command == "replay":
            _check_replay(args)
        with nullcontext() if module.startswith("otic_training") else _without_scipy():
            code = int(getattr(importlib.import_module(module), function)(args))
        sys.stdout.flush()  # here, where a reader that has left is dealt with
        return code
    except OticError as error:
        if args.debug:
            raise
        say(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has what it wanted ('otic … | head -1').
        _drop_stdout()
        return 0
    except OSError as error:
        if args.debug:
            raise
        say(_os_error_text(error))
        _drop_stdout()
        return 1
    except KeyboardInterrupt:
        return 130


def _os_error_text(error: OSError) -> str:
    """What failed, and on which file; without one it was printing, or a message of its own."""
    if error.filename:
        return f"{error.strerror}: {error.filename}"
    printing = error.errno is not None and error.strerror == os.strerror(error.errno)
    return f"{error.strerror}: standard output" if printing else str(error.strerror or error)


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Where scipy is installed, numba imports its linear algebra to have matrix products.

    otic has none, and that import is a third of its start-up. In a library this
    would take them from everyone else in the process; a command is alone in it.
    """
    hidden = "scipy" not in sys.modules
    if hidden:
        sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["scipy"]


def _drop_stdout() -> None:
    """What is still buffered goes nowhere, and not into an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="otic",
        description="Hear what is happening: classify sounds live, from a microphone or a file.",
        epilog="Try 'otic demo' first. 'otic COMMAND --help' tells more about each command.",
    )
    parser.add_argument("--version", action="version", version=f"otic {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, handler: str, summary: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example: {example}",
            allow_abbrev=False,  # --mqtt-password would be taken for --mqtt-password-file
        )
        added.add_argument("--debug", action="store_true", help="show a traceback on errors")
        added.set_defaults(handler=handler)
        return added

    show = "otic.cli.models"

    add_live_commands(command)
    add_sensor_commands(command)
    add_review_commands(command)

    command("devices", f"{show}:devices", "list the input devices", "otic devices")
    command("models", f"{show}:models", "list the bundled models", "otic models")
    inspect = command(
        "inspect",
        f"{show}:inspect",
        "print everything that a model file holds",
        f"otic inspect {DEFAULT_MODEL} --json",
    )
    inspect.add_argument("model", metavar="MODEL", help="a bundled name or a .tflite file")
    inspect.add_argument("--json", action="store_true", help="as JSON")

    add_pack_command(command)
    _add_check_commands(command)

    add_training_commands(command)
    return parser


def _add_check_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    check = "otic.cli.verify"
    verify = command(
        "verify",
        f"{check}:verify",
        "prove that this machine computes what otic promises",
        f"otic verify {DEFAULT_MODEL} --audio street.wav",
    )
    verify.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help="a bundled name or a .tflite file (default %(default)s)",
    )
    verify.add_argument(
        "--audio", metavar="FILE", help="check on this, its first ten minutes (default: synthetic)"
    )
    verify.add_argument("--json", action="store_true", help="as JSON")

    warmup = command(
        "warmup",
        f"{check}:warmup",
        "compile the kernels now, so that no later start has to (for images)",
        "otic warmup",
    )
    warmup.add_argument(
        "--model", metavar="NAME|PATH", help="for this model (default: all bundled ones)"
    )

    bench = command(
        "bench",
        "otic.diagnostics.bench:bench",
        "measure speed and memory on this machine",
        "otic bench --json",
    )
    bench.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help="bundled model or .tflite file (default %(default)s)",
    )
    bench.add_argument("--json", action="store_true", help="as JSON")


def _check_replay(args: argparse.Namespace) -> None:
    if "-" in args.files and args.rate is None:
        say("replay -: raw PCM has no header: give --rate HZ (and --channels N)")
        sys.exit(2)
