"""Somebody who speaks into the virtual microphone, for as long as the test runs."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_CLIP_SECONDS = 60.0


class Player:
    """Plays random clips with pauses, also while there is no device or no server to play to."""

    def __init__(
        self, clips: Sequence[Path], env: dict[str, str], seed: int, pause_seconds: float
    ) -> None:
        self.played = self.failed = 0
        self._clips, self._env, self._pause = clips, env, pause_seconds
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            clip = self._rng.choice(self._clips)
            command = ["paplay", "--device=virt", str(clip)]
            process = subprocess.Popen(
                command, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            until = time.monotonic() + _CLIP_SECONDS
            while process.poll() is None and time.monotonic() < until:
                if self._stop.wait(0.1):
                    break
            if process.poll() is None:
                process.kill()
            if process.wait() == 0:
                self.played += 1
            else:
                self.failed += 1
            self._stop.wait(self._rng.uniform(0.2, 2.0) * self._pause)
