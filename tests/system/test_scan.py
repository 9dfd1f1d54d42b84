"""``otic scan`` as a person runs it."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from otic.audio.soundscape import synthesise
from otic.model.bundle import load_bundle
from otic.scan.cluster import Cluster
from otic.scan.folder import Ledger, find_runs, open_run
from otic.scan.run import Plan, Share
from otic.scan.task import Job
from tests.support.helpers import of_type, one_line, otic
from tests.support.memory import cost
from tests.support.scans import rows, write

MODEL = "esc10-mfcc-mlp"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four recordings, one of them damaged."""
    top = tmp_path_factory.mktemp("recordings")
    y = synthesise(22050)[0]
    for i, name in enumerate(("a.wav", "b/a.wav", "b/c.flac")):
        write(top / name, y[i * 44100 : i * 44100 + 400_000], 22050, "PCM_16")
    cut = write(top / "cut.wav", y[:400_000], 22050, "PCM_16")
    cut.write_bytes(cut.read_bytes()[:400_000])
    return top


def finished(jsonl: bytes) -> list[tuple[Any, ...]]:
    """Label, onset, offset, decisions and peak of what a replay logged."""
    on = {(e["label"], e["onset"]): e for e in of_type(jsonl, "event") if e["state"] == "on"}
    return [
        (
            *(e["label"], e["onset"], e["offset"], on[e["label"], e["onset"]]["time"], e["time"]),
            *(on[e["label"], e["onset"]]["score"], e["peak"]),
        )
        for e in of_type(jsonl, "event")
        if e["state"] == "off"
    ]


