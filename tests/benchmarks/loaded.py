"""Does ``otic listen`` lose a sample while both cores are busy with other work?

``python -m tests.benchmarks.loaded [SECONDS]`` (an hour) keeps a busy process on every core at
normal priority, plays into the virtual microphone, and compares what ``listen`` counted with
the clock: the virtual microphone's rate is the system clock's, so what is missing would show,
reported or not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from tests.support import virtual_microphone
from tests.support.helpers import noise, records

_BUSY = "while True: sum(i * i for i in range(10_000))"


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0
    virtual_microphone.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "noise.wav", noise(48000 * 60), 48000)
        with virtual_microphone.running(folder) as env:
            script = f"while paplay --device=virt {folder}/noise.wav; do :; done"
            player = subprocess.Popen(["sh", "-c", script], env=env, start_new_session=True)
            busy = [
                subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(os.cpu_count() or 1)
            ]
            try:
                _listen(seconds, env, folder)
            finally:
                os.killpg(player.pid, signal.SIGKILL)
                for process in busy:
                    process.kill()


def _listen(seconds: float, env: dict[str, str], folder: Path) -> None:
    log = folder / "log.jsonl"
    command = [sys.executable, "-m", "otic", "listen", "--jsonl", str(log)]
    process = subprocess.Popen(command, env=env)
    while not (log.exists() and b"scores" in log.read_bytes()):
        time.sleep(0.1)
    first = _latest_sample(log)
    begin = time.monotonic()
    time.sleep(seconds)
    last = _latest_sample(log)
    took = time.monotonic() - begin
    load = Path("/proc/loadavg").read_text().split()[:3]
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    end = records(log.read_bytes())[-1]
    gaps = sum(record["type"] == "gap" for record in records(log.read_bytes()))
    heard = (last - first) / 22050
    print(
        f"{took:.2f} s by the clock, {heard:.2f} s heard; at the end {end}, {gaps} gaps; "
        f"load {' '.join(load)} on {os.cpu_count()} cores; exit {process.returncode}"
    )


def _latest_sample(log: Path) -> int:
    """Of the latest whole line of scores."""
    lines = log.read_bytes().rpartition(b"\n")[0]
    scores = records(lines[lines.rfind(b"\n", 0, max(0, len(lines) - 4000)) + 1 :])
    return max(int(record["sample"]) for record in scores if record["type"] == "scores")


if __name__ == "__main__":
    main()
