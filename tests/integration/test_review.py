"""The review folder: marks are kept, the latest counts, and nothing is half written."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from otic.audio.recent_audio import as_int16
from otic.config.settings import ClipsSettings, ReviewSettings, Settings
from otic.errors import ParameterError, SinkError
from otic.review.folder import Mark, ReviewFolder, open_review, review_path, wanted_sound
from otic.sinks.clips import ClipSink
from otic.types import Event, StreamEnd, StreamStart
from tests.conftest import ROOT
from tests.support.helpers import noise
from tests.support.review_marks import SR, live_mark, mark_of, sound

NOW = datetime(2026, 3, 1, 13, 0, tzinfo=UTC)


def new_folder(tmp_path: Path, **options: Any) -> ReviewFolder:
    return ReviewFolder(tmp_path / "review", lambda: NOW, **options)


def files(folder: ReviewFolder) -> list[str]:
    return sorted(path.name for path in folder.audio.iterdir())


_TIMES = st.floats(0.0, 1e6).map(lambda x: round(x, 6))
_WORDS = st.text(min_size=1, max_size=10)


@given(_WORDS, _WORDS, _TIMES, st.none() | _TIMES, st.none() | _WORDS)
def test_a_mark_is_the_same_after_json(
    label: str, source: str, onset: float, seconds: float | None, true_label: str | None
) -> None:
    offset = None if seconds is None else round(onset + seconds, 6)
    wrong = true_label is not None and true_label != label
    mark = mark_of(
        verdict="wrong" if wrong else "right",
        label=label,
        source=source,
        onset=onset,
        offset=offset,
        true_label=true_label if wrong else None,
    )
    assert Mark.from_dict(json.loads(json.dumps(mark.to_dict()))) == mark


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": "maybe"}, "verdict 'maybe' must be right or wrong"),
        ({"label": ""}, "label '' must be not empty"),
        ({"onset": float("nan")}, "onset nan must be a finite number"),
        ({"onset": True}, "onset True must be a finite number"),
        ({"onset": 13.0}, "offset 12.0 must be at the onset or later"),
        ({"peak": "0.9"}, "peak '0.9' must be a finite number or null"),
        ({"true_label": "cat"}, "must be null where it is right"),
        ({"verdict": "wrong", "true_label": "dog"}, "must be another label"),
        ({"onset_at": "2026-01-01T00:00:00"}, "must be ISO 8601 with a time zone"),
        ({"clip": "../x.flac", "clip_start": 1.0}, "must be a file's name without a folder"),
        ({"clip": "x.flac"}, "clip_start None must be known"),
        ({"source": 3}, "source 3 must be text"),
    ],
)
def test_marks_that_can_not_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        mark_of(**changes)
    assert words in str(caught.value)


def test_fields_that_lack_or_are_unknown_are_named() -> None:
    values = mark_of().to_dict()
    with pytest.raises(ParameterError, match="has unknown 'colour'"):
        Mark.from_dict({**values, "colour": "red"})
    del values["onset"]
    with pytest.raises(ParameterError, match="lacks onset"):
        Mark.from_dict(values)


def test_a_mark_and_its_sound_are_kept(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    y = sound(4.0)
    given_mark = live_mark(10.0, label="dög / bark", clip_start=9.0)
    kept = folder.mark(given_mark, SR, [y[:1], y[1:1], y[1:20000], y[20000:]])
    assert kept.clip == "20260301T120010.000Z_mic_dog-bark.flac"
    assert kept == replace(given_mark, clip=kept.clip, marked_at="2026-03-01T13:00:00.000Z")
    read, sr = soundfile.read(folder.audio / kept.clip, dtype="int16")
    assert sr == SR
    np.testing.assert_array_equal(read, y)
    again = ReviewFolder(folder.path)
    assert again.marks() == [kept]
    assert again.verdict(kept.recording, "dög / bark", 10.0) == kept
    assert again.verdict(kept.recording, "dog", 10.0) is None
    for path in (folder.path, folder.audio):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for path in (folder.audio / kept.clip, folder.path / "review.jsonl"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_folder_has_no_marks_and_is_not_made(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    assert folder.marks() == []
    assert folder.verdict("yard.wav", "dog", 10.0) is None
    assert not folder.path.exists()


def test_the_latest_mark_of_an_event_counts(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    first = folder.mark(mark_of(offset=None, clip_start=9.0), SR, [sound(1.5)])
    other = folder.mark(mark_of(label="rain"), SR, [])
    # Marked again when there was no sound of it any more: the first one's is kept.
    second = folder.mark(mark_of(verdict="wrong", true_label="cat"), SR, [])
    assert (second.clip, second.clip_start) == (first.clip, 9.0)
    assert folder.marks() == [second, other]
    # With new sound, which is whole now, the first one's is deleted.
    third = folder.mark(mark_of(clip_start=9.0), SR, [sound(4.0)])
    assert third.clip != first.clip
    assert files(folder) == [third.clip]
    assert ReviewFolder(folder.path).marks() == [third, other]
    assert len((folder.path / "review.jsonl").read_text().splitlines()) == 4


def test_names_that_are_taken(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    marks = [live_mark(10.0, label=label, clip_start=9.0) for label in ("a b", "a-b", "A_B")]
    clips = [folder.mark(mark, SR, [sound(1.0, i)]).clip for i, mark in enumerate(marks)]
    assert len(set(clips)) == 3
    for i, clip in enumerate(clips):
        read, _ = soundfile.read(folder.audio / str(clip), dtype="int16")
        np.testing.assert_array_equal(read, sound(1.0, i))


def test_privacy_writes_no_sound(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, sound=False)
    kept = folder.mark(mark_of(clip_start=9.0), SR, [sound(4.0)])
    assert (kept.clip, kept.clip_start) == (None, None)
    missing = tmp_path / "none.flac"
    assert folder.mark_with_file(mark_of(label="rain"), missing).clip is None
    assert files(folder) == []
    settings = Settings(
        clips=ClipsSettings(enabled=False), review=ReviewSettings(str(tmp_path / "set"))
    )
    opened = open_review(settings, {})
    assert opened is not None
    assert opened.mark(mark_of(clip_start=9.0), SR, [sound(1.0)]).clip is None
    assert open_review(Settings(review=ReviewSettings(enabled=False)), {}) is None


def test_a_clip_is_no_longer_than_30_seconds(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    kept = folder.mark(mark_of(offset=99.0, clip_start=9.0), SR, [sound(20.0), sound(20.0)])
    assert soundfile.info(folder.audio / str(kept.clip)).duration == 30.0
    assert wanted_sound(10.0, 12.0) == (9.0, 13.0)
    assert wanted_sound(0.5, None) == (0.0, 30.0)
    assert wanted_sound(10.0, 99.0) == (9.0, 39.0)
    with pytest.raises(ParameterError, match="needs clip_start"):
        folder.mark(mark_of(label="rain"), SR, [sound(1.0)])


def test_the_recording_of_an_event_serves(tmp_path: Path) -> None:
    """As the clips sink writes it: the same samples as from memory."""
    y = noise(8 * SR)
    stream = StreamStart("0", "small", "ab", "yard.wav", SR, 0.1, 0.1, ("dog",))
    settings = ClipsSettings(str(tmp_path / "clips"), pre_seconds=2.5, post_seconds=2.0)
    sink = ClipSink(settings, "shed", lambda: NOW, waits=True, drain_timeout=lambda: 10.0)
    sink.start(stream)
    sink.on_chunk(stream, y)
    sink.write(stream, Event("on", "dog", 3.25, 3.5, score=0.8))
    sink.write(stream, Event("off", "dog", 3.25, 5.0, offset=4.75, peak=0.9))
    sink.end(stream, StreamEnd(len(y), 8.0, 0))
    sink.close()
    (recorded,) = (tmp_path / "clips").iterdir()
    folder = new_folder(tmp_path)
    kept = folder.mark_with_file(mark_of(onset=3.25, offset=4.75), recorded)
    assert kept.clip_start == 2.25
    read, _ = soundfile.read(folder.audio / str(kept.clip), dtype="int16")
    np.testing.assert_array_equal(read, as_int16(y[round(2.25 * SR) : round(5.75 * SR)]))


def test_a_recording_of_others_needs_its_place(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    path = tmp_path / "phone.wav"
    soundfile.write(path, np.stack([sound(4.0), sound(4.0)], axis=1), SR)
    with pytest.raises(ParameterError, match="does not say where in the stream it begins"):
        folder.mark_with_file(mark_of(), path)
    kept = folder.mark_with_file(mark_of(clip_start=9.5), path)
    assert kept.clip_start == 9.5
    read, _ = soundfile.read(folder.audio / str(kept.clip), dtype="int16")
    np.testing.assert_array_equal(read, sound(4.0)[: round(3.5 * SR)])
    with pytest.raises(SinkError, match="can't read the recording"):
        folder.mark_with_file(mark_of(clip_start=9.5), tmp_path / "none.wav")


@pytest.mark.parametrize("torn", [b'{"verdict":"ri', b"\0\0\0\0", b"[1,2", b"\xff{"])
def test_a_power_cut_costs_a_line(tmp_path: Path, torn: bytes, said: list[str]) -> None:
    folder = new_folder(tmp_path)
    first = folder.mark(mark_of(), SR, [])
    with (folder.path / "review.jsonl").open("ab") as file:
        file.write(torn)
    assert folder.marks() == [first]
    second = folder.mark(mark_of(label="rain"), SR, [])
    assert folder.marks() == [first, second]
    assert said == [
        f"1 damaged lines (a power cut?) of '{folder.path / 'review.jsonl'}' are skipped"
    ]


def test_a_line_that_is_no_mark_is_named(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    folder.mark(mark_of(), SR, [])
    with (folder.path / "review.jsonl").open("ab") as file:
        file.write(b'{"verdict":"right"}\n')
    with pytest.raises(SinkError, match=r"line 2 of .* is not a mark: a mark lacks label"):
        folder.marks()


def test_what_a_killed_process_left_is_deleted(tmp_path: Path) -> None:
    folder = new_folder(tmp_path)
    folder.mark(mark_of(), SR, [])
    (folder.audio / ".x_mic_dog.flac.part").write_bytes(b"half")
    kept = folder.mark(mark_of(label="rain", clip_start=9.0), SR, [sound(1.0)])
    assert files(folder) == [kept.clip]


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "review").write_text("a file")
    with pytest.raises(SinkError) as caught:
        new_folder(tmp_path).mark(mark_of(), SR, [])
    text = str(caught.value)
    assert text.startswith(f"can't keep the mark in '{tmp_path / 'review'}': ")
    assert text.endswith("make room, or set review.directory to a folder that can be written")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from otic.errors import SinkError
from otic.review.folder import ReviewFolder
from tests.support.review_marks import SR, mark_of, sound
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = ReviewFolder(Path(sys.argv[1]))
first = folder.mark(mark_of(clip_start=9.0), SR, [sound(0.01)])
room, seconds = int(sys.argv[2]), float(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    folder.mark(mark_of(label="rain", clip_start=9.0), SR, [sound(seconds)])
except SinkError as error:
    print(error)
assert folder.marks() == ReviewFolder(folder.path).marks() == [first]
assert [p.name for p in folder.audio.iterdir()] == [first.clip]
assert (folder.path / "review.jsonl").read_bytes().count(b"\\n") == 1
"""


