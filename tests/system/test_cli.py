"""The command line as a person meets it: bad input gets one line and the right exit code."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import __version__, load_bundle, save_bundle
from otic.config.values import DEFAULT_MODEL
from otic.model.bundle import bundled_names
from tests.support.helpers import bundled, noise, of_type, one_line, otic, records
from tests.unit.test_bundle import write_raw

SR = 22050
DEFAULT = load_bundle(DEFAULT_MODEL)
WINDOW, HOP = DEFAULT.window_samples, DEFAULT.inference_hop_samples


def wav(
    path: Path, seconds: float = 3.0, rate: int = SR, channels: int = 1, **options: str
) -> Path:
    n = round(seconds * rate)
    soundfile.write(path, noise(n * channels).reshape(n, channels), rate, **options)
    return path


def fails(*arguments: str | Path, code: int = 1) -> str:
    done = otic(*arguments)
    assert done.returncode == code, done.stderr.decode()
    assert done.stdout == b""
    return one_line(done.stderr)


def test_version_and_help() -> None:
    assert otic("--version").stdout.decode().strip() == f"otic {__version__}"
    commands = ["demo", "listen", "replay", "devices", "models", "inspect", "train", "crossval"]
    commands += ["verify", "warmup", "bench"]
    overview = otic("--help").stdout.decode()
    for command in commands:
        assert command in overview
        text = otic(command, "--help").stdout.decode()
        assert f"example: otic {command}" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "a command is missing"),
        (["sing"], "unknown command 'sing'"),
        (["replay"], "required: FILE"),
        (["replay", "a.wav", "--speed", "0"], "--speed: '0' must be a number above 0, or max"),
        (["replay", "a.wav", "--speed", "fast"], "'fast' must be a number above 0, or max"),
        (["replay", "a.wav", "--block", "0"], "--block: '0' must be a whole number"),
        (["replay", "a.wav", "--log", "all"], "--log: 'all' must be some of scores, events"),
        (["replay", "a.wav", "--block", "9999999"], "--block: '9999999' must be at most 1048576"),
        (["train", "data", "--seed", "-1"], "--seed: '-1' must be a whole number from 0"),
        (["listen", "--duration", "-3"], "--duration: '-3' must be a number above 0"),
        (["listen", "--duration", "nan"], "--duration: 'nan' must be a number above 0"),
        (["listen", "--channel", "0"], "--channel: '0' must be a whole number"),
        (["train"], "required: DATASET"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    message = fails(*arguments, code=2)
    assert words in message
    assert "--help" in message


def test_no_such_file() -> None:
    assert "can't read 'nope.wav': there is no such file" in fails("replay", "nope.wav")


def test_not_audio(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("this is text")
    assert "as audio" in fails("replay", tmp_path / "a.wav")


def test_zero_length_audio(tmp_path: Path) -> None:
    assert "holds no audio" in fails("replay", wav(tmp_path / "a.wav", 0.0))


def test_audio_shorter_than_the_window(tmp_path: Path) -> None:
    done = otic("replay", wav(tmp_path / "a.wav", 0.5), "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0
    assert "that the model's first scores take: there are no scores" in one_line(done.stderr)
    assert [r["type"] for r in records(done.stdout)] == ["start", "end"]


def test_a_cut_off_flac_is_classified_then_fails(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.flac", 8.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = otic("replay", path, "--speed", "max", "--jsonl", "-")
    assert done.returncode == 1
    assert "damaged or cut off" in one_line(done.stderr)
    (end,) = of_type(done.stdout, "end")
    assert 3.0 < end["seconds"] < 5.0
    assert len(of_type(done.stdout, "scores")) > 5


def test_not_finite_samples_are_a_gap_and_the_stream_goes_on(tmp_path: Path) -> None:
    y = noise(SR * 6)
    y[SR * 3 : SR * 3 + 50] = np.nan
    y[SR * 3 + 50] = np.inf
    soundfile.write(tmp_path / "a.wav", y, SR, subtype="FLOAT")
    done = otic("replay", tmp_path / "a.wav", "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0
    assert "51 samples are NaN, infinite or above 1e+06" in one_line(done.stderr)
    assert of_type(done.stdout, "gap") == [{"type": "gap", "sample": SR * 3, "lost": 51}]
    times = [s["sample"] for s in of_type(done.stdout, "scores")]
    assert times[0] == WINDOW
    after = [t for t in times if t > SR * 3]
    assert after[0] == SR * 3 + 51 + WINDOW  # the model began afresh
    assert of_type(done.stdout, "end")[0] == {
        "type": "end",
        "samples": SR * 6,
        "seconds": 6.0,
        "lost": 51,
    }


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [
        (8000, 1, "PCM_16"),
        (192000, 2, "PCM_24"),
        (44100, 1, "PCM_U8"),
        (48000, 6, "FLOAT"),
        (22050, 2, "DOUBLE"),
    ],
)
def test_unusual_formats_work(tmp_path: Path, rate: int, channels: int, subtype: str) -> None:
    path = wav(tmp_path / "a.wav", 2.6, rate, channels, subtype=subtype)
    done = otic("replay", path, "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    assert len(of_type(done.stdout, "scores")) == 1 + (round(2.6 * SR) - WINDOW) // HOP
    assert abs(of_type(done.stdout, "end")[0]["samples"] - 2.6 * SR) <= 1


def test_absurdly_large_samples_are_a_gap_too(tmp_path: Path) -> None:
    y = noise(SR * 6)
    y[100:200] = 1e25
    soundfile.write(tmp_path / "a.wav", y, SR, subtype="FLOAT")
    done = otic("replay", tmp_path / "a.wav", "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0
    assert "100 samples are NaN, infinite or above" in one_line(done.stderr)
    assert b"NaN" not in done.stdout
    assert of_type(done.stdout, "gap") == [{"type": "gap", "sample": 100, "lost": 100}]


def test_a_break_that_leaves_no_window_is_said_so(tmp_path: Path) -> None:
    y = noise(SR)
    y[len(y) // 2] = np.nan
    soundfile.write(tmp_path / "a.wav", y, SR, subtype="FLOAT")
    done = otic("replay", tmp_path / "a.wav", "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0
    assert "no stretch of its 1.000000 s is as long as the " in done.stderr.decode()


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    wav(tmp_path / "a.wav").rename(os.fsdecode(name))
    done = otic("replay", os.fsdecode(name), "--speed", "max", "--jsonl", "-")
    assert done.returncode == 0, done.stderr
    assert records(done.stdout)[0]["source"] == "caf\ufffd.wav"


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is no file; for a pipe use -" in fails("replay", tmp_path / "pipe")
    assert f"'{tmp_path}' has no audio files (.wav, .wave" in fails("replay", tmp_path)
    assert "File name too long" in fails("replay", "x" * 300)


def test_an_output_that_is_full_or_narrow() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "otic", "models"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert one_line(done.stderr) == "otic: No space left on device: standard output"
    done = otic("demo", "--speed", "max", env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0
    assert b"of 6 sounds" in done.stdout


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    good = wav(tmp_path / "good.wav")
    done = otic("replay", "nope.wav", good, "no.wav", "--speed", "max", "--jsonl", "-")
    assert done.returncode == 1
    assert [line.split("'")[2] for line in done.stderr.decode().splitlines()] == [
        "nope.wav",
        "no.wav",
    ]
    assert [r["source"] for r in of_type(done.stdout, "start")] == ["good.wav"]
    assert len(of_type(done.stdout, "end")) == 1


def test_unknown_model(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav")
    message = fails("replay", path, "--model", "nope")
    assert "unknown model 'nope': known are" in message
    assert "esc10-mfcc-mlp" in message


@pytest.mark.parametrize("command", ["replay", "inspect"])
def test_bad_model_files(tmp_path: Path, command: str) -> None:
    def message(path: Path) -> str:
        if command == "inspect":
            return fails("inspect", path)
        return fails("replay", wav(tmp_path / "a.wav"), "--model", path)

    bare = tmp_path / "bare.tflite"
    bare.write_bytes(bundled().model)
    assert "has no bundle data" in message(bare)

    cut = tmp_path / "cut.tflite"
    save_bundle(cut, bundled())
    cut.write_bytes(cut.read_bytes()[:-30])
    assert "is damaged" in message(cut)

    values = bundled().to_dict()
    for name in ("on_thresholds", "off_thresholds"):
        values["decision"][name] = values["decision"][name][:4]
    four = write_raw(
        tmp_path / "four.tflite",
        bundled().model,
        {"otic.json": json.dumps(values), "labels.txt": "a\nb\nc\nd\n"},
    )
    assert "names 4 labels, but the model's output has shape [1, 10]" in message(four)


def test_an_unwritable_log(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav")
    message = fails("replay", path, "--jsonl", tmp_path / "no" / "log.jsonl")
    assert "can't write" in message
    assert "log.jsonl" in message


def test_the_log_does_not_overwrite_what_is_read(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav")
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for log in (path, tmp_path / "link"):
        assert "would overwrite" in fails("replay", path, "--speed", "max", "--jsonl", log)
    assert path.read_bytes() == before
    model = tmp_path / "m.tflite"
    save_bundle(model, bundled())
    assert "would overwrite" in fails("replay", path, "--model", model, "--jsonl", model)


def test_a_reader_that_stalls_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # nobody opens it for reading
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "otic", "replay", str(wav(tmp_path / "a.wav"))),
            *("--jsonl", str(tmp_path / "log")),
        ],
        stderr=subprocess.PIPE,
    )
    time.sleep(5)
    process.terminate()
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "the log's reader has stalled" in one_line(stderr)


def test_a_full_pipe_does_not_keep_it_from_stopping(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", 120.0)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "otic", "replay", str(path)),
            *("--speed", "max", "--jsonl", "-"),
        ],
        stdout=subprocess.PIPE,  # never read
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(600):
        waiting = fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4))
        if int.from_bytes(waiting, sys.byteorder) > 60_000:
            break
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=12) == 1
    assert "the log's reader has stalled" in one_line(process.stderr.read())


def test_a_model_that_gives_nan(tmp_path: Path) -> None:
    bundle = bundled()
    model = bytearray(bundle.model)
    at = len(model) // 2 // 4 * 4  # in the weights
    model[at : at + 4096] = np.full(1024, np.nan, "<f4").tobytes()
    save_bundle(tmp_path / "m.tflite", replace(bundle, model=bytes(model)))
    done = otic(
        *("replay", wav(tmp_path / "a.wav"), "--model", tmp_path / "m.tflite"),
        *("--speed", "max", "--jsonl", "-"),
    )
    assert done.returncode == 1
    assert b"NaN" not in done.stdout
    assert "scores that are not finite" in one_line(done.stderr)


def test_debug_shows_the_traceback() -> None:
    done = otic("replay", "nope.wav", "--debug")
    assert done.returncode == 1
    assert b"Traceback" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_close_events_and_complete_the_log(tmp_path: Path, number: signal.Signals) -> None:
    from otic.audio.soundscape import synthesise

    y, _ = synthesise(SR)
    soundfile.write(tmp_path / "a.wav", y[: 22 * SR], SR)
    log = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "otic", "replay", str(tmp_path / "a.wav")),
            *("--speed", "3", "--jsonl", str(log)),
        ],
        stderr=subprocess.PIPE,
    )
    for _ in range(600):
        if log.exists() and b'"on"' in log.read_bytes():
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 0
    assert stderr == b""
    *_, off, end = records(log.read_bytes())
    assert (off["state"], end["type"]) == ("off", "end")
    assert end["seconds"] < 22.0


def test_without_a_terminal_events_are_plain_lines_on_stderr() -> None:
    done = otic("demo", "--speed", "max")
    assert done.returncode == 0
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith(f"demo: {DEFAULT_MODEL}")
    assert any("rain on" in line for line in lines)
    assert lines[-1] == "end after 0:44.00, 0 samples lost"


def test_the_demo_names_what_it_synthesises_and_what_it_heard() -> None:
    done = otic("demo", "--speed", "max")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 8
    right = sum("✓" in line for line in lines)
    assert right == 6, done.stdout.decode()
    assert any("crackling fire" in line for line in lines)
    assert "_" not in done.stdout.decode()
    assert lines[-1] == f"{right} of 6 sounds were recognised"


def test_the_demo_leaves_stdout_to_the_log() -> None:
    done = otic("demo", "--speed", "max", "--jsonl", "-", "--log", "events")
    assert {r["type"] for r in records(done.stdout)} == {"start", "event", "end"}
    assert "of 6 sounds" in done.stderr.decode()


def test_closed_standard_error_does_not_spoil_the_log() -> None:
    command = f"{sys.executable} -m otic demo --speed max --jsonl - --log events 2>&-"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert records(done.stdout)[-1]["type"] == "end"


def test_models_and_inspect() -> None:
    text = otic("models").stdout.decode()
    for word in ("esc10-mfcc-mlp", "Apache-2.0", "kB"):
        assert word in text
    (default,) = (line for line in text.splitlines() if DEFAULT_MODEL in line)
    assert default.startswith("* ")
    assert "Apache-2.0" in default
    assert len(text.splitlines()) == len(bundled_names()) + 3  # with a heading and two hints
    assert max(map(len, text.splitlines())) < 100
    values = json.loads(otic("inspect", "esc10-mfcc-mlp", "--json").stdout)
    assert values["labels"] == list(bundled().labels)
    assert values["features"] == bundled().features.to_dict()
    assert values["sha256"] == bundled().sha256
    plain = otic("inspect", "esc10-mfcc-mlp").stdout.decode()
    for word in ("hop_length", "on_thresholds", "confusion", bundled().sha256):
        assert word in plain
    matrix = plain[plain.index("confusion") :].splitlines()[1:11]
    assert [line.split()[0] for line in matrix] == list(bundled().labels)
    assert all(len(line.split()) == 11 for line in matrix)


def test_train_without_its_extra(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'tensorflow' else find(name, *a)\n"
        "from otic.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    train = ["train", "data", "--preset", "mfcc-mlp", "--out", "m.tflite"]
    for command in (train, ["crossval", "data"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 1
        assert "pip install 'otic[train]'" in one_line(done.stderr)
