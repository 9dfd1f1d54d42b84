"""Small models and recordings for scans, and what ``otic replay`` makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from otic import Bundle, Pipeline
from otic.audio.sources import FileSource
from otic.scan.folder import Run
from otic.scan.task import event_rows
from otic.types import Event, Item, Lost
from tests.support.helpers import F32, SMALL, decision, noise, small_bundle, streaming_bundle
from tests.support.small_models import linear_model

SR = SMALL.sr


def window_bundle(**changes: Any) -> Bundle:
    """A model of windows of one layer."""
    weights = np.random.default_rng(1).normal(size=(3, SMALL.n_features)) / 100
    weights[:2] *= -0.5  # so that all scores cross the thresholds now and then
    model = linear_model((1, SMALL.n_features), weights.astype(np.float32))
    return small_bundle(model=model, sha256="11", **changes)


BUNDLES = {
    "windows": window_bundle(),
    "windows, dated back": window_bundle(
        decision=decision(3, onset_ground=0.5, onset_back_seconds=0.3)
    ),
    "state": streaming_bundle(
        sha256="22",
        decision=decision(
            3,
            on_thresholds=(0.505, 0.53, 0.503),
            off_thresholds=(0.5, 0.51, 0.5),
            min_on_seconds=0.0,
        ),
    ),
}


def sound(seconds: float, seed: int = 0) -> F32:
    """Noise that is now loud, now soft, so that scores cross their thresholds."""
    n = round(seconds * SR)
    steps = np.repeat(10.0 ** np.random.default_rng(seed).uniform(-4, 0, 1 + n // 1500), 1500)
    return np.clip(noise(n, seed, 0.3) * steps[:n], -1.0, 1.0).astype(np.float32)


def write(path: Path, y: F32, sr: int = SR, subtype: str = "FLOAT") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, y, sr, subtype)
    return path


def replayed(bundle: Bundle, path: Path, channel: int | None = None) -> list[Item]:
    """What the live pipeline gives for a file."""
    pipeline, items = Pipeline(bundle), list[Item]()
    for chunk in FileSource(str(path), bundle.features.sr, 1000, channel).chunks():
        assert chunk is not None
        if isinstance(chunk, Lost):
            items += pipeline.lose(chunk.samples)
        else:
            items += pipeline.process(chunk)
    return items + pipeline.flush()


def expected_rows(bundle: Bundle, paths: list[Path]) -> list[tuple[Any, ...]]:
    """The rows of the table of events for files."""
    rows = []
    for path in paths:
        items = replayed(bundle, path)
        events = [item for item in items if isinstance(item, Event)]
        rows += event_rows(str(path), events, None)
    return sorted(rows)


def rows(run: Run, table: str = "events") -> list[tuple[Any, ...]]:
    return sorted(run.rows(table))
