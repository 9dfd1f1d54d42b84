"""Checks of single values that come from files or people, and what is the default."""

from __future__ import annotations

import math
from typing import Any

from otic.errors import ParameterError

DEFAULT_MODEL = "esc10-logmel-cnn"
LOG_DEFAULT = ("scores", "events")
LOG_CHOICES = (*LOG_DEFAULT, "unknown")
MAX_BLOCK = 2**20  # samples a read
# Samples a read by default: small where time matters, large where only throughput does.
PACED_BLOCK, MICROPHONE_BLOCK, FAST_BLOCK = 1024, 2048, 16384
MAX_WHOLE = 1_000_000  # of any count in a file: a damaged one must not ask for more


def check_keys(what: str, values: Any, expected: list[str]) -> None:
    """Require a JSON object with exactly the expected keys.

    Raises
    ------
    ParameterError
        Naming the missing and the unknown ones.
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
        Naming the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name}={value!r} must be a whole number of at least 1")
    if value > MAX_WHOLE:
        raise ParameterError(f"{name}={value} must be at most {MAX_WHOLE}")


def as_float(name: str, value: Any) -> float:
    """A finite number.

    Raises
    ------
    ParameterError
        Naming the value, if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParameterError(f"{name}={value!r} must be a finite number")
    return float(value)


def as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    """A list as a tuple.

    Raises
    ------
    ParameterError
        Naming the value, if it is none.
    """
    if not isinstance(value, list | tuple):
        raise ParameterError(f"{name}={value!r} must be a list")
    return tuple(value)
