"""Damaged audio files through the file source: ``python -m tests.fuzzing.audio 100000``.

libsndfile is compiled code, which atheris can't see into and a fault in which ends the
process. So the files are damaged by numbered chance, and read in a child process: where
that dies or hangs, the parent keeps the file and goes on behind it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzzing import audio_target
from tests.fuzzing.damage import Watch

_POLL_SECONDS = 0.5
_BLOCKS = (37, 512, 2048, 65536, 2**20)
_START_SECONDS = 60.0  # until a child has imported all
_HANGING_SECONDS = 300.0


def main() -> None:
    """Read so many files, in as many child processes as it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=int)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzzing"), help="for findings")
    parser.add_argument("--child", type=Path, help="folder; of the parent's own use")
    args = parser.parse_args()
    if args.child:
        sys.exit(_read_all(args.child, args.first, args.inputs))
    args.keep.mkdir(parents=True, exist_ok=True)
    findings, at, end = 0, args.first, args.first + args.inputs
    with tempfile.TemporaryDirectory() as folder:
        while at < end:
            failure = _supervise(Path(folder), at, end - at)
            if not failure:
                break
            findings += 1
            at = _number(Path(folder), at)
            kept = args.keep / f"audio-{at}"
            kept.write_bytes(audio_target.damaged(at))
            print(f"FINDING: file {at} {failure}; kept as {kept}", flush=True)
            at += 1
    print(f"{args.inputs} damaged files, {findings} findings")
    sys.exit(1 if findings else 0)


def _supervise(folder: Path, first: int, inputs: int) -> str:
    """Run a child; how it failed, empty where it did not."""
    (folder / "number").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzzing.audio", str(inputs), "--first", str(first)]
    log = folder / "stderr"  # libmpg123 says much there
    with log.open("wb") as stderr:
        child = subprocess.Popen([*command, "--child", str(folder)], stderr=stderr)
    seen, since, cpu_since = -1, time.monotonic(), 0.0
    while child.poll() is None:
        time.sleep(_POLL_SECONDS)
        number = _number(folder, -1)
        if number != seen:
            seen, since, cpu_since = number, time.monotonic(), _cpu_seconds(child.pid)
        limit = _START_SECONDS if number < 0 else audio_target.MAX_SECONDS
        # Of a machine that others use the clock on the wall says little, unless nothing happens.
        waited, worked = time.monotonic() - since, _cpu_seconds(child.pid) - cpu_since
        if worked > limit or waited > _HANGING_SECONDS:
            child.kill()
            child.wait()
            return f"took more than {limit:.0f} s"
    last = log.read_bytes()[-300:].decode(errors="replace").split("\n")[-2:]
    return f"ended the process ({child.returncode}): {last}" if child.returncode else ""


def _cpu_seconds(pid: int) -> float:
    """What a process has computed so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0  # it has ended
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _number(folder: Path, missing: int) -> int:
    """Of the file that the child reads."""
    try:
        return int((folder / "number").read_bytes() or missing)
    except FileNotFoundError:
        return missing


def _read_all(folder: Path, first: int, inputs: int) -> int:
    watch = Watch(inputs, audio_target.MAX_SECONDS)
    ends: Counter[str] = Counter()
    path = folder / "damaged"
    with (folder / "number").open("wb", buffering=0) as place:
        for number in range(first, first + inputs):
            place.seek(0)
            place.write(b"%12d" % number)
            path.write_bytes(audio_target.damaged(number))
            watch.begin()
            ends[audio_target.check(str(path), Random(number).choice(_BLOCKS))] += 1
            watch.end()
    print(watch.report())
    print("ended as:", ", ".join(f"{how} {n}" for how, n in ends.most_common()), flush=True)
    return 0


if __name__ == "__main__":
    main()
