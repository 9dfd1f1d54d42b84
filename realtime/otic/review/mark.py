"""Marks: a person's verdict on one event, and its form in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import PurePath
from typing import Any

from otic.errors import ParameterError

RIGHT, WRONG = "right", "wrong"
VERDICTS = (RIGHT, WRONG)

_TEXTS = ("verdict", "label", "source", "sensor", "model", "model_sha256", "recording")
_MAYBE_TEXTS = ("true_label", "clip")
_MAYBE_NUMBERS = ("offset", "peak", "clip_start")
_DECIMALS = 6

EventKey = tuple[str, str, float]
"""The identity of an event: recording, label and onset."""


@dataclass(frozen=True)
class Mark:
    """One event, marked right or wrong. Times are seconds of the stream unless noted otherwise.

    Attributes
    ----------
    verdict : str
        ``right`` or ``wrong``.
    label : str
        The reported label.
    source, sensor, model, model_sha256 : str
        Where the report came from.
    recording : str
        Name of the stream: ``SOURCE@STARTED`` if it is live, with its start as ISO 8601 in UTC,
        or the file's. Events of one recording are never in two folds.
    onset : float
    offset : float or None
        None if the event was still on.
    onset_at : str
        Wall-clock time of a live event's onset, ISO 8601 with a time zone; empty for a file.
    peak : float or None
        The highest score, 0 to 1.
    true_label : str or None
        What a ``wrong`` event really was, if the person said so.
    clip : str or None
        Name of the sound's file in the folder's ``audio``; None without sound.
    clip_start : float or None
        Second of the stream at which that file begins.
    marked_at : str
        Wall-clock time, ISO 8601 with a time zone. If empty, the folder fills it in.

    Raises
    ------
    ParameterError
        If a value is not possible.
    """

    verdict: str
    label: str
    source: str
    sensor: str
    model: str
    model_sha256: str
    recording: str
    onset: float
    offset: float | None
    onset_at: str
    peak: float | None
    true_label: str | None = None
    clip: str | None = None
    clip_start: float | None = None
    marked_at: str = ""

    def __post_init__(self) -> None:
        for name in (*_TEXTS, "onset_at", "marked_at"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name), "text")
        for name in _MAYBE_TEXTS:
            value = getattr(self, name)
            _require(value is None or (isinstance(value, str) and value), name, value, "text")
        _require(_is_number(self.onset), "onset", self.onset, "a finite number")
        for name in _MAYBE_NUMBERS:
            value = getattr(self, name)
            _require(value is None or _is_number(value), name, value, "a finite number or null")
        _require(self.verdict in VERDICTS, "verdict", self.verdict, "right or wrong")
        for name in ("label", "recording"):
            _require(bool(getattr(self, name)), name, getattr(self, name), "not empty")
        for name in ("onset_at", "marked_at"):
            value = getattr(self, name)
            _require(not value or _is_moment(value), name, value, "ISO 8601 with a time zone")
        if self.offset is not None:
            _require(self.offset >= self.onset, "offset", self.offset, "at the onset or later")
        if self.true_label is not None:
            _require(self.verdict == WRONG, "true_label", self.true_label, "null where it is right")
            _require(
                self.true_label != self.label,
                "true_label",
                self.true_label,
                "another label than the one that is marked wrong",
            )
        if self.clip is not None:  # joined to a folder's path, and of unknown origin
            plain = PurePath(self.clip).name == self.clip and "\0" not in self.clip
            _require(plain, "clip", self.clip, "a file's name without a folder")
            _require(self.clip_start is not None, "clip_start", None, "known where there is a clip")

    @property
    def event(self) -> EventKey:
        """The event's identity: two marks with the same one belong to one event."""
        return (self.recording, self.label, round(self.onset, _DECIMALS))

    @property
    def live(self) -> bool:
        """True if the event was live; otherwise it comes from a file."""
        return bool(self.onset_at)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields in order, with numbers rounded to 6 decimals."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {
            name: round(float(value), _DECIMALS) if isinstance(value, int | float) else value
            for name, value in values
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Mark:
        """Return the mark that :meth:`to_dict` converted.

        Raises
        ------
        ParameterError
            If a field is missing, unknown, or has an impossible value.
        """
        known = [each.name for each in fields(cls)]
        missing = [name for name in known if name not in values]
        unknown = [name for name in values if name not in known]
        if missing or unknown:
            what = f"lacks {', '.join(missing)}" if missing else f"has unknown {unknown[0]!r}"
            raise ParameterError(f"a mark {what}: its fields are {', '.join(known)}")
        return cls(**values)


def _require(fits: object, name: str, value: Any, must_be: str) -> None:
    if not fits:
        raise ParameterError(f"a mark's {name} {value!r} must be {must_be}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
