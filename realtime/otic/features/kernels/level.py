"""The kernel that turns samples into power spectra, for sound levels.

``state`` is laid out as in :mod:`otic.features.kernels.log_mel`: counters, sizes and places, then
the float32 arena. What is summed up over time is float64, in ``sums``.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from otic.features.kernels.fft import (
    power_spectrum_256,
    power_spectrum_512,
    power_spectrum_1024,
    power_spectrum_2048,
    power_spectrum_4096,
)
from otic.features.kernels.jit import Kernel, entry, inner
from otic.features.kernels.simd import section

LOW_N_FFT = 4096
# What is where in `state`: first what changes,
START, END = 0, 1  # of what is in the audio buffer
LOW_START, LOW_END = 2, 3  # of what is in the buffer of decimated audio
N_FAST = 4  # numbers in `fast`
PEAK_BITS = 5  # of the highest sample, as float32
# then sizes,
CAPACITY, LOW_CAPACITY, FACTOR, N_TAPS = 6, 7, 8, 9
# then where each part of the arena begins.
AUDIO, HALF_WINDOW, ROOTS, INNER_TURNS, OUTER_TURNS, WORK, POWER, WEIGHTS = range(10, 18)
TAPS, LOW, LOW_HALF_WINDOW, LOW_INNER_TURNS, LOW_OUTER_TURNS = range(18, 23)
HEAD = 23

# What is where in `sums`: a count of frames each, then
N_FRAMES, N_LOW_FRAMES = 0, 1
FAST, FAST_SHARE = 2, 3  # the weighted power with time weighting F (-1: none yet), its step
POWERS = 4  # n_fft // 2 + 1 sums of a frame's power, then those of the decimated audio

_at = np.uint64  # see otic.features.kernels.fft
_SIGN_MASK = np.int32(0x7FFFFFFF)


@inner()
def copy(y, position, n, audio, end, highest):  # type: ignore[no-untyped-def]
    """Append samples; returns the bits of the highest so far, as those of positive numbers."""
    bits = audio.view(np.int32)
    for i in range(n):
        audio[_at(end + i)] = y[_at(position + i)]
    for i in range(n):  # in the order of whole numbers, which vectorise
        highest = max(highest, bits[_at(end + i)] & _SIGN_MASK)
    return highest


@inner()
def weigh(weights, power, n):  # type: ignore[no-untyped-def]
    """Return the weighted sum."""
    total = np.float32(0.0)
    for k in range(n):
        total += weights[_at(k)] * power[_at(k)]
    return total


@inner()
def add(power, sums):  # type: ignore[no-untyped-def]
    """Add to each of the sums."""
    for k in range(sums.shape[0]):
        sums[_at(k)] += power[_at(k)]


@inner()
def decimate(audio, start, n, factor, taps, low, low_end):  # type: ignore[no-untyped-def]
    """Filter ``n`` samples, and append every ``factor``-th to ``low``; four at once."""
    for first in range(start, start + n, 4 * factor):
        a = b = c = d = np.float32(0.0)
        for j in range(taps.shape[0]):
            tap = taps[_at(j)]
            a += tap * audio[_at(first + j)]
            b += tap * audio[_at(first + factor + j)]
            c += tap * audio[_at(first + 2 * factor + j)]
            d += tap * audio[_at(first + 3 * factor + j)]
        low[_at(low_end)] = a
        low[_at(low_end + 1)] = b
        low[_at(low_end + 2)] = c
        low[_at(low_end + 3)] = d
        low_end += 4


@inner()
def move(buffer, start, end):  # type: ignore[no-untyped-def]
    """Move what is from ``start`` to ``end`` to the front."""
    for i in range(end - start):
        buffer[_at(i)] = buffer[_at(start + i)]


@cache
def make_measure(n_fft: int) -> Kernel:
    """The kernel ``measure(y, state, sums, fast)`` for one frame length; the hop is half of it.

    y : float32 [n], finite; may be read-only.
    state : int64, see above; changed.
    sums : float64, see above; changed.
    fast : float32, with room for ``n / (n_fft / 2) + 1`` more; ``sums[FAST]`` of each frame
        is added to its ``state[N_FAST]`` numbers.

    Returns the number of new frames.
    """
    hop_length = n_fft // 2

    @entry(
        f"measure_{n_fft}",
        "int64(Array(float32, 1, 'C', readonly=True), int64[::1], float64[::1], float32[::1])",
    )
    def measure(y, state, sums, fast):  # type: ignore[no-untyped-def]
        arena = state.view(np.float32)
        capacity, low_capacity = state[CAPACITY], state[LOW_CAPACITY]
        factor, n_taps = state[FACTOR], state[N_TAPS]
        audio = section(arena, state[AUDIO], capacity)
        half_window = section(arena, state[HALF_WINDOW], n_fft)
        roots = section(arena, state[ROOTS], 128)
        inner_turns = section(arena, state[INNER_TURNS], n_fft)
        outer_turns = section(arena, state[OUTER_TURNS], n_fft)
        work = section(arena, state[WORK], 2 * LOW_N_FFT)
        power = section(arena, state[POWER], LOW_N_FFT // 2 + 1)
        weights = section(arena, state[WEIGHTS], n_fft // 2 + 1)
        taps = section(arena, state[TAPS], n_taps)
        low = section(arena, state[LOW], low_capacity)
        low_half_window = section(arena, state[LOW_HALF_WINDOW], LOW_N_FFT)
        low_inner_turns = section(arena, state[LOW_INNER_TURNS], LOW_N_FFT)
        low_outer_turns = section(arena, state[LOW_OUTER_TURNS], LOW_N_FFT)
        powers = section(sums, POWERS, n_fft // 2 + 1)
        low_powers = section(sums, POWERS + n_fft // 2 + 1, LOW_N_FFT // 2 + 1)

        n_fast = state[N_FAST]
        start, end = state[START], state[END]
        low_start, low_end = state[LOW_START], state[LOW_END]
        highest = np.int32(state[PEAK_BITS])
        position = 0
        while position < y.shape[0]:
            step = min(capacity - end, y.shape[0] - position)
            highest = copy(y, position, step, audio, end, highest)
            position += step
            end += step
            while end - start >= n_fft:
                if n_fft == 256:
                    power_spectrum = power_spectrum_256
                elif n_fft == 512:
                    power_spectrum = power_spectrum_512
                elif n_fft == 1024:
                    power_spectrum = power_spectrum_1024
                elif n_fft == 2048:
                    power_spectrum = power_spectrum_2048
                else:
                    power_spectrum = power_spectrum_4096
                power_spectrum(
                    audio, start, half_window, roots, inner_turns, outer_turns, work, power
                )
                weighted = weigh(weights, power, n_fft // 2 + 1)
                add(power, powers)
                sums[N_FRAMES] += 1.0
                if sums[FAST] < 0.0:
                    sums[FAST] = weighted
                else:
                    sums[FAST] += sums[FAST_SHARE] * (weighted - sums[FAST])
                fast[_at(n_fast)] = np.float32(sums[FAST])
                n_fast += 1

                decimate(audio, start, hop_length, factor, taps, low, low_end)
                low_end += hop_length // factor
                if low_end - low_start >= LOW_N_FFT:
                    power_spectrum_4096(
                        low,
                        low_start,
                        low_half_window,
                        roots,
                        low_inner_turns,
                        low_outer_turns,
                        work,
                        power,
                    )
                    add(power, low_powers)
                    sums[N_LOW_FRAMES] += 1.0
                    low_start += LOW_N_FFT // 2
                if low_end == low_capacity:
                    move(low, low_start, low_end)
                    low_end -= low_start
                    low_start = 0
                start += hop_length
            if end == capacity:  # move what the next frame needs to the front
                move(audio, start, end)
                end -= start
                start = 0
        state[START], state[END] = start, end
        state[LOW_START], state[LOW_END] = low_start, low_end
        state[PEAK_BITS] = highest
        n_new = n_fast - state[N_FAST]
        state[N_FAST] = n_fast
        return n_new

    return measure
