"""Streams for tests: events over the backgrounds of a city, and what a city sounds like.

The backgrounds are clips of UrbanSound8K (J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and
Taxonomy for Urban Sound Research", ACM MM 2014), which nothing that otic ships has heard.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.soundscapes import Soundscape, Truth

F32 = NDArray[np.float32]

BEDS = ("air_conditioner", "engine_idling", "street_music", "children_playing")
"""Classes that are none of ESC-10's labels, and go on for as long as a clip lasts."""
ROUNDS = 3
"""How often each sound is in a stream."""
_LEAD_SECONDS, _TAIL_SECONDS = 4.0, 2.0
_PAUSE_SECONDS = (1.0, 5.0)
_BED_RMS = 0.02
_LEVEL_DBFS = (-45.0, -20.0)


def urban_clips(root: Path, fold: int, wanted: Callable[[str], bool]) -> list[Clip]:
    """List the clips of a fold of UrbanSound8K whose class is wanted, in the table's order.

    Raises
    ------
    DatasetError
        If the table is missing, or none of those clips is there.
    """
    found = []
    try:
        with (root / "metadata/UrbanSound8K.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["fold"] == str(fold)]
    except OSError as error:
        raise DatasetError(f"can't read UrbanSound8K's table in '{root}': {error}") from error
    for row in rows:
        name = row["slice_file_name"].replace(".wav", ".ogg")
        path = root / "audio" / f"fold{fold}" / name
        if wanted(row["class"]) and path.exists():
            found.append(Clip(path, row["class"], fold, row.get("fsID", "")))
    if not found:
        raise DatasetError(f"'{root}' has no clip of fold {fold} that is wanted")
    return found


def event_streams(
    sounds: Sequence[tuple[str, F32]],
    beds: Sequence[F32],
    sr: int,
    n: int,
    snr_db: tuple[float, float],
    rng: np.random.Generator,
) -> list[Soundscape]:
    """Mix each sound three times, one after the other, into streams of ``n`` samples.

    Sounds follow each other after 1 to 5 s. A signal-to-noise ratio is that of the mean powers of
    the sound and of the whole background.

    Parameters
    ----------
    sounds : sequence of (str, float32 [n])
        Labels and samples, where a clip is not silent.
    beds : sequence of float32 [n]
        Backgrounds, drawn one after the other.
    sr, n : int
    snr_db : tuple of float
        The least and the most.
    rng : Generator

    Raises
    ------
    DatasetError
        If a sound is longer than a stream.
    """
    waiting = [sounds[i] for _ in range(ROUNDS) for i in rng.permutation(len(sounds))]
    streams = list[Soundscape]()
    while waiting:
        y = _joined(beds, n, rng)
        level, at, truths = float(np.mean(y * y)), _LEAD_SECONDS, list[Truth]()
        while waiting:
            label, sound = waiting[0]
            seconds = len(sound) / sr
            if at + seconds + _TAIL_SECONDS > n / sr:
                break
            waiting.pop(0)
            snr = float(rng.uniform(*snr_db))
            gain = np.sqrt(level * 10.0 ** (snr / 10.0) / np.mean(sound**2))
            start = int(at * sr)
            y[start : start + len(sound)] += sound * np.float32(gain)
            truths.append(Truth(label, at, at + seconds, snr))
            at += seconds + rng.uniform(*_PAUSE_SECONDS)
        if not truths:
            raise DatasetError(f"a sound of '{waiting[0][0]}' is longer than a stream")
        streams.append(Soundscape(f"city-{len(streams) + 1}", _limited(y), tuple(truths)))
    return streams


def one_after_the_other(pool: Sequence[F32], n: int, rng: np.random.Generator) -> list[F32]:
    """Put every recording once, at -45 to -20 dBFS, into streams of ``n`` samples.

    The last one is left out where it would not be half as long.
    """
    parts = [pool[i] * _gain(pool[i], float(rng.uniform(*_LEVEL_DBFS))) for i in _order(pool, rng)]
    y = np.concatenate(parts)
    return [_limited(y[i : i + n]) for i in range(0, len(y) - n // 2, n)]


def _order(pool: Sequence[F32], rng: np.random.Generator) -> list[int]:
    order: list[int] = rng.permutation(len(pool)).tolist()
    return order


def _gain(y: F32, level_dbfs: float) -> np.float32:
    return np.float32(10.0 ** (level_dbfs / 20.0) / max(np.sqrt(np.mean(y**2)), 1e-4))


def _joined(pool: Sequence[F32], n: int, rng: np.random.Generator) -> F32:
    """Recordings one after the other at one level."""
    parts, total = [], 0
    while total < n:
        y = pool[int(rng.integers(len(pool)))]
        parts.append(y * np.float32(_BED_RMS / max(np.sqrt(np.mean(y * y)), 1e-4)))
        total += len(y)
    return np.concatenate(parts)[:n]


def _limited(y: F32) -> F32:
    return y * np.float32(min(1.0, 0.98 / max(float(np.abs(y).max()), 1e-6)))
