"""Measures ``otic scan``: speed with one process and with more, memory, and a million files.

    python -m tests.benchmarks.scan CLIPS [--hours 100] [--files 6000] [--longest 12]
    python -m tests.benchmarks.scan --stubs 1000000

Recordings are made of the clips in a folder, one after the other and over again: 16 and 48 kHz,
mono and stereo, WAV, FLAC and MP3, two of them of ``--longest`` hours. Short ones of one kind and
length are the same bytes under several names (hard links), each of which is read and classified.
The long ones take 0.7 GB an hour in ``--folder``; all are removed at the end. Other
options are handed to ``otic scan``. To be run alone on a machine; Linux only.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from otic.audio.folders import audio_files
from otic.audio.sources import FileSource
from otic.types import Lost
from tests.support.memory import Cost, cost

KINDS = [
    (suffix, sr, channels)
    for suffix in (".wav", ".flac", ".mp3")
    for sr in (16000, 48000)
    for channels in (1, 2)
]
_DISTINCT = 10  # recordings of a kind, each of another length, at most
_REPLAYED = 200  # files, whose rate a process is compared with
_CLIPS = 50
_FORMATS = {".wav": "RF64", ".flac": "FLAC", ".mp3": "MP3"}


def blocks(clips: list[Path], sr: int, channels: int) -> Iterator[NDArray[np.float32]]:
    """Sound without end: the clips one after the other, float32 [n, channels]."""
    for path in cycle(clips):
        yield np.repeat(sound(path, sr)[:, None], channels, axis=1)


@cache
def sound(path: Path, sr: int) -> NDArray[np.float32]:
    """Read a clip."""
    chunks = FileSource(str(path), sr, sr).chunks()
    return np.concatenate([c for c in chunks if c is not None and not isinstance(c, Lost)])


def record(path: Path, seconds: float, clips: list[Path], sr: int, channels: int) -> None:
    """Write a recording, block by block."""
    left = round(seconds * sr)
    kind = _FORMATS[path.suffix]
    with soundfile.SoundFile(path, "w", sr, channels, format=kind) as file:
        for block in blocks(clips, sr, channels):
            file.write(block[:left])
            left -= len(block)
            if left <= 0:
                return


def make(folder: Path, clips: list[Path], hours: float, files: int, longest: float) -> None:
    """Make recordings of so many hours in all."""
    record(folder / "long.wav", longest * 3600, clips, 48000, 2)
    record(folder / "long.flac", longest * 3600, clips, 16000, 1)
    mean = max(1.0, (hours - 2 * longest) * 3600 / max(1, files - 2))
    distinct = max(1, min(_DISTINCT, (files - 2) // len(KINDS)))
    each = math.ceil((files - 2) / (distinct * len(KINDS)))
    number = 0
    for i in range(distinct):
        for suffix, sr, channels in KINDS:
            count = min(each, files - 2 - number)
            if count <= 0:
                return
            below = folder / f"site{i}"
            below.mkdir(exist_ok=True)
            first = below / f"{number:06}{suffix}"
            turned = clips[number % len(clips) :] + clips[: number % len(clips)]
            record(first, mean * (0.5 + (i + 0.5) / distinct), turned, sr, channels)
            for other in range(number + 1, number + count):
                os.link(first, below / f"{other:06}{suffix}")
            number += count


def replay_rate(paths: list[Path]) -> float:
    """Seconds of audio a second of ``otic replay --speed max``, without its start."""
    asked = ("replay", "--speed", "max", "--no-dashboard", "--jsonl", "/dev/null")
    start = cost(*asked, paths[0])
    whole = cost(*asked, *paths)
    return seconds_of(paths[1:]) / (whole.seconds - start.seconds)


def seconds_of(paths: list[Path]) -> float:
    """Seconds of audio in files, by their headers."""
    return float(sum(soundfile.info(path).duration for path in paths))


def stubs(folder: Path, count: int) -> None:
    """Make empty files, a thousand in a folder."""
    for i in range(count):
        below = folder / f"site{i // 1000:05}"
        below.mkdir(exist_ok=True)
        (below / f"20240101_{i % 1000:06}.wav").touch()


def told(name: str, found: Cost) -> str:
    """Write a line of the report."""
    if found.code:
        sys.exit(f"{name}: exit code {found.code}\n{found.stderr}")
    return (
        f"{name}: {found.seconds:.1f} s, first process at most {found.first_megabytes:.0f} MB, "
        f"others {found.other_megabytes:.0f} MB each"
    )


def main() -> None:
    """Make what is to be scanned, scan it, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="?", help="folder of real recordings")
    parser.add_argument("--hours", type=float, default=100.0)
    parser.add_argument("--files", type=int, default=6000)
    parser.add_argument("--longest", type=float, default=12.0, help="hours of the two longest")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stubs", type=int, default=0, help="only a dry run of empty files")
    parser.add_argument("--folder", type=Path, help="where to make the recordings; default: /tmp")
    args, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="otic-scan-") as name:
        folder = Path(name)
        (recordings := folder / "in").mkdir()
        if args.stubs:
            stubs(recordings, args.stubs)
            dry = cost("scan", recordings, "--out", folder / "out", "--dry-run")
            print(told(f"dry run of {args.stubs} empty files", dry))
            return
        if args.clips is None:
            parser.error("name a folder of real recordings, or --stubs")
        clips = audio_files(args.clips)[:: max(1, len(audio_files(args.clips)) // _CLIPS)][:_CLIPS]
        make(recordings, clips, args.hours, args.files, args.longest)
        paths = audio_files(recordings)
        seconds = seconds_of(paths)
        print(f"{seconds / 3600:.1f} h in {len(paths)} files", flush=True)
        took = {}
        for jobs in sorted({1, args.jobs}):
            asked = ("scan", recordings, "--out", folder / f"out{jobs}", "--jobs", str(jobs))
            found = cost(*asked, *more)
            took[jobs] = found.seconds
            line = told(f"{jobs} processes", found)
            print(f"{line}; {seconds / found.seconds:.0f} times real time", flush=True)
        if args.jobs > 1:
            print(f"{args.jobs} processes are {took[1] / took[args.jobs]:.2f} times one")
        rate = replay_rate([path for path in paths if path.parent != recordings][:_REPLAYED])
        print(
            f"replay --speed max: {rate:.0f} times real time; "
            f"one process of a scan is {seconds / took[1] / rate:.2f} times that"
        )


if __name__ == "__main__":
    main()
