"""Proofs that this machine computes what otic promises; the core of ``otic verify``."""

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
from otic.features.frontend import Frontend
from otic.features.params import LOG_MEL, MFCC, FeatureParams
from otic.features.reference import reference_features
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic.model.golden import golden_sound, kept_features
from otic.pipeline import Pipeline
from otic.sinks.jsonl import JsonlSink
from otic.streaming.control import Stop
from otic.streaming.runner import Runner
from otic.types import Item, Lost

FEATURE_LIMIT = 5e-4
"""Largest difference of any feature from the float64 batch result.

More is allowed where the model's band, or ``top_db``, reaches below what float32
can tell: see ``_ROUNDING``.
"""

LOG_MEL_LIMIT = 0.01
"""The same for log-mel frames, in dB, and for the MFCCs of single frames.

A band 80 dB below its frame's loudest bin differs by some 0.001 dB, the rounding of a
float32 transform; averages over frames and bands hide it.
"""

SCORE_LIMIT = 1e-4
"""Largest difference of any score from a golden case's."""

INT8_SCORE_LIMIT = 0.03
"""The same of an int8 model, where a feature between two steps may fall to either."""

# A float32 FFT has noise of about this power beside its loudest bin. Where that is not far below
# all that a model looks at (a loud hum under its fmin, say), it shows in the features.
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
    """One proof's outcome.

    Attributes
    ----------
    name : str
    passed : bool or None
        None where there is nothing to check.
    text : str
        What was compared, and how closely it agrees.
    """

    name: str
    passed: bool | None
    text: str


def verify_bundle(bundle: Bundle, y: NDArray[np.float32]) -> list[Proof]:
    """All proofs of one model, on mono samples at its rate."""
    return [
        check_streaming_is_batch(bundle, y),
        check_block_sizes(bundle, y),
        check_replay(bundle, y),
        check_golden_cases(bundle),
    ]


def audio_for(bundle: Bundle, path: str | None = None) -> tuple[NDArray[np.float32], str]:
    """The samples to verify a model with, and what they are called.

    Raises
    ------
    SourceError
        If the file can't be read, has damaged samples, or is shorter than the window.
    """
    sr = bundle.features.sr
    if path is None:
        enough = bundle.features.window_samples + _MIN_HOPS * bundle.inference_hop_samples
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
    if len(y) < bundle.features.window_samples:
        raise SourceError(
            f"'{path}' has {len(y)} samples at {sr} Hz: at least the model's window of "
            f"{bundle.features.window_samples} is needed"
        )
    return y, path


def check_golden_cases(bundle: Bundle) -> Proof:
    """The bundle's golden sounds still give its golden features and scores."""
    name = "golden cases"
    if not bundle.golden:
        return Proof(
            name, None, "the model file has none: it was not made by 'otic train' of today"
        )
    p, classifier = bundle.features, Classifier(bundle)
    int8 = bundle.provenance.get("weights") == "int8"
    score_limit = INT8_SCORE_LIMIT if int8 else SCORE_LIMIT
    off_features = off_scores = 0.0
    for case in bundle.golden:
        frontend = Frontend(p)
        frontend.push(golden_sound(case.sound, p.sr, p.window_samples))
        features = frontend.features()
        scores = classifier.predict(features)
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


def check_streaming_is_batch(bundle: Bundle, y: NDArray[np.float32]) -> Proof:
    """Windows of the stream have the features that float64 NumPy gives for them alone."""
    p, hop = bundle.features, bundle.inference_hop_samples
    frontend = Frontend(p)
    ends = np.arange(p.window_samples, len(y) + 1, hop)
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, _WINDOWS).astype(int))]
    weights = _weights(p)
    worst, blurred, passed, position = 0.0, 0, True, 0
    for end in chosen.tolist():
        frontend.push(y[position:end])
        position = end
        window = y[end - p.window_samples : end]
        expected = reference_features(window, p)
        off = _difference(frontend.features(), expected, weights)
        worst = max(worst, off)
        if off > FEATURE_LIMIT:
            blur = _difference(reference_features(window, p, _ROUNDING), expected, weights)
            explained = off <= FEATURE_LIMIT + blur < float("inf")
            blurred += explained
            passed &= explained
    text = (
        f"{len(chosen)} of {len(ends)} windows: features within {worst:.1e} "
        f"of float64 NumPy (limit {FEATURE_LIMIT:.0e}{_note(p)}"
    )
    if blurred:
        text += f"; more in {blurred} with sounds that float32 can't tell from rounding"
    return Proof("streaming = batch", passed, text + ")")


def check_block_sizes(bundle: Bundle, y: NDArray[np.float32]) -> Proof:
    """The same scores and events, bit for bit, however the stream is cut."""
    whole = _items(bundle, [y])
    rng = np.random.default_rng(0)
    at_random = np.split(y, np.cumsum(rng.integers(1, 4096, size=len(y) // 2048)))
    cuttings = {str(size): _cut(y, size) for size in _BLOCKS}
    different = [
        name
        for name, blocks in {**cuttings, "random": at_random}.items()
        if _items(bundle, blocks) != whole
    ]
    start = y[: bundle.features.window_samples + int(_SHORT_SECONDS * bundle.features.sr)]
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
    """What makes ``FEATURE_LIMIT`` the limit of each feature, [n_features]."""
    share = FEATURE_LIMIT / LOG_MEL_LIMIT
    return np.concatenate(
        [np.full(p.width(name), share if name in _OF_FRAMES else 1.0) for name in p.statistics]
    )


def _note(p: FeatureParams) -> str:
    """The wider limit, where it is used."""
    named = [words for name, words in _OF_FRAMES.items() if name in p.statistics]
    return f"; {LOG_MEL_LIMIT / FEATURE_LIMIT:.0f} times that for {' and '.join(named)}" * bool(
        named
    )


def _difference(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    weights: NDArray[np.floating] | float = 1.0,
) -> float:
    """The largest; infinite where they can't be compared, so that no NaN passes."""
    if a.shape != b.shape:
        return float("inf")
    worst = float((np.abs(a - b) * weights).max())
    return worst if np.isfinite(worst) else float("inf")
