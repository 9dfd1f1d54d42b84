"""The rows of the tables."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.peers.common import (
    Peer,
    librosa_mfcc,
)
from tests.benchmarks.peers.libraries import aubio, essentia, kaldi, opensmile, speech_features
from tests.benchmarks.peers.otic import (
    fftw,
    otic,
    otic_clip,
    otic_frame_mfcc,
    otic_inference,
    otic_with_rocket_fft,
)
from tests.benchmarks.peers.python import (
    frame_by_frame,
    librosa_batch,
    librosa_inference,
    librosa_stream,
    numpy_by_hand,
    scipy_by_hand,
    vectorised,
)

OTIC = "otic, 1 hop a call"
_EXACT = "librosa's numbers"
_OTIC_NOTE = f"{_EXACT}: log-mel frames live, the DCT comes with each inference (below)"
_FFTW_NOTE = "an FFT and nothing else, `FFTW_PATIENT`, the same samples each time"

FRONT_ENDS = [
    Peer(OTIC, _OTIC_NOTE, "otic", partial(otic, n_hops=1)),
    Peer("otic, 8 hops a call", "the same", "otic", partial(otic, n_hops=8)),
    Peer("otic, 64 hops a call", "the same", "otic", partial(otic, n_hops=64)),
    Peer(
        "otic, 1 hop a call, its MFCCs",
        f"{_EXACT} but for `top_db`, from each frame's maximum: `features()` of one frame",
        "otic",
        otic_frame_mfcc,
    ),
    Peer(
        "otic, 4 s a call, `features()`",
        f"{_EXACT}: all four statistics, so a DCT for each frame; batch",
        "otic",
        otic_clip,
    ),
    Peer(
        "otic on rocket-fft, 1 hop a call",
        "otic's pipeline with rocket-fft's `scipy.fft.rfft`, which allocates, in place of its FFT; "
        "shifts a frame's samples",
        "rocket-fft",
        otic_with_rocket_fft,
    ),
    Peer("bare FFTW, 1 transform a call", _FFTW_NOTE, "pyfftw", partial(fftw, n_transforms=1)),
    Peer("bare FFTW, 8 transforms a call", _FFTW_NOTE, "pyfftw", partial(fftw, n_transforms=8)),
    Peer("bare FFTW, 64 transforms a call", _FFTW_NOTE, "pyfftw", partial(fftw, n_transforms=64)),
    Peer(
        "librosa, 4 s a call",
        f"{_EXACT}: `feature.mfcc`, batch, not live",
        "librosa",
        librosa_batch,
    ),
    Peer(
        "librosa, 1 hop a call",
        f"{_EXACT} but for `top_db`, which is from each frame's maximum",
        "librosa",
        partial(frame_by_frame, make=lambda: librosa_mfcc),
    ),
    Peer(
        "librosa.stream, blocks of 64",
        f"{_EXACT} but for `top_db`, which is from each block's maximum; reads a WAV file",
        "librosa",
        partial(librosa_stream, block_length=64),
    ),
    Peer(
        "librosa.stream, blocks of 1",
        f"{_EXACT} but for `top_db`, which is from each frame's maximum; reads a WAV file",
        "librosa",
        partial(librosa_stream, block_length=1),
    ),
    Peer(
        "numpy by hand, 4 s a call",
        f"{_EXACT}, vectorised, batch, not live",
        "numpy",
        partial(vectorised, make=numpy_by_hand),
    ),
    Peer(
        "numpy by hand, 1 hop a call",
        f"{_EXACT} but for `top_db`, which is from each frame's maximum",
        "numpy",
        partial(frame_by_frame, make=numpy_by_hand),
    ),
    Peer(
        "scipy by hand, 4 s a call",
        f"{_EXACT}, vectorised, batch, not live",
        "scipy",
        partial(vectorised, make=scipy_by_hand),
    ),
    Peer(
        "scipy by hand, 1 hop a call",
        f"{_EXACT} but for `top_db`, which is from each frame's maximum",
        "scipy",
        partial(frame_by_frame, make=scipy_by_hand),
    ),
    Peer(
        "kaldi-native-fbank, 1 hop a call",
        f"{_EXACT} without `top_db`, as natural logarithms: `OnlineMfcc`, `is_librosa`",
        "kaldi-native-fbank",
        kaldi,
    ),
    Peer(
        "essentia, 1 hop a call",
        f"{_EXACT} without `top_db`: standard mode, `Windowing`, `Spectrum`, `MFCC`",
        "essentia",
        essentia,
    ),
    Peer(
        "aubio, 1 hop a call",
        "nearest parameters: `pvoc`, `mfcc`; magnitudes, its own mel scale, no `top_db`; "
        "a build with Ooura's FFT",
        "aubio-ledfx",
        aubio,
    ),
    Peer(
        "python_speech_features, 4 s a call",
        "nearest parameters: float64, HTK's mel scale, natural logarithms, no `top_db`; not live",
        "python_speech_features",
        speech_features,
    ),
    Peer(
        "openSMILE, 4 s a call",
        "nearest parameters: int16 samples, HTK's mel scale, natural logarithms, no `top_db`; "
        "sets itself up in each call, which is half of it; not live",
        "opensmile",
        opensmile,
    ),
]

OTIC_INFERENCE = "otic: one more hop, then `features()`"
INFERENCES = [
    Peer(OTIC_INFERENCE, "of the rolling window, from log-mel frames kept", "otic", otic_inference),
    Peer(
        "librosa: the 4 s again", "`feature.mfcc` of the window, mean", "librosa", librosa_inference
    ),
]
