"""What ``otic listen`` costs: its share of a core, by the kernel's own clock.

``python -m tests.benchmarks.listening [SECONDS [OPTION…]]`` plays noise into the virtual
microphone and runs ``otic listen`` without a dashboard, then with one; both with the process
that holds the microphone. Options are handed to ``otic listen``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from tests import virtual_microphone
from tests.helpers import noise
from tests.terminal import Terminal

_SETTLE_SECONDS = 6.0


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    options = sys.argv[2:]
    virtual_microphone.install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "noise.wav", noise(48000 * 5), 48000)
        with virtual_microphone.running(folder) as env:
            player = subprocess.Popen(
                ["sh", "-c", f"while paplay --device=virt {folder}/noise.wav; do :; done"],
                env=env,
                start_new_session=True,
            )
            try:
                for dashboard in (False, True):
                    _measure(dashboard, seconds, options, env, folder)
            finally:
                player.kill()


def _measure(
    dashboard: bool, seconds: float, options: list[str], env: dict[str, str], folder: Path
) -> None:
    arguments = ["listen", "--jsonl", str(folder / "log.jsonl"), *options]
    terminal = None
    if dashboard:
        terminal = Terminal(*arguments, env=env)
        process = terminal.process
    else:
        process = subprocess.Popen([sys.executable, "-m", "realtime", *arguments], env=env)
    time.sleep(_SETTLE_SECONDS)
    before, begin = cpu_seconds(process.pid), time.monotonic()
    time.sleep(seconds)
    after, took = cpu_seconds(process.pid), time.monotonic() - begin
    process.send_signal(signal.SIGTERM)
    if terminal is not None:
        terminal.finish()
    process.wait(10)
    shares = {who: (after[who] - before[who]) / took for who in after}
    parts = ", ".join(f"{who} {share:.2%}" for who, share in shares.items())
    kind = "with the dashboard" if dashboard else "without a dashboard"
    print(f"{kind}: {sum(shares.values()):.2%} of a core ({parts}) over {took:.0f} s", flush=True)


def cpu_seconds(pid: int) -> dict[str, float]:
    """CPU time so far of a process, and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {"otic": _of(pid), "its capture": sum(_of(int(child)) for child in children)}


def _of(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    main()
