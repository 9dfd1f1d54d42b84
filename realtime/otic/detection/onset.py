"""When a sound began: the first marked rise in the window's log-mel frames. Pure arithmetic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_F32 = NDArray[np.float32]

RANGE_DB = 80.0
"""What is softer than the window's loudest cell by this is as good as silence."""

SPAN_SECONDS = 0.45
"""Before and after a rise, which is compared; less where the window does not reach so far."""

SHORTEST_SECONDS = 0.1
"""The least of it."""

EARLIEST_SHARE = 0.6
"""The first rise that is this strong, against the strongest, is the beginning: the loudest
crackle of a fire is not."""

MIN_RISE_DB = 2.0
"""A weaker one is no beginning."""


def first_rise(log_mel: _F32, frame_seconds: float) -> int | None:
    """The frame with which a sound began.

    At each frame the mean spectrum of up to ``SPAN_SECONDS`` from it on is compared
    with the mean spectrum of as long before; the rise is the mean over the bands of
    what was gained, and bands that lost count nothing. So a sound over steady noise
    counts by the bands in which it stands out, however loud the noise is in others.

    Parameters
    ----------
    log_mel : float32 [n_frames, n_mels]
        In dB, oldest first.
    frame_seconds : float
        From frame to frame.

    Returns
    -------
    int or None
        None where nothing rose: the sound is older than the frames.

    Examples
    --------
    >>> log_mel = np.full((100, 8), -70.0, np.float32)
    >>> log_mel[40:] = -20.0
    >>> first_rise(log_mel, frame_seconds=512 / 22050)
    40
    """
    audible = np.maximum(log_mel, log_mel.max() - np.float32(RANGE_DB))
    shortest = max(1, round(SHORTEST_SECONDS / frame_seconds))
    span = max(shortest, round(SPAN_SECONDS / frame_seconds))
    rises = _rises(audible, shortest, span)
    if not len(rises) or rises.max() < MIN_RISE_DB:
        return None
    near = int(np.argmax(rises >= EARLIEST_SHARE * rises.max()))
    return shortest + near + int(np.argmax(rises[near : near + span]))


def _rises(x: _F32, shortest: int, span: int) -> NDArray[np.float64]:
    """The rise at each frame but the first ``shortest`` and the last ``shortest - 1``."""
    n = len(x)
    sums = np.zeros((n + 1, x.shape[1]))
    np.cumsum(x, axis=0, dtype=np.float64, out=sums[1:])
    at = np.arange(shortest, n - shortest + 1)
    until, since = np.minimum(at + span, n), np.maximum(at - span, 0)
    here = sums[shortest : n - shortest + 1]
    # In place: a third of the time, and this is most of what an event costs.
    gained = sums.take(until, axis=0)
    gained -= here
    gained *= (1.0 / (until - at))[:, None]
    before = sums.take(since, axis=0)
    before -= here
    before *= (1.0 / (at - since))[:, None]  # minus what was
    gained += before
    np.maximum(gained, 0.0, out=gained)
    means: NDArray[np.float64] = np.add.reduce(gained, axis=1) / x.shape[1]
    return means
