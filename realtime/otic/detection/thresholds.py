"""Decision parameters: thresholds, durations and smoothing, which travel with a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from otic.config.values import as_float, as_tuple, check_keys, check_whole
from otic.errors import ParameterError

MAX_SMOOTHING_SCORES = 1000
"""A damaged file must not ask for more to be kept."""

_DATED_BACK = ("onset_ground", "onset_back_seconds")
_NOT_NEGATIVE = (
    "min_on_seconds",
    "min_off_seconds",
    "max_on_seconds",
    "lag_seconds",
    *_DATED_BACK,
)


@dataclass(frozen=True)
class DecisionParams:
    """How a model's scores are smoothed and turned into on and off events.

    Parameters
    ----------
    smoothing_scores : int
        The smoothed score is the mean of this many latest scores.
    on_thresholds, off_thresholds : tuple of float
        One for each label, in (0, 1]: an event starts where the smoothed score
        reaches the first, and ends where it falls below the second (which is at
        most the first: hysteresis). 1 to start means never.
    min_on_seconds, min_off_seconds : float
        How long the smoothed score must stay above (below) its threshold before
        the event is started (ended). A sound that comes back within the second
        time goes on as one event.
    max_on_seconds : float
        A longer event is ended, and the sound goes on as a new one: an event always
        ends, if what hears it does not.
    lag_seconds : float
        How long after the end of a sound, typically, the smoothed score falls below
        the threshold. Offsets are dated back by it. Onsets need no such number: see
        :mod:`otic.detection.onset`.
    onset_ground, onset_back_seconds : float
        An event began when its smoothed score left the ground, which is this share of the
        on threshold, in [0, 1); but no longer before the threshold was crossed than so
        many seconds. Both 0: it began with the latest rise when the event was decided.

    Raises
    ------
    ParameterError
        If a value is outside its range.

    Examples
    --------
    >>> params = DecisionParams(
    ...     smoothing_scores=2,
    ...     on_thresholds=(0.5, 0.8),
    ...     off_thresholds=(0.25, 0.4),
    ...     min_on_seconds=0.0,
    ...     min_off_seconds=1.0,
    ...     max_on_seconds=600.0,
    ...     lag_seconds=0.5,
    ... )
    >>> params == DecisionParams.from_dict(params.to_dict())
    True
    """

    smoothing_scores: int
    on_thresholds: tuple[float, ...]
    off_thresholds: tuple[float, ...]
    min_on_seconds: float
    min_off_seconds: float
    max_on_seconds: float
    lag_seconds: float
    onset_ground: float = 0.0
    onset_back_seconds: float = 0.0

    def __post_init__(self) -> None:
        check_whole("smoothing_scores", self.smoothing_scores)
        if self.smoothing_scores > MAX_SMOOTHING_SCORES:
            raise ParameterError(
                f"smoothing_scores={self.smoothing_scores} must be at most {MAX_SMOOTHING_SCORES}"
            )
        for name in _NOT_NEGATIVE:
            object.__setattr__(self, name, as_float(name, getattr(self, name)))
            if getattr(self, name) < 0.0:
                raise ParameterError(f"{name}={getattr(self, name):g} must be at least 0")
        if self.max_on_seconds <= self.min_on_seconds + self.min_off_seconds:
            raise ParameterError(
                f"max_on_seconds={self.max_on_seconds:g} must be more than min_on_seconds and "
                "min_off_seconds together"
            )
        if self.onset_ground >= 1.0 or (self.onset_ground > 0.0) != (self.onset_back_seconds > 0.0):
            raise ParameterError(
                f"onset_ground={self.onset_ground:g} must be from 0 to below 1, and "
                f"onset_back_seconds={self.onset_back_seconds:g} must be 0 just where it is 0"
            )
        for name in ("on_thresholds", "off_thresholds"):
            values = tuple(as_float(name, v) for v in getattr(self, name))
            object.__setattr__(self, name, values)
            if not all(0.0 < v <= 1.0 for v in values):
                raise ParameterError(f"{name}={list(values)} must lie above 0 and at most at 1")
        if len(self.on_thresholds) != len(self.off_thresholds):
            raise ParameterError(
                f"{len(self.on_thresholds)} on_thresholds and "
                f"{len(self.off_thresholds)} off_thresholds: one of each for each label is needed"
            )
        if any(off > on for on, off in zip(self.on_thresholds, self.off_thresholds, strict=True)):
            raise ParameterError("an off threshold is above its on threshold: events would flicker")

    @property
    def dated_back_seconds(self) -> float:
        """Seconds by which an onset may lie before the scores that it was decided on."""
        return self.lag_seconds + self.min_on_seconds + self.onset_back_seconds

    def with_threshold(self, index: int, value: float) -> DecisionParams:
        """Another on threshold for a label; its off threshold keeps its ratio to it.

        Raises
        ------
        ParameterError
            If the value is not above 0 and at most 1.
        """
        on, off = list(self.on_thresholds), list(self.off_thresholds)
        off[index] = min(value, off[index] * (value / on[index]))  # rounded, it might be above
        on[index] = value
        return replace(self, on_thresholds=tuple(on), off_thresholds=tuple(off))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in field order.

        How onsets are dated back is left out where they are not: otic 0.1 reads that.
        """
        lists = {n: list(getattr(self, n)) for n in ("on_thresholds", "off_thresholds")}
        values = {**asdict(self), **lists}
        return {n: v for n, v in values.items() if self.onset_ground or n not in _DATED_BACK}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecisionParams:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        ParameterError
            If a key is missing or unknown, or a value is outside its range.
        """
        names = [f.name for f in fields(cls)]
        if isinstance(values, dict) and not any(n in values for n in _DATED_BACK):
            names = [n for n in names if n not in _DATED_BACK]  # a bundle of otic 0.1
        check_keys("decision parameters", values, names)
        lists = {n: as_tuple(n, values[n]) for n in ("on_thresholds", "off_thresholds")}
        return cls(**{**values, **lists})
