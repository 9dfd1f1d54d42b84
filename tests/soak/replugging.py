"""Unplugs and replugs the virtual microphone while ``otic listen`` runs, and sees what is left.

``python -m tests.soak.replugging 10 CLIP.wav LABEL`` does it ten times; the tests, twice.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import virtual_microphone
from tests.support.helpers import of_type, records, so_far

_AWAY_SECONDS = 2.0


@dataclass(frozen=True)
class Round:
    """What there was after the microphone had been replugged and had heard the clip."""

    labels: list[str]
    gaps: list[int]  # samples
    threads: int
    rss_kilobytes: int
    children: int


@dataclass(frozen=True)
class Outcome:
    """What ``listen`` did over all rounds."""

    rounds: list[Round]
    returncode: int
    messages: list[str]
    log: list[dict[str, Any]]


def replug(times: int, clip: Path, env: dict[str, str], folder: Path) -> Outcome:
    """Play the clip, then so many times: unplug, plug, wait for sound, play the clip again."""
    log = folder / "replug.jsonl"
    command = [sys.executable, "-m", "otic", "listen", "--jsonl", str(log)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
    try:
        rounds = [_hear(process, clip, env, log, 0)]
        for number in range(1, times + 1):
            virtual_microphone.unplug(env)
            time.sleep(_AWAY_SECONDS)
            virtual_microphone.plug(env)
            rounds.append(_hear(process, clip, env, log, number))
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=10)
    finally:
        process.kill()
    messages = stderr.decode().splitlines()
    return Outcome(rounds, process.returncode, messages, records(log.read_bytes()))


def _hear(
    process: subprocess.Popen[bytes], clip: Path, env: dict[str, str], log: Path, gaps: int
) -> Round:
    """Wait for scores behind the latest gap, then play."""
    begin = time.monotonic()
    while True:
        seen = records(so_far(log)) if log.exists() else []
        types = [record["type"] for record in seen]
        behind = types[_last(types, "gap") + 1 :]
        if types.count("gap") >= gaps and "scores" in behind:
            break
        assert process.poll() is None, "it ended"
        assert time.monotonic() - begin < 60, f"no scores after {gaps} gaps: {types[-5:]}"
        time.sleep(0.2)
    virtual_microphone.play(clip, env)
    time.sleep(1.0)
    new = so_far(log).splitlines()[len(seen) :]
    events = of_type(b"\n".join(new), "event")
    status = Path(f"/proc/{process.pid}/status").read_text()
    facts = dict(line.split(":", 1) for line in status.splitlines())
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return Round(
        labels=[event["label"] for event in events if event["state"] == "on"],
        gaps=[record["lost"] for record in seen if record["type"] == "gap"],
        threads=int(facts["Threads"]),
        rss_kilobytes=int(facts["VmRSS"].split()[0]),
        children=len(children),
    )


def _last(types: list[str], wanted: str) -> int:
    """Index of the last of these, or -1."""
    return max((i for i, kind in enumerate(types) if kind == wanted), default=-1)


def main() -> None:
    times, clip, label = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    virtual_microphone.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with virtual_microphone.running(folder) as env:
            outcome = replug(times, clip, env, folder)
    for number, each in enumerate(outcome.rounds):
        print(number, json.dumps(each.__dict__))
    heard = sum(label in each.labels for each in outcome.rounds)
    gaps = [record["lost"] for record in outcome.log if record["type"] == "gap"]
    print(f"exit {outcome.returncode}; {label} heard in {heard} of {len(outcome.rounds)} rounds; ")
    print(f"{len(gaps)} gaps, {sum(gaps)} samples; end {outcome.log[-1]}")


if __name__ == "__main__":
    main()
