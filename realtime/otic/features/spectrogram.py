"""Log-mel frames as pictures: of a whole recording, and of the latest minutes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from otic.features.frame_ring import FrameRing
from otic.features.params import FeatureParams
from otic.features.tables import mel_filterbank

MAX_COLUMNS = 4096
COLUMN_SECONDS = 0.05
"""Length of a scrolling picture's column, rounded to a whole number of hops."""
_RING_FRAMES = 64  # computed between two looks at the ring
_DECIBELS_OF_LEVEL_0 = -101  # so that librosa's floor of -100 dB is level 1
_DARK_BELOW_LEVEL = 41  # -60 dB: digital silence stays dark
_TICKS_HZ = (20_000, 10_000, 5000, 2000, 1000, 500, 200, 100)
_TICK_ROOM = 0.07  # of the picture's height, for one tick's text

_VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    np.float64,
)
"""Nine colours of the colour map viridis."""


class Spectrogram:
    """Picture of a recording: the log-mel frames that the model sees, in steps of 1 dB.

    A column holds the frames whose middle lies within its time: at first one
    frame each. When the picture is full, each two columns become one, the
    louder of both, and columns last twice as long from then on. So the memory
    does not grow with the recording, and short sounds stay visible.

    The same samples give the same picture however they are cut into blocks.

    Parameters
    ----------
    params : FeatureParams
        The model's.
    max_columns : int
        Even.
    """

    def __init__(self, params: FeatureParams, max_columns: int = MAX_COLUMNS) -> None:
        self._params = params
        self._max_columns = max_columns
        half = params.n_fft // 2
        lead_in = -half % params.hop_length if params.center else 0  # as in CenteredFrames
        self._ring = FrameRing(params, _RING_FRAMES, lead_in)
        self._first_middle = lead_in + half
        self._levels = np.zeros((max_columns, params.n_mels), np.uint8)
        self.reset()

    @property
    def column_seconds(self) -> float:
        """Length of a column in seconds."""
        return self._step * self._params.hop_length / self._params.sr

    def reset(self) -> None:
        """Start a new picture; the sample clock starts from 0."""
        self._levels[:] = 0
        self._step = 1  # hops a column
        self._used = 0  # columns up to the last that holds a frame
        self._sample = 0
        self._restart()

    def push(self, y: NDArray[np.float32]) -> None:
        """Take usable samples, float32 [n], at the model's rate."""
        most = (_RING_FRAMES - 1) * self._params.hop_length  # complete no more than fit the ring
        for start in range(0, len(y), most):
            first = self._ring.n_frames
            n = self._ring.push(y[start : start + most])
            if n:
                self._keep(first + np.arange(n))
        self._sample += len(y)

    def lose(self, n: int) -> None:
        """Leave room for ``n`` lost samples: nothing is drawn there."""
        self._sample += n
        self._restart()

    def levels(self) -> NDArray[np.uint8]:
        """Return the picture so far.

        Returns
        -------
        uint8 [n_mels, n_columns]
            The highest band first. 0 where there is no frame, else 101 more
            than the value in dB re 1, from 1 to 255.
        """
        return np.ascontiguousarray(self._levels[: self._used].T[::-1])

    def _restart(self) -> None:
        self._ring.reset()
        self._stretch_start = self._sample

    def _keep(self, frames: NDArray[np.int64]) -> None:
        """Draw the ring's latest frames; ``frames`` are their numbers in the stretch."""
        hop = self._params.hop_length
        hops = (self._stretch_start + self._first_middle + frames * hop) // hop
        while hops[-1] // self._step >= self._max_columns:
            self._merge()
        levels = levels_of(self._ring.log_mel[frames % _RING_FRAMES])
        columns = hops // self._step
        firsts = np.flatnonzero(np.diff(columns, prepend=-1))
        rows = columns[firsts]
        louder = np.maximum.reduceat(levels, firsts, axis=0)
        self._levels[rows] = np.maximum(self._levels[rows], louder)
        self._used = int(columns[-1]) + 1

    def _merge(self) -> None:
        half = self._max_columns // 2
        self._levels[:half] = np.maximum(self._levels[0::2], self._levels[1::2])
        self._levels[half:] = 0
        self._step *= 2
        self._used = -(-self._used // 2)


def levels_of(log_mel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Turn log-mel values in dB re 1 into levels of 1 dB, from 1 to 255; 0 means no value."""
    levels: NDArray[np.uint8] = np.clip(np.rint(log_mel) - _DECIBELS_OF_LEVEL_0, 1, 255).astype(
        np.uint8
    )
    return levels


def loudness_range(levels: NDArray[np.uint8], top_db: float) -> tuple[int, int]:
    """Choose the darkest and brightest levels: ``top_db`` below the loudest, and the loudest."""
    high = max(int(levels.max(initial=0)), _DARK_BELOW_LEVEL)
    return high - max(1, round(top_db)), high


def decibels(level: int) -> int:
    """Turn a level into dB re 1."""
    return level + _DECIBELS_OF_LEVEL_0


def palette(low: int, high: int) -> NDArray[np.uint8]:
    """Make colours for levels, uint8 [256, 3]: darkest up to ``low``, brightest from ``high``."""
    place = np.clip((np.arange(256) - low) / (high - low), 0.0, 1.0) * (len(_VIRIDIS) - 1)
    columns = [np.interp(place, np.arange(len(_VIRIDIS)), part) for part in _VIRIDIS.T]
    colours: NDArray[np.uint8] = np.rint(np.stack(columns, axis=1)).astype(np.uint8)
    return colours


def png(pixels: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """Write a PNG with a palette; pixels that are 0 are transparent.

    Parameters
    ----------
    pixels : uint8 [height, width]
        Indices into the palette.
    colours : uint8 [256, 3]
        Red, green, blue.
    """
    height, width = pixels.shape
    rows = np.zeros((height, 1 + width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", colours.tobytes()),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    ]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        check = zlib.crc32(kind + data)
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check))
    return b"".join(parts)


def frequency_ticks(params: FeatureParams) -> list[tuple[str, float]]:
    """Choose round frequencies and their heights, from 0 (bottom of the picture) to 1 (top).

    They go from the highest down; one without room below the one before is left out.
    """
    weights = mel_filterbank(params).astype(np.float64)
    sums = weights.sum(axis=1)
    bands = np.flatnonzero(sums > 0.0)  # a band narrower than a bin may hold none
    bins_hz = np.arange(params.n_bins) * params.sr / params.n_fft
    middles_hz = weights[bands] @ bins_hz / sums[bands]
    ticks: list[tuple[str, float]] = []
    below = 1.0 - _TICK_ROOM / 2
    for hz in _TICKS_HZ:
        place = float(np.interp(hz, middles_hz, bands) + 0.5) / params.n_mels
        if middles_hz[0] <= hz <= middles_hz[-1] and place <= below:
            ticks.append((f"{hz // 1000} kHz" if hz >= 1000 else f"{hz} Hz", round(place, 4)))
            below = place - _TICK_ROOM
    return ticks


class LatestPicture:
    """Picture of a stream's latest minutes, in columns of fixed length.

    Column ``i`` holds, of each mel band, the loudest frame whose middle lies in the samples
    from ``i * column_samples`` on. The same samples give the same columns however they are
    cut into blocks. Memory does not grow.

    Not thread safe.

    Parameters
    ----------
    params : FeatureParams
        The model's.
    seconds : float
        Length of the picture.
    """

    def __init__(self, params: FeatureParams, seconds: float) -> None:
        self._params = params
        hops = max(1, round(COLUMN_SECONDS * params.sr / params.hop_length))
        self.column_samples = hops * params.hop_length
        """Length of a column in samples."""
        n_columns = max(2, round(seconds * params.sr / self.column_samples))
        self._levels = np.zeros((n_columns, params.n_mels), np.uint8)
        self._numbers = np.full(n_columns, -1, np.int64)  # the column that each row holds
        self._ring = FrameRing(params, _RING_FRAMES)
        self._stretch_start = 0
        self._sample = 0
        self._next = 0

    @property
    def next_column(self) -> int:
        """Number of the first column that has not begun."""
        return self._next

    def push(self, y: NDArray[np.float32]) -> None:
        """Take usable samples, float32 [n], at the model's rate."""
        most = (_RING_FRAMES - 1) * self._params.hop_length  # complete no more than fit the ring
        for start in range(0, len(y), most):
            first = self._ring.n_frames
            n = self._ring.push(y[start : start + most])
            if n:
                self._keep(first + np.arange(n))
        self._advance(len(y))

    def lose(self, n: int) -> None:
        """Leave room for ``n`` lost samples: nothing is drawn there."""
        self._advance(n)
        self._ring.reset()
        self._stretch_start = self._sample

    def columns(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Return columns ``first`` to ``stop``, oldest first.

        Returns
        -------
        uint8 [stop - first, n_mels]
            The lowest band first. 0 where there is no frame (lost, or not kept any more), else
            a level, see :func:`otic.features.spectrogram.decibels`.
        """
        numbers = np.arange(first, stop)
        rows = numbers % len(self._levels)
        there = (self._numbers[rows] == numbers) & (numbers >= 0)
        kept: NDArray[np.uint8] = np.where(there[:, None], self._levels[rows], np.uint8(0))
        return kept

    def _advance(self, n: int) -> None:
        self._sample += n
        self._next = -(-self._sample // self.column_samples)

    def _keep(self, frames: NDArray[np.int64]) -> None:
        """Draw the ring's latest frames; ``frames`` are their numbers in the stretch."""
        p = self._params
        middles = self._stretch_start + p.n_fft // 2 + frames * p.hop_length
        columns = middles // self.column_samples
        levels = levels_of(self._ring.log_mel[frames % _RING_FRAMES])
        firsts = np.flatnonzero(np.diff(columns, prepend=-1))
        louder = np.maximum.reduceat(levels, firsts, axis=0)
        for number, level in zip(columns[firsts].tolist(), louder, strict=True):
            row = number % len(self._levels)
            if self._numbers[row] != number:
                self._numbers[row] = number
                self._levels[row] = level
            else:
                np.maximum(self._levels[row], level, out=self._levels[row])
