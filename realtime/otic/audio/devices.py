"""Input devices: which there are, which one is meant, and at what rate it opens.

PortAudio sees the devices that were there when it was started, and no others: what is
here is for a process that starts it, uses it and ends.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from otic.errors import DeviceError
from otic.system.log import silence_native_stderr

PULSE = "pulse:"
"""``pulse:NAME`` is the source NAME of PulseAudio or PipeWire, as ``pactl list short sources``
says it: PortAudio shows all of these as one device."""

_USUAL_RATES = (48_000, 44_100, 32_000, 16_000)
_SOUND_LINKS = Path("/dev/snd")


def portaudio() -> ModuleType:
    """The sounddevice module.

    Raises
    ------
    DeviceError
        If PortAudio is not installed or can't start.
    """
    try:
        with silence_native_stderr():
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
    """Input devices: index, name, ids, channels, default rate in Hz, whether it is the default.

    The index changes with what is plugged in, the name may be that of two devices; the ids
    stay: the device's own (``usb-…``), which of two of a make only one has, and its socket's.
    """
    sounddevice = portaudio()
    try:
        default = int(sounddevice.query_devices(kind="input")["index"])
    except (sounddevice.PortAudioError, ValueError):  # there is none
        default = -1
    try:
        devices = sounddevice.query_devices()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the input devices can't be listed ({error})") from error
    ids = stable_ids(_SOUND_LINKS)
    return [
        {
            "index": int(d["index"]),
            "name": str(d["name"]),
            "ids": _ids_of(str(d["name"]), ids),
            "channels": int(d["max_input_channels"]),
            "rate": int(d["default_samplerate"]),
            "default": int(d["index"]) == default,
        }
        for d in devices
        if d["max_input_channels"] > 0
    ]


def stable_ids(links: Path) -> dict[str, list[str]]:
    """Udev's names for each sound card, by its number: of the device first, then of the socket."""
    found: dict[str, list[str]] = {}
    for folder in ("by-id", "by-path"):
        for link in sorted((links / folder).glob("*")) if (links / folder).is_dir() else []:
            card = re.fullmatch(r"controlC(\d+)", link.readlink().name)
            if card:
                found.setdefault(card[1], []).append(link.name)
    return found


def _ids_of(name: str, ids: dict[str, list[str]]) -> list[str]:
    card = re.search(r"\(hw:(\d+),\d+\)", name)  # how PortAudio names what ALSA opens directly
    return ids.get(card[1], []) if card else []


def find_device(wanted: str | None) -> dict[str, Any]:
    """An input device by index, id, name or part of one; the default for None.

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
    if wanted.startswith(PULSE):
        return _pulse_device(devices, wanted)
    matches = _matches(devices, wanted)
    if len(matches) != 1:
        listing = ", ".join(f"{d['index']}: {d['name']}" for d in devices)
        problem = "no input device" if not matches else f"{len(matches)} input devices match"
        raise DeviceError(
            f"{problem} '{wanted}': there are {listing}: 'otic devices' shows their ids, too"
        )
    return matches[0]


def _matches(devices: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    if wanted.isdecimal():
        return [d for d in devices if d["index"] == int(wanted)]
    ids = stable_ids(_SOUND_LINKS)
    by_id = [d for d in devices if wanted in _ids_of(d["name"], ids)]
    exact = [d for d in devices if d["name"] == wanted]
    # A card may show several devices under one id: the first is its main input.
    return by_id[:1] or exact or [d for d in devices if wanted.lower() in d["name"].lower()]


def _pulse_device(devices: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    for device in devices:
        if device["name"] == "pulse":
            # libpulse's own variable; this process opens no other device.
            os.environ["PULSE_SOURCE"] = wanted.removeprefix(PULSE)
            return {**device, "name": wanted.removeprefix(PULSE)}
    raise DeviceError(
        f"no input device '{wanted}': PortAudio has no device 'pulse' here: "
        "apt install libasound2-plugins, and is PulseAudio or PipeWire running?"
    )


def check_channel(device: dict[str, Any], channel: int | None) -> None:
    """See that the device has the channel, the first of which is 1.

    Raises
    ------
    DeviceError
    """
    if channel is not None and not 1 <= channel <= device["channels"]:
        raise DeviceError(
            f"--channel {channel} is outside 1 to {device['channels']}, "
            f"the channels of '{device['name']}'"
        )


def negotiate(device: dict[str, Any], sr: int, channel: int | None) -> tuple[int, int]:
    """Rate and channels to open a device with.

    Its own rate comes first: where it is opened at another, ALSA or the sound server may
    resample with less care than soxr does. One channel, or up to the one that is wanted,
    where the device can; else all of them.
    """
    sounddevice = portaudio()
    wanted = channel if channel is not None else 1
    for rate in dict.fromkeys((device["rate"], *_USUAL_RATES, sr)):
        for channels in dict.fromkeys((wanted, device["channels"])):
            try:
                with silence_native_stderr():
                    sounddevice.check_input_settings(
                        device["index"], channels, "float32", samplerate=rate
                    )
            except sounddevice.PortAudioError:
                continue
            return rate, channels
    return device["rate"], device["channels"]
