"""A microphone without hardware: PulseAudio's null sink, heard through ALSA by PortAudio."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import debian

PACKAGES = ["pulseaudio", "pulseaudio-utils", "libasound2-plugins", "libportaudio2"]
_ALSA = """\
</usr/share/alsa/alsa.conf>
pcm.!default { type pulse hint { show on description "virtual microphone" } }
ctl.!default { type pulse }
"""


def missing() -> list[str]:
    """What is not installed."""
    found = {
        "pulseaudio": shutil.which("pulseaudio"),
        "pulseaudio-utils": shutil.which("pactl") and shutil.which("paplay"),
        "libasound2-plugins": list(
            Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")
        ),
        "libportaudio2": ctypes.util.find_library("portaudio"),
    }
    return [name for name, there in found.items() if not there]


def install() -> None:
    """Install what is missing, where that is allowed."""
    debian.install(PACKAGES, missing)


_SINK = ["module-null-sink", "sink_name=virt", "rate=48000", "channels=2"]
_SOURCE = ["module-remap-source", "master=virt.monitor", "source_name=virtmic"]


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Run it; gives the environment for programs that shall hear it or speak into it."""
    server = Server(folder)
    server.start()
    try:
        yield server.env
    finally:
        server.stop()


class Server:
    """PulseAudio with the virtual microphone, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        (folder / "asound.conf").write_text(_ALSA)
        folder.chmod(0o700)
        self.env = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
            "NUMBA_CACHE_DIR": str(Path.home() / ".cache" / "otic-tests"),
        }
        self._log = folder / "pulseaudio.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with the microphone; returns when that can be opened."""
        command = ["pulseaudio", "-n", "--exit-idle-time=-1", "--load=module-native-protocol-unix"]
        command += [f"--load={' '.join(module)}" for module in (_SINK, _SOURCE)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        for _ in range(100):
            set_default = ["pactl", "set-default-source", "virtmic"]
            done = subprocess.run(set_default, env=self.env, capture_output=True, check=False)
            if not done.returncode:
                return
            time.sleep(0.1)
        self.stop()
        raise debian.NotInstalledError(self._log.read_text()[-1000:])

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


def play(path: Path, env: dict[str, str]) -> None:
    """Speak a file into the microphone; returns when it has been played."""
    subprocess.run(["paplay", "--device=virt", str(path)], env=env, check=True, timeout=60)


def unplug(env: dict[str, str]) -> None:
    """Take the microphone away, and with it all sound: there is no other source to fall back to."""
    _pactl(env, "unload-module", "module-null-sink")


def plug(env: dict[str, str]) -> None:
    """Put it back."""
    _pactl(env, "load-module", *_SINK)
    _pactl(env, "load-module", *_SOURCE)
    _pactl(env, "set-default-source", "virtmic")


def _pactl(env: dict[str, str], *arguments: str) -> None:
    subprocess.run(["pactl", *arguments], env=env, check=True, capture_output=True, timeout=30)
