"""Proofs that this machine computes correct results; the core of ``otic verify``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.audio.soundscape import synthesise
from otic.audio.sources import ArraySource, FileSource
from otic.errors import SourceError
from otic.features.frame_ring import FrameRing
from otic.features.frontend import Frontend, StreamFrontend
from otic.features.params import LOG_MEL, MFCC, FeatureParams
from otic.features.reference import clamped, reference_features
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic.model.golden import GoldenCase, golden_sound, golden_stream_sound, kept_features
from otic.pipeline import Pipeline, open_frontend
from otic.sinks.jsonl import JsonlSink
from otic.streaming.control import Stop
from otic.streaming.runner import Runner
from otic.types import Item, Lost, Scores

FEATURE_LIMIT = 5e-4
"""Largest difference of any feature from the float64 batch result.

More is allowed where the model's band, or ``top_db``, reaches below the precision of float32:
see ``_ROUNDING``.
"""

LOG_MEL_LIMIT = 0.01
"""Largest difference of log-mel frames, in dB, and of the MFCCs of single frames.

A band 80 dB below its frame's loudest bin differs by some 0.001 dB, the rounding of a
float32 transform; averages over frames and bands hide it.
"""

SCORE_LIMIT = 1e-4
"""Largest difference of any score from a golden case's."""

INT8_SCORE_LIMIT = 0.03
"""Largest difference of an int8 model's score: a feature may be rounded to either of two steps."""

INT8_STREAM_LIMIT = 0.1
"""Largest difference of an int8 streaming model's score from a golden case's.

A feature that falls to another step changes the state, and so what follows.
"""

STREAM_LIMIT = 1e-5
"""Largest difference of a streaming model's scores from those of the recording at once."""

# A float32 FFT has noise of about this power beside its loudest bin. Where that is not far below
# the model's whole band (a loud hum under its fmin, for example), it shows in the features.
_ROUNDING = 1e-14

_OF_FRAMES = {LOG_MEL: "log-mel frames", MFCC: "MFCCs of single frames"}

_WINDOWS = 200  # compared with the batch result, evenly spaced over the audio
_BLOCKS = (17, 512, 65536)
_SHORT_SECONDS = 2.0  # of audio after the first window, for blocks of one sample
_MAX_SECONDS = 600.0  # read from a file
_MIN_HOPS = 20  # inference hops after the first window, for a model with a long one
_REPLAY_BLOCKS = (512, 16384)
_BOTH = frozenset({"scores", "events"})


@dataclass(frozen=True)
class Proof:
    """The outcome of one proof.

    Attributes
    ----------
    name : str
    passed : bool or None
        None if there is nothing to check.
    text : str
        What was compared, and how closely it agrees.
    """

    name: str
    passed: bool | None
    text: str


def verify_bundle(bundle: Bundle, y: NDArray[np.float32]) -> list[Proof]:
    """Run all proofs of a model on mono samples at its rate."""
    return [
        check_streaming_is_batch(bundle, y),
        *([] if bundle.stream is None else [check_steps(bundle, y)]),
        check_block_sizes(bundle, y),
        check_replay(bundle, y),
        check_golden_cases(bundle),
    ]


def audio_for(bundle: Bundle, path: str | None = None) -> tuple[NDArray[np.float32], str]:
    """Return the samples to verify a model with, and their name.

    Raises
    ------
    SourceError
        If the file can't be read, has damaged samples, or is shorter than the window.
    """
    sr = bundle.features.sr
    if path is None:
        enough = bundle.window_samples + _MIN_HOPS * bundle.inference_hop_samples
        sound = synthesise(sr)[0]
        return np.resize(sound, max(len(sound), enough)), "a synthetic soundscape"
    blocks: list[NDArray[np.float32]] = []
    source = FileSource(path, sr, 65536)
    try:
        for chunk in source.chunks():
            if isinstance(chunk, Lost):
                raise SourceError(
                    f"'{path}' has samples that are not audio (NaN or too large): give another file"
                )
            if chunk is not None:
                blocks.append(chunk)
            if sum(map(len, blocks)) >= _MAX_SECONDS * sr:
                break
    finally:
        source.close()
    y = np.concatenate([np.zeros(0, np.float32), *blocks])[: int(_MAX_SECONDS * sr)]
    if len(y) < bundle.window_samples:
        raise SourceError(
            f"'{path}' has {len(y)} samples at {sr} Hz: the model's first scores take "
            f"{bundle.window_samples}"
        )
    return y, path


