"""What ``otic listen`` costs: its share of a core, by the kernel's own clock.

``python -m tests.benchmarks.listening [SECONDS [OPTION…]]`` plays noise into the virtual
microphone and runs ``otic listen`` without a dashboard, then with one at 80 × 24, 120 × 40 and
200 × 60; all with the process that holds the microphone. Options are handed to ``otic listen``.

With ``--replay`` as the first argument it is ``otic replay`` of noise at real time: no
microphone is needed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from tests.support import virtual_microphone
from tests.support.helpers import noise
from tests.support.terminal import Terminal

_SETTLE_SECONDS = 6.0
_SIZES = ((80, 24), (120, 40), (200, 60))


def main() -> None:
    words = sys.argv[1:]
    replayed = words[:1] == ["--replay"]
    words = words[replayed:]
    seconds = float(words[0]) if words else 60.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = ["--jsonl", str(folder / "log.jsonl")]
        if replayed:
            length = seconds + _SETTLE_SECONDS + 30.0
            y = np.tile(noise(48000 * 5), round(length / 5))
            soundfile.write(folder / "noise.wav", y, 48000)
            _measure_all(["replay", str(folder / "noise.wav"), *log, *words[1:]], seconds, {})
            return
        virtual_microphone.install()
        soundfile.write(folder / "noise.wav", noise(48000 * 5), 48000)
        with virtual_microphone.running(folder) as env:
            player = subprocess.Popen(
                ["sh", "-c", f"while paplay --device=virt {folder}/noise.wav; do :; done"],
                env=env,
                start_new_session=True,
            )
            try:
                _measure_all(["listen", *log, *words[1:]], seconds, env)
            finally:
                player.kill()


def _measure_all(arguments: list[str], seconds: float, env: dict[str, str]) -> None:
    without = _measure(arguments, None, seconds, env)
    for size in _SIZES:
        share = _measure(arguments, size, seconds, env)
        print(f"the dashboard at {size[0]} × {size[1]}: {share - without:.2%}", flush=True)


def _measure(
    arguments: list[str], size: tuple[int, int] | None, seconds: float, env: dict[str, str]
) -> float:
    """The share of a core, with a dashboard of a size or without one."""
    terminal = None
    if size is not None:
        terminal = Terminal(*arguments, columns=size[0], rows=size[1], env=env)
        process = terminal.process
    else:
        process = subprocess.Popen(
            [sys.executable, "-m", "otic", *arguments, "--no-dashboard"],
            env={**os.environ, **env},
        )
    time.sleep(_SETTLE_SECONDS)
    before, begin = cpu_seconds(process.pid), time.monotonic()
    written = len(terminal.text()) if terminal is not None else 0
    time.sleep(seconds)
    after, took = cpu_seconds(process.pid), time.monotonic() - begin
    rate = (len(terminal.text()) - written) / took / 1e3 if terminal is not None else 0.0
    process.send_signal(signal.SIGTERM)
    if terminal is not None:
        terminal.finish()
        terminal.close()
    process.wait(10)
    shares = {who: (after[who] - before[who]) / took for who in after}
    parts = ", ".join(f"{who} {share:.2%}" for who, share in shares.items())
    kind = f"with it, {rate:.0f} k characters a second" if size else "without a dashboard"
    print(f"{kind}: {sum(shares.values()):.2%} of a core ({parts}) over {took:.0f} s", flush=True)
    return sum(shares.values())


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time so far of a process, and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {"otic": _of(pid), "its capture": sum(_of(int(child)) for child in children)}


def _of(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    main()
