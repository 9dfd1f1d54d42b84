"""Tabulates what otic reads of each audio file in a folder, beside ffmpeg.

    python -m tests.benchmarks.audio_files FOLDER > table.md

Both decode to the end, and their samples are counted: no header is believed. Rows where they
agree, to a tenth of a second, and otic has nothing to say come last. Needs ffmpeg.
"""

from __future__ import annotations

import argparse
import subprocess
from dataclasses import dataclass
from pathlib import Path

from otic.audio.sources import FileSource
from otic.errors import SourceError
from otic.types import Lost

_FFMPEG_RATE = 16000
_TOLERANCE = 0.1
_BLOCK = 65536
_LONGEST = 150  # characters of a message in the table


@dataclass(frozen=True)
class Row:
    """What both read of a file, in seconds, and what otic said."""

    name: str
    otic: float
    ffmpeg: float
    failed: bool
    said: str

    @property
    def agreed(self) -> bool:
        """Whether both read the same."""
        return abs(self.otic - self.ffmpeg) <= _TOLERANCE


def by_otic(path: Path) -> tuple[float, bool, str]:
    """Seconds, whether it is exit 1, and the lines on standard error."""
    samples, failed, rate = 0, False, 1
    said: list[str] = []
    try:
        source = FileSource(str(path), None, _BLOCK)
        rate = source.format[0]
        try:
            for chunk in source.chunks():
                assert chunk is not None
                samples += chunk.samples if isinstance(chunk, Lost) else len(chunk)
        finally:
            source.close()
            said += source.warnings()
    except SourceError as error:
        failed = True
        said.append(str(error))
    line = "; ".join(said).replace(str(path), path.name).replace(f"{path.name}: ", "")
    return samples / rate, failed, line


def by_ffmpeg(path: Path) -> float:
    """Seconds of the first audio stream."""
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", str(path), "-map", "0:a:0", "-ac", "1"]
    command += ["-ar", str(_FFMPEG_RATE), "-f", "s16le", "-"]
    size = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(2**20):
            size += len(piece)
    return size / 2 / _FFMPEG_RATE


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rows = [
        Row(path.relative_to(folder).as_posix(), otic, by_ffmpeg(path), failed, said)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for otic, failed, said in [by_otic(path)]
    ]
    print(
        f"{len(rows)} files. Equal to {_TOLERANCE} s: {sum(row.agreed for row in rows)}. Different "
        "without a word from otic: "
        f"{sum(not row.agreed and not row.said for row in rows)}."
    )
    print("\n| file | otic, s | ffmpeg, s | exit | what otic says |\n|---|--:|--:|--:|---|")
    for row in sorted(rows, key=lambda row: (row.agreed and not row.said, row.agreed, row.name)):
        said = row.said.replace("|", "\\|")
        said = said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
        print(f"| {row.name} | {row.otic:.3f} | {row.ffmpeg:.3f} | {int(row.failed)} | {said} |")


if __name__ == "__main__":
    main()
