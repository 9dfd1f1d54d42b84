"""Waits before trying again: short at first, then longer and longer."""

from __future__ import annotations

import time


class Backoff:
    """Waits that double with each failure.

    Parameters
    ----------
    first_seconds, longest_seconds : float
        The wait after the first failure, and what it never exceeds.
    """

    def __init__(self, first_seconds: float, longest_seconds: float) -> None:
        self._first, self._longest = first_seconds, longest_seconds
        self._next_seconds = first_seconds
        self._due = 0.0

    def failed(self) -> None:
        """Start the next wait."""
        self._due = time.monotonic() + self._next_seconds
        self._next_seconds = min(2.0 * self._next_seconds, self._longest)

    def worked(self) -> None:
        """Reset: the next failure counts as the first."""
        self._next_seconds = self._first

    @property
    def due(self) -> bool:
        """True if the wait is over."""
        return time.monotonic() >= self._due
