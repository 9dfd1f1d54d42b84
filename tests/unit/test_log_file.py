"""The permanent log: rotation, restarts, torn ends, full disks, files moved away."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otic import Event, Gap, Scores
from otic.errors import SinkError
from otic.sinks import log_file
from otic.sinks.append_file import AppendFile
from otic.sinks.jsonl import JsonlSink
from otic.types import StreamEnd, StreamStart
from tests.conftest import ROOT

BOTH = frozenset({"scores", "events"})
START = StreamStart(
    otic="0.1.0",
    model="m",
    model_sha256="00",
    source="door",
    sr=22050,
    window_seconds=2.0,
    inference_hop_seconds=0.25,
    labels=("dog", "rain"),
    started="2026-01-01T12:00:00.000Z",
)
ON = Event("on", "dog", onset=1.25, time=2.0, score=0.91)


def scores(n: int) -> Scores:
    return Scores(n, n / 22050, {"dog": 0.5, "rain": 0.25}, {"dog": 0.5, "rain": 0.25})


def log(path: Path, **more: Any) -> JsonlSink:
    return JsonlSink(str(path), BOTH, **{"max_bytes": 10**6, **more})


def records(path: Path) -> list[dict[str, Any]]:
    text = path.read_bytes()
    assert text.endswith(b"\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def full_files(path: Path) -> list[Path]:
    """The oldest first."""
    found = path.parent.glob(f"{path.name}.*")
    return sorted(found, key=lambda p: int(p.suffix[1:]), reverse=True)


def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        sink = log(path)
        sink.start(START)
        sink.write(START, ON)
        sink.end(START, StreamEnd(1, 1.0, 0))
        sink.close()
    assert [r["type"] for r in records(path)] == ["start", "event", "end"] * 2
    assert not any("continued" in r for r in records(path))


def test_each_file_can_be_read_alone_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    other = replace(START, source="yard")
    sink = log(path, several=True, max_bytes=2000, keep=100)
    sink.start(START)
    sink.start(other)
    for n in range(200):
        sink.write((START, other)[n % 2], scores(n))
    sink.end(other, StreamEnd(1, 1.0, 0))
    for n in range(200, 230):
        sink.write(START, scores(n))
    sink.close()
    files = [*full_files(path), path]
    assert len(files) > 10
    seen = []
    for number, file in enumerate(files):
        assert file.stat().st_size <= 2000
        running = set()
        for index, record in enumerate(records(file)):
            if record["type"] == "start":
                running.add(record["source"])
                assert record.get("continued", False) == (number > 0)
                assert number == 0 or list(record)[-1] == "continued"
                assert {k: v for k, v in record.items() if k != "continued"} == {
                    **records(files[0])[record["source"] == "yard"]
                }
            else:
                assert record["source"] in running, (file, index)
                if record["type"] == "scores":
                    seen.append(record["sample"])
    assert seen == list(range(230))
    assert [r["source"] for r in records(path) if r["type"] == "start"] == ["door"]


def test_only_so_many_full_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for keep in (4, 2):
        sink = log(path, max_bytes=500, keep=keep)
        sink.start(START)
        for n in range(50):
            sink.write(START, scores(n))
        sink.close()
        assert [p.suffix for p in full_files(path)] == [f".{n}" for n in range(keep, 0, -1)]


def test_a_hole_among_the_full_files_is_filled_first(tmp_path: Path) -> None:
    """The process was killed between two renamings."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"n":0}\n')
    for n in (1, 3):
        (tmp_path / f"log.jsonl.{n}").write_text(f'{{"n":{n}}}\n')
    sink = log(path, max_bytes=10)
    sink.start(START)
    sink.close()
    assert [records(p)[0]["n"] for p in full_files(path)] == [3, 1, 0]


def test_a_line_larger_than_the_limit_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    sink = log(path, max_bytes=1, keep=100)
    sink.start(START)
    for n in range(3):
        sink.write(START, scores(n))
    sink.close()
    assert [len(records(p)) for p in (*full_files(path), path)] == [1, 2, 2, 2]


@pytest.mark.parametrize(
    "torn", [b'{"type":"sco', b"\0" * 5000, b'{"a":\0\0\0\0}\n\0\0\n', b'\0\0"b":1}\n{']
)
def test_a_torn_end_is_cut_off(tmp_path: Path, torn: bytes, said: list[str]) -> None:
    path = tmp_path / "log.jsonl"
    whole = b'{"type":"a"}\n{"type":"b"}\n'
    path.write_bytes(whole + torn)
    sink = log(path)
    sink.start(START)
    sink.close()
    assert [r["type"] for r in records(path)] == ["a", "b", "start"]
    assert said == [f"{str(path)!r} ended in {len(torn)} bytes of a torn line: they are cut off"]


