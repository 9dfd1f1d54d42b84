from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from otic import Event, Gap, Scores
from otic.errors import SinkError
from otic.sinks.jsonl import JsonlSink
from otic.sinks.text import TextSink
from otic.types import Item, Sink, StreamEnd, StreamStart
from tests.conftest import ROOT

START = StreamStart(
    otic="0.1.0",
    model="m",
    model_sha256="00",
    source="straße.wav",
    sr=22050,
    window_seconds=1.99691609977,
    inference_hop_seconds=0.25,
    labels=("dog", "rain"),
)
ITEMS: list[Item] = [
    Scores(44100, 2.0, {"dog": 0.91000001, "rain": 1e-9}, {"dog": 0.5, "rain": 0.5}),
    Event("on", "dog", onset=1.25, time=2.0, score=0.91),
    Event("off", "dog", onset=1.25, time=4.75, offset=4.5, peak=0.9700004),
    Gap(96000, 4410),
]
LINES = """\
{"type":"start","format":1,"otic":"0.1.0","model":"m","model_sha256":"00","source":"straße.wav",\
"sr":22050,"window_seconds":1.996916,"inference_hop_seconds":0.25,"labels":["dog","rain"]}
{"type":"scores","sample":44100,"time":2.0,"scores":{"dog":0.91,"rain":0.0}}
{"type":"event","state":"on","label":"dog","onset":1.25,"time":2.0,"score":0.91}
{"type":"event","state":"off","label":"dog","onset":1.25,"offset":4.5,"time":4.75,"peak":0.97}
{"type":"gap","sample":96000,"lost":4410}
{"type":"end","samples":661500,"seconds":30.0,"lost":0}
"""


BOTH = frozenset({"scores", "events"})
END = StreamEnd(661500, 30.0, 0)


def write(sink: Sink) -> None:
    sink.start(START)
    for item in ITEMS:
        sink.write(START, item)
    sink.end(START, END)
    sink.close()


def test_jsonl_is_the_interface_to_the_letter(tmp_path: Path) -> None:
    write(JsonlSink(str(tmp_path / "log.jsonl"), BOTH))
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == LINES


@pytest.mark.parametrize("kept", ["scores", "events"])
def test_what_is_logged_can_be_chosen(tmp_path: Path, kept: str) -> None:
    write(JsonlSink(str(tmp_path / "log.jsonl"), frozenset({kept})))
    types = [json.loads(line)["type"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    expected = {"scores": ["scores"], "events": ["event", "event"]}[kept]
    assert types == ["start", *expected, "gap", "end"]


def test_each_line_is_there_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    sink = JsonlSink(str(path), BOTH)
    sink.start(START)
    assert path.read_text().count("\n") == 1
    sink.write(START, ITEMS[0])
    assert path.read_text().count("\n") == 2
    sink.close()


def test_several_streams_go_into_one_log(tmp_path: Path) -> None:
    sink = JsonlSink(str(tmp_path / "log.jsonl"), frozenset({"events"}))
    for _ in range(2):
        sink.start(START)
        sink.end(START, StreamEnd(0, 0.0, 0))
    sink.close()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


def test_a_live_stream_says_when_it_started(tmp_path: Path) -> None:
    sink = JsonlSink(str(tmp_path / "log.jsonl"), frozenset())
    sink.start(replace(START, started="2026-01-01T12:00:00.000Z"))
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert list(record)[-1] == "started"
    assert record["started"] == "2026-01-01T12:00:00.000Z"


def test_an_unwritable_path(tmp_path: Path) -> None:
    sink = JsonlSink(str(tmp_path / "no" / "log.jsonl"), frozenset())
    with pytest.raises(SinkError, match=r"can't write '.*log\.jsonl': No such file"):
        sink.start(START)


def test_a_full_disk() -> None:
    sink = JsonlSink("/dev/full", frozenset())
    with pytest.raises(SinkError, match="No space left"):
        sink.start(START)


def test_a_reader_that_is_gone() -> None:
    """`otic replay --jsonl - | head` ends quietly: who called sees the broken pipe as such."""
    code = (
        "import os, sys; from tests.unit.test_sinks import *; sink = JsonlSink('-', BOTH)\n"
        "try: write(sink)\n"
        "except BrokenPipeError: os._exit(42)"
    )
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run([sys.executable, "-c", code], stdout=write_end, cwd=ROOT)
    os.close(write_end)
    assert process.returncode == 42


def test_streams_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    other = replace(START, source='kitchen "2"', labels=("cat",))
    path = tmp_path / "log.jsonl"
    sink = JsonlSink(str(path), BOTH, several=True)
    sink.start(START)
    sink.start(other)
    sink.write(other, Scores(1, 0.1, {"cat": 0.25}, {"cat": 0.25}))
    for item in ITEMS:
        sink.write(START, item)
    sink.end(other, END)
    sink.end(START, END)
    sink.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["source"] for r in records] == [
        *(START.source, other.source, other.source),
        *[START.source] * len(ITEMS),
        *(other.source, START.source),
    ]
    assert all(list(r)[-1] == "source" for r in records if r["type"] != "start")
    # Nothing else differs, and no line is written in another style than json.dumps'.
    for line, expected in zip(lines[3:-2], LINES.splitlines()[1:-1], strict=True):
        assert line == expected[:-1] + f',"source":"{START.source}"}}'
    assert lines[2] == json.dumps(records[2], ensure_ascii=False, separators=(",", ":"))


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    stream = replace(START, source=os.fsdecode(b"stra\xdfe.wav"))
    sink = JsonlSink(str(tmp_path / "log.jsonl"), BOTH, several=True)
    sink.start(stream)
    sink.write(stream, ITEMS[0])
    sink.close()
    for line in (tmp_path / "log.jsonl").read_bytes().splitlines():
        assert json.loads(line)["source"] == "stra?e.wav"


def test_plain_text() -> None:
    stream = io.StringIO()
    write(TextSink(stream))
    first, on, off, gap, last = stream.getvalue().splitlines()
    assert first == "straße.wav: m, a score every 0.25 s"
    assert on.split() == ["0:01.25", "…", "dog", "on,", "score", "0.91"]
    assert off.split() == ["0:01.25", "…", "0:04.50", "dog", "off,", "peak", "0.97"]
    assert "4410 samples lost" in gap
    assert last == "end after 0:30.00, 0 samples lost"


def test_plain_text_of_several_streams() -> None:
    stream = io.StringIO()
    write(TextSink(stream, several=True))
    assert all(line.startswith("straße.wav: ") for line in stream.getvalue().splitlines())
