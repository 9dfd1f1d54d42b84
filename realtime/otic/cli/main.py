"""The ``otic`` command: the table of commands, and errors as one line.

Nothing heavy is imported here, so that ``otic --help`` answers at once: a command's module is
imported when the command has been chosen. It holds two functions side by side, the command
itself, ``NAME(args)``, and ``add_NAME_options(parser)``.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from otic import __version__
from otic.errors import OticError, UsageError, did_you_mean

if TYPE_CHECKING:
    from logging import Logger

    from otic.cli.arguments import Parser


class Command(NamedTuple):
    """A row of the table; ``place`` is ``module:function``."""

    name: str
    place: str
    summary: str


TABLE: dict[str, tuple[Command, ...]] = {
    "Try it": (
        Command("demo", "otic.cli.demo:demo", "Classify a synthetic soundscape as if it were live"),
    ),
    "Run": (
        Command("listen", "otic.cli.live:listen", "Classify sound from microphones"),
        Command("replay", "otic.cli.live:replay", "Classify audio files as if they were live"),
        Command("scan", "otic.cli.scan:scan", "Classify many recordings into one table"),
        Command(
            "export",
            "otic.cli.export:export",
            "Write events as labels, selection tables or subtitles",
        ),
        Command("run", "otic.cli.live:run", "Run as a permanent sensor, configured by a file"),
    ),
    "Maintain": (
        Command("doctor", "otic.cli.doctor:doctor", "Check this machine and suggest fixes"),
        Command(
            "service", "otic.cli.service:service", "Install, show or remove the systemd service"
        ),
        Command("devices", "otic.cli.models:devices", "List input devices"),
        Command(
            "verify", "otic.cli.verify:verify", "Check that this machine computes correct results"
        ),
        Command("bench", "otic.cli.bench:bench", "Measure speed and memory"),
        Command("warmup", "otic.cli.verify:warmup", "Compile the kernels ahead of time"),
        Command(
            "completion",
            "otic.cli.completion:completion",
            "Print what completes commands and options in a shell",
        ),
    ),
    "Models": (
        Command("models", "otic.cli.models:models", "List the models that a name is enough for"),
        Command("inspect", "otic.cli.models:inspect", "Show what a model file contains"),
        Command("pack", "otic.cli.pack:pack", "Turn any TFLite audio model into an otic bundle"),
        Command(
            "review", "otic.cli.review:review", "List marked events or export them as a data set"
        ),
    ),
    "Training": (
        Command(
            "teach", "otic_training.cli.teach:teach", "Teach your own sounds from a few clips each"
        ),
        Command(
            "download",
            "otic_training.cli.download:download",
            "Download a data set or YAMNet, and verify it",
        ),
        Command(
            "explore", "otic_training.cli.explore:explore", "Write an HTML report about a data set"
        ),
        Command(
            "negatives",
            "otic_training.cli.negatives:negatives",
            "Make speech, music and machines to train against",
        ),
        Command("train", "otic_training.cli.train:train", "Train a model on labelled audio"),
        Command(
            "crossval",
            "otic_training.cli.crossval:crossval",
            "Cross-validate a preset on the official folds",
        ),
        Command(
            "evaluate",
            "otic_training.cli.evaluate:evaluate",
            "Measure accuracy through the live pipeline",
        ),
        Command(
            "tune",
            "otic_training.cli.tune:tune",
            "Set thresholds for a place from a recording of it",
        ),
        Command("search", "otic_training.cli.search:search", "Tune a preset's hyper-parameters"),
    ),
}
"""Every command, by the group that ``otic --help`` lists it in."""

COMMANDS = {command.name: command for commands in TABLE.values() for command in commands}

_USAGE = "usage: otic COMMAND [OPTION]…"
_PURPOSE = "Hear what is happening: classify sounds live, from a microphone or a file."
_HINT = "'otic COMMAND --help' explains a command. Try 'otic demo' first: it needs no microphone."
_SEE_HELP = "see 'otic --help'"


def console() -> NoReturn:
    """Run :func:`main` and end the process.

    Where no library has work left at the end, the process ends at once: taking down the
    interpreter with all that numba loaded takes 0.7 s.
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
    _prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()  # here, where a reader that has left is dealt with
        return code
    except OticError as error:
        if "--debug" in words:
            raise
        _start_logging().error(str(error))
        return error.exit_code
    except OSError as error:
        if "--debug" in words:
            raise
        on_stdout = getattr(sys.stdout, "error", None) is error or error.filename == "-"
        _drop_stdout()
        if on_stdout and isinstance(error, BrokenPipeError):
            return 0  # the reader of our output has what it wanted ('otic … | head -1')
        _start_logging().error(_os_error_text(error, on_stdout))
        return 1
    except KeyboardInterrupt:
        return 130