@given(st.integers(0, 400), st.binary(max_size=30))
@settings(max_examples=100)
def test_any_torn_end_leaves_a_valid_log(
    tmp_path_factory: pytest.TempPathFactory, n: int, more: bytes
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    sink = log(path)
    sink.start(START)
    sink.write(START, scores(1))
    sink.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:n] + more.replace(b"\n", b" "))
    complete = whole[:n].count(b"\n")
    sink = log(path)
    sink.start(START)
    sink.close()
    if not full_files(path):
        assert len(records(path)) in (complete, complete + 1, complete + 2)
    assert records(path)[-1]["type"] == "start"


@pytest.mark.parametrize(
    "text",
    [
        b"my precious notes\n" * 1000,
        b"notes without an end",
        b"[1]\n[[[",
        b"\xff\xfe\n",
        b"\0" * 5000 + b"CD001",
    ],
)
def test_only_a_torn_line_is_cut_off_and_no_text(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"type":"a"}\n' + text)
    sink = log(path)
    sink.start(START)
    sink.close()
    assert (tmp_path / "log.jsonl.1").read_bytes() == b'{"type":"a"}\n' + text
    assert [r["type"] for r in records(path)] == ["start"]


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first, second = log(path), log(path)
    first.start(START)
    with pytest.raises(SinkError, match="another process writes to it: name a file"):
        second.start(START)
    first.close()
    second.start(START)
    second.close()
    assert len(records(path)) == 2


