"""The kernel that turns samples into log-mel frames.

Kernels take arrays, write into arrays that the caller owns, and check nothing:
the checks are in the classes that call them. They do not allocate.

A call from Python costs 0.1 microseconds and 0.04 more for each array, so there
are two: the samples, and ``state`` for everything else. It is int64, and begins
with counters, sizes and places; read as float32 it is the arena in which the
tables, the scratch space and the ring of frames have their places.
:mod:`otic.features.frame_ring` lays it out.
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
from otic.features.kernels.jit import Kernel, entry, inner, leaf
from otic.features.kernels.simd import LANES, eight_dots, section

# What is where in `state`: first what changes,
START = 0  # of the next frame in the audio buffer
END = 1  # of the samples in the audio buffer
SKIP = 2  # samples to drop before the next frame (where hop_length > n_fft)
FRAMES = 3  # computed so far
# then sizes,
HOP_LENGTH, N_MELS, WINDOW_FRAMES, CAPACITY = 4, 5, 6, 7
# then where each part of the arena begins, in float32 numbers (see otic.features.frame_ring),
AUDIO, HALF_WINDOW, ROOTS, INNER_TURNS, OUTER_TURNS, WORK, POWER = 8, 9, 10, 11, 12, 13, 14
MEL_WEIGHTS, ENERGIES, RING, PEAKS, LOWS, STALE = 15, 16, 17, 18, 19, 20
# then the number of groups of mel bands, and where their weights are for (filters.pack_rows).
N_GROUPS, GROUPS = 21, 22

_at = np.uint64  # see otic.features.kernels.fft

# Float32 numbers that are not negative have the order of their bits read as integers.
_AMIN_BITS = np.float32(1e-10).view(np.int32)  # librosa.power_to_db's floor, -100 dB
_INFINITY_BITS = np.float32(np.inf).view(np.int32)
_SIGN_MASK = np.int32(0x7FFFFFFF)  # only a NaN may have a sign here
_FRACTION_MASK = np.int32(0x7FFFFF)
_FRACTION_UNIT = np.float32(2.0**-23)
_DB_PER_OCTAVE = np.float32(10.0 * np.log10(2.0))

# (log2(1 + f) - f) / (f (1 - f)) on [0, 1], interpolated at the Chebyshev points.
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6 = (
    np.float32(q)
    for q in (
        0.4426940977573395,
        -0.27855873107910156,
        0.2006773203611374,
        -0.14813797175884247,
        0.09562836587429047,
        -0.042739033699035645,
        0.009088953956961632,
    )
)


@leaf
def _decibels(bits):  # type: ignore[no-untyped-def]
    """10 log10 of the positive float32 with these bits, to 4e-6 dB (float32's step is 8e-6).

    The exponent is the whole part of the base-2 logarithm; a polynomial gives
    log2(1 + f) for the fraction, exact at both ends. Needs no vector library
    for logarithms, which numba has on x86 only.
    """
    exponent = np.float32(np.int32(bits >> 23) - 127)
    f = np.float32(np.int32(bits & _FRACTION_MASK)) * _FRACTION_UNIT
    q = (((((_Q6 * f + _Q5) * f + _Q4) * f + _Q3) * f + _Q2) * f + _Q1) * f + _Q0
    return (exponent + f + f * (np.float32(1.0) - f) * q) * _DB_PER_OCTAVE


@inner()
def product(weights, groups, n_groups, x, out):  # type: ignore[no-untyped-def]
    """``out = matrix @ x`` for a matrix from :func:`otic.features.tables.pack_rows`.

    x : float32, at least as many numbers as the packed matrix reaches over.
    out : float32 [n_groups * LANES].
    """
    firsts = section(groups, n_groups, n_groups * LANES)
    place = 0
    for group in range(n_groups):
        chunks = groups[_at(group)]
        eight_dots(weights, place, x, firsts, group * LANES, chunks, out)
        place += LANES * LANES * chunks


@inner()
def log_mel(energies, out):  # type: ignore[no-untyped-def]
    """10 log10(max(1e-10, energies)) into out; returns the bits of the least and the greatest."""
    bits = energies.view(np.int32)
    least, greatest = _INFINITY_BITS, _AMIN_BITS
    for band in range(out.shape[0]):
        b = max(np.int32(bits[_at(band)] & _SIGN_MASK), _AMIN_BITS)
        least = min(least, b)
        greatest = max(greatest, b)
        out[_at(band)] = _decibels(b)
    if greatest >= _INFINITY_BITS:  # only where the samples were not finite: say so
        for band in range(out.shape[0]):
            if bits[_at(band)] & _SIGN_MASK >= _INFINITY_BITS:
                out[_at(band)] = energies[_at(band)]
    return least, greatest


@cache
def make_push(n_fft: int) -> Kernel:
    """The kernel ``push(y, state)`` for one frame length.

    y : float32 [n], any n; may be read-only.
    state : int64, see above; changed.

    Returns the number of new frames.
    """

    @entry(f"push_{n_fft}", "int64(Array(float32, 1, 'C', readonly=True), int64[::1])")
    def push(y, state):  # type: ignore[no-untyped-def]
        arena = state.view(np.float32)
        capacity = state[CAPACITY]
        hop_length = state[HOP_LENGTH]
        n_mels = state[N_MELS]
        audio = section(arena, state[AUDIO], capacity)
        half_window = section(arena, state[HALF_WINDOW], n_fft)
        roots = section(arena, state[ROOTS], 128)
        inner_turns = section(arena, state[INNER_TURNS], n_fft)
        outer_turns = section(arena, state[OUTER_TURNS], n_fft)
        work = section(arena, state[WORK], 2 * n_fft)
        power = section(arena, state[POWER], n_fft // 2 + 1)
        weights = section(arena, state[MEL_WEIGHTS], arena.shape[0] - state[MEL_WEIGHTS])
        n_groups = state[N_GROUPS]
        groups = section(state, GROUPS, n_groups + n_groups * LANES)
        energies = section(arena, state[ENERGIES], n_groups * LANES)

        before = state[FRAMES]
        start, end = state[START], state[END]
        position = 0
        while position < y.shape[0]:
            if state[SKIP] > 0:
                step = min(state[SKIP], y.shape[0] - position)
                state[SKIP] -= step
                position += step
                continue
            step = min(capacity - end, y.shape[0] - position)
            for i in range(step):
                audio[_at(end + i)] = y[_at(position + i)]
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
                product(weights, groups, n_groups, power, energies)
                row = state[FRAMES] % state[WINDOW_FRAMES]
                out = section(arena, state[RING] + row * n_mels, n_mels)
                least, greatest = log_mel(energies, out)
                arena[_at(state[LOWS] + row)] = _decibels(least)
                arena[_at(state[PEAKS] + row)] = _decibels(greatest)
                arena[_at(state[STALE] + row)] = 1.0
                state[FRAMES] += 1
                start += hop_length
            if start > end:
                state[SKIP] = start - end
                start = end
            if end == capacity:  # move what the next frame needs to the front
                for i in range(end - start):
                    audio[_at(i)] = audio[_at(start + i)]
                end -= start
                start = 0
        state[START], state[END] = start, end
        return state[FRAMES] - before

    return push