def overview() -> str:
    """The text of ``otic --help``: the table, by group."""
    lines = [_USAGE, "", _PURPOSE]
    for group, commands in TABLE.items():
        lines += ["", f"{group}:", *(f"  {each.name:<11} {each.summary}" for each in commands)]
    options = (("-h, --help", "show this text and exit"), ("--version", "print otic's version"))
    lines += ["", "Options:", *(f"  {flags:<11} {text}" for flags, text in options)]
    return "\n".join([*lines, "", _HINT])


def load_command(command: Command) -> tuple[Parser, Callable[[Any], int]]:
    """The parser of a command, and the function that does it; imports its module."""
    from otic.cli.arguments import Parser

    place, _, function = command.place.partition(":")
    module = import_module(place)
    parser = Parser(prog=f"otic {command.name}", description=f"{command.summary}.")
    getattr(module, f"add_{function}_options")(parser)
    return parser, getattr(module, function)


def _run(words: Sequence[str]) -> int:
    """Do what the words of the command line say; returns the exit code."""
    first = words[0] if words else ""
    if first in ("-h", "--help"):
        print(overview())
        return 0
    if first == "--version":
        print(f"otic {__version__}")
        return 0
    if not first:
        raise UsageError(f"a command is missing: {_SEE_HELP}")
    if first.startswith("-"):
        option = first.partition("=")[0]
        near = did_you_mean(option, ["--help", "--version"])
        raise UsageError(f"unknown option '{option}' before a command{near}: {_SEE_HELP}")
    if first not in COMMANDS:
        raise UsageError(f"unknown command '{first}'{did_you_mean(first, COMMANDS)}: {_SEE_HELP}")
    command = COMMANDS[first]
    with _without_scipy() if command.place.startswith("otic.") else nullcontext():
        parser, body = load_command(command)
        try:
            args = parser.parse_args(words[1:])
        except SystemExit as done:  # --help
            return int(done.code or 0)
        _start_logging()
        return int(body(args))


def _start_logging() -> Logger:
    """Make messages appear on standard error; the logger of all of otic."""
    from otic.system.log import start_logging  # logging takes longer to import than all of --help

    return start_logging()


class _Stdout(io.TextIOWrapper):
    """Standard output that knows the error of writing to it: others are not its fault."""

    error: OSError | None = None

    def write(self, text: str) -> int:
        with self._watched():
            return super().write(text)

    def flush(self) -> None:
        with self._watched():
            super().flush()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            raise


def _prepare_streams() -> None:
    """Replace streams that the caller closed; what a terminal can't show (✓) becomes ``?``."""
    out = sys.stdout
    if out is None:  # opened for reading, so that printing fails: nobody gets the output
        nowhere = os.fdopen(os.open(os.devnull, os.O_RDONLY), "wb")
        sys.stdout = _Stdout(nowhere, "utf-8", errors="replace")
    elif out is sys.__stdout__ and isinstance(out, io.TextIOWrapper):
        sys.stdout = _Stdout(
            out.buffer,
            out.encoding,
            errors="replace",
            line_buffering=out.line_buffering,
            write_through=out.write_through,
        )
    if sys.stderr is None:  # print() would take standard output
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")


def _os_error_text(error: OSError, on_stdout: bool) -> str:
    """Describe what failed, and on which file."""
    what = error.strerror or str(error)
    if on_stdout:
        return f"{what}: standard output"
    if error.filename:
        return f"{what}: {os.fsdecode(error.filename)}"
    if error.errno is None or error.strerror != os.strerror(error.errno):
        return what  # a message of its own
    return f"{what}: otic did not expect this: run it again with --debug and report what it shows"


@contextmanager
def _without_scipy() -> Iterator[None]:
    """Hide scipy: where it is installed, numba imports its linear algebra for matrix products.

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
    """Send what is still buffered nowhere, instead of into an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
