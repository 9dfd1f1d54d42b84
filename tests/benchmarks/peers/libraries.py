"""Other libraries, set up as their documentation recommends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tests.benchmarks.peers.common import (
    CLIP_FRAMES,
    F32,
    HOP,
    N_FFT,
    N_MELS,
    N_MFCC,
    SIGNAL_HOPS,
    SR,
    Array,
    Audio,
    Contestant,
    each,
    librosa_mfcc_unclamped,
)


def kaldi(audio: Audio) -> Contestant:
    import kaldi_native_fbank as knf

    options = knf.MfccOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.window_type, frame.snip_edges = SR, "hann", True
    # samples are cut off to whole numbers: a little more, lest it be one sample less
    frame.frame_length_ms = N_FFT / SR * 1000 + 1e-3
    frame.frame_shift_ms = HOP / SR * 1000 + 1e-3
    frame.dither, frame.preemph_coeff, frame.remove_dc_offset = 0, 0, False
    mel.num_bins, mel.low_freq, mel.high_freq, mel.is_librosa = N_MELS, 0, SR / 2, True
    options.num_ceps, options.use_energy, options.cepstral_lifter = N_MFCC, False, 0

    scale = np.float32(32768)  # Kaldi's samples are in the range of int16

    def follow(blocks: list[F32]) -> Callable[[], list[F32]]:
        online = knf.OnlineMfcc(options)
        done = 0

        def run() -> list[F32]:
            nonlocal done
            frames = []
            for block in blocks:
                # tolist as in its README: much faster here than the array itself
                online.accept_waveform(SR, block.tolist())
                ready = online.num_frames_ready
                frames += [online.get_frame(i).copy() for i in range(done, ready)]
                online.pop(ready - done)
                done = ready
            return frames

        return run

    hops_of_clip = list((audio.clip * scale).reshape(-1, HOP))
    decibels = 10 / np.log(10) * np.vstack(follow(hops_of_clip)())
    decibels[:, 0] -= 20 * np.log10(scale) * np.sqrt(N_MELS)
    return Contestant(
        run=follow([block * scale for block in audio.blocks(1)]),
        hops=SIGNAL_HOPS,
        output=decibels,
        expected=librosa_mfcc_unclamped(audio.clip),
    )


def essentia(audio: Audio) -> Contestant:
    import essentia as settings

    settings.log.infoActive = False  # it talks while it is imported
    import essentia.standard as es

    window = es.Windowing(type="hann", size=N_FFT, normalized=False, symmetric=False)
    spectrum = es.Spectrum(size=N_FFT)
    mfcc = es.MFCC(
        inputSize=N_FFT // 2 + 1,
        sampleRate=SR,
        numberBands=N_MELS,
        numberCoefficients=N_MFCC,
        lowFrequencyBound=0,
        highFrequencyBound=SR / 2,
        warpingFormula="slaneyMel",
        weighting="linear",
        normalize="unit_tri",
        logType="dbpow",
    )

    def compute(frame: F32) -> F32:
        coefficients: F32 = mfcc(spectrum(window(frame)))[1]
        return coefficients

    return Contestant(
        run=partial(each, compute, audio.frames),
        hops=CLIP_FRAMES,
        output=np.vstack([compute(frame) for frame in audio.frames]),
        expected=librosa_mfcc_unclamped(audio.clip),
    )


def aubio(audio: Audio) -> Contestant:
    from aubio import mfcc, pvoc

    vocoder, coefficients = pvoc(N_FFT, HOP), mfcc(N_FFT, N_MELS, N_MFCC, SR)
    blocks = audio.blocks(1)

    def compute(block: F32) -> F32:
        values: F32 = coefficients(vocoder(block))
        return values

    return Contestant(
        run=partial(each, compute, blocks),
        hops=SIGNAL_HOPS,
        output=np.vstack([compute(block).copy() for block in blocks[:CLIP_FRAMES]]),
    )


def speech_features(audio: Audio) -> Contestant:
    from python_speech_features import mfcc

    def run() -> Array:
        values: Array = mfcc(
            audio.clip,
            samplerate=SR,
            winlen=N_FFT / SR,
            winstep=HOP / SR,
            numcep=N_MFCC,
            nfilt=N_MELS,
            nfft=N_FFT,
            preemph=0,
            ceplifter=0,
            appendEnergy=False,
            winfunc=np.hanning,
        )
        return values

    return Contestant(run, CLIP_FRAMES, output=run())


OPENSMILE_CONFIG = rf"""
[componentInstances:cComponentManager]
instance[dataMemory].type = cDataMemory
\{{\cm[source{{?}}:the source]}}
[componentInstances:cComponentManager]
instance[frame].type = cFramer
instance[window].type = cWindower
instance[fft].type = cTransformFFT
instance[magnitude].type = cFFTmagphase
instance[mel].type = cMelspec
instance[mfcc].type = cMfcc
[frame:cFramer]
reader.dmLevel = wave
writer.dmLevel = frame
\{{\cm[bufferModeRbConf{{?}}:ring buffers]}}
frameSize = {N_FFT / SR}
frameStep = {HOP / SR}
frameCenterSpecial = left
[window:cWindower]
reader.dmLevel = frame
writer.dmLevel = window
winFunc = hann
[fft:cTransformFFT]
reader.dmLevel = window
writer.dmLevel = fft
[magnitude:cFFTmagphase]
reader.dmLevel = fft
writer.dmLevel = magnitude
[mel:cMelspec]
reader.dmLevel = magnitude
writer.dmLevel = mel
htkcompatible = 0
usePower = 1
specScale = mel
nBands = {N_MELS}
lofreq = 0
hifreq = {SR / 2}
[mfcc:cMfcc]
reader.dmLevel = mel
writer.dmLevel = mfcc
htkcompatible = 0
firstMfcc = 0
lastMfcc = {N_MFCC - 1}
cepLifter = 0
\{{\cm[sink{{?}}:the sink]}}
"""


def opensmile(audio: Audio) -> Contestant:
    from opensmile import Smile

    path = audio.folder / "mfcc.conf"
    path.write_text(OPENSMILE_CONFIG)
    smile = Smile(feature_set=str(path), feature_level="mfcc")
    # process_signal is this and a pandas table made of it
    run = partial(smile, audio.clip, SR)
    return Contestant(run, CLIP_FRAMES, output=run()[0].T)
