"""MFCCs by hand with numpy and scipy, and librosa's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import librosa
import numpy as np
import scipy.fft
import soundfile
from librosa.filters import get_window
from librosa.filters import mel as mel_filters

from tests.benchmarks.peers.common import (
    CLIP_FRAMES,
    F32,
    HOP,
    N_FFT,
    N_MELS,
    N_MFCC,
    SR,
    TOP_DB,
    Array,
    Audio,
    Contestant,
    each,
    librosa_mfcc,
    librosa_mfcc_by_blocks,
)
from tests.benchmarks.peers.otic import otic_mean

# ── by hand ──────────────────────────────────────────────────────────────────────────


def by_hand(rfft: Callable[[F32], Array], dct: Callable[[F32], F32]) -> Callable[[F32], F32]:
    """MFCCs of frames [..., N_FFT], as one would write them with numpy."""
    window = get_window("hann", N_FFT).astype(np.float32)
    mel = mel_filters(sr=SR, n_fft=N_FFT, n_mels=N_MELS).T

    def mfcc(frames: F32) -> F32:
        spectrum = rfft(frames * window)
        power = spectrum.real**2 + spectrum.imag**2
        log_mel = 10.0 * np.log10(np.maximum(power @ mel, 1e-10))
        return dct(np.maximum(log_mel, log_mel.max() - TOP_DB))

    return mfcc


def numpy_by_hand() -> Callable[[F32], F32]:
    # numpy has no DCT: a product with its basis
    basis = scipy.fft.dct(np.eye(N_MELS, dtype=np.float32), norm="ortho")[:, :N_MFCC].copy()
    return by_hand(np.fft.rfft, lambda log_mel: log_mel @ basis)


def scipy_by_hand() -> Callable[[F32], F32]:
    return by_hand(
        scipy.fft.rfft, lambda log_mel: scipy.fft.dct(log_mel, norm="ortho")[..., :N_MFCC]
    )


def frame_by_frame(audio: Audio, make: Callable[[], Callable[[F32], F32]]) -> Contestant:
    mfcc = make()
    return Contestant(
        run=partial(each, mfcc, audio.frames),
        hops=CLIP_FRAMES,
        output=np.vstack([mfcc(frame) for frame in audio.frames]),
        expected=librosa_mfcc_by_blocks(audio.clip, 1),
    )


def vectorised(audio: Audio, make: Callable[[], Callable[[F32], F32]]) -> Contestant:
    mfcc = make()

    def run() -> F32:
        return mfcc(np.lib.stride_tricks.sliding_window_view(audio.clip, N_FFT)[::HOP])

    return Contestant(run, CLIP_FRAMES, output=run(), expected=librosa_mfcc(audio.clip))


# ── librosa ──────────────────────────────────────────────────────────────────────────


def librosa_batch(audio: Audio) -> Contestant:
    run = partial(librosa_mfcc, audio.clip)
    return Contestant(run, CLIP_FRAMES, output=run(), expected=librosa_mfcc(audio.clip))


def librosa_stream(audio: Audio, block_length: int) -> Contestant:
    path = audio.folder / "signal.wav"
    soundfile.write(path, audio.signal, SR, subtype="FLOAT")

    def run() -> F32:
        stream = librosa.stream(path, block_length=block_length, frame_length=N_FFT, hop_length=HOP)
        return np.vstack([librosa_mfcc(block) for block in stream])

    expected = librosa_mfcc_by_blocks(audio.signal, block_length)
    return Contestant(run, hops=len(expected), output=run(), expected=expected)


def librosa_inference(audio: Audio) -> Contestant:
    def run() -> F32:
        mean: F32 = librosa_mfcc(audio.clip).mean(axis=0)
        return mean

    return Contestant(run, hops=1, output=run(), expected=otic_mean(audio, 1))
