"""When a device's samples were recorded, from when its blocks arrive; pure."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 2.0


class Arrivals:
    """Tells until when a device was heard, whatever the jitter of its blocks.

    A block may arrive late, never early: so the least lateness counts, over the latest
    :data:`WINDOW_SECONDS`, since the device's clock and ours drift apart.

    Examples
    --------
    >>> arrivals = Arrivals()
    >>> for ends_at in (10.35, 10.5, 11.0):  # the first block is late by 0.1 s
    ...     arrivals.add(ends_at, seconds=0.25)
    >>> arrivals.least_lateness, arrivals.heard_until
    (10.0, 10.75)
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Sound that arrived so far, with what was lost in between."""
        self._lateness: deque[tuple[float, float]] = deque()

    def add(self, ends_at: float, seconds: float) -> None:
        """Note a block of so many seconds; its last sample arrived at ``ends_at`` by the clock."""
        self.seconds += seconds
        self._lateness.append((self.seconds, ends_at - self.seconds))
        while self.seconds - self._lateness[0][0] > WINDOW_SECONDS:
            self._lateness.popleft()

    @property
    def least_lateness(self) -> float:
        """The clock's time at which the first sample would have arrived, were no block late."""
        return min(lateness for _, lateness in self._lateness)

    @property
    def heard_until(self) -> float:
        """The clock's time at which the latest sample would have arrived, were no block late."""
        return self.seconds + self.least_lateness
