"""The process that holds a microphone: it ends with its reader, and trusts no current folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otic.audio.capture_process import CaptureProcess
from otic.errors import DeviceError
from otic.system.subprocesses import child_command, child_environment
from tests.conftest import ROOT
from tests.support.helpers import one_line

# A PortAudio whose start never returns, as with a sound server that accepts and says nothing.
HANGS = """
import sys, types, time
fake = types.ModuleType("sounddevice")
fake.PortAudioError = type("PortAudioError", (Exception,), {})
fake.query_devices = lambda *a, **k: time.sleep(3600)
sys.modules["sounddevice"] = fake
"""
CHATS = "print('a library says hello')\n"
OPTIONS = {"wanted": None, "sr": 22050, "block_seconds": 0.1, "channel": None}


@pytest.fixture
def hanging(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(HANGS)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listening(env: dict[str, str], *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """``otic listen``, once it waits for a device to open, and its capture process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "otic", "listen", *options],
        env=env,
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    for _ in range(600):
        if found := children(process.pid):
            return process, found[0]
        time.sleep(0.1)
    raise AssertionError("it started no capture")


def await_opening(process: CaptureProcess) -> None:
    for _ in range(600):
        process.opened()
        time.sleep(0.1)


def test_it_ends_with_a_reader_that_was_killed(hanging: dict[str, str]) -> None:
    """Even while PortAudio hangs: nobody would ever end it."""
    process, child = listening(hanging)
    process.kill()
    process.wait()
    assert gone(child)


@pytest.mark.parametrize("options", [(), ("--wait",)])
def test_a_stop_while_a_device_hangs(hanging: dict[str, str], options: tuple[str, ...]) -> None:
    process, child = listening(hanging, *options)
    time.sleep(0.5)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert time.monotonic() - begin < 10.0  # opening is given up after 15 s
    assert process.returncode == 0
    assert gone(child)


def test_a_duration_while_a_device_hangs(hanging: dict[str, str]) -> None:
    process, child = listening(hanging, "--wait", "--duration", "3", "--jsonl", "/dev/stderr")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    end = json.loads(next(line for line in stderr.splitlines() if b'"end"' in line))
    assert (end["seconds"], end["lost"]) == (3.0, 66150)
    assert gone(child)


def test_files_in_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "struct.py").write_text("import sys; sys.exit('taken')\n")
    monkeypatch.chdir(tmp_path)
    command = child_command("otic.audio.capture_worker", "0")
    done = subprocess.run(
        command,
        env=child_environment(),
        input=json.dumps(OPTIONS).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"taken" not in done.stderr


def test_what_a_library_prints_is_not_taken_for_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CHATS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = CaptureProcess(**OPTIONS)
    try:
        with pytest.raises(DeviceError, match="talks nonsense"):
            await_opening(process)
    finally:
        process.close()


def test_a_process_that_can_not_be_started_is_a_device_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(DeviceError, match=r"can't be started .Resource temporarily unavailable"):
        CaptureProcess(**OPTIONS)


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    """What can't be said on a full disk is not worth more than what goes on."""
    code = "from otic.system.log import start_logging; start_logging().error('x'); print('went on')"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stderr=full, stdout=subprocess.PIPE, cwd=ROOT, check=False
        )
    assert done.stdout == b"went on\n"


def test_text_that_nobody_reads_does_not_stop_the_stream() -> None:
    """64 kB fill a pipe; what follows is dropped and counted, and the log is whole."""
    code = (
        "import sys\n"
        "from otic.types import Gap, StreamEnd, StreamStart\n"
        "from otic.sinks.text import TextSink\n"
        "sink = TextSink(sys.stderr)\n"
        "start = StreamStart('1', 'm', '0', 'a', 8000, 1.0, 0.1, ('x',))\n"
        "sink.start(start)\n"
        "for i in range(5000): sink.write(start, Gap(i, 1))\n"
        "print('went on', flush=True)\n"
        "sys.stdin.read()\n"
        "sink.end(start, StreamEnd(1, 1.0, 0))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"went on\n"
    unread = os.read(process.stderr.fileno(), 2**20)
    _, rest = process.communicate(b"", timeout=30)
    lines = (unread + rest).decode().splitlines()
    assert "lines were not read in time)" in lines[-2]
    dropped = int(lines[-2].strip("(").split()[0])
    assert len(lines) - 3 + dropped == 5000


def test_wrong_usage_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "otic", "listen", "--input-name", "a", "--input-name", "b"],
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert "--input-name is given 2 times for 1 microphones" in one_line(done.stderr)
