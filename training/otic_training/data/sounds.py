"""Banks of sounds for scenes, decoded once and kept beside each other in one file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from otic_training.data.scenes import Sound

LABELS = (
    "dog",
    "rooster",
    "rain",
    "sea_waves",
    "crackling_fire",
    "crying_baby",
    "sneezing",
    "clock_tick",
    "helicopter",
    "chainsaw",
)
DOUBT_FROM = 0.3
"""Score in ``may_contain`` from which on a label is in doubt."""
BAND_SR = 22050
"""All sources go through this rate, so that none is known by its codec's band limit."""
_SILENCE_DB = -45.0


def load(path: Path, sr: int) -> NDArray[np.float32]:
    """Mono samples at ``sr``, the peak at 1."""
    y, rate = sf.read(path, dtype="float32", always_2d=True)
    y = soxr.resample(soxr.resample(y.mean(1), rate, BAND_SR, "HQ"), BAND_SR, sr, "HQ")
    y = y.astype(np.float32)
    loud: NDArray[np.float32] = y / max(float(np.abs(y).max()), 1e-6)
    return loud


def active(y: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
    """From the first to the last 20 ms that are at most 45 dB below the loudest."""
    n = sr // 50
    if len(y) < 2 * n:
        return y
    power = np.square(y[: len(y) // n * n].reshape(-1, n)).mean(1)
    loud = np.flatnonzero(power > power.max() * 10.0 ** (_SILENCE_DB / 10.0))
    return y[loud[0] * n : (loud[-1] + 1) * n] if len(loud) else y


def esc10_sounds(folder: Path, sr: int, leave_out_folds: Iterable[str]) -> list[Sound]:
    """Labelled sounds of ESC-10."""
    left_out, sounds = set(leave_out_folds), list[Sound]()
    with (folder / "meta/esc50.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["fold"] not in left_out and row["category"] in LABELS:
                path = folder / "audio" / row["filename"].replace(".wav", ".ogg")
                y = as_int16(active(load(path, sr), sr))
                sounds.append(Sound(y, "known", LABELS.index(row["category"])))
    return sounds


def free_sounds(
    folder: Path, sr: int, leave_out: Sequence[str] = (), clean: bool = True
) -> list[Sound]:
    """Sounds of a folder with a ``clips.csv``.

    Parameters
    ----------
    folder : Path
    sr : int
    leave_out : sequence of str
        Recordings, as the column ``recording`` names them.
    clean : bool
        Leave out every clip of ESC-50, too.
    """
    sounds = list[Sound]()
    with (folder / "clips.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["recording"] in leave_out or (clean and of_esc50(row)):
                continue
            found = re.findall(r"(\w+):([\d.]+)", row["may_contain"])
            doubt = tuple(
                LABELS.index(a) for a, score in found if a in LABELS and float(score) >= DOUBT_FROM
            )
            y = as_int16(active(load(folder / row["file"], sr), sr))
            sounds.append(Sound(y, row["kind"], -1, doubt))
    return sounds


def of_esc50(row: dict[str, str]) -> bool:
    """True for a clip that ESC-50 has."""
    return (
        Path(row["file"]).name.startswith("esc50_")
        or row["source"].startswith("ESC-50")
        or bool(row["fold"])
    )


def esc_recordings(folder: Path) -> set[str]:
    """Recordings of ESC-10 as ``clips.csv`` names those of freesound.org."""
    with (folder / "meta/esc50.csv").open(newline="") as file:
        return {f"fs{row['src_file']}" for row in csv.DictReader(file)}


def as_int16(y: NDArray[np.float32]) -> NDArray[np.int16]:
    """Samples of peak 1 as int16."""
    return np.round(y * 32000.0).astype(np.int16)


def save_sounds(path: Path, sounds: Sequence[Sound]) -> None:
    """All samples in ``path``, the rest beside it; written whole or not at all."""
    about = np.array(
        [(len(s.y), s.kind, s.label, ",".join(map(str, s.doubt))) for s in sounds], "U32"
    )
    for target, data in ((path, np.concatenate([s.y for s in sounds])), (_beside(path), about)):
        partial = target.with_suffix(".partial.npy")
        np.save(partial, data)
        partial.replace(target)


def saved_sounds(path: Path) -> list[Sound]:
    """What :func:`save_sounds` wrote; samples stay in the file until they are used."""
    y, about = np.load(path, mmap_mode="r"), np.load(_beside(path))
    ends = np.cumsum(about[:, 0].astype(np.int64))
    return [
        Sound(y[end - int(n) : end], kind, int(label), tuple(int(i) for i in doubt.split(",") if i))
        for end, (n, kind, label, doubt) in zip(ends.tolist(), about.tolist(), strict=True)
    ]


def _beside(path: Path) -> Path:
    return path.with_name(path.stem + "-about.npy")