def test_a_permanent_log_needs_no_limit(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        sink = log(path, max_bytes=0, permanent=True)
        sink.start(START)
        for n in range(20):
            sink.write(START, scores(n))
        sink.close()
    assert len(records(path)) == 42
    assert full_files(path) == []


def test_a_permanent_log_to_standard_output_is_that(capfd: pytest.CaptureFixture[str]) -> None:
    sink = JsonlSink("-", BOTH, permanent=True)
    sink.start(START)
    sink.close()
    assert json.loads(capfd.readouterr().out)["type"] == "start"


@pytest.mark.parametrize("begin", [b"", b'{"a":1}\n'])
def test_a_file_of_something_else_is_not_destroyed(
    tmp_path: Path, begin: bytes, said: list[str]
) -> None:
    path = tmp_path / "table.csv"
    size = 2 << 20 if begin else 100  # more than is cut off
    text = begin + b"when,what\n" * (size // 10)
    path.write_bytes(text)
    sink = log(path, max_bytes=10**8)
    sink.start(START)
    sink.close()
    assert (tmp_path / "table.csv.1").read_bytes() == text
    assert [r["type"] for r in records(path)] == ["start"]
    assert len(said) == 1


@pytest.mark.parametrize("how", ["rename", "delete", "copytruncate", "replace"])
def test_somebody_else_rotates(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log.jsonl"
    sink = log(path)
    sink.start(START)
    sink.write(START, scores(1))
    if how == "rename":
        path.rename(tmp_path / "old")
    elif how == "delete":
        path.unlink()
    elif how == "copytruncate":
        os.truncate(path, 0)
    else:
        (tmp_path / "new").write_text('{"type":"other"}\n{"ty')
        (tmp_path / "new").rename(path)
    sink.write(START, ON)
    sink.close()
    types = [r["type"] for r in records(path)]
    assert types == [*(["other"] if how == "replace" else []), "start", "event"]
    assert records(path)[-2]["continued"] is True


def test_between_events_the_path_is_looked_at_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "_LOOK_SECONDS", 0.2)
    path = tmp_path / "log.jsonl"
    sink = log(path)
    sink.start(START)
    path.rename(tmp_path / "old")
    deadline = time.monotonic() + 10.0
    n = 0
    while not path.exists():
        assert time.monotonic() < deadline
        sink.write(START, scores(n))
        n += 1
        time.sleep(0.01)
    sink.close()
    seen = [r["sample"] for p in (tmp_path / "old", path) for r in records(p) if "sample" in r]
    assert seen == list(range(n))


def test_the_folder_vanishes_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(log_file, "_RETRY_SECONDS", 0.0)
    folder = tmp_path / "stick"
    folder.mkdir()
    path = folder / "log.jsonl"
    sink = log(path)
    sink.start(START)
    folder.rename(tmp_path / "pulled out")
    other = replace(START, source="yard")
    sink.write(START, ON)
    sink.start(other)
    sink.write(START, Gap(1, 2))
    assert sink.dropped == 3
    folder.mkdir()
    sink.write(START, scores(7))
    sink.close()
    found = records(path)
    assert [r["type"] for r in found] == ["start", "start", "dropped", "scores"]
    assert [r["source"] for r in found[:2]] == ["door", "yard"]
    assert found[2] == {"type": "dropped", "lines": 3}
    assert said == [
        f"can't write {str(path)!r}: No such file or directory: "
        "its lines are dropped and counted until it can be",
        f"{str(path)!r} can be written again; 3 lines were dropped",
    ]


FULL_DISK = """
import os, resource, signal, sys
from tests.unit.test_log_file import *
path = Path(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
def room(n):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n if n is not None else hard, hard))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.support.helpers import Recorder
said = Recorder().start()
sink = log(path)
sink.start(START)
for n in range(3):
    sink.write(START, scores(n))
written = path.stat().st_size
room(written + 30)  # the next line fits in part
for n in range(3, 10):
    sink.write(START, scores(n))
    assert path.stat().st_size == written, "a part of a line was left"
assert sink.dropped == 7 and len(said) == 1, said
room(None)
for n in range(10, 12):
    sink.write(START, scores(n))
room(path.stat().st_size + 5)
sink.end(START, StreamEnd(1, 1.0, 0))
sink.close()
assert sink.dropped == 8
print("\\n".join(said))
"""


def test_a_full_disk_drops_lines_and_leaves_no_part_of_one(tmp_path: Path) -> None:
    """A limit on the file's size acts like a full disk: a part is written, then nothing."""
    path = tmp_path / "log.jsonl"
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.splitlines()
    found = records(path)
    assert [r["type"] for r in found] == ["start", *["scores"] * 3, "dropped", *["scores"] * 2]
    assert [r["sample"] for r in found if r["type"] == "scores"] == [0, 1, 2, 10, 11]
    assert found[4] == {"type": "dropped", "lines": 7}
    assert len(said) == 3
    assert said[0].startswith(f"can't write {str(path)!r}: File too large: its lines are dropped")
    assert said[1] == f"{str(path)!r} can be written again; 7 lines were dropped"


WRITER = """
import sys
from tests.unit.test_log_file import *
sink = log(Path(sys.argv[1]), max_bytes=3000, keep=10_000)
sink.start(START)
n = int(sys.argv[2])
while True:
    sink.write(START, scores(n))
    n += 1
    print(n, flush=True)
"""


def test_sigkill_at_any_moment_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    told = 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(told)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        for line in process.stdout:
            told = int(line)
            if told % 97 == 96:
                process.send_signal(signal.SIGKILL)
                break
        rest = process.stdout.read().splitlines()
        told = int(rest[-1]) if rest and rest[-1] else told
        process.wait()
        process.stdout.close()
    files = [*full_files(path), path]
    seen = [r["sample"] for p in files for r in records(p) if r["type"] == "scores"]
    assert set(seen) >= set(range(told))
    # What was written and not yet told of is written again by the next process.
    assert len(seen) - len(set(seen)) <= 5


def test_rotation_that_is_not_possible_does_not_end_the_log(
    tmp_path: Path, said: list[str]
) -> None:
    path = tmp_path / "log.jsonl"
    (tmp_path / "log.jsonl.1").mkdir()
    (tmp_path / "log.jsonl.1" / "something").touch()
    sink = log(path, max_bytes=500, keep=1)
    sink.start(START)
    for n in range(50):
        sink.write(START, scores(n))
    sink.close()
    assert len(records(path)) == 51
    assert len(said) == 1
    assert "the log grows on" in said[0]


def test_what_can_be_no_log_is_said_at_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, reason in [
        (tmp_path / "no" / "log", "No such file"),
        (tmp_path / "pipe", "no plain file"),
        (Path("/dev/full"), "no plain file"),
        (tmp_path / "folder", "Is a directory"),
    ]:
        with pytest.raises(SinkError, match=rf"can't write '{path}': .*{reason}.*--jsonl"):
            log(path).start(START)
    with pytest.raises(SinkError, match="standard output can't be rotated"):
        JsonlSink("-", BOTH, max_bytes=1)


def test_a_disk_that_fails_to_read_at_first_gets_no_line_behind_a_torn_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "_RETRY_SECONDS", 0.0)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"type":"a"}\n{"ty')
    fails = [True, True]

    def read(file: AppendFile, begin: int, size: int) -> bytes:
        if fails:
            fails.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(file._fd, size, begin)

    monkeypatch.setattr(AppendFile, "read", read)
    sink = log(path)
    sink.start(START)  # opens it, and writes the first line: both fail
    sink.write(START, ON)
    sink.close()
    assert [r["type"] for r in records(path)] == ["a", "start", "dropped", "event"]
