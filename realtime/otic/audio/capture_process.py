"""The reading end of a capture process."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.audio.capture import HEADER
from otic.errors import DeviceError
from otic.system.subprocesses import child_command, child_environment

_READ_BYTES = 2**18
_END_SECONDS = 0.5


@dataclass(frozen=True)
class CapturedBlock:
    """One block of a capture.

    Attributes
    ----------
    lost : int
        Frames missing just before it.
    overruns : int
        How often frames were lost so far.
    ring_fill : float
        Share of the ring that waited to be read, 0 to 1.
    ends_at : float
        When its last frame came, by the monotonic clock.
    samples : float32 [n, channels]
    """

    lost: int
    overruns: int
    ring_fill: float
    ends_at: float
    samples: NDArray[np.float32]


class CaptureProcess:
    """A running :mod:`otic.audio.capture_worker`, read without waiting.

    Parameters
    ----------
    **options
        Those of a :class:`otic.audio.capture_worker.DeviceCapture`, or of a
        :class:`otic.audio.stream_capture.StreamCapture`.
    """

    def __init__(self, **options: Any) -> None:
        try:
            self._process = subprocess.Popen(
                child_command("otic.audio.capture_worker", str(os.getpid())),
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # ALSA's chatter, millions of lines where it goes mad
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(
                f"the process that would hold the microphone can't be started ({error.strerror})"
            ) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(json.dumps(options).encode())
        self._pipe = self._process.stdout
        self._received = bytearray()
        self.ended = False
        """Nothing more will come."""

    def fileno(self) -> int:
        """What to wait on."""
        return self._pipe.fileno()

    def opened(self) -> dict[str, Any] | None:
        """Name, rate and channels of the device; None while it is being opened.

        Raises
        ------
        DeviceError
            If there is no such device, or it can't be opened.
        """
        self._receive()
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            if self.ended:
                raise DeviceError("the sound system failed while a device was opened: try again")
            return None
        self._received = rest
        try:
            facts: dict[str, Any] = json.loads(line)
        except ValueError:
            raise DeviceError("the process that holds the microphone talks nonsense") from None
        if "error" in facts:
            raise DeviceError(facts["error"])
        return facts

    def read(self, channels: int) -> list[CapturedBlock]:
        """The blocks that are there."""
        self._receive()
        blocks = []
        while len(self._received) >= HEADER.size:
            lost, overruns, fill, ends_at, frames = HEADER.unpack_from(self._received)
            end = HEADER.size + 4 * frames * channels
            if len(self._received) < end:
                break
            samples = np.frombuffer(bytes(self._received[HEADER.size : end]), np.float32)
            del self._received[:end]
            blocks.append(
                CapturedBlock(lost, overruns, fill, ends_at, samples.reshape(frames, channels))
            )
        return blocks

    def close(self) -> None:
        """End it and its child. Not politely: PortAudio may never come back from being closed."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # In the kernel, stuck in a driver, it dies later; Python's subprocess reaps it then.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._pipe.close()

    def _receive(self) -> None:
        while not self.ended and select.select([self._pipe], [], [], 0.0)[0]:
            data = self._pipe.read(_READ_BYTES)
            self._received += data
            self.ended = not data
            if len(data) < _READ_BYTES:
                break