# Room for half of the sound; for the sound, but for half of the line only.
@pytest.mark.parametrize(("room", "seconds"), [(20_000, 4.0), (700, 0.01)])
def test_a_full_disk_leaves_nothing_of_a_mark(tmp_path: Path, room: int, seconds: float) -> None:
    """A limit on the file's size acts like a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "r"), str(room), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"can't keep the mark in '{tmp_path / 'r'}': File too large: ")


WRITER = """
import sys
from pathlib import Path
from otic.review.folder import ReviewFolder
from tests.support.review_marks import SR, mark_of, sound
folder = ReviewFolder(Path(sys.argv[1]))
for i in range(15):
    mark = mark_of(onset=float(i), offset=None, source=sys.argv[2], clip_start=0.0)
    folder.mark(mark, SR, [sound(0.1)])
"""


def test_threads_and_processes_write_at_once(tmp_path: Path) -> None:
    """Two processes mark the same 15 events, two threads others of the same name."""
    folder = new_folder(tmp_path)
    others = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(folder.path), name], cwd=ROOT)
        for name in "ab"
    ]

    def work(source: str) -> None:
        for i in range(15):
            mark = mark_of(recording=source, onset=float(i), offset=None, clip_start=0.0)
            folder.mark(mark, SR, [sound(0.1)])

    threads = [threading.Thread(target=work, args=(name,)) for name in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in others] == [0, 0]
    marks = ReviewFolder(folder.path).marks()
    assert len(marks) == 45
    assert len((folder.path / "review.jsonl").read_text().splitlines()) == 60
    assert sorted(str(mark.clip) for mark in marks) == files(folder)


def test_where_marks_are() -> None:
    unset, named = ReviewSettings(), ReviewSettings("/srv/marks")
    assert review_path(named, {"STATE_DIRECTORY": "/var/lib/otic"}) == Path("/srv/marks")
    assert review_path(unset, {"STATE_DIRECTORY": "/a:/b"}) == Path("/a/review")
    assert review_path(unset, {"XDG_STATE_HOME": "/x"}) == Path("/x/otic/review")
    assert review_path(unset, {}) == Path.home() / ".local/state/otic/review"
