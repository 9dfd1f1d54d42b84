"""``otic verify`` and ``otic warmup``."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.audio.soundscape import synthesise
from otic.audio.sources import ArraySource, FileSource
from otic.diagnostics.verify import (
    Check,
    check_block_sizes,
    check_golden_cases,
    check_streaming_is_batch,
)
from otic.errors import SourceError
from otic.features.frontend import Frontend
from otic.features.kernels.jit import cache_folder, cache_problem
from otic.model.bundle import Bundle, bundled_names, load_bundle
from otic.model.classifier import Classifier
from otic.model.sandbox import load_checked_bundle
from otic.sinks.jsonl import JsonlSink
from otic.streaming.control import Stop
from otic.streaming.runner import Runner
from otic.system.log import say
from otic.types import Lost

_MAX_SECONDS = 600.0  # of --audio that are looked at
_MIN_HOPS = 20  # inference hops behind the first window, for a model with a long one
_REPLAY_BLOCKS = (512, 16384)
_MARKS = {True: "ok  ", False: "FAIL", None: "none"}
_BOTH = frozenset({"scores", "events"})


def verify(args: argparse.Namespace) -> int:
    """Prove that this machine computes what otic promises; exit code 1 where it does not."""
    bundle = load_checked_bundle(args.model)
    y, name = _audio(args.audio, bundle)
    checks = [
        check_streaming_is_batch(bundle, y),
        check_block_sizes(bundle, y),
        _check_replay(bundle, y),
        check_golden_cases(bundle),
    ]
    passed = all(check.passed is not False for check in checks)
    if problem := cache_problem():
        say(problem)
    if args.json:
        outcome = {"model": bundle.name, "audio": name, "passed": passed}
        print(json.dumps({**outcome, "checks": [asdict(c) for c in checks]}, indent=2))
        return 0 if passed else 1
    print(f"{bundle.name} on {name}, {len(y) / bundle.features.sr:.1f} s")
    for check in checks:
        print(f"{_MARKS[check.passed]}  {check.name:<18} {check.text}")
    if not passed:
        say(
            "this machine, or this model file, does not give what otic promises: do not rely on "
            "it; where another model fails too, please report it"
        )
    return 0 if passed else 1


def warmup(args: argparse.Namespace) -> int:
    """Compile the kernels that the models need, so that no later start has to."""
    names = [args.model] if args.model else bundled_names()
    begin = time.perf_counter()
    for name in names:
        bundle = load_bundle(name)
        Frontend(bundle.features)
        Classifier(bundle)
    seconds = time.perf_counter() - begin
    if problem := cache_problem():
        say(problem)
        return 1
    print(f"ready: {', '.join(names)} ({seconds:.1f} s), compiled kernels in")
    print(cache_folder() or "a folder that can only be read")
    return 0


def _audio(path: str | None, bundle: Bundle) -> tuple[NDArray[np.float32], str]:
    """What to check on: a file's first ten minutes, or the demo's soundscape."""
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
                    f"'{path}' holds samples that are no audio: give a file without them"
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


def _check_replay(bundle: Bundle, y: NDArray[np.float32]) -> Check:
    """The log of a replay has the same bytes, whatever the block size."""
    logs = [_replay(bundle, y, block) for block in _REPLAY_BLOCKS]
    same = logs[0] == logs[1]
    return Check(
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
