"""The process that holds a microphone: a capture, a pipe.

A process of its own, because PortAudio can't be trusted with ours: where a sound server
dies, its ALSA back end spins for ever, prints millions of lines, and closing the stream never
returns (seen with PortAudio 19.7 and PulseAudio 16); and a device that was plugged in after
its start it never sees. A process can be ended and begun again. It also goes on hearing while
the one that classifies is held up.

It reads its options from standard input, in JSON: those of a :class:`DeviceCapture`, or with
``url`` those of a :class:`otic.audio.stream_capture.StreamCapture`; a process list shows neither.
What it writes on standard output: one JSON line (see :func:`opened_line`), then blocks, each
a :data:`otic.audio.capture.HEADER` and float32 [frames, channels].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from otic.audio.capture import LOOK_SECONDS, Capture
from otic.audio.devices import check_channel, find_device, negotiate, portaudio
from otic.audio.stream_capture import StreamCapture
from otic.errors import DeviceError
from otic.system.log import silence_native_stderr


class DeviceCapture(Capture):
    """An open input device and what it has heard.

    The callback runs in PortAudio's thread: it copies, counts and returns. Where
    PortAudio reports an overflow, the length of the loss is taken from the
    stream's own clock (at least one sample: that something is missing is sure).

    Parameters
    ----------
    wanted : str or None
        See :func:`otic.audio.devices.find_device`.
    sr : int
        The model's rate in Hz, for a device that opens at no usual one.
    block_seconds : float
        Length of a callback's block.
    channel : int, optional
        Open at least so many channels, the first is 1. Else one, or all where the
        device refuses that.

    Raises
    ------
    DeviceError
        If there is no such device, or it can't be opened.
    """

    def __init__(
        self, wanted: str | None, sr: int, block_seconds: float, channel: int | None = None
    ) -> None:
        sounddevice = portaudio()
        device = find_device(wanted)
        check_channel(device, channel)
        rate, channels = negotiate(device, sr, channel)
        super().__init__(str(device["name"]), device["ids"], rate, channels, block_seconds)
        self._expected_adc_time: float | None = None
        try:
            with silence_native_stderr():
                self._stream = sounddevice.InputStream(
                    device=device["index"],
                    samplerate=self.rate,
                    channels=self.channels,
                    dtype="float32",
                    blocksize=max(1, round(block_seconds * self.rate)),
                    callback=self._callback,
                    finished_callback=self._arrived.set,
                )
                self._stream.start()
        except sounddevice.PortAudioError as error:
            raise DeviceError(
                f"can't open '{self.name}' at {self.rate} Hz ({error}): "
                "is another program using it? 'otic devices' lists the others"
            ) from error

    @property
    def active(self) -> bool:
        """False once PortAudio has given the device up."""
        return bool(self._stream.active)

    def _callback(self, block: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        lost, before, self._came = 0, self._came, time.monotonic()
        if status.input_overflow:
            expected = self._expected_adc_time
            late = 0.0 if expected is None else times.inputBufferAdcTime - expected
            # That may be the wall clock, which is set now and then.
            lost = max(1, round(min(late, self._came - before) * self.rate))
        self._expected_adc_time = times.inputBufferAdcTime + frames / self.rate
        self._write(block, lost)


def opened_line(capture: Capture) -> bytes:
    """What the reader has to know of the blocks that follow."""
    facts = {
        "name": capture.name,
        "ids": capture.ids,
        "rate": capture.rate,
        "channels": capture.channels,
    }
    return json.dumps(facts).encode() + b"\n"


def main() -> int:
    """Open what the options say, and write what it hears until nobody reads.

    The argument is the reader's process.
    """
    # The reader decides when this ends; a stop's signal also goes to the whole group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    out = os.dup(1)  # ours alone: what a library prints must not get between the blocks
    os.dup2(2, 1)
    parent = int(sys.argv[1])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        options = json.load(sys.stdin)
        capture = StreamCapture(**options) if "url" in options else DeviceCapture(**options)
    except DeviceError as error:
        _write(out, json.dumps({"error": str(error)}).encode() + b"\n")
        return 1
    try:
        _write(out, opened_line(capture))
        while True:
            active = capture.active  # before the read: what came before its end is not lost
            block = capture.read()
            if block:
                _write(out, block)
            elif active:
                capture.wait()
            else:
                break
    except BrokenPipeError:
        pass
    return _leave()


def _end_with(parent: int) -> None:
    """End this process when its reader is gone, wherever PortAudio is stuck."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    _leave()


def _leave() -> NoReturn:
    """End this process, and its child with it; no orderly end of PortAudio's may ever come."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _write(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


if __name__ == "__main__":
    sys.exit(main())
