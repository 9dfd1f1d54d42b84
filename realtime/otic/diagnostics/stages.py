"""A kernel that repeats one stage of a frame, to measure where the time goes."""

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
from otic.features.kernels.jit import Kernel, entry
from otic.features.kernels.log_mel import (
    AUDIO,
    CAPACITY,
    ENERGIES,
    GROUPS,
    HALF_WINDOW,
    INNER_TURNS,
    MEL_WEIGHTS,
    N_GROUPS,
    N_MELS,
    OUTER_TURNS,
    POWER,
    RING,
    ROOTS,
    WORK,
    log_mel,
    product,
)
from otic.features.kernels.simd import LANES, section

SPECTRUM, MEL, LOG = 0, 1, 2


@cache
def make_repeat(n_fft: int) -> Kernel:
    """Compile the kernel ``repeat(stage, times, state)``; ``state`` is that of ``kernels.log_mel``.

    The stages are windowing, FFT and power (SPECTRUM), the mel filterbank (MEL)
    and the logarithm (LOG). It overwrites the ring's first row.
    """

    @entry(f"repeat_{n_fft}", "void(int64, int64, int64[::1])")
    def repeat(stage, times, state):  # type: ignore[no-untyped-def]
        arena = state.view(np.float32)
        audio = section(arena, state[AUDIO], state[CAPACITY])
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
        out = section(arena, state[RING], state[N_MELS])
        for _ in range(times):
            if stage == SPECTRUM:
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
                power_spectrum(audio, 0, half_window, roots, inner_turns, outer_turns, work, power)
            elif stage == MEL:
                product(weights, groups, n_groups, power, energies)
            else:
                log_mel(energies, out)

    return repeat
