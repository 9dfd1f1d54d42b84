"""Measures one machine: what a hop, an inference, a stream and a start cost."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from otic import __version__
from otic.audio.soundscape import synthesise
from otic.detection.detector import EventDetector, FindOnset
from otic.diagnostics.stages import LOG, MEL, SPECTRUM, make_repeat
from otic.errors import OticError
from otic.features.frame_ring import FrameRing
from otic.features.frontend import Frontend
from otic.features.kernels.jit import processor_name
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic.pipeline import Pipeline, open_frontend
from otic.system.machine import Board, health
from otic.types import Event

HOPS_A_CALL = (1, 8, 64)
_ROUNDS = 15
_CALLS = 5_000  # timed one by one, for the percentiles
_INFERENCES = 2_000
_LIVE_BLOCK = 1024
_STREAM_SECONDS = 60.0


def measure(bundle: Bundle, model: str) -> dict[str, Any]:
    """All figures of a model on this machine, by name; takes half a minute or more.

    Parameters
    ----------
    bundle : Bundle
    model : str
        The model as it was named on the command line, for new processes.
    """
    board = Board()
    before = health(board)
    return {
        "model": bundle.name,
        "features": bundle.features.to_dict(),
        "machine": describe(board),
        "push": measure_push(bundle),
        "stages_us": measure_stages(bundle),
        "inference": measure_inference(bundle),
        "decision": measure_decision(bundle),
        "pipeline": measure_pipeline(bundle),
        "start": measure_start(bundle, model),
        "health": {"before": before, "after": health(board)},
    }


def describe(board: Board) -> dict[str, Any]:
    """Processor, cores, board and versions, by name."""
    return {
        "processor": board.processor,
        "cores": board.cores,
        "board": board.model,
        "system": f"{platform.system()} {board.machine}",
        "numba_target": processor_name(),
        "versions": {
            "otic": __version__,
            "python": platform.python_version(),
            "numpy": metadata.version("numpy"),
            "numba": metadata.version("numba"),
        },
    }


def percentiles_us(seconds: NDArray[np.float64]) -> dict[str, float]:
    """p50, p99, p99.9 and the greatest, in microseconds."""
    p50, p99, p999 = np.percentile(seconds, (50.0, 99.0, 99.9))
    named = {"p50": p50, "p99": p99, "p999": p999, "max": seconds.max()}
    return {name: round(1e6 * float(value), 3) for name, value in named.items()}


def call_by_call(call: Callable[[], object], n: int) -> NDArray[np.float64]:
    """Seconds of each of n calls, 0.05 µs for looking at the clock included."""
    marks = np.empty(n + 1)
    marks[0] = time.perf_counter()
    for i in range(n):
        call()
        marks[i + 1] = time.perf_counter()
    return np.diff(marks)


def each_call_us(call: Callable[[], object], n: int) -> float:
    """Microseconds a call in the median of some rounds of n calls."""
    rounds = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        for _ in range(n):
            call()
        rounds.append((time.perf_counter() - begin) / n)
    return round(1e6 * float(np.median(rounds)), 4)


def measure_push(bundle: Bundle) -> list[dict[str, Any]]:
    """The front end's cost a hop, and of each call against the time until the next."""
    p = bundle.features
    y = np.resize(synthesise(p.sr)[0], max(HOPS_A_CALL) * p.hop_length)
    rows = []
    for hops in HOPS_A_CALL:
        frontend = Frontend(p)
        block = y[: hops * p.hop_length].copy()
        for _ in range(-(-p.window_samples // len(block))):
            frontend.push(block)
        calls = call_by_call(lambda f=frontend, b=block: f.push(b), _CALLS // hops)  # type: ignore[misc]
        a_call = each_call_us(lambda f=frontend, b=block: f.push(b), 1 + 1000 // hops)  # type: ignore[misc]
        deadline = 1e6 * len(block) / p.sr
        rows.append(
            {
                "hops_a_call": hops,
                "hop_us": round(a_call / hops, 4),
                "call_us": percentiles_us(calls),
                "deadline_us": round(deadline, 1),
                "late_calls": int((1e6 * calls > deadline).sum()),
            }
        )
    return rows


def measure_stages(bundle: Bundle) -> dict[str, float]:
    """Microseconds a frame of each stage, of all in blocks of 64 hops, and what is left.

    The stages are repeated alone in machine code. Rounds alternate.
    """
    p = bundle.features
    y = np.resize(synthesise(p.sr)[0], 64 * p.hop_length)
    ring, whole = FrameRing(p, 1), FrameRing(p, p.window_frames)
    ring.push(np.resize(y, p.n_fft))
    whole.push(np.resize(y, p.n_fft))
    repeat, times = make_repeat(p.n_fft), 500
    calls: dict[str, Callable[[], object]] = {
        "spectrum": lambda: repeat(SPECTRUM, times, ring.state),
        "mel": lambda: repeat(MEL, times, ring.state),
        "log": lambda: repeat(LOG, times, ring.state),
        "all": lambda: whole.push(y),
    }
    frames = {"spectrum": times, "mel": times, "log": times, "all": 64}
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(_ROUNDS * 5):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            rounds[name].append(1e6 * (time.perf_counter() - begin) / frames[name])
    medians = {name: round(float(np.median(values)), 4) for name, values in rounds.items()}
    stages = medians["spectrum"] + medians["mel"] + medians["log"]
    return {**medians, "rest": round(medians["all"] - stages, 4)}


def measure_inference(bundle: Bundle) -> dict[str, dict[str, float]]:
    """The window's features after the frames of one inference hop, and the model alone."""
    p = bundle.features
    hop = bundle.inference_hop_samples
    y = np.resize(synthesise(p.sr)[0], p.window_samples + _INFERENCES * hop)
    frontend, classifier = open_frontend(bundle), Classifier(bundle)
    frontend.push(y[: p.window_samples])
    features = frontend.features()
    features_seconds = []
    for start in range(p.window_samples, len(y), hop):
        frontend.push(y[start : start + hop])
        begin = time.perf_counter()
        features = frontend.features()
        features_seconds.append(time.perf_counter() - begin)
    state = classifier.cold_state()
    model_seconds = call_by_call(lambda: classifier.step(features, state), 2000)
    return {
        "features_us": percentiles_us(np.array(features_seconds)),
        "model_us": percentiles_us(model_seconds),
    }


class _TimedDetector(EventDetector):
    """Writes down how long each decision takes, the search for the onset included."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.labels, bundle.decision, bundle.features.sr)
        self.seconds: list[float] = []

    def update(
        self, sample: int, scores: NDArray[np.float32], began: FindOnset
    ) -> tuple[NDArray[np.float64], list[Event]]:
        begin = time.perf_counter()
        decided = super().update(sample, scores, began)
        self.seconds.append(time.perf_counter() - begin)
        return decided


def measure_decision(bundle: Bundle) -> dict[str, Any]:
    """From scores to events, and its share of all that the pipeline does."""
    y = np.resize(synthesise(bundle.features.sr)[0], int(_STREAM_SECONDS * bundle.features.sr))
    detector = _TimedDetector(bundle)
    pipeline = Pipeline(bundle, detector=detector)
    pipeline.process(y[: bundle.window_samples])
    detector.seconds.clear()
    begin = time.perf_counter()
    pipeline.process(y)
    whole = time.perf_counter() - begin
    return {
        "decision_us": percentiles_us(np.array(detector.seconds)),
        "share": round(sum(detector.seconds) / whole, 4),
    }


def measure_pipeline(bundle: Bundle) -> dict[str, float]:
    """Seconds of audio a second of computing, in blocks as they come from a microphone."""
    sr = bundle.features.sr
    y = np.resize(synthesise(sr)[0], int(_STREAM_SECONDS * sr))
    pipeline = Pipeline(bundle)
    factors = []
    for _ in range(5):
        begin = time.process_time()
        for start in range(0, len(y), _LIVE_BLOCK):
            pipeline.process(y[start : start + _LIVE_BLOCK])
        factors.append(_STREAM_SECONDS / (time.process_time() - begin))
        pipeline.reset()
    factor = float(np.median(factors))
    return {"real_time_factor": round(factor, 1), "streams_a_core": int(factor)}


def measure_start(bundle: Bundle, model: str) -> dict[str, float]:
    """Seconds from the start of a process to its first scores, and its peak memory.

    Raises
    ------
    OticError
        If the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "short.wav"
        sr = bundle.features.sr
        y = np.resize(synthesise(sr)[0], bundle.window_samples + sr)
        soundfile.write(path, y, sr, subtype="PCM_16")
        command = [sys.executable, "-m", "otic", "replay", str(path), "--model", model]
        command += ["--speed", "max", "--jsonl", "-"]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "cache")}
        cold = _seconds_to_first_scores(command, environment)
        warm = [_seconds_to_first_scores(command, environment) for _ in range(3)]
        megabytes = _peak_megabytes(command, environment)
        environment["NUMBA_CACHE_DIR"] = str(Path(folder) / "another")
        cold_megabytes = _peak_megabytes(command, environment)
    return {
        "cold_seconds": round(cold, 3),
        "warm_seconds": round(float(np.median(warm)), 3),
        "peak_megabytes": round(megabytes, 1),
        "cold_peak_megabytes": round(cold_megabytes, 1),
    }


def _seconds_to_first_scores(command: list[str], environment: dict[str, str]) -> float:
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b'"scores"' in line:
                seconds = time.perf_counter() - begin
                process.communicate()
                return seconds
        _, stderr = process.communicate()
    message = stderr.decode(errors="replace").strip() or "no scores"
    raise OticError(f"a start of otic could not be measured: {message}")


# A process of its own, because Linux counts what the parent held at the fork as the child's.
_PEAK_OF_CHILD = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _peak_megabytes(command: list[str], environment: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _PEAK_OF_CHILD, *command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        raise OticError(f"the memory of otic could not be measured: {done.stderr.strip()}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, kilobytes on Linux
    return int(done.stdout) / unit
