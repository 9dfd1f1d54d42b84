"""Where commands run: under nohup, without streams, with variables that say nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile

from tests.support.helpers import noise, one_line, otic, records

SR = 22050


def wav(path: Path, seconds: float) -> Path:
    soundfile.write(path, noise(round(seconds * SR)), SR)
    return path


def wait_for_line(path: Path, text: bytes) -> None:
    for _ in range(1200):
        if path.exists() and text in path.read_bytes():
            return
        time.sleep(0.05)
    pytest.fail(f"no {text!r} in {path}")


def test_under_nohup_it_goes_on_when_the_terminal_goes(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "otic", "replay", str(wav(tmp_path / "a.wav", 60.0))),
            *("--jsonl", str(log)),
        ],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # as nohup does
        stderr=subprocess.DEVNULL,
    )
    wait_for_line(log, b'"scores"')
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2.0)
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert records(log.read_bytes())[-1]["type"] == "end"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["models"], ["replay", "--help"]])
@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_output_that_can_not_be_written_is_a_failure(words: list[str], where: str) -> None:
    command = f'exec "$0" -m otic "$@" {where}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *words], stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 1
    assert one_line(done.stderr).endswith(": standard output")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("OSError(22, os.strerror(22))", 1, "Invalid argument: otic did not expect this"),
        ("OSError(22, os.strerror(22), 'some/file')", 1, "otic: Invalid argument: some/file"),
        ("BrokenPipeError(32, os.strerror(32))", 1, "Broken pipe: otic did not expect this"),
    ],
)
def test_an_error_from_elsewhere_is_not_blamed_on_standard_output(
    error: str, code: int, text: str
) -> None:
    script = (
        "import os, sys\n"
        "from otic.cli import main as cli, models\n"
        "def devices(args):\n"
        "    print('so far')\n"
        f"    raise {error}\n"
        "models.devices = devices\n"
        "sys.exit(cli.main(['devices']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == code
    assert text in one_line(done.stderr)
    assert done.stdout == b"so far\n"


def test_a_reader_that_has_enough_is_no_error() -> None:
    script = (
        "import sys\n"
        "from otic.cli import main as cli, models\n"
        "def devices(args):\n"
        "    for n in range(100_000): print(n)\n"
        "    return 3\n"
        "models.devices = devices\n"
        "sys.exit(cli.main(['devices']))"
    )
    command = f'{{ {sys.executable} -c "$0"; echo $? >&2; }} | head -1'
    done = subprocess.run(["sh", "-c", command, script], capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"0\n", b"0\n")


def test_variables_that_only_a_sensor_reads_are_named(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", 3.0)
    words = ("replay", path, "--speed", "max", "--jsonl", "-")
    environment = {"OTIC_THRESHOLDS": "dog=1", "OTIC_MQTT_PASSWORD": "x", "OTIC_NAME": ""}
    done = otic(*words, env=environment)
    assert done.returncode == 0
    line = one_line(done.stderr)
    assert "OTIC_THRESHOLDS: only 'otic run' reads this: give --thresholds" in line
    assert otic(*words, "--thresholds", "dog=1", env=environment).stderr == b""


def test_labels_are_taken_with_commas_and_wrong_ones_get_a_hint(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", 3.0)
    words = ("replay", path, "--speed", "max", "--jsonl", "-", "--thresholds")
    assert otic(*words, "dog=0.5,rain=0.4").returncode == 0
    assert otic(*words, "dog=0.5, rain=0.4").returncode == 0
    for wrong in ("dog's=0.4", "dogg=0.4"):
        done = otic(*words, wrong)
        assert done.returncode == 1
        assert "(did you mean 'dog'?): 'otic inspect" in one_line(done.stderr)
    done = otic("replay", path, "--model", "esc10-mfcc-ml")
    assert "did you mean 'esc10-mfcc-mlp'?" in one_line(done.stderr)


def test_the_demo_keeps_no_marks() -> None:
    from argparse import Namespace

    from otic.cli.live import log_settings

    args = Namespace(jsonl_path=None, model="esc10-mfcc-mlp", log=("events",), web_listen=None)
    assert not log_settings(args).review.enabled


def test_a_sensor_whose_messages_nobody_reads_ends_on_request(tmp_path: Path) -> None:
    """Standard error is a full pipe while the microphone is missing."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(65536))
    os.set_blocking(writer, True)
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "otic", "run", "--device", "no such device", "--jsonl", str(log)],
        stderr=writer,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    os.close(writer)
    try:
        wait_for_line(log, b'"start"')
        time.sleep(1.0)  # by now it has said that it waits
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert records(log.read_bytes())[-1]["type"] == "end"
    finally:
        process.kill()
        os.close(reader)


def test_a_home_folder_is_put_in_place_of_a_tilde(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", 3.0)
    done = otic(
        *("replay", tmp_path / "a.wav", "--speed", "max", "--jsonl=~/log.jsonl"),
        env={"HOME": str(tmp_path)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert records((tmp_path / "log.jsonl").read_bytes())[-1]["type"] == "end"
    assert not (tmp_path / "~").exists()
