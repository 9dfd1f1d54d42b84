"""`otic replay --report`: one complete page, always the same bytes, with everything detected."""

from __future__ import annotations

import base64
import json
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from otic import Event, FeatureParams, Frontend, Gap, Pipeline, Scores
from otic.audio.soundscape import synthesise
from otic.errors import SinkError
from otic.features.spectrogram import Spectrogram, frequency_ticks, loudness_range, palette, png
from otic.sinks.html_report import MAX_LANES, ReplayRecord, ReplayReport, ScoreHistory
from otic.types import Lost, StreamEnd, StreamStart
from tests.support.helpers import (
    F32,
    LIBROSA_DEFAULTS,
    SMALL,
    FakeClassifier,
    cut,
    decision,
    noise,
    of_type,
    one_line,
    otic,
    small_bundle,
)

U8 = NDArray[np.uint8]
SR = 22050
VOID = {"meta", "img"}


class Checker(HTMLParser):
    """Every tag is closed in turn; collects tags with attributes, text and data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: list[dict[str, Any]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["script"]:
            self.text += data
        elif self.tags[-1][1] == {"type": "application/json"}:
            self.data.append(json.loads(data))


def decoded(content: bytes) -> tuple[U8, U8]:
    """Pixels and palette of a PNG with a palette; checks every chunk's sum."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length)[0] == zlib.crc32(kind + data)
        chunks[kind], at = data, at + 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 3, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width)
    assert not rows[:, 0].any()
    return rows[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(256, 3)


def levels_of(log_mel: F32) -> U8:
    levels: U8 = np.clip(np.rint(log_mel) + 101, 1, 255).astype(np.uint8).T[::-1]
    return levels


def picture(y: F32, max_columns: int = 4096, sizes: tuple[int, ...] = (10**6,)) -> Spectrogram:
    made = Spectrogram(SMALL, max_columns)
    for block in cut(y, sizes):
        made.push(block)
    return made


def test_a_png_holds_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    colours = palette(40, 120)
    back, back_colours = decoded(png(pixels, colours))
    np.testing.assert_array_equal(back, pixels)
    np.testing.assert_array_equal(back_colours, colours)
    assert colours[0].tolist() == colours[40].tolist() == [68, 1, 84]
    assert colours[120].tolist() == colours[255].tolist() == [253, 231, 37]


@pytest.mark.parametrize("center", [False, True])
def test_the_picture_is_what_the_model_sees(center: bool) -> None:
    values = {**SMALL.to_dict(), "center": center, "statistics": SMALL.statistics}
    params = FeatureParams(**{**values, **({"tail_samples": 0} if center else {})})
    y = noise(params.window_samples)
    frontend, made = Frontend(params), Spectrogram(params)
    frontend.push(y)
    made.push(y)
    # The stream knows no padding: frames that hold some are not drawn.
    edge = -(-(params.n_fft // 2) // params.hop_length) if center else 0
    seen = levels_of(frontend.log_mel())[:, edge : params.window_frames - edge]
    drawn = made.levels()
    np.testing.assert_array_equal(drawn[:, drawn.any(axis=0)], seen)
    assert made.column_seconds == params.hop_length / params.sr


def test_the_picture_does_not_depend_on_blocks() -> None:
    y = noise(50_000)
    whole = picture(y).levels()
    for sizes in ((1, 7, 1000), (333,), (20_000, 3)):
        np.testing.assert_array_equal(picture(y, sizes=sizes).levels(), whole)


def test_a_long_recording_makes_columns_longer_not_more() -> None:
    y = noise(100_000)
    y[70_000:70_050] = 1.0
    fine, coarse = picture(y), picture(y, max_columns=64)
    step = round(coarse.column_seconds / fine.column_seconds)
    assert step == 16
    assert coarse.levels().shape[1] <= 64
    columns = fine.levels()
    padded = np.pad(columns, ((0, 0), (0, -columns.shape[1] % step)))
    merged = padded.reshape(SMALL.n_mels, -1, step).max(axis=2)
    np.testing.assert_array_equal(coarse.levels(), merged)


def test_nothing_is_drawn_where_audio_is_lost() -> None:
    made = picture(noise(4000))
    made.lose(10_000)
    made.push(noise(4000))
    drawn = np.asarray(made.levels().any(axis=0))
    hop, half = SMALL.hop_length, SMALL.n_fft // 2
    assert drawn[half // hop : (4000 - half) // hop].all()
    assert not drawn[4000 // hop : 14_000 // hop].any()
    assert drawn[-10:].all()
    made.lose(10**12)  # a year: as quick
    made.push(noise(4000))
    assert made.levels().shape[1] <= 4096


def test_silence_is_dark_and_the_loudest_bright() -> None:
    silence = np.ones((4, 4), np.uint8)
    assert palette(*loudness_range(silence, 80.0))[1].tolist() != [253, 231, 37]
    assert loudness_range(silence * 130, 80.0) == (50, 130)


def test_frequencies_have_their_places() -> None:
    places = dict(frequency_ticks(LIBROSA_DEFAULTS))
    assert list(places) == ["10 kHz", "5 kHz", "2 kHz", "1 kHz", "500 Hz", "200 Hz"][-len(places) :]
    assert all(0.0 <= place <= 1.0 for place in places.values())
    assert abs(places["1 kHz"] - 0.29) < 0.02  # 15 of 51 mel


def test_scores_are_bounded_and_keep_their_extremes() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((1000, 3))
    history = ScoreHistory(3, max_buckets=64)
    for i, row in enumerate(scores):
        history.add(i / 4, row)
    assert history.step == 16
    assert len(history.times) == 63
    np.testing.assert_array_equal(history.times, np.arange(0, 1000, 16) / 4)
    for i in range(63):
        bucket = np.rint(scores[16 * i : 16 * i + 16] * 65535)
        np.testing.assert_array_equal(history.low[i], bucket.min(axis=0))
        np.testing.assert_array_equal(history.high[i], bucket.max(axis=0))


def test_very_many_events_and_gaps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otic.sinks.html_report.MAX_LISTED", 3)
    record = ReplayRecord(small_bundle(), Spectrogram(SMALL))
    for i in range(5):
        record.add(Event("on", "loud", float(i), i + 0.2, score=0.9))
        record.add(Event("off", "loud", float(i), i + 0.5, offset=i + 0.4, peak=0.9))
        record.add(Gap(i * 8000, 10))
    assert len(record.events) == len(record.gaps) == 3
    assert record.n_events["loud"] == record.n_gaps == 5


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&@FOOTER@.wav"


def page(
    path: Path,
    labels: tuple[str, ...] = ("quiet", "loud", "odd"),
    n_files: int = 1,
    name: str = HOSTILE,
) -> str:
    """A report of noise with a loud part and a gap, under a hostile name."""
    bundle = small_bundle(labels=labels, decision=decision(len(labels)))
    report = ReplayReport(str(path), bundle)
    y = np.concatenate([noise(16_000, level=1e-4), noise(16_000, 1, 0.5), noise(8000, 2, 1e-4)])
    for _ in range(n_files):
        pipeline = Pipeline(bundle, FakeClassifier(len(labels)))
        stream = StreamStart("1.0", "m", "00", name, 8000, 0.1, 0.1, labels)
        report.start(stream)
        items = []
        for chunk in (y, Lost(4000), y):
            items += (
                pipeline.lose(chunk.samples) if isinstance(chunk, Lost) else pipeline.process(chunk)
            )
            report.on_chunk(stream, chunk)
        for item in [*items, *pipeline.flush()]:
            report.write(stream, item)
        report.end(stream, StreamEnd(pipeline.sample, pipeline.sample / 8000, pipeline.lost))
    report.close()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path.read_text(encoding="utf-8")


def test_the_page_holds_scores_events_and_gaps(tmp_path: Path) -> None:
    found = Checker(page(tmp_path / "r.html"))
    (data,) = found.data
    assert [label["name"] for label in data["labels"]] == ["quiet", "loud", "odd"]
    assert data["gaps"] == [[5.0, 0.5]]
    assert data["seconds"] == 10.5
    times = np.frombuffer(base64.b64decode(data["times"]), "<f8")
    scores = np.frombuffer(base64.b64decode(data["low"]), "<u2").reshape(3, len(times)) / 65535
    np.testing.assert_allclose(scores.sum(axis=0), 1.0, atol=1e-4)
    assert data["high"] is None
    lanes = {event[0] for event in data["events"]}
    assert lanes
    for lane, onset, offset, decided in data["events"]:
        assert onset <= offset
        assert onset <= decided
        inside = (times > onset) & (times <= offset)
        assert scores[lane, inside].max() >= 0.6
    rows = [attributes for tag, attributes in found.tags if tag == "tr" and attributes.get("class")]
    assert [row["data-event"] for row in rows] == [str(i) for i in range(len(data["events"]))]
    pictures = [a["src"] or "" for tag, a in found.tags if tag == "img"]
    pixels, _ = decoded(base64.b64decode(pictures[0].removeprefix("data:image/png;base64,")))
    assert pixels.shape == (SMALL.n_mels, data["columns"])


def test_the_page_needs_nothing_else_and_is_escaped(tmp_path: Path) -> None:
    hostile = ("<b>&\"'</script>", "</script><script>alert(1)</script>", "@SECTIONS@")
    html = page(tmp_path / "r.html", hostile)
    found = Checker(html)
    assert "://" not in html
    for tag, attributes in found.tags:
        assert tag not in ("link", "b") or not attributes
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert [tag for tag, _ in found.tags].count("script") == 2  # the data and the page's own
    assert found.text.count(HOSTILE) == 3  # title, heading, section
    assert all(label in found.text for label in hostile)
    assert [label["name"] for label in found.data[0]["labels"]] == list(hostile)


def test_control_characters_of_names_are_harmless(tmp_path: Path) -> None:
    name = "a\x1b]0;x\x07\u202egnp\x00\u2028b.wav"
    for n_files, count in ((1, 3), (2, 4)):  # title and headings; or contents and headings
        html = page(tmp_path / "r.html", n_files=n_files, name=name)
        assert html.count("a�]0;x��gnp� b.wav") == count
        assert all(c.isprintable() or c == "\n" for c in html)


def test_only_its_own_script_may_run(tmp_path: Path) -> None:
    import hashlib

    html = page(tmp_path / "r.html")
    script = html.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html


def test_several_files_have_a_section_each(tmp_path: Path) -> None:
    found = Checker(page(tmp_path / "r.html", n_files=2))
    assert [a["id"] for tag, a in found.tags if tag == "section"] == ["file-1", "file-2"]
    assert found.data[0] == found.data[1]
    links = [a["href"] for tag, a in found.tags if tag == "a"]
    assert links[:2] == ["#file-1", "#file-2"]


def test_of_very_many_labels_the_nearest_are_shown(tmp_path: Path) -> None:
    labels = tuple(f"label {i}" for i in range(100))
    bundle = small_bundle(labels=labels, decision=decision(100))
    report = ReplayReport(str(tmp_path / "r.html"), bundle)
    stream = StreamStart("1.0", "m", "00", "a.wav", 8000, 0.1, 0.1, labels)
    report.start(stream)
    scores = {label: i / 100 for i, label in enumerate(labels)}
    report.write(stream, Scores(8000, 1.0, scores, scores))
    report.end(stream, StreamEnd(8000, 1.0, 0))
    report.close()
    found = Checker((tmp_path / "r.html").read_text(encoding="utf-8"))
    shown = [label["name"] for label in found.data[0]["labels"]]
    assert shown == list(labels[-MAX_LANES:])
    assert f"{MAX_LANES} of 100 labels" in found.text


def test_without_a_stream_there_is_no_page(tmp_path: Path) -> None:
    ReplayReport(str(tmp_path / "r.html"), small_bundle()).close()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, why in (
        ("no/r.html", "there is no folder"),
        (".", "that is a folder or a device"),
        ("file/r.html", "there is no folder"),
        ("x" * 254, "File name too long"),
    ):
        with pytest.raises(SinkError, match=f"can't write the report .*{why}"):
            ReplayReport(str(tmp_path / name), small_bundle())
    with pytest.raises(SinkError, match="that is a folder or a device"):
        ReplayReport("/dev/null", small_bundle())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of the demo's soundscape, with lost audio in it."""
    y = synthesise(SR)[0][: 8 * SR].copy()
    y[5 * SR : 5 * SR + 3000] = np.nan
    path = tmp_path_factory.mktemp("audio") / "scape.wav"
    soundfile.write(path, y, SR, subtype="FLOAT")
    return path


def test_the_same_bytes_for_any_block_and_speed(recording: Path, tmp_path: Path) -> None:
    pages = set()
    for i, options in enumerate((["max"], ["max", "--block", "17"], ["8", "--block", "5000"])):
        path = tmp_path / f"{i}.html"
        done = otic("replay", recording, "--report", path, "--speed", *options, "--jsonl", "-")
        assert done.returncode == 0, done.stderr.decode()
        pages.add(path.read_bytes())
        (data,) = Checker(path.read_text(encoding="utf-8")).data
        offs = [e for e in of_type(done.stdout, "event") if e["state"] == "off"]
        times = sorted((e["onset"], e["offset"]) for e in offs)
        assert sorted((onset, offset) for _, onset, offset, _ in data["events"]) == times
        assert data["gaps"] == [[5.0, round(3000 / SR, 6)]]
    assert len(pages) == 1


def test_it_overwrites_nothing_that_is_read_or_logged(recording: Path, tmp_path: Path) -> None:
    before = recording.read_bytes()
    link = tmp_path / "link.html"
    link.symlink_to(recording)
    log = tmp_path / "log.jsonl"
    for report in (recording, link, f"{tmp_path}/../{tmp_path.name}/log.jsonl"):
        done = otic(
            *("replay", recording, "--speed", "max", "--report", report, "--jsonl", log),
        )
        assert done.returncode == 1
        assert "would overwrite" in one_line(done.stderr)
    assert recording.read_bytes() == before
    assert not log.exists()


def test_a_wrong_place_is_reported_before_the_replay(recording: Path, tmp_path: Path) -> None:
    done = otic("replay", recording, "--report", tmp_path / "no" / "r.html", "--speed", "0.01")
    assert done.returncode == 1
    assert "there is no folder" in one_line(done.stderr)


def test_a_damaged_file_is_shown_as_far_as_it_goes(recording: Path, tmp_path: Path) -> None:
    whole = recording.read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    report = tmp_path / "r.html"
    done = otic("replay", tmp_path / "cut.wav", "--report", report, "--speed", "max")
    assert done.returncode == 1
    (data,) = Checker(report.read_text(encoding="utf-8")).data
    assert 3.9 < data["seconds"] < 4.1
    assert data["columns"] * data["column"] > 3.8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_whole_page(
    recording: Path, tmp_path: Path, number: signal.Signals
) -> None:
    report, log = tmp_path / "r.html", tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "otic", "replay", str(recording), str(recording)),
            *("--speed", "1", "--report", str(report), "--jsonl", str(log)),
        ],
        stderr=subprocess.PIPE,
    )
    for _ in range(600):
        if log.exists() and b'"scores"' in log.read_bytes():
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 0, stderr.decode()
    (data,) = Checker(report.read_text(encoding="utf-8")).data
    (end,) = of_type(log.read_bytes(), "end")
    assert data["seconds"] == end["seconds"] < 8.0
    assert abs(data["columns"] * data["column"] - data["seconds"]) < 0.2
    assert re.search(r"\d+ samples at 22050 Hz", report.read_text(encoding="utf-8"))
    assert not list(tmp_path.glob(".*"))
