"""Checks of ``otic doctor`` between the microphone and otic."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from otic.config.settings import InputSettings
from otic.system.findings import FAIL, OK, WARN, Finding, split_message
from otic.system.machine import Board

LEVEL_SECONDS = 3.0
QUIET_DBFS = -75.0  # below the noise of any microphone in any room
CLIPPED = 0.999
DC_LIMIT = 0.02  # of full scale
_SETTLING_SECONDS = 0.5  # the first samples of a device may not be sound yet
_LONGEST_ZEROS_SECONDS = 0.1
_OPEN_SECONDS = 15.0

_STREAM_REMEDIES = ("set the level where the stream is made, such as the camera's own page",)
_RATE = 48_000  # of the recording

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Devices = list[dict[str, Any]]


@dataclass(frozen=True)
class Recording:
    """A few seconds of an input: mono, in [-1, 1], at ``rate`` Hz; ``lost`` samples are missing."""

    device: str
    rate: int
    samples: NDArray[np.float32]
    lost: int = 0


def list_devices() -> Devices:
    """List the input devices.

    Raises
    ------
    DeviceError
        If PortAudio is missing or can't start.
    """
    from otic.audio.devices import input_devices

    return input_devices()


def record(chosen: InputSettings) -> Recording:
    """Record an input for a few seconds.

    Raises
    ------
    OticError
        If there is no such device or stream, or it can't be opened.
    """
    import numpy as np

    from otic.audio.open import microphone as open_microphone
    from otic.types import Lost

    rate = _RATE
    lost, blocks, n_samples = 0, [], 0
    with contextlib.closing(open_microphone(chosen, rate, 1024)) as microphone:
        microphone.await_opening()
        end = time.monotonic() + _OPEN_SECONDS + LEVEL_SECONDS
        for chunk in microphone.chunks():
            if isinstance(chunk, Lost):
                lost += chunk.samples
            elif chunk is not None:
                blocks.append(chunk)
                n_samples += len(chunk)
            if n_samples >= LEVEL_SECONDS * rate or time.monotonic() > end:
                break
            if chunk is None:
                time.sleep(0.01)
        name = microphone.name
    return Recording(name, rate, np.concatenate([np.zeros(0, np.float32), *blocks]), lost)


def portaudio_check(
    devices: Callable[[], Devices] = list_devices, required: bool = True
) -> Finding:
    """Check that PortAudio is installed and has inputs; lists them with their rates.

    Where none is ``required``, one that is missing is a warning.
    """
    from otic.errors import DeviceError

    name = "input devices"
    try:
        found = devices()
    except DeviceError as error:
        missing = "not installed" in str(error)
        remedy = (
            "sudo apt install libportaudio2"
            if missing
            else "start the sound server, or stop the program that holds the sound card: "
            "'fuser -v /dev/snd/*' shows it"
        )
        return Finding(name, FAIL, split_message(error)[0], (remedy,))
    if not found:
        return Finding(
            name,
            FAIL if required else WARN,
            "none",
            (
                "plug in a microphone; 'arecord -l' shows what the kernel sees",
                "is this user in the group audio? See the check 'permissions'",
            ),
        )
    listing = "; ".join(
        f"{'*' if device['default'] else ''}{device['index']}: {device['name']} "
        f"({device['channels']} channels, {device['rate']} Hz)"
        for device in found
    )
    return Finding(name, OK, listing)


def permissions_check(
    board: Board, may_use: Callable[[str], bool] | None = None, groups: str | None = None
) -> Finding:
    """Check that this user may use the sound cards."""
    name = "permissions"
    may_use = may_use or (lambda path: os.access(path, os.R_OK | os.W_OK))
    inputs = sorted(board.root.glob("dev/snd/pcmC*D*c"))
    if not inputs:
        if list(board.root.glob("dev/snd/pcmC*")):
            found = "the sound cards have outputs only"
        else:
            found = "no sound card in /dev/snd"
        return Finding(
            name,
            WARN,
            found,
            (
                "plug in a microphone; for an I2S microphone its dtoverlay= must be in "
                "/boot/firmware/config.txt",
                "in a container: pass --device /dev/snd; a sound server needs none of this",
            ),
        )
    shut = [path.name for path in inputs if not may_use(str(path))]
    if not shut:
        return Finding(name, OK, f"{len(inputs)} capture devices, all usable")
    groups = _groups() if groups is None else groups
    remedies = ["sudo usermod -aG audio $USER, then log in again"]
    if "audio" in groups.split():
        remedies = ["ls -l /dev/snd: are the devices the group audio's? Else reinstall udev"]
    remedies.append("the service needs no change: its unit has SupplementaryGroups=audio")
    return Finding(name, FAIL, f"no access to {', '.join(shut)}", tuple(remedies))


def sound_server_check(board: Board) -> Finding:
    """Name the sound servers that run: one of them may hold the microphone."""
    environment = board.environment
    runtime = environment.get("XDG_RUNTIME_DIR", "").lstrip("/")
    running = [
        server
        for server, socket in (
            ("PipeWire", "pipewire-0"),
            ("PulseAudio's protocol", "pulse/native"),
        )
        if runtime and (board.root / runtime / socket).exists()
    ]
    if "PULSE_SERVER" in environment:
        running.append("PULSE_SERVER is set")
    if not running:
        return Finding("sound server", OK, "none for this user: ALSA alone")
    return Finding("sound server", OK, ", ".join(running))


def level_check(
    chosen: InputSettings,
    listen: Callable[[InputSettings], Recording] = record,
    required: bool = True,
) -> Finding:
    """Check the level of three seconds from the microphone; see :func:`portaudio_check`."""
    from otic.errors import DeviceError

    wanted = chosen.name or chosen.device
    name = f"level of {wanted}" if wanted else "level"
    try:
        finding = judge(name, listen(chosen))
        if chosen.is_stream and finding.result != OK:
            return replace(finding, remedies=_STREAM_REMEDIES)
        return finding
    except DeviceError as error:
        found, remedies = split_message(error)
        result = WARN if not required and _no_inputs() else FAIL
        return Finding(name, result, found, remedies or ("'otic devices' lists the inputs",))


def _no_inputs() -> bool:
    from otic.errors import DeviceError

    try:
        return not list_devices()
    except DeviceError:  # PortAudio is missing, or can't start
        return False


def judge(name: str, recording: Recording) -> Finding:
    """Judge a microphone by a recording."""
    import numpy as np

    y = recording.samples[int(_SETTLING_SECONDS * recording.rate) :].astype(np.float64)
    if not len(y):
        remedy = "unplug it and plug it in again; 'arecord -d 3 /tmp/test.wav' tries without otic"
        return Finding(name, FAIL, f"{recording.device}: it delivers no samples", (remedy,))
    if not y.any():
        return Finding(
            name,
            FAIL,
            f"{recording.device}: only zeros: no microphone is that quiet",
            (
                "it is muted, switched off, or not a microphone: alsamixer, F4, raise Capture",
                "an I2S microphone: check its data wire and its channel: try --channel 2",
            ),
        )
    mean = float(y.mean())
    rms = float(np.sqrt(np.mean((y - mean) ** 2)))
    peak = float(np.abs(y).max())
    found = (
        f"{recording.device}: {_dbfs(rms):.0f} dBFS, peak {_dbfs(peak):.0f}, {recording.rate} Hz"
    )
    remedies = []
    if recording.lost:
        found += f", {recording.lost} samples lost"
        remedies.append(
            "samples are lost: reduce the load, use another USB port, or a larger --block"
        )
    if _longest_zeros(y) > _LONGEST_ZEROS_SECONDS * recording.rate:
        found += ", with stretches of zeros"
        remedies.append(
            "a noise gate or a loose contact: switch the gate off, or try another cable or port"
        )
    if _dbfs(rms) < QUIET_DBFS:
        found += ", too quiet"
        remedies.append("raise the capture level: alsamixer, F6 for the card, F4")
    if np.count_nonzero(np.abs(y) >= CLIPPED) > 3:
        found += ", clipped"
        remedies.append("lower the capture level or its boost: alsamixer, F6 for the card, F4")
    if abs(mean) > DC_LIMIT:
        found += f", offset {mean:+.2f}"
        remedies.append(
            "a constant offset is common in cheap sound cards: otic works, with less headroom"
        )
    return Finding(name, WARN if remedies else OK, found, tuple(remedies))


def _longest_zeros(y: NDArray[np.float64]) -> int:
    """Return the length of the longest run of zeros, in samples."""
    import numpy as np

    sounding = np.flatnonzero(np.concatenate([[1.0], y, [1.0]]))
    return int(np.diff(sounding).max()) - 1


def _groups() -> str:
    import grp

    names = []
    for group in os.getgroups():
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(group).gr_name)
    return " ".join(names)


def _dbfs(amplitude: float) -> float:
    return 20.0 * math.log10(max(amplitude, 1e-9))
