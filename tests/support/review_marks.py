"""Marks for the tests of the review loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.review.folder import Mark
from otic.system.clock import iso

SR = 8000
STARTED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def mark_of(**changes: Any) -> Mark:
    """A right dog, at second 10 of a file."""
    values: dict[str, Any] = {
        "verdict": "right",
        "label": "dog",
        "source": "yard.wav",
        "sensor": "shed",
        "model": "small",
        "model_sha256": "ab" * 32,
        "recording": "yard.wav",
        "onset": 10.0,
        "offset": 12.0,
        "onset_at": "",
        "peak": 0.9,
    }
    return Mark(**{**values, **changes})


def live_mark(onset: float, microphone: str = "mic", **changes: Any) -> Mark:
    """The same of a live stream that began at ``STARTED``."""
    live = {
        "source": microphone,
        "recording": f"{microphone}@{iso(STARTED)}",
        "onset": onset,
        "offset": onset + 2.0,
        "onset_at": iso(STARTED + timedelta(seconds=onset)),
    }
    return mark_of(**{**live, **changes})


def sound(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """Noise, int16 [n]."""
    rng = np.random.default_rng(seed)
    return rng.integers(-3000, 3000, round(seconds * SR)).astype(np.int16)
