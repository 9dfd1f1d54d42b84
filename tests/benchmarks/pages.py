"""What open pages cost the audio: nothing lost, and each line of the log as soon as without.

``python -m tests.benchmarks.pages [SECONDS [PAGES [TABS]]]`` plays noise into the virtual
microphone and runs two ``otic listen`` beside each other: at one nobody looks; at the other PAGES
(20) WebSockets of another process do, and TABS (3) tabs of a real Chromium. It prints, of each, the
samples that were lost, how long after its last sample each line of the log came, and its share of
a core. Both have Chromium beside them, which draws on the same machine.

How late a line is: it names the sample that its window ends with; when that came is not known, but
the earliest line of all was not late by much. So these are percentiles above the earliest line.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.benchmarks.listening import cpu_seconds
from tests.support import chromium, virtual_microphone
from tests.support.helpers import noise
from tests.support.mosquitto import free_port

_SETTLE_SECONDS = 8.0


class Listening:
    """``otic listen`` with a page, and when each line of its log came."""

    def __init__(self, env: dict[str, str]) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "otic", "listen", "--jsonl", "-"]
        command += ["--no-dashboard", "--web", str(self.port)]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self._thread.join(5)

    def late_ms(self, since: float, until: float) -> list[float]:
        """Of each line with scores that came in this time: behind the earliest."""
        times = [
            1e3 * (at - line["time"])
            for at, line in list(self.lines)
            if line["type"] == "scores" and since <= at <= until
        ]
        return [time - min(times) for time in times]

    @property
    def lost(self) -> int:
        return int(self.lines[-1][1]["lost"])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), json.loads(line)))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    n_pages = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    n_tabs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    virtual_microphone.install()
    chromium.install()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        soundfile.write(folder / "noise.wav", noise(48000 * 5), 48000)
        env = stack.enter_context(virtual_microphone.running(folder))
        player = subprocess.Popen(
            ["sh", "-c", f"while paplay --device=virt {folder}/noise.wav; do :; done"],
            env=env,
            start_new_session=True,
        )
        stack.callback(player.kill)
        alone, looked_at = Listening(env), Listening(env)
        stack.callback(alone.process.kill)
        stack.callback(looked_at.process.kill)
        time.sleep(_SETTLE_SECONDS)
        url = f"http://127.0.0.1:{looked_at.port}/"
        browser = stack.enter_context(chromium.running(folder))
        tabs = [browser.open(url) for _ in range(n_tabs)]
        for tab in tabs:
            tab.wait_for("document.querySelector('#connection').dataset.state === 'live'", 60)
        time.sleep(3.0)
        pages = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.web_pages",
                url,
                str(n_pages),
                str(seconds + 6.0),
            ],
            stdout=subprocess.PIPE,
        )
        time.sleep(4.0)
        both = (alone, looked_at)
        before = [sum(cpu_seconds(each.process.pid).values()) for each in both]
        begin = time.monotonic()
        time.sleep(seconds)
        end = time.monotonic()
        after = [sum(cpu_seconds(each.process.pid).values()) for each in both]
        told = json.loads(pages.communicate(timeout=60)[0])
        alive = [tab.run("document.querySelector('#connection').dataset.state") for tab in tabs]
        for each in both:
            each.stop()
        for name, each, cpu in zip(
            ("nobody looks", f"{n_pages} pages and {n_tabs} tabs"),
            both,
            np.subtract(after, before) / (end - begin),
            strict=True,
        ):
            late = np.percentile(each.late_ms(begin, end), [50, 90, 99, 100])
            print(
                f"{name}: {each.lost} samples lost; lines late by {late[0]:.1f} ms (median), "
                f"{late[1]:.1f} (90 %), {late[2]:.1f} (99 %), {late[3]:.1f} (most); "
                f"{cpu:.2%} of a core"
            )
        rate = [page["bytes"] / (seconds + 6.0) / 1e3 for page in told]
        silence = max(page["longest_silence_seconds"] for page in told)
        print(
            f"each page: {min(rate):.1f} to {max(rate):.1f} kB/s, "
            f"{sum(page['closed'] for page in told)} closed, nothing for {silence:.2f} s at most; "
            f"tabs: {', '.join(alive)}"
        )


if __name__ == "__main__":
    main()
