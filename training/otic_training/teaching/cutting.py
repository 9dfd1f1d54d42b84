"""Examples out of a stream: what stands out from the room is found, cut out and examined."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from otic.audio.recent_audio import RecentAudio
from otic.features.frame_ring import FrameRing
from otic.features.params import FeatureParams
from otic_training.teaching.clips import faults
from otic_training.teaching.sketches import log_mel

F32 = NDArray[np.float32]

LONGEST_SECONDS = 10.0
"""An example is cut off here."""
PAUSE_SECONDS = 1.0
"""An example ends where nothing stands out for so long: the two notes of a doorbell are one."""
BEFORE_SECONDS, AFTER_SECONDS = 0.2, 0.3
"""Sound that is kept before and after what stands out."""
TOO_QUIET, CLIPPED, THE_ROOM, ENDLESS = "too quiet", "clipped", "that was the room", "no end"
"""What may be wrong with an example."""

_LEAST_DB, _MARGIN_DB, _HYSTERESIS_DB, _CLEAR_DB = 6.0, 3.0, 3.0, 12.0
_USUAL, _SELDOM = 95.0, 99.0  # percentiles
_SILENT_DB = -60.0  # bands of a room that is quieter: what a microphone switches off is no room
_RING_FRAMES = 64


@dataclass(frozen=True)
class Room:
    """A place without the sound.

    Attributes
    ----------
    bands_db : float32 [n_mels]
        Level of each band that a frame in twenty exceeds.
    threshold_db : float
        By how much a frame must stand out to begin an example.
    level_dbfs : float
        RMS in dB re full scale; -inf for digital silence.
    """

    bands_db: F32 = field(repr=False)
    threshold_db: float
    level_dbfs: float

    @classmethod
    def of(cls, y: F32, p: FeatureParams) -> Room:
        """Measure samples of the place, float32 [n], at least one frame of them."""
        db = log_mel(np.pad(y, (0, max(0, p.n_fft - len(y)))), p)
        bands = np.maximum(np.percentile(db, _USUAL, axis=0), _SILENT_DB).astype(np.float32)
        own = float(np.percentile(stands_out_db(db, bands), _SELDOM))
        with np.errstate(divide="ignore"):
            level = float(10.0 * np.log10(np.mean(y.astype(np.float64) ** 2)))
        return cls(bands, max(_LEAST_DB, own + _MARGIN_DB), level)


def stands_out_db(db: F32, bands_db: F32) -> F32:
    """Tell by how much frames stand out from a room: the mean over bands of the power ratio.

    Each band is compared with itself, so that hum and rumble hide nothing.

    Parameters
    ----------
    db : float32 [n_frames, n_mels]
    bands_db : float32 [n_mels]

    Returns
    -------
    float32 [n_frames]
    """
    ratio = np.power(10.0, (db.astype(np.float64) - bands_db) / 10.0).mean(1)
    out: F32 = (10.0 * np.log10(ratio)).astype(np.float32)
    return out


@dataclass(frozen=True)
class Example:
    """A stretch of the stream.

    Attributes
    ----------
    start : int
        Its first sample in the stream.
    y : int16 [n]
    above_db : float
        By how much its loudest frame stands out from the room.
    peak_dbfs : float
        Its highest sample, in dB re full scale.
    remarks : tuple of str
        What is wrong with it, of ``TOO_QUIET``, ``CLIPPED``, ``THE_ROOM``, ``ENDLESS``.
    """

    start: int
    y: NDArray[np.int16] = field(repr=False)
    above_db: float
    peak_dbfs: float
    remarks: tuple[str, ...]


class ExampleCutter:
    """Cuts examples out of a stream, the same ones however it is cut into blocks.

    Not thread safe.

    Parameters
    ----------
    p : FeatureParams
        Front end of the base.
    room : Room
    """

    def __init__(self, p: FeatureParams, room: Room) -> None:
        self._p = p
        self._room = room
        self._ring = FrameRing(p, _RING_FRAMES)
        self._recent = RecentAudio(p.sr)
        self._pause = round(PAUSE_SECONDS * p.sr / p.hop_length)
        self._longest = round(LONGEST_SECONDS * p.sr / p.hop_length)
        self._latest: deque[float] = deque(maxlen=self._longest)  # of the latest frames
        self._stretch = 0  # first sample since the last loss or restart
        self._first: int | None = None  # frame of the stretch where an example begins
        self._last = 0  # the latest frame that stands out
        self._above_db = 0.0

    @property
    def above_db(self) -> float:
        """By how much the latest tenth of a second stands out from the room."""
        frames = max(1, round(0.1 * self._p.sr / self._p.hop_length))
        return max(list(self._latest)[-frames:], default=-np.inf)

    @property
    def hears(self) -> bool:
        """True within an example."""
        return self._first is not None

    def push(self, y: F32) -> list[Example]:
        """Take samples, float32 [n], at the model's rate; return the examples that are complete."""
        found = []
        most = (_RING_FRAMES - 1) * self._p.hop_length  # complete no more than fit the ring
        for begin in range(0, len(y), most):
            part = y[begin : begin + most]
            self._recent.push(part)
            first = self._ring.n_frames
            frames = np.arange(first, first + self._ring.push(part))
            above = stands_out_db(self._ring.log_mel[frames % _RING_FRAMES], self._room.bands_db)
            for frame, db in zip(frames.tolist(), above.tolist(), strict=True):
                if (example := self._take(frame, db)) is not None:
                    found.append(example)
        keep = round((LONGEST_SECONDS + PAUSE_SECONDS + BEFORE_SECONDS + 1.0) * self._p.sr)
        self._recent.forget(self._recent.position - keep)
        return found

    def flush(self) -> list[Example]:
        """Return the example that has begun, if there is one: nothing follows."""
        found = [] if self._first is None else [self._cut(self._recent.position, endless=False)]
        self.restart()
        return found

    def lose(self, n: int) -> bool:
        """Take note that ``n`` samples are missing; True if they are missing from an example."""
        torn = self.hears
        self._recent.lose(n)
        self.restart()
        return torn

    def restart(self) -> None:
        """Forget what was heard so far: what comes next is another matter."""
        self._ring.reset()
        self._latest.clear()
        self._stretch = self._recent.position
        self._first = None

    def latest(self, seconds: float) -> Example | None:
        """Cut out the latest seconds, whether anything stands out or not; None if there are none.

        ``seconds`` is at most ``LONGEST_SECONDS``.
        """
        stop = self._recent.position
        start = max(self._stretch, stop - round(seconds * self._p.sr))
        frames = round(seconds * self._p.sr / self._p.hop_length)
        above = max(list(self._latest)[-frames:], default=-np.inf)
        found = self._example(start, stop, above, ()) if stop - start > self._p.n_fft else None
        self.restart()
        return found

    def _take(self, frame: int, above_db: float) -> Example | None:
        self._latest.append(above_db)
        limit = self._room.threshold_db - (_HYSTERESIS_DB if self.hears else 0.0)
        if above_db >= limit:
            if self._first is None:
                self._first, self._above_db = frame, above_db
            self._last = frame
            self._above_db = max(self._above_db, above_db)
        if self._first is None:
            return None
        if endless := frame - self._first >= self._longest:
            self._last = frame
        elif frame - self._last < self._pause:
            return None
        heard = self._stretch + frame * self._p.hop_length + self._p.n_fft
        example = self._cut(heard, endless)
        self._first = None
        return example

    def _cut(self, heard: int, endless: bool) -> Example:
        assert self._first is not None
        p = self._p
        start = self._stretch + self._first * p.hop_length - round(BEFORE_SECONDS * p.sr)
        stop = self._stretch + self._last * p.hop_length + p.n_fft + round(AFTER_SECONDS * p.sr)
        remarks = (ENDLESS,) if endless else ()
        return self._example(max(start, self._stretch), min(stop, heard), self._above_db, remarks)

    def _example(self, start: int, stop: int, above_db: float, remarks: tuple[str, ...]) -> Example:
        y = np.concatenate(self._recent.cut(start, stop))
        samples = y.astype(np.float32) / np.float32(32768.0)
        wrong = list(remarks)
        clipped, quiet = faults(samples)
        if clipped:
            wrong.append(CLIPPED)
        if above_db < self._room.threshold_db:
            wrong.append(THE_ROOM)
        elif quiet or above_db < max(_CLEAR_DB, self._room.threshold_db + _MARGIN_DB):
            wrong.append(TOO_QUIET)
        peak = float(np.abs(samples).max(initial=0.0))
        peak_dbfs = 20.0 * float(np.log10(peak)) if peak > 0.0 else -np.inf
        return Example(start, y, above_db, peak_dbfs, tuple(wrong))
