"""From marks to a data set: no recording leaks, and `otic train` takes it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from otic import Event, Pipeline, load_bundle
from otic.audio.recent_audio import as_int16
from otic.errors import ParameterError, SinkError
from otic.review.export import (
    CONTEXT_SECONDS,
    MIN_SECONDS,
    PAUSE_SECONDS,
    cut_out,
    export,
    label_of,
    recordings,
    stretch,
)
from otic.review.folder import Mark, ReviewFolder, wanted_sound
from otic.system.clock import iso
from otic_training.data.cache import Store
from otic_training.data.class_folders import make_folds
from otic_training.data.dataset import Clip
from otic_training.data.layouts import load_dataset
from otic_training.data.negatives import NEGATIVE_LABEL, negative_clips
from otic_training.data.windows import read_clip
from otic_training.experiment import Experiment
from otic_training.fitting.fit import trained_on
from otic_training.fitting.prepare import prepare
from otic_training.networks.presets import preset
from tests.conftest import ROOT
from tests.support.helpers import bundled, one_line, otic
from tests.support.review_marks import SR, STARTED, live_mark, mark_of, sound

pytestmark = pytest.mark.xdist_group("streaming")  # TensorFlow is loaded there already


def kept(folder: ReviewFolder, mark: Mark, before: float = 1.0, after: float = 1.0) -> Mark:
    """A mark with the sound of its event, and so much around it."""
    assert mark.offset is not None
    start = mark.onset - before
    y = sound(mark.offset + after - start, round(mark.onset))
    return folder.mark(replace(mark, clip_start=start), SR, [y])


def groups(marks: list[Mark]) -> list[str]:
    return recordings([stretch(mark, 4.0) for mark in marks])


def test_a_file_is_one_recording() -> None:
    marks = [mark_of(onset=t, offset=t + 1) for t in (0.0, 5000.0)]
    assert groups([*marks, mark_of(recording="b.wav")]) == ["yard.wav", "yard.wav", "b.wav"]


def test_a_live_stream_is_cut_at_its_pauses() -> None:
    """Ten minutes from the end of one to the start of the next; a chain of shorter steps holds."""
    ends = [0.0, 500.0, 1000.0, 1500.0]
    chain = [live_mark(t) for t in ends]
    assert len(set(groups(chain))) == 1
    last = 1502.0 + PAUSE_SECONDS
    assert len(set(groups([*chain, live_mark(last)]))) == 1
    found = groups([*chain, live_mark(last + 0.01)])
    assert len(set(found)) == 2
    assert found[4] == f"mic@{iso(STARTED)}+{last + 0.01:.3f}s"
    # What the clips hold counts, too.
    early = replace(live_mark(last + 0.5), clip="x.flac", clip_start=last - 0.5)
    assert len(set(groups([*chain, early]))) == 1
    # A long event is one stretch.
    assert len(set(groups([live_mark(0.0, offset=3000.0), live_mark(3500.0)]))) == 1


def test_microphones_hear_the_same_and_restarts_go_on() -> None:
    again = iso(STARTED + timedelta(minutes=5))
    restarted = replace(live_mark(301.0), recording=f"mic@{again}", onset=1.0, offset=2.0)
    far = live_mark(2000.0, "other")
    marks = [live_mark(0.0), live_mark(1.0, "other"), restarted, far]
    first, second, third, fourth = groups(marks)
    assert first == second == third != fourth
    # A file has no wall clock: it shares nothing with them.
    assert len(set(groups([live_mark(0.0), mark_of(onset=0.0)]))) == 2


_LIVE = st.builds(
    lambda start, seconds, clip, microphone, label: live_mark(
        start,
        microphone,
        label=label,
        offset=start + seconds,
        clip="x.flac" if clip else None,
        clip_start=start - 1.0 if clip else None,
    ),
    st.floats(0.0, 20_000.0),
    st.floats(0.0, 100.0),
    st.booleans(),
    st.sampled_from("ab"),
    st.sampled_from(["dog", "rain", "siren"]),
)
_FILE = st.builds(
    lambda start, name: mark_of(onset=start, offset=start + 2.0, recording=name),
    st.floats(0.0, 10_000.0),
    st.sampled_from(["1.wav", "2.wav"]),
)


@given(st.lists(_LIVE | _FILE, min_size=1, max_size=30), st.randoms())
def test_no_two_folds_share_a_recording_or_a_time(marks: list[Mark], random: object) -> None:
    stretches = [stretch(mark, 5.0) for mark in marks]
    names = recordings(stretches)
    folds = make_folds([(mark.label, name) for mark, name in zip(marks, names, strict=True)])
    for i, one in enumerate(stretches):
        for j, other in enumerate(stretches):
            same_stream = one.mark.recording == other.mark.recording
            if not one.mark.live and same_stream:
                assert names[i] == names[j]
            if one.mark.live and other.mark.live:
                apart = max(one.start, other.start) - min(one.stop, other.stop)
                if apart <= PAUSE_SECONDS - 0.01:  # the wall clock is cut to milliseconds
                    assert names[i] == names[j]
            if folds[names[i]] != folds[names[j]]:
                assert one.mark.live or not same_stream
    # The order says nothing.
    shuffled = list(range(len(marks)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert recordings([stretches[i] for i in shuffled]) == [names[i] for i in shuffled]


def test_what_marks_are_examples_of() -> None:
    assert label_of(mark_of()) == "dog"
    assert label_of(mark_of(verdict="wrong", true_label="cat")) == "cat"
    assert label_of(mark_of(verdict="wrong")) is None
    assert label_of(mark_of(label="unknown")) is None
    assert label_of(mark_of(verdict="wrong", true_label="unknown")) is None
    assert label_of(mark_of(verdict="wrong", label="unknown", true_label="cat")) == "cat"
    with pytest.raises(LookupError):
        label_of(mark_of(verdict="wrong", label="unknown"))


@given(st.integers(0, 300), st.integers(0, 60), st.integers(0, 300), st.floats(0.1, 40.0))
def test_cutting_out(before: int, during: int, after: int, min_seconds: float) -> None:
    """At 10 Hz: half a second around the event, or as much as is needed and there."""
    y = np.arange(1, 1 + before + during + after, dtype=np.int16)
    found = cut_out(y, 10, before, before + during, min_seconds)
    least = round(10 * min_seconds)
    sounding = found[found > 0]
    context = round(10 * CONTEXT_SECONDS)
    plain = min(before, context) + during + min(after, context)
    assert len(found) == max(plain, least)
    assert len(sounding) == max(plain, min(least, len(y)))
    assert np.all(np.diff(sounding) == 1)
    assert set(range(before + 1, before + during + 1)) <= set(sounding.tolist())
    if len(found) > len(sounding):
        silent_first = int(np.argmax(found > 0)) if len(sounding) else len(found) // 2
        assert silent_first == (len(found) - len(sounding)) // 2


def test_a_data_set_is_written(tmp_path: Path) -> None:
    folder = ReviewFolder(tmp_path / "review")
    right = kept(folder, live_mark(100.0))
    kept(folder, live_mark(5000.0, offset=5006.0, verdict="wrong", true_label="cat / 猫"))
    kept(folder, live_mark(9000.0, verdict="wrong"))
    kept(folder, mark_of(onset=0.2, offset=0.4, label="_rain"), before=0.2, after=0.1)
    folder.mark(mark_of(label="no sound"), SR, [])
    # During the dog, and said to be none: it would teach that the dog is none.
    kept(folder, live_mark(101.0, "other", label="rain", verdict="wrong"))
    gone = kept(folder, mark_of(label="gone"))
    (folder.audio / str(gone.clip)).unlink()
    out = tmp_path / "set"
    exported = export(folder.marks(), folder.audio, out)
    assert exported.clips == {"cat - 猫": 1, "dog": 1, "rain": 1}
    assert exported.recordings == {"cat - 猫": 1, "dog": 1, "rain": 1}
    assert exported.others == 1
    assert exported.renamed == {"_rain": "rain", "cat / 猫": "cat - 猫"}
    assert exported.left_out == {
        "without sound": 1,
        "without a label, during an event with one": 1,
        "whose sound is missing or can't be read": 1,
    }
    rows = list(csv.reader((out / "recordings.csv").open(encoding="utf-8", newline="")))
    stream = f"mic@{iso(STARTED)}"
    assert rows == [
        ["filename", "recording"],
        ["_other/20260301T143000.000Z_mic_dog.flac", f"{stream}+8999.000s"],
        ["cat - 猫/20260301T132320.000Z_mic_dog.flac", f"{stream}+4999.000s"],
        ["dog/20260301T120140.000Z_mic_dog.flac", f"{stream}+99.000s"],
        ["rain/000000.200s_yard-wav_rain.flac", "yard.wav"],
    ]
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == sorted(
        ["README.txt", "recordings.csv", *(row[0] for row in rows[1:])]
    )
    # The event, half a second around it, and no more where that is enough.
    y, _ = soundfile.read(out / rows[3][0], dtype="int16")
    np.testing.assert_array_equal(y, sound(4.0, 100)[SR // 2 : -SR // 2])
    assert right.clip_start == 99.0
    assert soundfile.info(out / rows[2][0]).duration == 7.0
    # A short one at a file's start: all of the clip, and silence.
    y, _ = soundfile.read(out / rows[4][0], dtype="int16")
    assert len(y) == MIN_SECONDS * SR
    assert np.count_nonzero(y) == pytest.approx(0.5 * SR, rel=0.01)
    text = (out / "README.txt").read_text(encoding="utf-8")
    for words in (
        "sensors  shed",
        "from 2026-03-01T12:01:40",
        "in 1 files",
        "clips    4",
        "voices",
    ):
        assert words in text
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_same_sound_is_there_once(tmp_path: Path) -> None:
    """Two labels were reported of one sound, and both marks say that it is rain."""
    folder = ReviewFolder(tmp_path / "review")
    kept(folder, mark_of(label="rain"))
    kept(folder, mark_of(verdict="wrong", true_label="rain"))
    kept(folder, mark_of(label="siren"))  # overlaps them, and is another event: it stays
    exported = export(folder.marks(), folder.audio, tmp_path / "set")
    assert exported.clips == {"rain": 1, "siren": 1}
    assert exported.left_out == {"with the same sound and label as another": 1}


def test_labels_whose_folders_would_be_one(tmp_path: Path) -> None:
    folder = ReviewFolder(tmp_path / "review")
    for i, label in enumerate(["a/b", "a-b", "A-B", "..", "README.txt", "\udce9\n"]):
        kept(folder, mark_of(label=label, onset=10.0 * i + 1, offset=10.0 * i + 2))
    exported = export(folder.marks(), folder.audio, tmp_path / "set")
    assert list(exported.clips.values()) == [1] * 6
    assert exported.renamed.keys() == {"a/b", "a-b", "..", "README.txt", "\udce9\n"}
    assert all(re.fullmatch(r"[\w. -]+", name) for name in exported.clips)


def test_names_are_no_formulas_and_control_nothing(tmp_path: Path) -> None:
    folder = ReviewFolder(tmp_path / "review")
    unseen = "\x1b]0;x\x07\u202e\n\u2028"
    names = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", " =1", "dog"]
    for i, name in enumerate(names):
        source = name + unseen
        mark = mark_of(label=name, source=source, recording=source, sensor=unseen, model=unseen)
        kept(folder, replace(mark, onset=10.0 * i + 1, offset=10.0 * i + 2))
    exported = export(folder.marks(), folder.audio, tmp_path / "set")
    assert not any(label.startswith(tuple("=+-@")) for label in exported.clips)
    with (tmp_path / "set" / "recordings.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.lstrip().startswith(tuple("=+-@")) for cell in cells)
    written = [path.read_text("utf-8") for path in (tmp_path / "set").glob("*.*")]
    assert all(c.isprintable() or c == "\n" for text in written for c in text)
    for path in [*(tmp_path / "set").rglob("*.flac"), *folder.audio.glob("*.flac")]:
        with soundfile.SoundFile(path) as file:
            assert (file.title + file.comment).isprintable()
    done = otic("review", "list", folder.path)
    assert all(c.isprintable() or c == "\n" for c in done.stdout.decode())


def test_what_can_not_be_exported(tmp_path: Path) -> None:
    folder = ReviewFolder(tmp_path / "review")
    folder.mark(mark_of(), SR, [])
    with pytest.raises(SinkError, match=r"no marked event has sound .* \(1 without sound\)"):
        export(folder.marks(), folder.audio, tmp_path / "set")
    kept(folder, mark_of())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").touch()
    with pytest.raises(ParameterError, match=r"--min-seconds 1e\+09 must be at most 60"):
        export(folder.marks(), folder.audio, tmp_path / "long", 1e9)
    with pytest.raises(SinkError, match="exists and is not empty: name another folder"):
        export(folder.marks(), folder.audio, tmp_path / "set")
    with pytest.raises(SinkError, match="can't write the data set"):
        export(folder.marks(), folder.audio, tmp_path / "set" / "mine.txt" / "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["review", "set"]
    assert export(folder.marks(), folder.audio, tmp_path / "deep" / "set").clips == {"dog": 1}


def test_the_command_lists_and_says_what_training_lacks(tmp_path: Path) -> None:
    folder = ReviewFolder(tmp_path / "review")
    here = {"OTIC_REVIEW_DIRECTORY": str(folder.path)}
    done = otic("review", "list", env=here)
    assert done.returncode == 1
    assert "no marks in" in one_line(done.stderr)
    kept(folder, live_mark(1.0))
    kept(folder, mark_of(verdict="wrong", label="dog\x1b", true_label="cat"))
    folder.mark(mark_of(label="rain"), SR, [])
    lines = otic("review", "list", env=here).stdout.decode().splitlines()
    assert [re.split(r"  +", line) for line in lines] == [
        ["when", "source", "label", "verdict", "true label", "sound"],
        ["2026-03-01T12:00:01.000Z", "mic", "dog", "right", "-", "yes"],
        ["10.000 s", "yard.wav", "dog\ufffd", "wrong", "cat", "yes"],
        ["10.000 s", "yard.wav", "rain", "right", "-", "no"],
    ]
    values = json.loads(otic("review", "list", folder.path, "--json").stdout)
    assert [Mark.from_dict({k: v[k] for k in v if k != "sound"}) for v in values] == folder.marks()
    assert [v["sound"] for v in values] == [True, True, False]
    done = otic(
        "review", "export", "--out", "my set", env={**here, "PYTHONPATH": str(ROOT)}, cwd=tmp_path
    )
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "otic: left out: 1 without sound",
        "otic: training takes two labels or more, with two recordings or more each: cat, dog so "
        "far have one: mark more on another occasion (ten minutes apart or more), or move the "
        "folder away",
    ]
    assert done.stdout.decode().splitlines() == [
        "cat: clips 1, recordings 1",
        "dog: clips 1, recordings 1",
        "next: otic train 'my set'",
    ]


def replayed(folder: ReviewFolder, path: Path, clips: list[Clip], live: datetime | None) -> int:
    """Replay clips as one stream and mark each event by what the data set says; how many."""
    bundle = bundled()
    sr = bundle.features.sr
    parts = [read_clip(clip, sr) for clip in clips]
    ends = np.cumsum([len(part) for part in parts])
    y = np.concatenate(parts)
    pipeline = Pipeline(bundle)
    items = [*pipeline.process(y), *pipeline.flush()]
    name = path.name if live is None else f"mic@{iso(live)}"
    n = 0
    for event in (i for i in items if isinstance(i, Event) and i.state == "off"):
        truth = clips[int(np.searchsorted(ends, event.onset * sr, side="right"))].label
        start, stop = wanted_sound(event.onset, event.offset)
        right = event.label == truth
        mark = mark_of(
            verdict="right" if right else "wrong",
            label=event.label,
            recording=name,
            onset=event.onset,
            offset=event.offset,
            onset_at="" if live is None else iso(live + timedelta(seconds=event.onset)),
            true_label=None if right or n % 2 else truth,
            clip_start=start,
        )
        folder.mark(mark, sr, [as_int16(y[round(start * sr) : round(stop * sr)])])
        n += 1
    return n


def test_from_a_replay_to_a_model(esc10: Path, tmp_path: Path) -> None:
    """Real recordings, replayed and marked: what is exported trains, as it is printed."""
    clips = [c for c in load_dataset(str(esc10)).clips if c.label in ("rain", "rooster")]
    folder = ReviewFolder(tmp_path / "review")
    started = datetime(2026, 3, 1, tzinfo=UTC)
    n = 0
    for i in range(6):
        chosen = clips[i * 4 : i * 4 + 4]
        live = None if i % 2 else started + timedelta(hours=i)
        n += replayed(folder, Path(f"{i}.wav"), chosen, live)
    assert n >= 20
    done = otic("review", "export", folder.path, "--out", tmp_path / "heard")
    assert done.returncode == 0, done.stderr.decode()
    last = done.stdout.decode().splitlines()[-1]
    others = tmp_path / "heard" / "_other"
    assert last == f"next: otic train {tmp_path / 'heard'} --negatives {others}"
    dataset = load_dataset(str(tmp_path / "heard"))
    assert dataset.protocol == "folds made by recording"
    assert dataset.warnings == ()
    words = last.removeprefix("next: otic ").split()
    options = ("--preset", "mfcc-mlp", "--epochs", "2", "--tracker", "none")
    done = otic(
        *words, *options, "--out", "heard.tflite", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"left out" not in done.stderr
    assert load_bundle(tmp_path / "heard.tflite").labels == dataset.labels


def test_sounds_without_a_label_are_on_their_recordings_side(tmp_path: Path) -> None:
    """A model that is tested on a recording has not been told what in it is nothing."""
    folder = ReviewFolder(tmp_path / "review")
    for i in range(6):
        kept(folder, live_mark(2000.0 * i + 10.0, label="dog" if i % 2 else "rain"))
        kept(folder, live_mark(2000.0 * i + 50.0, verdict="wrong"))
    kept(folder, live_mark(2000.0 * 6 + 10.0, verdict="wrong"))  # of no tested recording
    out = tmp_path / "set"
    assert export(folder.marks(), folder.audio, out).others == 7
    dataset, negatives = load_dataset(str(out)), negative_clips([str(out / "_other")], ())
    recipe = preset("mfcc-mlp")
    negative = tuple(negatives)
    prepared = prepare(Experiment(dataset, recipe, 0, 1, Store(None), negatives=negative))
    clips = [*dataset.clips, *prepared.negatives]
    for tested in dataset.folds:
        folds = [fold for fold in dataset.folds if fold != tested]
        heard = [clips[i] for i in trained_on(prepared, recipe, folds)]
        held_out = {clip.recording for clip in dataset.clips if clip.fold == tested}
        assert not held_out & {clip.recording for clip in heard}
        assert sum(clip.label == NEGATIVE_LABEL for clip in heard) == 7 - len(held_out)
    assert len(trained_on(prepared, recipe, dataset.folds)) == len(clips)
