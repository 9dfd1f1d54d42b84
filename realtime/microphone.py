"""The microphone: PortAudio's callback on one side of a ring buffer, the pipeline on the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from realtime.conversion import Chunk, Converter
from realtime.errors import DeviceError
from realtime.messages import hushed_libraries
from realtime.ringbuffer import RingBuffer
from realtime.sources import unusable_warning

_RING_SECONDS = 4.0
_STALL_SECONDS = 5.0


def portaudio() -> ModuleType:
    """The sounddevice module.

    Raises
    ------
    DeviceError
        If PortAudio is not installed or can't start.
    """
    try:
        with hushed_libraries():
            import sounddevice
    except OSError as error:
        raise DeviceError(
            "PortAudio is not installed, and the microphone needs it: "
            "apt install libportaudio2 (Debian, Ubuntu, Raspberry Pi OS); "
            "'otic replay' works without"
        ) from error
    except Exception as error:  # its own PortAudioError, which can't be imported then
        raise DeviceError(f"PortAudio can't start ({error}): is a sound system running?") from error
    return cast(ModuleType, sounddevice)


def input_devices() -> list[dict[str, Any]]:
    """Input devices: index, name, channels, default rate in Hz, whether it is the default."""
    sounddevice = portaudio()
    try:
        default = int(sounddevice.query_devices(kind="input")["index"])
    except (sounddevice.PortAudioError, ValueError):  # there is none
        default = -1
    try:
        devices = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the input devices can't be listed ({error})") from error
    return [
        {
            "index": int(d["index"]),
            "name": str(d["name"]),
            "channels": int(d["max_input_channels"]),
            "rate": int(d["default_samplerate"]),
            "default": int(d["index"]) == default,
        }
        for d in devices
        if d["max_input_channels"] > 0
    ]


def find_device(wanted: str | None) -> dict[str, Any]:
    """An input device by index, by name or part of one; the default for None.

    Raises
    ------
    DeviceError
        If there is none, or more than one of which none is named exactly so.
    """
    devices = input_devices()
    if not devices:
        raise DeviceError("no input device: plug in a microphone; 'otic devices' lists them")
    if wanted is None:
        return next((d for d in devices if d["default"]), devices[0])
    if wanted.isdecimal():
        matches = [d for d in devices if d["index"] == int(wanted)]
    else:
        matches = [d for d in devices if d["name"] == wanted] or [
            d for d in devices if wanted.lower() in d["name"].lower()
        ]
    if len(matches) != 1:
        listing = ", ".join(f"{d['index']}: {d['name']}" for d in devices)
        problem = "no input device" if not matches else f"{len(matches)} input devices match"
        raise DeviceError(f"{problem} '{wanted}': there are {listing}")
    return matches[0]


class Microphone:
    """A live input device.

    The callback runs in PortAudio's thread: it copies, counts and returns. Where
    PortAudio reports an overflow, the length of the loss is taken from the
    stream's own clock (at least one sample: that something is missing is sure).

    Parameters
    ----------
    wanted : str or None
        See :func:`find_device`.
    sr : int
        The model's rate in Hz. The device is opened at it where it can be, else
        at its default rate, and resampled.
    block : int
        Frames a callback.
    channel : int, optional
        Take this channel, the first is 1. Else one channel is opened, or, where the
        device refuses that, all, and their mean is taken.

    Raises
    ------
    DeviceError
        If there is no such device, or it can't be opened.
    """

    live = True

    def __init__(self, wanted: str | None, sr: int, block: int, channel: int | None = None) -> None:
        self._sounddevice = portaudio()
        device = find_device(wanted)
        self.name = device["name"]
        if channel is not None and not 1 <= channel <= device["channels"]:
            raise DeviceError(
                f"--channel {channel} is outside 1 to {device['channels']}, "
                f"the channels of '{self.name}'"
            )
        rate, channels = self._negotiate(device, sr, channel)
        self._rate = rate
        self._converter = Converter(rate, channels, sr, channel)
        self._ring = RingBuffer(max(int(_RING_SECONDS * rate), 4 * block), channels)
        self._stall_seconds = max(_STALL_SECONDS, 4 * block / rate)
        self._expected_adc_time: float | None = None
        self._overflows = 0
        self._lost = 0
        try:
            with hushed_libraries():
                self._stream = self._sounddevice.InputStream(
                    device=device["index"],
                    samplerate=rate,
                    channels=channels,
                    dtype="float32",
                    blocksize=block,
                    callback=self._callback,
                )
        except self._sounddevice.PortAudioError as error:
            raise self._unusable(error) from error

    def chunks(self) -> Iterator[Chunk | None]:
        try:
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise self._unusable(error) from error
        last_heard = last_look = time.monotonic()
        while True:
            active = self._stream.active  # before the read: what came before its end is not lost
            lost, block = self._ring.read(self._ring.capacity)
            self._lost += lost
            yield from self._converter.lose(lost)
            now = time.monotonic()
            if len(block) or now - last_look > _STALL_SECONDS / 2:  # or we were stopped ourselves
                last_heard = now
            last_look = now
            if len(block):
                yield from self._converter.push(block)
            elif not active or now - last_heard > self._stall_seconds:
                raise DeviceError(
                    f"'{self.name}' stopped delivering samples: check the cable, then start again"
                )
            else:
                yield None

    def queue_fill(self) -> float:
        return self._ring.fill

    def warnings(self) -> list[str]:
        lines = unusable_warning(self.name, self._converter)
        if self._lost:
            lines.append(
                f"{self.name}: {self._lost} samples at {self._rate} Hz were lost "
                f"({self._overflows} overflows reported by PortAudio): "
                "a larger --block or less load on this machine helps"
            )
        return lines

    def close(self) -> None:
        self._stream.close()

    def _unusable(self, error: Exception) -> DeviceError:
        return DeviceError(
            f"can't open '{self.name}' at {self._rate} Hz ({error}): "
            "is another program using it? 'otic devices' lists the others"
        )

    def _negotiate(self, device: dict[str, Any], sr: int, channel: int | None) -> tuple[int, int]:
        """Rate and channels to open: the model's rate and mono where the device can."""
        wanted = channel if channel is not None else 1
        for rate in (sr, device["rate"]):
            for channels in (wanted, device["channels"]):
                try:
                    with hushed_libraries():
                        self._sounddevice.check_input_settings(
                            device["index"], channels, "float32", samplerate=rate
                        )
                except self._sounddevice.PortAudioError:
                    continue
                return rate, channels
        return device["rate"], device["channels"]

    def _callback(self, block: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        lost = 0
        if status.input_overflow:
            self._overflows += 1
            expected = self._expected_adc_time
            late = 0.0 if expected is None else times.inputBufferAdcTime - expected
            lost = max(1, round(late * self._rate))
        self._expected_adc_time = times.inputBufferAdcTime + frames / self._rate
        self._ring.write(block, lost)