def check_golden_cases(bundle: Bundle) -> Proof:
    """Check that the bundle's golden sounds still give its golden features and scores."""
    name = "golden cases"
    if not bundle.golden:
        return Proof(name, None, "the model file has none: an older 'otic train' made it")
    int8 = bundle.provenance.get("weights") == "int8"
    int8_limit = INT8_SCORE_LIMIT if bundle.stream is None else INT8_STREAM_LIMIT
    score_limit = int8_limit if int8 else SCORE_LIMIT
    off_features = off_scores = 0.0
    p, classifier = bundle.features, Classifier(bundle)
    for case in bundle.golden:
        features, scores = _played(bundle, classifier, case)
        kept, weights = kept_features(features), kept_features(_weights(p))
        off_features = max(off_features, _difference(kept, np.array(case.features), weights))
        off_scores = max(off_scores, _difference(scores, np.array(case.scores)))
    return Proof(
        name,
        off_features <= FEATURE_LIMIT and off_scores <= score_limit,
        f"{len(bundle.golden)} sounds: features within {off_features:.1e} "
        f"(limit {FEATURE_LIMIT:.0e}{_note(p)}), "
        f"scores within {off_scores:.1e} (limit {score_limit:.0e})",
    )


def _played(
    bundle: Bundle, classifier: Classifier, case: GoldenCase
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the last features of a golden sound, and the scores that its case has."""
    p, frontend = bundle.features, open_frontend(bundle)
    steps = [0] if bundle.stream is None else [bundle.stream.warm_up_steps + s for s in case.steps]
    hop = bundle.inference_hop_samples
    make = golden_sound if bundle.stream is None else golden_stream_sound
    y = make(case.sound, p.sr, p.window_samples + steps[-1] * hop)
    state, scores, position = classifier.cold_state(), [], 0
    for step in range(steps[-1] + 1):
        end = p.window_samples + step * hop
        frontend.push(y[position:end])
        position = end
        given = classifier.step(frontend.features(), state)
        if step in steps:
            scores.append(given)
    return _features(bundle, frontend), np.concatenate(scores)


def _features(bundle: Bundle, frontend: Frontend | StreamFrontend) -> NDArray[np.float32]:
    """Compute features; clamped where a model takes frames that are not, for their rounding."""
    features = frontend.features()
    return features if bundle.stream is None else clamped(features, bundle.features)


def check_streaming_is_batch(bundle: Bundle, y: NDArray[np.float32]) -> Proof:
    """Check that windows of the stream have the features that float64 NumPy computes for them."""
    p, hop = bundle.features, bundle.inference_hop_samples
    frontend = open_frontend(bundle)
    ends = np.arange(p.window_samples, len(y) + 1, hop)
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, _WINDOWS).astype(int))]
    weights = _weights(p)
    worst, blurred, passed, position = 0.0, 0, True, 0
    for end in chosen.tolist():
        frontend.push(y[position:end])
        position = end
        window = y[end - p.window_samples : end]
        expected = reference_features(window, p)
        off = _difference(_features(bundle, frontend), expected, weights)
        worst = max(worst, off)
        if off > FEATURE_LIMIT:
            blur = _difference(reference_features(window, p, _ROUNDING), expected, weights)
            explained = off <= FEATURE_LIMIT + blur < float("inf")
            blurred += explained
            passed &= explained
    which = "windows" if bundle.stream is None else "steps"
    text = (
        f"{len(chosen)} of {len(ends)} {which}: features within {worst:.1e} "
        f"of float64 NumPy (limit {FEATURE_LIMIT:.0e}{_note(p)}"
    )
    if blurred:
        text += f"; more in {blurred} where sounds are below the precision of float32"
    return Proof("streaming = batch", passed, text + ")")


def check_steps(bundle: Bundle, y: NDArray[np.float32]) -> Proof:
    """Require of a streaming model's stream, also behind a gap, the recording's scores at once."""
    assert bundle.stream is not None
    p, hop = bundle.features, bundle.inference_hop_frames
    n_frames = 1 + (len(y) - p.n_fft) // p.hop_length
    ring, classifier = FrameRing(p, n_frames), Classifier(bundle)
    ring.push(y)
    state = classifier.cold_state()
    steps = [
        classifier.step(ring.log_mel[first : first + p.window_frames].ravel(), state)
        for first in range(0, n_frames - p.window_frames + 1, hop)
    ]
    at_once = np.array(steps[bundle.stream.warm_up_steps :])
    pipeline = Pipeline(bundle, classifier)
    blocks = _cut(y, _BLOCKS[1])
    streamed = _scores(item for block in blocks for item in pipeline.process(block))
    pipeline.lose(1)
    behind_gap = _scores(pipeline.process(y))
    off = max(_difference(streamed, at_once), _difference(behind_gap, at_once))
    return Proof(
        "state",
        off <= STREAM_LIMIT,
        f"{len(steps)} steps: scores of the stream, and behind a gap, within {off:.1e} of those "
        f"of the whole recording at once (limit {STREAM_LIMIT:.0e})",
    )


def _scores(items: Iterable[Item]) -> NDArray[np.float64]:
    return np.array([list(item.scores.values()) for item in items if isinstance(item, Scores)])


def check_block_sizes(bundle: Bundle, y: NDArray[np.float32]) -> Proof:
    """Check that scores and events are the same, bit for bit, however the stream is cut."""
    whole = _items(bundle, [y])
    rng = np.random.default_rng(0)
    at_random = np.split(y, np.cumsum(rng.integers(1, 4096, size=len(y) // 2048)))
    cuttings = {str(size): _cut(y, size) for size in _BLOCKS}
    different = [
        name
        for name, blocks in {**cuttings, "random": at_random}.items()
        if _items(bundle, blocks) != whole
    ]
    start = y[: bundle.window_samples + int(_SHORT_SECONDS * bundle.features.sr)]
    if _items(bundle, _cut(start, 1)) != _items(bundle, [start]):
        different.insert(0, "1")
    tried = f"blocks of 1, {', '.join(map(str, _BLOCKS))} and random sizes"
    if different:
        return Proof("block sizes", False, f"{tried}: different at {', '.join(different)}")
    return Proof("block sizes", True, f"{tried}: the same {len(whole)} items, bit for bit")


def check_replay(bundle: Bundle, y: NDArray[np.float32]) -> Proof:
    """Check that the log of a replay has the same bytes at every block size."""
    logs = [_replay(bundle, y, block) for block in _REPLAY_BLOCKS]
    same = logs[0] == logs[1]
    return Proof(
        "replay",
        same,
        f"{'the same log, byte for byte,' if same else 'different logs'} "
        f"at blocks of {' and '.join(map(str, _REPLAY_BLOCKS))}",
    )


def _replay(bundle: Bundle, y: NDArray[np.float32], block: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        runner, sink = Runner(bundle), JsonlSink(str(log), _BOTH)
        source = ArraySource("audio", y, bundle.features.sr, block)
        try:
            runner.run([(source, runner.monitor(source))], [sink], Stop(), speed=None)
        finally:
            source.close()
            sink.close()
        return log.read_bytes()


def _items(bundle: Bundle, blocks: Iterable[NDArray[np.float32]]) -> list[Item]:
    pipeline = Pipeline(bundle)
    items = [item for block in blocks for item in pipeline.process(block)]
    return [*items, *pipeline.flush()]


def _cut(y: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [y[i : i + size] for i in range(0, len(y), size)]


def _weights(p: FeatureParams) -> NDArray[np.floating]:
    """Return weights that make ``FEATURE_LIMIT`` the limit of each feature, [n_features]."""
    share = FEATURE_LIMIT / LOG_MEL_LIMIT
    return np.concatenate(
        [np.full(p.width(name), share if name in _OF_FRAMES else 1.0) for name in p.statistics]
    )


def _note(p: FeatureParams) -> str:
    """Name the wider limit where it applies."""
    named = [words for name, words in _OF_FRAMES.items() if name in p.statistics]
    return f"; {LOG_MEL_LIMIT / FEATURE_LIMIT:.0f} times that for {' and '.join(named)}" * bool(
        named
    )


def _difference(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    weights: NDArray[np.floating] | float = 1.0,
) -> float:
    """Return the largest difference; infinite if there is none, so that no NaN passes."""
    if a.shape != b.shape:
        return float("inf")
    worst = float((np.abs(a - b) * weights).max())
    return worst if np.isfinite(worst) else float("inf")
