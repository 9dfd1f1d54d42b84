"""The exceptions that otic raises on purpose.

Every message is one line that names the value, the limit and the remedy: the
command line prints it as it is, after ``otic: ``.
"""

from __future__ import annotations

from collections.abc import Iterable


class OticError(Exception):
    """Base of every error that a caller may want to catch."""

    exit_code = 1
    """What the command line ends with."""


class ParameterError(OticError, ValueError):
    """A parameter is outside of what can be computed."""


class BundleError(OticError):
    """A model file is missing, damaged or contradicts itself."""


class RuntimeMissingError(OticError):
    """A library that the request needs is not installed or does not work here."""


class SourceError(OticError):
    """Audio can't be opened or read."""


class DeviceError(SourceError):
    """An input device is missing or can't be used."""


class SinkError(OticError):
    """Results can't be written where they were asked for."""


class ConfigurationError(OticError):
    """A sensor's configuration is missing or says something that can't be."""


class UsageError(OticError):
    """Options of a command contradict each other."""

    exit_code = 2


_JOINERS = "\u200c\u200d"  # of letters in Persian and Hindi, and of emojis


def printable(text: str) -> str:
    """Make text harmless in a message, a table, a terminal: one line, no control characters.

    White space becomes one space; what else is not to be seen, and what UTF-8 can't hold,
    becomes U+FFFD.
    """
    if text.isprintable():
        return text
    line = " ".join(text.split())
    return "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in line)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'listen'?)`` with the nearest known word; empty where none is near."""
    from difflib import get_close_matches  # slow to import, and needed for errors only

    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_lower, 1)
    return f" (did you mean '{by_lower[near[0]]}'?)" if near else ""
