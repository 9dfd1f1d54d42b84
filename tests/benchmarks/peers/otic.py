"""otic, otic with another FFT, and the FFT alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from importlib import import_module

import numba
import numpy as np
import scipy.fft

from otic import Frontend
from otic.features.frame_ring import FrameRing
from otic.features.kernels.jit import FASTMATH
from otic.features.kernels.log_mel import (
    ENERGIES,
    FRAMES,
    GROUPS,
    MEL_WEIGHTS,
    N_GROUPS,
    POWER,
    RING,
    WINDOW_FRAMES,
    log_mel,
    product,
)
from otic.features.kernels.log_mel import N_MELS as N_MELS_PLACE
from otic.features.kernels.simd import LANES, section
from otic.features.params import STATISTICS
from otic.features.tables import hann_window
from tests.benchmarks.peers.common import (
    CLIP_FRAMES,
    CLIP_SAMPLES,
    F32,
    HOP,
    N_FFT,
    PARAMS,
    SIGNAL_HOPS,
    Audio,
    Contestant,
    each,
    librosa_log_mel,
    librosa_mfcc,
    librosa_mfcc_by_blocks,
)


def otic_mean(audio: Audio, n_hops: int) -> F32:
    """The mean MFCC of the clip, pushed in blocks of n_hops."""
    frontend = Frontend(PARAMS)
    for start in range(0, CLIP_SAMPLES, n_hops * HOP):
        frontend.push(audio.clip[start : start + n_hops * HOP])
    return frontend.features()


def otic(audio: Audio, n_hops: int) -> Contestant:
    frontend = Frontend(PARAMS)
    return Contestant(
        run=partial(each, frontend.push, audio.blocks(n_hops)),
        hops=SIGNAL_HOPS,
        output=otic_mean(audio, n_hops),
        expected=librosa_mfcc(audio.clip).mean(axis=0),
    )


def otic_inference(audio: Audio) -> Contestant:
    frontend = Frontend(PARAMS)
    frontend.push(audio.clip)

    def infer(block: F32) -> None:
        frontend.push(block)
        frontend.features()

    return Contestant(
        run=partial(each, infer, audio.blocks(1)),
        hops=SIGNAL_HOPS,
        output=otic_mean(audio, 1),
        expected=librosa_mfcc(audio.clip).mean(axis=0),
    )


def otic_frame_mfcc(audio: Audio) -> Contestant:
    """Each frame's own MFCCs, a window of one frame: what the other libraries give."""
    frontend = Frontend(replace(PARAMS, window_frames=1))

    def mfcc(block: F32) -> F32:
        frontend.push(block)
        return frontend.features()

    frontend.push(audio.clip[: N_FFT - HOP])
    starts = range(N_FFT - HOP, CLIP_SAMPLES, HOP)
    return Contestant(
        run=partial(each, mfcc, audio.blocks(1)),
        hops=SIGNAL_HOPS,
        output=np.vstack([mfcc(audio.clip[start : start + HOP]) for start in starts]),
        expected=librosa_mfcc_by_blocks(audio.clip, 1),
    )


def otic_clip(audio: Audio) -> Contestant:
    """A whole clip at once, with the MFCCs of every frame, which the other statistics need."""
    params = replace(PARAMS, statistics=STATISTICS)
    frontend = Frontend(params)

    def clip() -> F32:
        frontend.reset()
        frontend.push(audio.clip)
        return frontend.features()

    mfcc = librosa_mfcc(audio.clip).astype(np.float64)
    steps = np.diff(mfcc, axis=0)
    expected = np.concatenate(
        [
            mfcc.mean(axis=0),
            mfcc.std(axis=0),
            np.abs(steps).mean(axis=0),
            np.sqrt((steps**2).mean(axis=0)),
        ]
    )
    return Contestant(run=clip, hops=CLIP_FRAMES, output=clip(), expected=expected)


def otic_with_rocket_fft(audio: Audio) -> Contestant:
    """otic's own pipeline with scipy.fft.rfft, as rocket-fft compiles it, in place of its FFT."""
    import_module("rocket_fft")
    ring = FrameRing(PARAMS, CLIP_FRAMES)
    window = hann_window(N_FFT).astype(np.float32)
    frame = np.zeros(N_FFT, np.float32)
    filled = N_FFT - HOP

    @numba.njit("int64(float32[::1], float32[::1], float32[::1], int64[::1])", fastmath=FASTMATH)
    def push(y, frame, window, state):  # type: ignore[no-untyped-def]
        arena = state.view(np.float32)
        n_groups, n_mels = state[N_GROUPS], state[N_MELS_PLACE]
        groups = section(state, GROUPS, n_groups + n_groups * LANES)
        weights = section(arena, state[MEL_WEIGHTS], arena.shape[0] - state[MEL_WEIGHTS])
        power = section(arena, state[POWER], frame.shape[0] // 2 + 1)
        energies = section(arena, state[ENERGIES], n_groups * LANES)
        for start in range(0, y.shape[0], HOP):
            for i in range(N_FFT - HOP):
                frame[i] = frame[i + HOP]
            for i in range(HOP):
                frame[N_FFT - HOP + i] = y[start + i]
            spectrum = scipy.fft.rfft(frame * window)
            for k in range(power.shape[0]):
                power[k] = spectrum[k].real ** 2 + spectrum[k].imag ** 2
            product(weights, groups, n_groups, power, energies)
            row = state[FRAMES] % state[WINDOW_FRAMES]
            log_mel(energies, section(arena, state[RING] + row * n_mels, n_mels))
            state[FRAMES] += 1
        return state[FRAMES]

    frame[HOP:] = audio.clip[:filled]  # the first block completes the first frame
    for start in range(filled, CLIP_SAMPLES, HOP):
        push(audio.clip[start : start + HOP], frame, window, ring.state)
    return Contestant(
        run=partial(each, lambda block: push(block, frame, window, ring.state), audio.blocks(1)),
        hops=SIGNAL_HOPS,
        output=ring.log_mel.copy(),
        expected=librosa_log_mel(audio.clip),
    )


def fftw(audio: Audio, n_transforms: int) -> Contestant:
    import pyfftw

    frames = pyfftw.empty_aligned((n_transforms, N_FFT), "float32")
    spectra = pyfftw.empty_aligned((n_transforms, N_FFT // 2 + 1), "complex64")
    plan = pyfftw.FFTW(frames, spectra, axes=(1,), flags=("FFTW_PATIENT",), threads=1)
    frames[:] = audio.frames[:n_transforms]
    plan.execute()
    execute, calls = plan.execute, range(SIGNAL_HOPS // n_transforms)

    def run() -> None:
        for _ in calls:
            execute()

    return Contestant(
        run=run,
        hops=SIGNAL_HOPS,
        output=spectra.copy(),
        expected=np.fft.rfft(frames.astype(np.float64)),
    )
