"""What a person looks at, and what was last said to that person."""

from __future__ import annotations

import time
from dataclasses import dataclass

_SAID_SECONDS = 6.0


@dataclass
class ViewState:
    """The keys' thread changes it, the drawing one reads it; each change is one assignment.

    Attributes
    ----------
    source : str or None
        The stream that is shown; None: the first.
    frozen_at : float or None
        Second of the stream at the right edge; None: now.
    label : str or None
        The chosen class.
    event : int or None
        The number of the chosen event; None: the last one.
    help : bool
        Whether the keys are listed.
    shown_labels : tuple of str
        Those that have a row, from the top; the drawing thread's word.
    said : tuple
        Text, style, and until when it is shown, by the monotonic clock.
    """

    source: str | None = None
    frozen_at: float | None = None
    label: str | None = None
    event: int | None = None
    help: bool = False
    shown_labels: tuple[str, ...] = ()
    said: tuple[str, str, float] = ("", "", 0.0)

    def say(self, text: str, style: str = "ok") -> None:
        """Tell the person for a moment."""
        self.said = (text, style, time.monotonic() + _SAID_SECONDS)
