"""What a person may ask of streams while they run."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Mapping

from otic.detection.thresholds import DecisionParams
from otic.errors import ParameterError
from otic.streaming.stop import Stop

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.01, 1.0


class Control:
    """Wishes: any thread makes them, the loop that runs the streams fulfils them.

    Parameters
    ----------
    labels : tuple of str
    decision : DecisionParams
        The model's own thresholds.
    """

    def __init__(self, labels: tuple[str, ...], decision: DecisionParams) -> None:
        self._lock = threading.Lock()
        self._stop: Stop | None = None
        self._own = dict(zip(labels, decision.on_thresholds, strict=True))
        self._thresholds = dict(self._own)
        self.paused = False
        """Whether nothing is to be classified for now. A file waits; of a microphone it is a gap
        that was wanted."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """By label; 1 is never. Never changes: a new one is made for each change."""
        return self._thresholds

    @property
    def own_thresholds(self) -> Mapping[str, float]:
        """The model's."""
        return self._own

    @property
    def changed_thresholds(self) -> dict[str, float]:
        """Those that are not the model's own."""
        return {k: v for k, v in self._thresholds.items() if v != self._own[k]}

    def bind(self, stop: Stop) -> None:
        """Whom :meth:`quit` asks."""
        self._stop = stop

    def quit(self) -> None:
        """End all streams in order."""
        if self._stop is not None:
            self._stop.request()

    def clear_wakeup(self) -> None:
        """A signal that was no wish to stop has woken the loop: take that back."""
        wakeup = None if self._stop is None else self._stop.wakeup
        if wakeup is not None and select.select([wakeup], [], [], 0.0)[0]:
            os.read(wakeup, 64)

    def set_threshold(self, label: str, value: float) -> None:
        """Have events of a label start at this smoothed score, from ``LOWEST_THRESHOLD`` to 1.

        Raises
        ------
        ParameterError
            If there is no such label, or the value is outside the range.
        """
        if label not in self._own:
            raise ParameterError(f"the model has no label '{label}': see 'otic models'")
        if not LOWEST_THRESHOLD <= value <= HIGHEST_THRESHOLD:
            raise ParameterError(
                f"threshold {value:g} of '{label}' must lie from {LOWEST_THRESHOLD:g} to "
                f"{HIGHEST_THRESHOLD:g} (1: never)"
            )
        with self._lock:
            self._thresholds = {**self._thresholds, label: value}
