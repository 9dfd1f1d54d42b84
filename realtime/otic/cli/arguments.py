"""The parser of a command, and the types of its options: text to value, or what is wrong."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from otic.config.settings import InputSettings
from otic.config.stream_url import check_url, has_password, is_url, shown_url
from otic.config.values import LOG_CHOICES, MAX_BLOCK
from otic.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from otic.audio.recording_time import TimeRule

_log = logging.getLogger(__name__)

_LEAST_COLUMNS, _MOST_COLUMNS = 20, 400
_LEAST_ROWS, _MOST_ROWS = 5, 200

MODEL_HELP = "a name that 'otic models' lists, or a .tflite file"


class Parser(argparse.ArgumentParser):
    """A command's parser: wrong usage is a :class:`UsageError` that points at its own help.

    Options can't be abbreviated: ``--mqtt-password`` would be taken for
    ``--mqtt-password-file``.
    """

    common: tuple[str, ...] = ()
    """Names of the options that ``--help`` shows first."""

    add_more: Callable[[], None] | None = None
    """Adds options that take time to find, where one is unknown."""

    _words: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,  # given before a sub-command, it must stay
            help="show a traceback on errors",
        )

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            message += self._near_miss()
        raise UsageError(f"{message}: see '{self.prog} --help'")

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse's own hides a full disk

    def format_help(self) -> str:
        """Format as argparse does, but with the common options first."""
        if not self.common:
            return super().format_help()
        by_name = {name: a for a in self._actions for name in (a.dest, *a.option_strings)}
        first = [by_name[name] for name in self.common]
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        groups = [(group.title, group._group_actions) for group in self._action_groups]
        for title, actions in [("most used", first), *groups[2:], *groups[:2]]:
            formatter.start_section(title)
            formatter.add_arguments([a for a in actions if actions is first or a not in first])
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self._words = list(args or ())
        found, unknown = super().parse_known_args(args, namespace)
        option = next((word for word in unknown if word.startswith("-")), None)
        if option is not None and self.add_more is not None:
            self.add_more()
            self.add_more = None
            return self.parse_known_args(args, namespace)
        if option is not None:
            # Its value is not repeated: it may be a secret whose option is mistyped.
            name = option.partition("=")[0]
            self.error(f"unknown option '{name}'{did_you_mean(name, self.shown_options())}")
        if unknown:
            self.error(f"unexpected argument '{unknown[0]}'")
        return found, unknown

    def _near_miss(self) -> str:
        """Tell of the first option that is nearly known: it may be meant for a missing one."""
        names = [word.partition("=")[0] for word in self._words if word.startswith("--")]
        for name in names:
            near = did_you_mean(name, self.shown_options())
            if near and name not in self._option_string_actions:
                return f", but '{name}' is unknown{near}"
        return ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action,
                f"unknown '{value}'{did_you_mean(str(value), known)}: choose from "
                f"{', '.join(known)}",
            )

    def shown_options(self) -> list[str]:
        """List the options that ``--help`` shows."""
        actions = (a for a in self._actions if a.help != argparse.SUPPRESS)
        return [option for action in actions for option in action.option_strings]


def add_json_option(parser: argparse.ArgumentParser, what: str = "print JSON") -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help=what)


def add_time_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say when recordings were made."""
    parser.add_argument(
        "--start", metavar="TIME", help="when the recording began, such as 2026-05-01T04:30+02:00"
    )
    parser.add_argument(
        "--time-format",
        metavar="FORMAT",
        help="how names hold the time, such as 'rec_%%d%%m%%y_%%H%%M' (default: the time that a "
        "recorder left in the file or its name: AudioMoth, Song Meter, GUANO, bext, ISO 8601)",
    )
    parser.add_argument(
        "--timezone",
        default="UTC",
        metavar="ZONE",
        help="of times that name none: UTC (default), Europe/Berlin, +02:00",
    )


def time_rule(args: argparse.Namespace, n_files: int) -> TimeRule:
    """What the options say of the time of recordings."""
    from otic.audio.recording_time import TimeRule, parsed_time

    if args.start is not None and n_files != 1:
        raise UsageError("--start is the time of one recording: give one, or use --time-format")
    start = None if args.start is None else parsed_time(args.start)
    return TimeRule(start, args.time_format, args.timezone)


def whole(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number of at least 1")
    return int(text)


def block(text: str) -> int:
    """Parse a number of samples per read."""
    if whole(text) > MAX_BLOCK:
        raise argparse.ArgumentTypeError(f"'{text}' must be at most {MAX_BLOCK}")
    return int(text)


def input_device(text: str) -> InputSettings:
    """Parse the name of an input device."""
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"'{shown_url(text)}' is the address of a stream: give it as --url"
        )
    return InputSettings(device=text)


def input_url(text: str) -> InputSettings:
    """Parse the address of a stream, which is not repeated in a message."""
    try:
        check_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if has_password(text):
        _log.warning(
            "--url: others on this machine can read a password on a command line: put the URL "
            "into a file, and give that as --url-file"
        )
    return InputSettings(url=text)


def input_url_file(text: str) -> InputSettings:
    """Parse the path of a file with the address of a stream."""
    return InputSettings(url_file=text)


def seed(text: str) -> int:
    """Parse a seed, 0 to 2**32 - 1."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 0 to 2**32 - 1")
    return int(text)


def positive(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number above 0")
    return value


def speed(text: str) -> float | None:
    """Parse a multiple of real time; None for ``max``."""
    if text == "max":
        return None
    try:
        return positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number above 0, or max") from None


def log_set(text: str) -> frozenset[str]:
    """Parse the names of what a log contains."""
    names = frozenset(name.strip() for name in text.split(","))
    if not names <= set(LOG_CHOICES):
        raise argparse.ArgumentTypeError(f"'{text}' must be some of {', '.join(LOG_CHOICES)}")
    return names


def decibel_range(text: str) -> tuple[float, float]:
    """Parse the lowest and the highest level, in dB."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -60.0 <= low <= high <= 60.0:
        raise argparse.ArgumentTypeError(
            f"'{text}' must be LOW,HIGH in dB, from -60 to 60, the lower first"
        )
    return low, high


def picture_size(text: str) -> tuple[int, int]:
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
