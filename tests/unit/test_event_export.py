"""``otic export``: what other programs read."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import struct
import zlib
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import webvtt
from numpy.typing import NDArray

from otic.cli.main import main
from otic.errors import SourceError
from otic.scan.export import ExportedEvent, ExportedFile, audacity, of_log, raven, srt
from otic.scan.export import webvtt as vtt
from otic.scan.overview import MOST_EVENTS, Overview
from otic.sinks.jsonl import JsonlSink
from otic.types import Event, StreamEnd, StreamStart
from tests.support.scans import BUNDLES, expected_rows, sound, write
from tests.unit.test_scan import scanned

STREAM = StreamStart("1.0", "m", "00", "a.wav", 8000, 0.1, 0.1, ("dog", "rain"), None, None, None)
NIGHT = "2024-07-01T06:00:00+02:00"
EVENTS = (
    ExportedEvent("/x/a.wav", "sea waves", 1.5, 3700.25, 0.5, 0.9),
    ExportedEvent("/x/a.wav", "a < b & c\t\n", 3.0004, 3.25, 0.625, 0.75),
)
FOUND = ExportedFile("/x/a.wav", EVENTS, 48000)


def test_audacity() -> None:
    """Its manual: start, end and label of a region, with tabs between, a line each."""
    lines = [line.split("\t") for line in audacity(FOUND).splitlines()]
    assert [(float(a), float(b), text) for a, b, text in lines] == [
        (1.5, 3700.25, "sea waves"),
        (3.0004, 3.25, "a < b & c"),
    ]


def test_raven() -> None:
    """Raven reads the columns by their headings; those of a selection are required."""
    rows = list(csv.DictReader(io.StringIO(raven(FOUND)), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [int(row["Selection"]) for row in rows] == [1, 2]
    assert {row["View"] for row in rows} == {"Spectrogram 1"}
    assert [(float(row["Begin Time (s)"]), float(row["End Time (s)"])) for row in rows] == [
        (1.5, 3700.25),
        (3.0004, 3.25),
    ]
    assert {(row["Low Freq (Hz)"], row["High Freq (Hz)"]) for row in rows} == {("0", "24000")}
    assert [row["Annotation"] for row in rows] == ["sea waves", "a < b & c"]
    assert [row["Begin Path"] for row in rows] == ["/x/a.wav", "/x/a.wav"]
    assert None not in rows[1]


@pytest.mark.parametrize("kind", ["webvtt", "srt"])
def test_subtitles(kind: str) -> None:
    text = io.StringIO(vtt(FOUND) if kind == "webvtt" else srt(FOUND))
    captions = webvtt.from_buffer(text, "vtt" if kind == "webvtt" else "srt")
    assert [(c.start, c.end) for c in captions] == [
        ("00:00:01.500", "01:01:40.250"),
        ("00:00:03.000", "00:00:03.250"),
    ]
    label = "a &lt; b &amp; c" if kind == "webvtt" else "a < b & c"
    assert [c.raw_text for c in captions] == ["sea waves", label]


def log(path: Path, recorded: str | None = None) -> Path:
    sink = JsonlSink(str(path), frozenset({"events"}))
    for source in ("a.wav", "b/a.wav"):
        stream = StreamStart(**{**vars(STREAM), "source": source, "recorded": recorded})
        sink.start(stream)
        for label, onset, offset in (("rain", 2.0, 9.5), ("dog", 1.0, 2.0)):
            sink.write(stream, Event("on", label, onset, onset + 1, score=0.5))
            off = Event("off", label, onset, offset + 1, offset=offset, peak=0.75)
            sink.write(stream, off)
        sink.write(stream, Event("on", "dog", 20.0, 21.0, score=0.5))  # the log breaks off
        sink.end(stream, StreamEnd(80000, 10.0, 0))
    sink.close()
    return path


def test_a_log(tmp_path: Path) -> None:
    found = list(of_log(log(tmp_path / "x.jsonl", NIGHT)))
    assert [each.file for each in found] == ["a.wav", "b/a.wav"]
    assert found[1].events[0] == ExportedEvent(
        *("b/a.wav", "dog", 1.0, 2.0, 0.5, 0.75),
        *("2024-07-01T06:00:01.000+02:00", "2024-07-01T06:00:02.000+02:00"),
    )
    assert [event.label for event in found[0].events] == ["dog", "rain"]
    (tmp_path / "y.jsonl").write_text("hello\n")
    with pytest.raises(SourceError, match="it is no log of otic's"):
        list(of_log(tmp_path / "y.jsonl"))


def test_a_log_as_tables_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(log(tmp_path / "x.jsonl"))
    assert main(["export", path, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["file"], row["label"], float(row["onset"])) for row in rows] == [
        (file, label, onset)
        for file in ("a.wav", "b/a.wav")
        for label, onset in (("dog", 1.0), ("rain", 2.0))
    ]
    assert main(["export", path, "--format", "json", "--out", str(tmp_path / "x.json")]) == 0
    values = json.loads((tmp_path / "x.json").read_text())
    assert [(each["file"], each["label"], each["onset"]) for each in values][3] == (
        *("b/a.wav", "rain", 2.0),
    )
    assert "onset_at" not in values[0]
    assert main(["export", path, "--format", "audacity", "--out", str(tmp_path / "labels")]) == 0
    written = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "labels").rglob("*.txt"))
    assert written == ["labels/a.wav.txt", "labels/b/a.wav.txt"]
    assert main(["export", path, "--format", "srt"]) == 2
    assert "writes a file for each of 2 recordings" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_scan(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = BUNDLES["windows"]
    paths = [write(tmp_path / f"in/{name}.wav", sound(4, 1)) for name in ("a", "b/a")]
    scanned(tmp_path / "out", bundle, tmp_path / "in", kind=kind)
    assert main(["export", str(tmp_path / "out"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted((row["file"], row["label"], float(row["onset"])) for row in rows) == sorted(
        (file, label, onset) for file, label, onset, *_ in expected_rows(bundle, paths)
    )
    labels = tmp_path / "labels"
    assert main(["export", str(tmp_path / "out"), "--format", "raven", "--out", str(labels)]) == 0
    assert (labels / "b/a.wav.selections.txt").read_text().count("\n") == 1 + len(rows) // 2
    assert "\t4000\t" in (labels / "a.wav.selections.txt").read_text()


def test_a_page_about_a_scan(tmp_path: Path) -> None:
    """Events by date and hour, and links that play them where the sound is at hand."""
    here, gone = tmp_path / "in/a <b>.wav", tmp_path / "in/gone.wav"
    write(here, sound(4, 1))

    def heard(file: Path, label: str, onset: float, at: str, peak: float) -> ExportedEvent:
        return ExportedEvent(str(file), label, onset, onset + 1.5, 0.5, peak, at)

    events = [heard(here, "dog", 2.0, "2024-07-01T06:00:02.000+02:00", 0.75)]
    more = [
        heard(gone, "dog", i + 1.0, f"2024-07-03T23:{i:02d}:00.000+02:00", i / 100)
        for i in range(40)
    ]
    overview = Overview()
    overview.add([ExportedFile(str(here), events), ExportedFile(str(gone), more)])
    whole = overview.page("", tmp_path)
    assert f"2 recordings in {tmp_path}/in/." in whole
    assert whole.count("<td>gone.wav</td>") == MOST_EVENTS
    overview.add([ExportedFile("quiet.wav", [])])
    page = overview.page("What was <heard>", tmp_path / "pages")
    assert "3 recordings." in page
    assert "<title>What was &lt;heard&gt;</title>" in page
    numbers = re.findall(r"<tr>.*dog</a></td>(.*)</tr>", page)[0]
    assert re.findall('<td class="number">([^<]*)</td>', numbers) == ["41", "1.0", "2"]
    assert "<td>2024-07-01 06:00:02+02:00</td>" in page
    assert page.count("<tr>") == (1 + 1) + (1 + 2) + (1 + MOST_EVENTS)
    (link,) = re.findall(r'class="play" href="([^"]*)"', page)
    place, _, times = link.partition("#")
    assert (tmp_path / "pages" / unquote(place)).resolve() == here
    assert times == "t=1.00,4.50"
    (image,) = re.findall(r"data:image/png;base64,([^\"]*)", page)
    pixels = gray_png(base64.b64decode(image))
    assert pixels.shape == (24, 3)
    assert [tuple(place) for place in np.argwhere(pixels)] == [(6, 0), (23, 2)]
    assert pixels[23, 2] == 255
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def gray_png(content: bytes) -> NDArray[np.uint8]:
    """The indices of a picture with a palette, as the standard has them."""
    width, height = struct.unpack(">II", content[16:24])
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    rows = zlib.decompress(content[start + 4 : start + 4 + length])
    return np.frombuffer(rows, np.uint8).reshape(height, 1 + width)[:, 1:]
