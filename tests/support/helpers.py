"""What several test files use: parameters, bundles, a fake model, the command line."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from otic import Bundle, DecisionParams, FeatureParams, load_bundle
from otic.model.interface import ModelInterface
from otic.model.streaming import StateTensor, StreamParams
from tests.support.small_models import streaming_model

F32 = NDArray[np.float32]

LIBROSA_DEFAULTS = FeatureParams(
    sr=22050,
    n_fft=2048,
    hop_length=512,
    n_mels=128,
    n_mfcc=40,
    fmin=0.0,
    fmax=11025.0,
    top_db=80.0,
    center=False,
    window_frames=83,
    statistics=("mean", "std", "delta_mean", "delta_rms"),
)

SMALL = FeatureParams(
    sr=8000,
    n_fft=256,
    hop_length=100,
    n_mels=24,
    n_mfcc=8,
    fmin=50.0,
    fmax=4000.0,
    top_db=80.0,
    center=False,
    window_frames=7,
    statistics=("mean", "std"),
)


def decision(n_labels: int, **changes: Any) -> DecisionParams:
    values: dict[str, Any] = {
        "smoothing_scores": 2,
        "on_thresholds": (0.6,) * n_labels,
        "off_thresholds": (0.4,) * n_labels,
        "min_on_seconds": 0.1,
        "min_off_seconds": 0.1,
        "max_on_seconds": 60.0,
        "lag_seconds": 0.05,
    }
    return DecisionParams(**{**values, **changes})


def small_bundle(**changes: Any) -> Bundle:
    """A bundle without a model, for a pipeline with a :class:`FakeClassifier`."""
    bundle = Bundle(
        name="small",
        labels=("quiet", "loud", "odd"),
        features=SMALL,
        inference_hop_frames=3,
        decision=decision(3),
        accuracy={},
        license="none",
        provenance={},
        model=b"\x20\x00\x00\x00TFL3",
    )
    return replace(bundle, **changes)


def streaming_bundle(**changes: Any) -> Bundle:
    """A bundle with a streaming model of one layer: 7 frames a step, 3 of them new."""
    features = replace(SMALL, statistics=("log_mel",))
    weights = np.random.default_rng(0).normal(size=(3, features.n_features)) / 500
    state = StateTensor(1, 1, "base", ((1, (0.25, -0.5)),))
    bundle = Bundle(
        name="stream",
        labels=("quiet", "loud", "odd"),
        features=features,
        inference_hop_frames=3,
        decision=decision(3),
        accuracy={},
        license="none",
        provenance={},
        model=streaming_model(weights.astype(np.float32), (1, 7, 24)),
        interface=ModelInterface(scale=(0.05,), offset=(1.75,)),
        stream=StreamParams(2, 0.1, (state,), {"base": {"name": "one layer"}}),
    )
    return replace(bundle, **changes)


class FakeClassifier:
    """Scores that depend on every feature, so that equal scores mean equal features."""

    def __init__(self, n_labels: int = 3) -> None:
        self.n_labels = n_labels

    def predict(self, features: F32) -> F32:
        level = (float(features[0]) + 400.0) / 300.0
        rest = float(np.abs(features[1:]).sum())
        raw = np.array([-level, level, np.sin(rest)], np.float64)[: self.n_labels] * 3.0
        shares: F32 = (np.exp(raw) / np.exp(raw).sum()).astype(np.float32)
        return shares


def always(value: int) -> Callable[[], int]:
    """A function that gives one value."""
    return lambda: value


def noise(n: int, seed: int = 0, level: float = 0.1) -> F32:
    return (np.random.default_rng(seed).standard_normal(n) * level).astype(np.float32)


def cut(y: F32, sizes: Sequence[int]) -> list[F32]:
    """Blocks of the given sizes, in turn, until all of ``y`` is used."""
    blocks, at, i = [], 0, 0
    while at < len(y):
        n = sizes[i % len(sizes)]
        blocks.append(y[at : at + n])
        at, i = at + n, i + 1
    return blocks


def write_dataset(folder: Path, rows: list[tuple[str, int, str, F32]]) -> Path:
    """A data set in ESC-50's layout at 22 050 Hz: filename, fold, category, samples."""
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for name, fold, category, y in rows:
        lines.append(f"{name},{fold},0,{category},True,{name},A")
        soundfile.write(folder / "audio" / name, y, 22050)
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return folder


def bundled() -> Bundle:
    return load_bundle("esc10-mfcc-mlp")


def otic(
    *arguments: str | Path, env: dict[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a person would, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "otic", *map(str, arguments)],
        capture_output=True,
        timeout=options.pop("timeout", 120),
        env={**os.environ, **(env or {})},
        check=False,
        **options,
    )


def one_line(stderr: bytes) -> str:
    """The only line on standard error, which must be otic's own."""
    lines = stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("otic: "), lines
    return lines[0]


def records(jsonl: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in jsonl.decode().splitlines()]


def so_far(log: Path) -> bytes:
    """The whole lines of a log that is being written."""
    written = log.read_bytes()
    return written[: written.rfind(b"\n") + 1]


def of_type(jsonl: bytes, kind: str) -> list[dict[str, Any]]:
    return [record for record in records(jsonl) if record["type"] == kind]


class Recorder(logging.Handler):
    """Keeps the messages of otic's loggers in a list, from INFO up."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._logger = logging.getLogger("otic")
        self._level = self._logger.level

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def start(self) -> list[str]:
        """The list, which grows from now on."""
        self._logger.setLevel(logging.INFO)
        self._logger.addHandler(self)
        return self.lines

    def stop(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)
