"""Negatives made here, free for any use: a folder of clips with its ``clips.csv``."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from otic import __version__
from otic.audio.loading import load_audio
from otic.errors import OticError
from otic_training.cli.progress import progress
from otic_training.data.sound_tables import TABLE

F32 = NDArray[np.float32]

SR = 22050
COLUMNS = ("file", "seconds", "kind", "label", "fold", "recording", "source", "author", "licence",
           "may_contain")  # fmt: skip
_PEAK = 0.7
_SILENCE = 1e-3
_FADE_SECONDS = 0.01
_PROGRAM_SECONDS = 300.0


@dataclass(frozen=True)
class Take:
    """What is rendered at once, and the clips that are cut from it.

    Attributes
    ----------
    name : str
        Begins the names of its files.
    label, recording, source, author, licence, may_contain : str
        As in the table.
    seconds : tuple of float
        The longest that each clip may be; they follow each other.
    render : callable
        Given an empty folder to work in, returns float32 samples at ``SR``.
    """

    name: str
    label: str
    recording: str
    source: str
    author: str
    licence: str
    may_contain: str
    seconds: tuple[float, ...]
    render: Callable[[Path], F32]


Plan = Callable[[int, np.random.Generator], Take]
"""What is made as the take of this number, with its own random numbers."""


def make_folder(
    out: Path, plans: Mapping[str, Plan], hours: Mapping[str, float], seed: int, versions: str
) -> int:
    """Make clips of each kind until its hours are full; returns how many.

    The folder gets its name once it is whole. What an interrupted run has made is used by the
    next one that has the same seed and versions.

    Parameters
    ----------
    out : Path
    plans : mapping of str
        For each kind of sound.
    hours : mapping of str
    seed : int
    versions : str
        Those of the programs.

    Raises
    ------
    OticError
        If the folder is there already, or a program fails.
    """
    if out.exists():
        raise OticError(f"'{out}' is there already: delete it, or name another folder")
    made_by = hashlib.sha256(f"{seed} {versions} {__version__}".encode()).hexdigest()[:8]
    staging = out.with_name(f".{out.name}.{made_by}.making")
    rows = list[tuple[str, ...]]()
    with progress("making, in seconds", round(3600 * sum(hours.values()))) as advance:
        for kind, plan in plans.items():
            number, left = 0, 3600.0 * hours[kind]
            while left > 0.0:
                rng = np.random.default_rng([seed, number, *kind.encode()])
                for row in _clips(staging, kind, plan(number, rng)):
                    rows.append(row)
                    left -= float(row[1])
                    advance(float(row[1]))
                number += 1
    with (staging / TABLE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    staging.rename(out)
    return len(rows)


def _clips(folder: Path, kind: str, take: Take) -> Iterable[tuple[str, ...]]:
    """Write the clips of a take that are not there yet; gives all rows of the table."""
    names = [f"audio/{kind}/{take.name}-{i}.flac" for i in range(len(take.seconds))]
    if not all((folder / name).is_file() for name in names):
        with tempfile.TemporaryDirectory() as empty:
            y = take.render(Path(empty))
        peak = float(np.abs(y).max(initial=0.0))
        parts = np.split(y, np.round(np.cumsum(take.seconds)[:-1] * SR).astype(int))
        if peak < _SILENCE or not len(parts[-1]):
            raise OticError(f"{take.source} made no sound for '{take.name}': try it by hand")
        for name, part, most in zip(names, parts, take.seconds, strict=True):
            _write(folder / name, part[: round(most * SR)] * np.float32(_PEAK / peak))
    for name in names:
        seconds = f"{soundfile.info(folder / name).duration:.3f}"
        yield (name, seconds, kind, take.label, "", take.recording, take.source, take.author,
               take.licence, take.may_contain)  # fmt: skip


def _write(path: Path, y: F32) -> None:
    """Write a clip that begins and ends softly; whole or not at all."""
    n = min(len(y), round(_FADE_SECONDS * SR))
    fade = np.ones(len(y), np.float32)
    fade[:n] *= np.linspace(0.0, 1.0, n, dtype=np.float32)
    fade[len(y) - n :] *= np.linspace(1.0, 0.0, n, dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    soundfile.write(partial, y * fade, SR, format="FLAC", subtype="PCM_16")
    partial.replace(path)


def _version(program: str, path: str) -> str:
    """Name a program and its version, as it says it."""
    done = subprocess.run([path, "--version"], capture_output=True, timeout=_PROGRAM_SECONDS)
    found = re.search(rb"\d+(\.\d+)+", done.stdout + done.stderr)
    return f"{program} {found[0].decode()}" if found else program


def programs(names: Iterable[str]) -> dict[str, str]:
    """Programs that are installed, each with its name and version."""
    paths = {name: shutil.which(name) for name in names}
    return {name: _version(name, path) for name, path in paths.items() if path}


def render_with(command: list[str], out: Path) -> F32:
    """Run a program that writes an audio file; float32 samples at ``SR``.

    Raises
    ------
    OticError
        If the program fails, or writes no audio.
    """
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROGRAM_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise OticError(f"{command[0]} takes longer than {_PROGRAM_SECONDS:.0f} s") from error
    if done.returncode or not out.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise OticError(
            f"{command[0]} made no audio ({said[-1] if said else f'exit {done.returncode}'}): "
            "try it by hand, or remove it and run the same command again"
        )
    return np.nan_to_num(load_audio(out, SR))