def test_a_scan_gives_what_a_replay_does(folder: Path, tmp_path: Path) -> None:
    """With two processes, and with one for each of two shares; a second run does nothing."""
    expected = []
    for path in sorted(folder.rglob("*.*")):
        replay = otic("replay", path, "--speed", "max", "--jsonl", "-", "--model", MODEL)
        expected += [(str(path), *row) for row in finished(replay.stdout)]
    out = tmp_path / "out"
    asked = ("scan", folder, "--out", out, "--model", MODEL)
    dry = otic(*asked, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.startswith(b"4 recordings to classify, 0.002 GB, about 0.02 h of audio")
    assert not out.exists()
    first = otic(*asked, "--jobs", "2")
    assert first.returncode == 1, first.stderr
    assert b"1 files or folders could not be read, or not to their end" in first.stderr
    (run,) = find_runs(out)
    assert [row[:8] for row in rows(run)] == sorted(expected)
    assert len(expected) > 8

    again = otic(*asked)
    assert again.returncode == 1
    assert b"4 recordings are done already, 0 are left" in again.stderr
    for i in (1, 2):
        otic("scan", folder, "--out", tmp_path / "shards", "--model", MODEL, "--shard", f"{i}/2")
    (sharded,) = find_runs(tmp_path / "shards")
    for table in ("events", "files", "errors", "gaps"):
        assert rows(sharded, table) == rows(run, table)
    otic("scan", f"file://{folder}", "--out", tmp_path / "url", "--model", MODEL)
    (fetched,) = find_runs(tmp_path / "url")
    assert [(row[0].removeprefix("file://"), *row[1:]) for row in rows(fetched)] == rows(run)
    with (run.parts()[0] / "events.csv").open(newline="") as file:
        assert next(csv.reader(file))[:4] == ["file", "label", "onset", "offset"]


def test_bad_input_is_counted_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    top = tmp_path / "in"
    (top / "sub").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    os.link(folder / "a.wav", top / "a.wav")
    (top / "sub/loop").symlink_to("..")
    (top / "gone.wav").symlink_to("nowhere")
    (top / "zero.wav").touch()
    (top / "text.mp3").write_text("no sound")
    (top / "text\n,é.wav").write_text("no sound")
    bad = {top / "sub/loop", top / "gone.wav", tmp_path / "empty", Path("x*.wav")}
    damaged = {top / "zero.wav", top / "text.mp3", top / "text\n,é.wav"}
    asked = ("scan", top, tmp_path / "empty", "x*.wav", "--out", tmp_path / "out")
    for _ in range(2):
        done = otic(*asked, "--model", MODEL, "--jobs", "1")
        assert done.returncode == 1
        last = done.stderr.decode().splitlines()[-1]
        assert last.startswith("otic: 7 files or folders could not be read, or not to their end")
        (run,) = find_runs(tmp_path / "out")
        assert {Path(file) for file, _ in rows(run, "errors")} == bad | damaged
        assert len(rows(run, "errors")) == 7
        assert {Path(row[0]) for row in rows(run, "files")} == {top / "a.wav"} | damaged
        assert {Path(row[0]) for row in rows(run)} == {top / "a.wav"}


def test_a_scan_whose_disk_is_full_goes_on_once_there_is_room(folder: Path, tmp_path: Path) -> None:
    """Stood for by a limit to the size of files."""
    command = [sys.executable, "-m", "otic", "scan", str(folder / "b"), str(folder / "a.wav")]
    command += ["--out", str(tmp_path / "out"), "--model", MODEL, "--jobs", "1", "--scores"]
    script = 'ulimit -f 10; exec "$@"'
    done = subprocess.run(["sh", "-c", script, "sh", *command], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"File too large: make room and start the scan again" in done.stderr.splitlines()[-1]
    (run,) = find_runs(tmp_path / "out")
    assert run.parts() == []
    assert list((run.path / "writing").iterdir()) == []
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert len(rows(run, "files")) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_a_recording(folder: Path, tmp_path: Path) -> None:
    """Five minutes of 48 kHz in stereo, 115 MB as float32, take as much as ten seconds."""
    y = np.tile(soundfile.read(folder / "a.wav", dtype="float32")[0][:240_000, None], (1, 2))
    taken = []
    for repeats in (2, 60):
        path = tmp_path / f"{repeats}.flac"
        with soundfile.SoundFile(path, "w", 48000, 2) as file:
            for _ in range(repeats):
                file.write(y)
        asked = ("scan", path, "--out", tmp_path / f"{repeats}", "--model", MODEL, "--jobs", "1")
        taken.append(cost(*asked, "--scores"))
        assert taken[-1].code == 0, taken[-1].stderr
    short, long = taken
    assert long.other_megabytes < min(400.0, short.other_megabytes + 25.0)
    assert long.first_megabytes < min(300.0, short.first_megabytes + 25.0)


@pytest.mark.parametrize(
    "deaths",
    [
        [(signal.SIGKILL, 2.0), (signal.SIGTERM, 2.5)],
        pytest.param([(signal.SIGKILL, 1.0 + i * 0.37) for i in range(10)], marks=pytest.mark.slow),
    ],
    ids=["twice", "ten times"],
)
def test_a_scan_goes_on_after_it_was_killed(
    deaths: list[tuple[int, float]], folder: Path, tmp_path: Path
) -> None:
    many = tmp_path / "in"
    many.mkdir()
    for i in range(60):
        os.link(folder / "a.wav", many / f"{i}.wav")
    command = [sys.executable, "-m", "otic", "scan", str(many), "--out", str(tmp_path / "out")]
    command += ["--model", MODEL, "--jobs", "1"]
    for signum, seconds in deaths:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signum)
        assert process.wait() in (-signum, 130, 0)
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    (run,) = find_runs(tmp_path / "out")
    files = [row[0] for row in rows(run, "files")]
    assert sorted(files) == sorted(str(path) for path in many.iterdir())
    by_file = {file: [row[1:] for row in rows(run) if row[0] == file] for file in files}
    assert all(events == by_file[files[0]] for events in by_file.values())


def test_a_recording_that_kills_its_process_is_an_error(folder: Path, tmp_path: Path) -> None:
    """Stood for by a package that is imported at start and dies on FLAC."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, soundfile\n"
        "class Deadly(soundfile.SoundFile):\n"
        "    def read(self, *more, **options):\n"
        "        if self.format == 'FLAC': os.kill(os.getpid(), 9)\n"
        "        return super().read(*more, **options)\n"
        "soundfile.SoundFile = Deadly\n"
    )
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    asked = ("scan", folder, "--out", tmp_path / "out", "--model", MODEL, "--jobs", "2")
    done = otic(*asked, env=env)
    assert done.returncode == 1, done.stderr
    (run,) = find_runs(tmp_path / "out")
    errors = {Path(file).name: reason for file, reason in rows(run, "errors")}
    assert errors["c.flac"] == "the process that classified it died"
    assert len(rows(run, "files")) == 3
    assert otic(*asked).returncode == 1  # the damaged one is left
    assert len(rows(run, "files")) == 4
    assert len(rows(run, "errors")) == 1


@pytest.mark.slow
def test_a_cluster_whose_workers_are_killed(folder: Path, tmp_path: Path) -> None:
    """Dask gives what a dead worker was at to another one."""
    import distributed

    bundle = load_bundle(MODEL)
    for i in range(40):
        write_link(folder / "a.wav", tmp_path / f"in/{i}.wav")
    run = open_run(tmp_path / "out", bundle)
    ledger = Ledger(run, "1of1")
    plan = Plan([str(tmp_path / "in")], ledger, Share())
    tasks = [(each,) for task in plan.tasks(plan.survey(), 1) for each in task]
    with (
        distributed.LocalCluster(
            n_workers=4, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        engine = Cluster(Job(bundle, run.path), client, ledger)
        n_done = 0
        for n_done, _ in enumerate(engine.results(tasks, lambda: None), 1):
            if n_done in (3, 12):
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    ledger.close()
    assert n_done == 40
    files = [row[0] for row in rows(run, "files")]
    assert sorted(files) == sorted(str(path) for path in (tmp_path / "in").iterdir())
    assert rows(run, "errors") == []
    assert len({tuple(row[1:] for row in rows(run) if row[0] == file) for file in files}) == 1


def write_link(source: Path, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    os.link(source, path)


def test_true_times_are_the_recordings(folder: Path, tmp_path: Path) -> None:
    """In a scan as in what a replay sends out; nothing has the time of the replay."""
    recording = tmp_path / "in/20240701_060005.wav"
    recording.parent.mkdir()
    os.link(folder / "a.wav", recording)
    os.link(folder / "a.wav", recording.parent / "20230101_000000.wav")
    table = tmp_path / "events.csv"
    asked = ("--model", MODEL, "--timezone", "+02:00")
    fast = ("--speed", "max", "--jsonl", "-", "--csv-path", table)
    replay = otic("replay", recording, *fast, *asked)
    assert replay.returncode == 0, replay.stderr
    assert of_type(replay.stdout, "start")[0]["recorded"] == "2024-07-01T06:00:05+02:00"
    with table.open(newline="") as file:
        sent = [
            (time_of(row["onset_at"]), time_of(row["offset_at"])) for row in csv.DictReader(file)
        ]
    assert sent[0][0].isoformat().startswith("2024-07-01T04:00:")
    scan = otic(
        "scan", recording.parent, "--out", tmp_path / "out", *asked, "--since", "2024-01-01"
    )
    assert scan.returncode == 0, scan.stderr
    (run,) = find_runs(tmp_path / "out")
    (row,) = rows(run, "files")
    assert row[-2] == "2024-07-01T06:00:05.000+02:00"
    assert sorted((time_of(row[-2]), time_of(row[-1])) for row in rows(run)) == sorted(sent)


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--shard", "3/2"], 2, "'3/2' must be I/N, with I from 1 to N"),
        (["--out", "s3://x"], 2, "--out 's3://x' is a URL"),
        (["--out", ""], 2, "--out needs the path of a folder"),
        (["--start", "2024-01-01"], 2, "--start is the time of one recording"),
        (["--timezone", "Mars"], 1, "time zone 'Mars' is not known"),
        (["--thresholds", "cat=2"], 1, "has no label 'cat'"),
        (["--out", "/proc/nothing"], 1, "can't write to '/proc/nothing'"),
        (["--out", "@OLD"], 1, "is a scan of format 0, this otic writes format 1"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], code: int, words: str, folder: Path, tmp_path: Path
) -> None:
    (old := tmp_path / "old").mkdir()
    (old / "scan.json").write_text('{"scan": 0}')
    options = [str(old) if text == "@OLD" else text for text in arguments]
    done = otic("scan", folder, "--out", tmp_path / "out", *options)
    assert done.returncode == code
    assert words in one_line(done.stderr)
