"""Checks of ``otic doctor`` for the machine itself. Each returns one finding.

Sound is in :mod:`otic.diagnostics.audio_checks`, receivers and folders in
:mod:`otic.diagnostics.receiver_checks`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib import metadata

from otic.system.findings import FAIL, OK, WARN, Finding
from otic.system.machine import Board, conditions

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
HOT_CELSIUS = 75.0  # a Raspberry Pi slows down at 80, a 3B+ at 60

_LIBRARIES = ("numpy", "numba", "soundfile", "soxr", "rich")
_64_BIT = ("x86_64", "amd64", "aarch64", "arm64")


def python_check(board: Board) -> Finding:
    """Check for a Python and a processor that numba and LiteRT are built for."""
    name = "Python"
    version = ".".join(map(str, board.python))
    found = f"{version}, {board.pointer_bits} bits, on {board.machine}"
    if board.pointer_bits != 64:
        if board.machine in _64_BIT:
            return Finding(
                name,
                FAIL,
                f"{found}: 32-bit programs on a 64-bit kernel",
                (
                    "install the 64-bit Raspberry Pi OS afresh: there is no upgrade in place",
                    "numba has no 32-bit wheels, and none are planned for 32-bit Arm",
                ),
            )
        return Finding(
            name,
            FAIL,
            found,
            (
                "install a 64-bit system: Raspberry Pi 3, 4, 5 and Zero 2 W can run the 64-bit "
                "Raspberry Pi OS",
                "the first Pi, Pi Zero and Zero W can't, nor some Pi 2: take a Zero 2 W",
            ),
        )
    if board.python < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding(
            name, FAIL, found, (f"create the environment with Python {oldest} or newer",)
        )
    if board.machine.lower() not in _64_BIT:
        remedy = "numba and LiteRT have no builds for this processor: build them yourself"
        return Finding(name, WARN, found, (remedy,))
    return Finding(name, OK, found)


def libraries_check(version: Callable[[str], str | None] | None = None) -> Finding:
    """Check that the libraries are installed, can be imported and fit each other."""
    version = version or installed_version
    name = "libraries"
    versions = {library: version(library) for library in _LIBRARIES}
    missing = [library for library, found in versions.items() if found is None]
    if missing:
        remedy = f"pip install {' '.join(missing)}, or reinstall otic, in the same environment"
        return Finding(name, FAIL, f"missing: {', '.join(missing)}", (remedy,))
    for library in _LIBRARIES:
        try:
            importlib.import_module(library)
        except Exception as error:  # a damaged or foreign build raises anything
            remedy = f"pip install --force-reinstall {library}"
            return Finding(name, FAIL, f"{library} can't be imported: {_line(error)}", (remedy,))
    litert, predecessor = version("ai-edge-litert"), version("tflite-runtime")
    numpy = versions["numpy"] or ""
    listing = ", ".join(f"{library} {found}" for library, found in versions.items())
    if litert:
        return Finding(name, OK, f"{listing}, LiteRT {litert}")
    if not predecessor:
        remedy = "pip install ai-edge-litert"
        return Finding(name, FAIL, "no TFLite runtime: models can't run", (remedy,))
    if not numpy.startswith("1."):
        return Finding(
            name,
            FAIL,
            f"tflite-runtime {predecessor} with numpy {numpy}: importable, but it crashes",
            ("pip install ai-edge-litert", "or keep it: pip install 'numpy<2'"),
        )
    return Finding(name, OK, f"{listing}, tflite-runtime {predecessor}")


def installed_version(library: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def processor_check(board: Board) -> Finding:
    """Check that the processor has time for otic."""
    found = f"{board.processor}, {board.cores} cores"
    if board.model:
        found = f"{board.model}: {found}"
    load, governor = board.load, board.governor
    if load is not None:
        found += f", load {load:.2f}"
    if governor:
        found += f", governor {governor}"
    remedies = []
    if load is not None and load > board.cores:
        remedies.append("more processes want to run than there are cores: 'top' shows which")
    if governor == "powersave":
        remedies.append(
            "the processor is kept at its lowest speed: "
            "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        )
    return Finding("processor", WARN if remedies else OK, found, tuple(remedies))


def temperature_check(board: Board) -> Finding:
    """Check that the machine is not too hot."""
    celsius = board.temperature
    if celsius is None:
        return Finding("temperature", OK, "no sensor")
    if celsius >= HOT_CELSIUS:
        remedy = "give it air or a heat sink: it slows down at 80 °C, and more at 85 °C"
        return Finding("temperature", WARN, f"{celsius:.0f} °C", (remedy,))
    return Finding("temperature", OK, f"{celsius:.0f} °C")


def power_check(board: Board) -> Finding:
    """Check that a Raspberry Pi gets enough power and is not throttled."""
    name = "power"
    if not board.is_raspberry_pi:
        return Finding(name, OK, "not a Raspberry Pi: unknown")
    bits = board.throttled
    alarm = board.low_voltage_alarm
    if bits is None and not alarm:
        remedy = "sudo apt install raspi-utils: its vcgencmd asks the firmware"
        return Finding(name, WARN, "the firmware does not answer", (remedy,))
    now, before = conditions(bits or 0)
    if alarm and "under-voltage" not in now:
        now.insert(0, "under-voltage")
    if not now and not before:
        return Finding(name, OK, f"no under-voltage, never throttled (0x{bits:x})")
    parts = [f"now: {', '.join(now)}"] if now else []
    parts += [f"since the start: {', '.join(before)}"] if before else []
    found = "; ".join(parts) + (f" (0x{bits:x})" if bits is not None else "")
    remedies = []
    if "under-voltage" in now + before:
        remedies.append(
            "below 4.63 V: use the board's own power supply and a short, thick cable; "
            "give USB devices a powered hub"
        )
    if set(now + before) - {"under-voltage"}:
        remedies.append("heat or low voltage slows it down: cool it, or replace the power supply")
    remedies.append("a restart clears what was 'since the start'")
    return Finding(name, FAIL if "under-voltage" in now else WARN, found, tuple(remedies))


def cache_check() -> Finding:
    """Check that compiled kernels are stored, so that otic starts quickly."""
    from otic.features.kernels.jit import cache_folder, cache_problem

    name = "compiled kernels"
    folder, problem = cache_folder(), cache_problem()
    if folder is None or problem:
        return Finding(
            name,
            WARN,
            problem or "no folder for compiled kernels is writable",
            (
                "set NUMBA_CACHE_DIR to a writable folder; "
                "'otic service install' does this for the service",
            ),
        )
    return Finding(name, OK, f"stored in {folder}")


def clock_check(board: Board) -> Finding:
    """Check that the time of day is right, for the times of events."""
    synchronised = board.clock_is_synchronised
    if synchronised is None:
        return Finding("clock", OK, "unknown (no timedatectl)")
    if synchronised:
        return Finding("clock", OK, "set by the network")
    return Finding(
        "clock",
        WARN,
        "not set by the network: wall-clock times of events may be wrong",
        (
            "sudo timedatectl set-ntp true, and allow access to a time server (UDP 123)",
            "without a network: a clock module with a battery (the Pi 5 needs the battery only)",
        ),
    )


def model_check(model: str) -> Finding:
    """Check that the model computes correct results; two of the proofs of ``otic verify``."""
    import numpy as np

    from otic.audio.soundscape import synthesise
    from otic.diagnostics.verify import check_golden_cases, check_streaming_is_batch
    from otic.model.sandbox import load_checked_bundle

    bundle = load_checked_bundle(model)
    sound = synthesise(bundle.features.sr)[0]
    y = np.resize(sound, max(len(sound), 2 * bundle.window_samples))
    proofs = [check_streaming_is_batch(bundle, y), check_golden_cases(bundle)]
    bad = [proof for proof in proofs if proof.passed is False]
    if bad:
        found = f"{bundle.name}: " + "; ".join(f"{proof.name}: {proof.text}" for proof in bad)
        return Finding("model", FAIL, found, (f"'otic verify {model}' has the details",))
    return Finding("model", OK, f"{bundle.name} computes correct results")


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
