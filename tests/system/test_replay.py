"""`otic replay` as a person runs it: the same bytes whatever the block size and the speed."""

from __future__ import annotations

import csv
import json
import math
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from otic.audio.soundscape import synthesise
from otic_training.data.layouts import load_dataset
from tests.support.helpers import F32, noise, of_type, otic, records

SR = 22050


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of the demo's soundscape: 44.1 kHz, stereo, with events in it."""
    y, _ = synthesise(44100)
    path = tmp_path_factory.mktemp("audio") / "scape.wav"
    soundfile.write(path, np.stack([y, y * 0.5], axis=1)[: 44100 * 6], 44100, subtype="PCM_16")
    return path


def replay(path: Path | str, *options: str | Path, code: int = 0) -> bytes:
    done = otic("replay", path, *options, "--jsonl", "-")
    assert done.returncode == code, done.stderr.decode()
    return done.stdout


def test_the_log_is_complete_and_consistent(recording: Path) -> None:
    log = records(replay(recording, "--speed", "max"))
    assert log[0]["type"] == "start"
    assert list(log[0]) == [
        *("type", "format", "otic", "model", "model_sha256", "source", "sr"),
        *("window_seconds", "inference_hop_seconds", "labels"),
    ]
    assert log[0]["source"] == "scape.wav"
    assert log[-1] == {"type": "end", "samples": SR * 6, "seconds": 6.0, "lost": 0}
    scores = [r for r in log if r["type"] == "scores"]
    window, hop = log[0]["window_seconds"] * SR, log[0]["inference_hop_seconds"] * SR
    assert [s["sample"] for s in scores] == [
        round(window + i * hop) for i in range(math.floor((SR * 6 - window) / hop) + 1)
    ]
    assert all(list(s["scores"]) == log[0]["labels"] for s in scores)
    assert all(s["time"] == round(s["sample"] / SR, 6) for s in scores)
    events = [r for r in log if r["type"] == "event"]
    assert [e["state"] for e in events] == ["on", "off"] * (len(events) // 2)
    assert "rain" in {e["label"] for e in events}


def test_the_same_bytes_for_any_block_and_speed(recording: Path) -> None:
    reference = replay(recording, "--speed", "max")
    for block in ("1", "17", "512", "65536"):
        assert replay(recording, "--speed", "max", "--block", block) == reference
    assert replay(recording, "--speed", "20") == reference


@pytest.mark.parametrize("subtype", ["mp3", "ogg", "flac"])
def test_the_same_bytes_for_compressed_files(recording: Path, tmp_path: Path, subtype: str) -> None:
    y, rate = soundfile.read(recording)
    path = tmp_path / f"scape.{subtype}"
    soundfile.write(path, y[: 4 * rate], rate)
    logs = {replay(path, "--speed", "max", "--block", block) for block in ("100", "1024", "99999")}
    assert len(logs) == 1


def test_raw_pcm_on_stdin_is_the_file(recording: Path) -> None:
    y, rate = soundfile.read(recording, dtype="int16")
    options = ["--speed", "max", "--rate", str(rate), "--channels", "2", "--jsonl", "-"]
    piped = otic("replay", "-", *options, input=y.astype("<i2").tobytes())
    assert piped.returncode == 0
    expected = replay(recording, "--speed", "max").replace(b'"scape.wav"', b'"stdin"')
    assert piped.stdout == expected


def test_several_files_one_log(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    done = otic("replay", recording, recording, "--speed", "max", "--jsonl", path)
    assert done.returncode == 0
    assert done.stdout == b""
    once = replay(recording, "--speed", "max")
    assert path.read_bytes() == once + once


def scores_of(path: Path) -> F32:
    found = of_type(replay(path, "--speed", "max", "--log", "scores"), "scores")
    return np.array([list(s["scores"].values()) for s in found])


def test_files_of_one_name_and_the_tables_at_the_end(recording: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").write_bytes(recording.read_bytes())
    command = ("replay", tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav", "--speed", "max")
    for together in ([], ["--together"]):
        done = otic(*command, *together, "--jsonl", "-")
        log = [json.loads(line) for line in done.stdout.splitlines()]
        assert [each["source"] for each in log if each["type"] == "start"] == ["a/x.wav", "b/x.wav"]
        assert done.stderr == b""  # the tables are for a person who reads along
    n_events = sum(each["type"] == "event" and each["state"] == "off" for each in log)
    done = otic(*command)
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    labels = lines[lines.index(next(line for line in lines if line.startswith("label "))) + 1 : -3]
    assert sum(int(line.split()[-2]) for line in labels) == n_events
    assert lines[-3].split() == ["file", "events", "time", "of"]
    for line, name in zip(lines[-2:], ("a/x.wav", "b/x.wav"), strict=True):
        assert line.split()[:2] == [name, str(n_events // 2)]
        assert line.split()[3] == "0:06.0"


def test_48_khz_stereo_is_22_khz_mono(esc10: Path, tmp_path: Path) -> None:
    """Streamed from 48 kHz stereo, or converted before with soxr's one-shot: the same scores."""
    clips = load_dataset(str(esc10)).clips
    for clip in (clips[3], clips[77], clips[200]):
        y, rate = soundfile.read(clip.path, dtype="float32")
        y = soxr.resample(y, rate, 48000)
        stereo = np.stack([y, 0.8 * y + 0.01 * noise(len(y))], axis=1).astype(np.float32)
        soundfile.write(tmp_path / "48.wav", stereo, 48000, subtype="FLOAT")
        mono = soxr.resample(stereo.mean(axis=1), 48000, SR)
        soundfile.write(tmp_path / "22.wav", mono, SR, subtype="FLOAT")
        np.testing.assert_allclose(
            scores_of(tmp_path / "48.wav"), scores_of(tmp_path / "22.wav"), rtol=0, atol=1e-3
        )


def test_real_clips_are_named(esc10: Path) -> None:
    """The bundled model was trained on these: this tests the chain, not the accuracy."""
    clips = [c for c in load_dataset(str(esc10)).clips if c.fold == 1][::8]
    log = replay(clips[0].path, *[c.path for c in clips[1:]], "--speed", "max")
    streams: list[list[dict[str, object]]] = []
    for record in records(log):
        if record["type"] == "start":
            streams.append([])
        streams[-1].append(record)
    right = 0
    for clip, stream in zip(clips, streams, strict=True):
        scores = np.mean(
            [list(r["scores"].values()) for r in stream if r["type"] == "scores"],  # type: ignore[attr-defined]
            axis=0,
        )
        labels = list(stream[0]["labels"])  # type: ignore[call-overload]
        right += labels[int(scores.argmax())] == clip.label
    assert right >= 0.8 * len(clips)


def test_a_reader_that_leaves_early(recording: Path) -> None:
    command = f"{sys.executable} -m otic replay {recording} --jsonl - --speed max | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    assert json.loads(done.stdout)["type"] == "start"
    command = f"{sys.executable} -m otic inspect esc10-mfcc-mlp --json | true"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""


def test_real_time_takes_real_time(recording: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.wav"
    y, rate = soundfile.read(recording)
    soundfile.write(short, y[: 3 * rate], rate)

    def seconds(speed: str) -> float:
        begin = time.monotonic()
        replay(short, "--speed", speed)
        return time.monotonic() - begin

    start_up = seconds("max")
    took = [seconds("1")]
    while took[-1] > 3.0 + start_up + 1.0 and len(took) < 4:  # the machine was busy, say
        took.append(seconds("1"))
    assert 2.8 <= min(took) <= 3.0 + start_up + 1.0


def test_a_file_that_is_replayed_again_gives_no_second_rows(
    recording: Path, tmp_path: Path
) -> None:
    """And no times of the wall clock: when it was recorded is not known."""
    table, database = tmp_path / "events.csv", tmp_path / "events.db"
    (tmp_path / "other").mkdir()
    other = Path(shutil.copy(recording, tmp_path / "other"))
    quiet = ("--speed", "max", "--no-dashboard", "--name", "yard")

    def rows(path: Path) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
        done = otic("replay", path, *quiet, "--csv-path", table, "--sqlite-path", database)
        assert done.returncode == 0, done.stderr.decode()
        with table.open(newline="") as file, sqlite3.connect(database) as db:
            found = db.execute("SELECT event, onset_at FROM events").fetchall()
            return list(csv.DictReader(file)), found

    first, kept = rows(recording)
    assert len(first) == len(kept) > 0
    assert rows(recording) == (first, kept)
    assert {(row["onset_at"], row["offset_at"]) for row in first} == {("", "")}
    assert {onset_at for _, onset_at in kept} == {""}
    both, _ = rows(other)  # of the same name in another folder: another recording
    assert len(both) == 2 * len(first)
