"""What the options of the command line take: text to value, or what is wrong with it."""

from __future__ import annotations

import argparse
import math

from otic.config.values import LOG_CHOICES, MAX_BLOCK


def whole(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number of at least 1")
    return int(text)


def block(text: str) -> int:
    """A number of samples a read."""
    if whole(text) > MAX_BLOCK:
        raise argparse.ArgumentTypeError(f"'{text}' must be at most {MAX_BLOCK}")
    return int(text)


def seed(text: str) -> int:
    """A seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 0 to 2**32 - 1")
    return int(text)


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number above 0")
    return value


def speed(text: str) -> float | None:
    """Times real time; None for ``max``."""
    if text == "max":
        return None
    try:
        return positive(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' must be a number above 0, or max") from None


def log_set(text: str) -> frozenset[str]:
    """What a log holds."""
    names = frozenset(name.strip() for name in text.split(","))
    if not names <= set(LOG_CHOICES):
        raise argparse.ArgumentTypeError(f"'{text}' must name some of {', '.join(LOG_CHOICES)}")
    return names


def decibel_range(text: str) -> tuple[float, float]:
    """The least and the most, in decibels."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -60.0 <= low <= high <= 60.0:
        raise argparse.ArgumentTypeError(
            f"'{text}' must be LOW,HIGH in dB, from -60 to 60, the lower first"
        )
    return low, high
