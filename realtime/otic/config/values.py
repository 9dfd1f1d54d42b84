"""Checks of single values from files and people, and defaults."""

from __future__ import annotations

import csv
import math
import os.path
import re
from typing import Any

from otic.errors import ParameterError

DEFAULT_MODEL = "esc10-stream"
LOG_DEFAULT = ("scores", "events")
LOG_CHOICES = (*LOG_DEFAULT, "unknown")
MAX_BLOCK = 2**20  # samples per read
# Default samples per read: small where time matters, large where only throughput does.
PACED_BLOCK, MICROPHONE_BLOCK, FAST_BLOCK = 1024, 2048, 16384
_THRESHOLD = re.compile(r"\s*(.*?)\s*=\s*([^\s,=]+)(?:[\s,]+|$)")
_CLOCK_RANGE = re.compile(
    r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*[-–]\s*([01]?\d|2[0-4]):([0-5]\d)\s*", re.ASCII
)
MAX_WHOLE = 1_000_000  # limit of any count in a file, which may be damaged


def check_keys(what: str, values: Any, expected: list[str]) -> None:
    """Require a JSON object with exactly the expected keys.

    Raises
    ------
    ParameterError
        Names the missing and the unknown keys.
    """
    if not isinstance(values, dict):
        raise ParameterError(f"{what} must be a JSON object, not {type(values).__name__}")
    missing = [n for n in expected if n not in values]
    unknown = [n for n in values if n not in expected]
    if missing or unknown:
        parts = [("missing", missing), ("unknown", unknown)]
        named = "; ".join(f"{kind} keys {', '.join(keys)}" for kind, keys in parts if keys)
        raise ParameterError(f"{what}: {named}")


def check_whole(name: str, value: Any) -> None:
    """Require a whole number from 1 to ``MAX_WHOLE``.

    Raises
    ------
    ParameterError
        Names the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name}={value!r} must be a whole number of at least 1")
    if value > MAX_WHOLE:
        raise ParameterError(f"{name}={value} must be at most {MAX_WHOLE}")


def as_float(name: str, value: Any) -> float:
    """Return a finite number as a float.

    Raises
    ------
    ParameterError
        Names the value, if it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParameterError(f"{name}={value!r} must be a finite number")
    return float(value)


def as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    """Return a list as a tuple.

    Raises
    ------
    ParameterError
        Names the value, if it is not one.
    """
    if not isinstance(value, list | tuple):
        raise ParameterError(f"{name}={value!r} must be a list")
    return tuple(value)


def expand_home(path: str) -> str:
    """Put the home folder in place of a leading ``~`` or ``~name``.

    Raises
    ------
    ValueError
        If there is no such home folder.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 - pathlib's drops a trailing slash
    if expanded.startswith("~") and path.startswith("~"):
        raise ValueError(f"'{path}': this home folder is not known: write the whole path")
    return expanded


def threshold_words(text: str) -> list[str]:
    """Split ``dog=0.5,rain=0.4`` into ``LABEL=X`` each; commas or spaces may separate them.

    A label may contain spaces, commas and apostrophes; quotation marks around it are allowed.
    """
    words = []
    for label, value in _THRESHOLD.findall(text):
        quote = label[:1] if label[:1] in ("'", '"') else ""
        if quote and value.endswith(quote):  # 'a b=0.4'
            label, value = label[1:], value[:-1]
        elif quote and label.endswith(quote):  # 'a b'=0.4
            label = label[1:-1]
        words.append(f"{label}={value}")
    rest = _THRESHOLD.sub("", text).strip()
    return [*words, rest] if rest else words


def label_words(text: str) -> list[str]:
    """Split labels at commas; one that contains a comma is in double quotation marks."""
    return [word.strip() for word in next(csv.reader([text], skipinitialspace=True), [])]


def clock_range(text: str) -> tuple[int, int]:
    """Read ``22:00-06:00`` as minutes of the day, 0 to 1439.

    Raises
    ------
    ValueError
        With what it must be.
    """
    match = _CLOCK_RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} must be two times of the day, such as '22:00-06:00'")
    start_hour, start_minute, stop_hour, stop_minute = map(int, match.groups())
    return start_hour * 60 + start_minute, (stop_hour * 60 + stop_minute) % (24 * 60)


def check_clock_range(text: str) -> None:
    """Require what :func:`clock_range` reads."""
    clock_range(text)


def check_time_zone(text: str) -> None:
    """Require the name of a time zone that this machine knows.

    Raises
    ------
    ValueError
        With what it must be.
    """
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text)
    except (OSError, ValueError, LookupError):
        raise ValueError(
            f"{text!r} must be a time zone that this machine knows, such as 'Europe/Berlin' "
            "(the package tzdata has them)"
        ) from None


def check_host(text: str) -> None:
    """Require the name or the address of a machine, and nothing else.

    Raises
    ------
    ValueError
        With what is too much. The text is not repeated: it may hold a password.
    """
    parts = []
    if "://" in text:
        parts.append(f"'{text.partition('://')[0]}://'")
    if "@" in text:
        parts.append("a user")
    rest = text.rpartition("@")[2].partition("://")[2] or text.rpartition("@")[2]
    if re.search(r"^[^:]*:\d*(/|$)|\]:\d*", rest):
        parts.append("a port")
    if "/" in rest:
        parts.append("a path")
    if parts:
        raise ValueError(
            f"must be a host's name or address alone, without {', '.join(parts)}: the port "
            "and the user have keys of their own"
        )
