"""How loud a stream is: A-weighted levels and third-octave bands, minute by minute.

Everything comes from power spectra, which take a fifth of the time of filters that go from sample
to sample: frames of about 0.1 s for what is above 300 Hz, and of 1 to 2 s of decimated audio for
what is below. Frames overlap by half, and the squares of their windows add up to one, so no sample
counts more than another. A weighting is a factor for each frequency: it is the standard's,
also close to half the sampling rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import ParameterError
from otic.features.frame_ring import lay_out
from otic.features.kernels import level as kernels
from otic.features.kernels.level import LOW_N_FFT, make_measure
from otic.features.tables import fft_tables
from otic.types import Level

_F64 = NDArray[np.float64]

SILENCE_DBFS = -120.0
"""The lowest level that is reported."""

MINUTE_SECONDS = 60
FAST_SECONDS = 0.125
"""The time constant of time weighting F (IEC 61672-1)."""

LOWEST_RATE = 4000
_LOWEST_BAND, _HIGHEST_BAND = -16, 13  # 25 Hz and 20 kHz, in third octaves from 1 kHz
_FIRST_HIGH_BAND = -4  # 400 Hz
_MIX_HZ = (200.0, 400.0)  # where one kind of frames takes over from the other
_LOW_RATE = 2000.0  # the decimated rate is this, or up to twice as much
_TAPS_A_FACTOR = 8  # of the decimator
_KAISER_BETA = 7.5
_BAND_ORDER = 6
_CAPACITY = 4  # frames in the audio buffers


@dataclass(frozen=True)
class LevelParams:
    """How levels are reported.

    Attributes
    ----------
    calibration_db : float or None
        What is added to dB re full scale (a constant 1 has 0 dB, a sine of amplitude 1 has
        -3 dB) to get dB re 20 µPa; None: levels are in dBFS.
    loud_db : float or None
        The A-weighted level, time weighting F, from which on a sound is ``loud``; None: none is.
    """

    calibration_db: float | None = None
    loud_db: float | None = None


class LevelMeter:
    """Levels of a stream, one :class:`otic.types.Level` for each of its minutes.

    The same samples give the same levels, bit for bit, however they are cut into blocks. A minute
    begins at a multiple of 60 s of the sample clock. Levels of what is below 300 Hz come up to two
    seconds late; a minute of which less than one such frame was heard has none.

    Not thread safe.

    Parameters
    ----------
    sr : int
        Sampling rate in Hz, at least ``LOWEST_RATE``. What is above half of it is not measured.
    params : LevelParams
    on_fast : callable, optional
        Called for new frames with the sample clock at the end of the last one, the hop length, and
        the A-weighted mean square at the end of each, time weighting F.

    Raises
    ------
    ParameterError
        If ``sr`` is too low.

    Examples
    --------
    >>> meter = LevelMeter(16000)
    >>> tone = np.sin(2 * np.pi * 1000 / 16000 * np.arange(60 * 16000)).astype(np.float32)
    >>> (minute,) = meter.push(0.1 * tone)
    >>> round(minute.laeq, 1), round(minute.bands["1000"], 1), round(minute.peak, 1)
    (-23.0, -23.0, -20.0)
    """

    def __init__(
        self,
        sr: int,
        params: LevelParams | None = None,
        on_fast: Callable[[int, int, NDArray[np.float32]], None] | None = None,
    ) -> None:
        if sr < LOWEST_RATE:
            raise ParameterError(
                f"a model at {sr} Hz can't measure levels: {LOWEST_RATE} Hz are needed"
            )
        self._sr = sr
        self._params = params or LevelParams()
        self._offset_db = self._params.calibration_db or 0.0
        self._n_fft = _frame_length(sr)
        self.hop_length = self._n_fft // 2
        factor = 1 << int(math.log2(sr / _LOW_RATE))
        self._make_state(factor)
        self._bands, self._band_weights, self._a_weights = _weights(sr, self._n_fft, factor)
        n_powers = self._n_fft // 2 + 1 + LOW_N_FFT // 2 + 1
        self._sums = np.zeros(kernels.POWERS + n_powers)
        self._sums[kernels.FAST_SHARE] = 1.0 - math.exp(-self.hop_length / sr / FAST_SECONDS)
        self._fast = np.zeros(MINUTE_SECONDS * sr // self.hop_length + 2, np.float32)
        self._on_fast = on_fast
        self._measure = make_measure(self._n_fft)
        self.reset()

    def push(self, y: NDArray[np.float32]) -> list[Level]:
        """Take samples, float32 [n], finite, and return the minutes that they complete."""
        left = self._minute_end - self._sample
        if len(y) < left:  # as most often
            self._take(y)
            return []
        levels = []
        while len(y) >= left:
            self._take(y[:left])
            levels += self._end_minute()
            y, left = y[left:], self._minute_end - self._sample
        self._take(y)
        return levels

    def _take(self, y: NDArray[np.float32]) -> None:
        """Take samples of one minute."""
        n = self._measure(y, self._state, self._sums, self._fast)
        self._sample += len(y)
        self._heard += len(y)
        if self._on_fast is not None and n:
            state = self._state
            next_start = self._sample - int(state[kernels.END] - state[kernels.START])
            n_fast = state[kernels.N_FAST]
            end = next_start + self.hop_length
            self._on_fast(end, self.hop_length, self._fast[n_fast - n : n_fast])

    def lose(self, n: int) -> list[Level]:
        """Take note that ``n`` samples are lost; return the minute that ended meanwhile, if any."""
        self._sample += n
        levels = self._end_minute() if self._sample >= self._minute_end else []
        self._start_stretch()
        return levels

    def flush(self) -> list[Level]:
        """End the stream: return the minute that it is in, as far as it was heard."""
        levels = self._end_minute()
        self._start_stretch()
        return levels

    def reset(self) -> None:
        """Forget everything; the sample clock starts from 0."""
        self._sample = 0
        self._start_stretch()
        self._start_minute()

    def _start_stretch(self) -> None:
        """Begin with the first frame of unbroken audio."""
        self._state[[kernels.START, kernels.END, kernels.LOW_START, kernels.LOW_END]] = 0
        self._sums[kernels.FAST] = -1.0

    def _start_minute(self) -> None:
        self._heard = 0
        self._state[[kernels.N_FAST, kernels.PEAK_BITS]] = 0
        self._sums[[kernels.N_FRAMES, kernels.N_LOW_FRAMES]] = 0.0
        self._sums[kernels.POWERS :] = 0.0
        length = MINUTE_SECONDS * self._sr
        self._minute_end = (self._sample // length + 1) * length

    def _end_minute(self) -> list[Level]:
        """Return what was heard of the minute; nothing where that is too little."""
        sample = min(self._sample, self._minute_end)
        levels = [self._level(sample)] if self._sums[kernels.N_LOW_FRAMES] else []
        self._start_minute()
        return levels

    def _level(self, sample: int) -> Level:
        n_bins = self._n_fft // 2 + 1
        powers = np.concatenate(
            [
                self._sums[kernels.POWERS :][:n_bins] / self._sums[kernels.N_FRAMES],
                self._sums[kernels.POWERS :][n_bins:] / self._sums[kernels.N_LOW_FRAMES],
            ]
        )
        fast = self._fast[: self._state[kernels.N_FAST]]
        peak = self._state[kernels.PEAK_BITS].astype(np.int32).view(np.float32)
        l90, l50, l10 = np.percentile(fast, [10, 50, 90])
        return Level(
            sample=sample,
            time=sample / self._sr,
            seconds=self._heard / self._sr,
            laeq=self._db(float(self._a_weights @ powers)),
            l10=self._db(float(l10)),
            l50=self._db(float(l50)),
            l90=self._db(float(l90)),
            peak=self._db(float(peak) ** 2),
            bands={
                name: self._db(float(power))
                for name, power in zip(self._bands, self._band_weights @ powers, strict=True)
            },
            calibrated=self._params.calibration_db is not None,
        )

    def _db(self, power: float) -> float:
        """Return the level of a mean square."""
        floor = 10.0 ** (SILENCE_DBFS / 10.0)
        return 10.0 * math.log10(max(floor, power)) + self._offset_db

    def _make_state(self, factor: int) -> None:
        n_fft = self._n_fft
        roots, inner_turns, outer_turns = fft_tables(n_fft)
        _, low_inner_turns, low_outer_turns = fft_tables(LOW_N_FFT)
        parts: dict[int, NDArray[Any]] = {
            kernels.AUDIO: np.zeros(_CAPACITY * n_fft),
            kernels.HALF_WINDOW: _half_window(n_fft),
            kernels.ROOTS: roots,
            kernels.INNER_TURNS: inner_turns,
            kernels.OUTER_TURNS: outer_turns,
            kernels.WORK: np.zeros(2 * LOW_N_FFT),
            kernels.POWER: np.zeros(LOW_N_FFT // 2 + 1),
            kernels.WEIGHTS: _bin_share(n_fft) * a_weighting(_bins(self._sr, n_fft)),
            kernels.TAPS: decimator(factor),
            kernels.LOW: np.zeros(_CAPACITY * LOW_N_FFT),
            kernels.LOW_HALF_WINDOW: _half_window(LOW_N_FFT),
            kernels.LOW_INNER_TURNS: low_inner_turns,
            kernels.LOW_OUTER_TURNS: low_outer_turns,
        }
        self._state = lay_out(parts, kernels.HEAD)
        self._state[kernels.CAPACITY] = _CAPACITY * n_fft
        self._state[kernels.LOW_CAPACITY] = _CAPACITY * LOW_N_FFT
        self._state[kernels.FACTOR] = factor
        self._state[kernels.N_TAPS] = _TAPS_A_FACTOR * factor


def a_weighting(f: _F64) -> _F64:
    """Return the share of power that A-weighting leaves of frequencies in Hz; 1 at 1 kHz.

    IEC 61672-1:2013, annex E: poles at 20.6 Hz and 12194 Hz, twice each, 107.7 Hz and 737.9 Hz.
    """

    def response(f: _F64) -> _F64:
        squares = f**2
        low = (squares + 20.598997**2) * np.sqrt(squares + 107.65265**2)
        high = np.sqrt(squares + 737.86223**2) * (squares + 12194.217**2)
        return 12194.217**2 * squares**2 / (low * high)

    share: _F64 = (response(f) / response(np.array(1000.0))) ** 2
    return share


def band_frequencies(sr: int) -> dict[str, float]:
    """Return the third octaves that fit below ``sr / 2``: exact mid-frequencies by nominal ones.

    IEC 61260-1:2014: 10 ** (x / 10) kHz; the nominal ones are rounded to what is usual.
    """
    exact = {x: 1000.0 * 10.0 ** (x / 10.0) for x in range(_LOWEST_BAND, _HIGHEST_BAND + 1)}
    return {_nominal(x): f for x, f in exact.items() if f * 10.0**0.05 <= sr / 2}


def band_response(f: _F64, middle_hz: float) -> _F64:
    """Return the share of power that a third octave takes of frequencies in Hz: Butterworth's.

    It is one half at the edges, a sixth of an octave (base 10) from the middle.
    """
    width = 10.0**0.05 - 10.0**-0.05
    with np.errstate(divide="ignore", over="ignore"):
        away = (f / middle_hz - middle_hz / f) / width
        share: _F64 = 1.0 / (1.0 + away ** (2 * _BAND_ORDER))
    return share


def decimator(factor: int) -> _F64:
    """Return the taps of the low-pass filter before every ``factor``-th sample is kept.

    It passes a fifth of the decimated rate, and takes 60 dB or more from what would be mirrored
    there.
    """
    n_taps = _TAPS_A_FACTOR * factor
    cutoff = 0.5 / factor  # of the rate before
    time = np.arange(n_taps) - (n_taps - 1) / 2
    taps = np.sinc(2.0 * cutoff * time) * np.kaiser(n_taps, _KAISER_BETA)
    return taps / taps.sum()  # type: ignore[no-any-return]


@cache
def _weights(sr: int, n_fft: int, factor: int) -> tuple[list[str], _F64, _F64]:
    """Return the bands, and what turns powers of both kinds of frames into their mean squares.

    Returns
    -------
    names : list of str
        Nominal mid-frequencies in Hz.
    bands : float64 [n_bands, n_powers]
    a_weights : float64 [n_powers]
    """
    high, low = _bins(sr, n_fft), _bins(sr / factor, LOW_N_FFT)
    spectrum = np.fft.rfft(decimator(factor), LOW_N_FFT * factor)[: len(low)]
    # What the decimator takes away is given back where it passes anything.
    droop = np.maximum(np.abs(spectrum) ** 2, 0.25)
    high_share, low_share = _bin_share(n_fft), _bin_share(LOW_N_FFT) / droop
    bands = band_frequencies(sr)
    first_high = 1000.0 * 10.0 ** (_FIRST_HIGH_BAND / 10.0)
    rows = []
    for middle in bands.values():
        is_high = middle > first_high * 0.99
        rows.append(
            np.concatenate(
                [
                    high_share * band_response(high, middle) * is_high,
                    low_share * band_response(low, middle) * (not is_high),
                ]
            )
        )
    a_weights = np.concatenate(
        [
            high_share * a_weighting(high) * _mix(high),
            low_share * a_weighting(low) * (1.0 - _mix(low)),
        ]
    )
    return list(bands), np.array(rows), a_weights


def _mix(f: _F64) -> _F64:
    """Return the share of the short frames in a frequency: 0 below ``_MIX_HZ``, 1 above."""
    lowest, highest = _MIX_HZ
    return 0.5 - 0.5 * np.cos(np.pi * np.clip((f - lowest) / (highest - lowest), 0.0, 1.0))


def _frame_length(sr: int) -> int:
    """Return a power of two between 256 and 4096, of a twelfth to a sixth of a second."""
    return min(4096, max(256, 1 << math.ceil(math.log2(sr / 12))))


def _bins(sr: float, n_fft: int) -> _F64:
    return np.asarray(np.fft.rfftfreq(n_fft, 1.0 / sr), np.float64)


def _bin_share(n_fft: int) -> _F64:
    """Return what a bin's power adds to the mean square (Parseval; the window's square is 1/2)."""
    share: _F64 = np.full(n_fft // 2 + 1, 4.0 / n_fft**2)
    share[[0, -1]] /= 2.0
    return share


def _half_window(n_fft: int) -> _F64:
    """Return half of Vorbis' window: its even samples, then its odd ones.

    Half a frame further on, the square of the same window is what is missing to one.
    """
    phase = np.asarray(np.pi * (np.arange(n_fft) + 0.5) / n_fft, np.float64)
    window = 0.5 * np.sin(0.5 * np.pi * np.sin(phase) ** 2)
    return np.concatenate([window[0::2], window[1::2]])


def _nominal(x: int) -> str:
    """Return the usual name of a third octave, in Hz."""
    digits = ("1000", "1250", "1600", "2000", "2500", "3150", "4000", "5000", "6300", "8000")
    decade, place = divmod(x, 10)
    return f"{float(digits[place]) * 10.0**decade:g}"
