"""Negatives made here: the same from the same seed, whole or not at all, with what is installed."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.cli.main import main
from otic_training.data.making import COLUMNS, SR
from otic_training.data.negatives import negative_clips
from otic_training.data.played import FAMILIES, tune
from otic_training.data.signals import SIGNALS
from otic_training.data.sound_tables import sounds_of
from otic_training.data.sounds import negative_sounds
from otic_training.data.spoken import VARIANTS, WORDS, text
from otic_training.data.synthetic import machine

LABELS = ["dog", "rain"]
FAKE = """#!{python}
import hashlib, os, sys, wave
if "--version" in sys.argv:
    sys.exit(print("{name} text of 7.25 and more"))
if "{name}" == "fluidsynth":
    out, seconds, sr, given = sys.argv[sys.argv.index("-F") + 1], 121, 44100, sys.argv[-1]
    said = open(given, "rb").read()
else:
    (out,) = [word for word in sys.argv if word.endswith("out.wav")]
    seconds, sr = 12, 16000
    said = repr([word for word in sys.argv[1:] if word != out]).encode()
with open({calls!r}, "ab") as file:
    file.write(said + b"\\n\\0")
if os.path.exists({calls!r} + ".fails"):
    sys.exit("no voice today")
with wave.open(out, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(sr)
    some = hashlib.sha256(said).digest() * 2
    file.writeframes((some * (seconds * sr // 32 + 1))[: 2 * seconds * sr])
"""


class Programs:
    """Fakes on the path, and what they were asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._calls = folder / "bin", folder / "calls"
        self.font = folder / "FluidR3_GM.sf2"
        self.folder.mkdir()

    def install(self, *names: str) -> None:
        for name in names:
            path = self.folder / name
            path.write_text(FAKE.format(python=sys.executable, name=name, calls=str(self._calls)))
            path.chmod(0o755)
        if "fluidsynth" in names:
            self.font.touch()

    def fail(self) -> None:
        Path(f"{self._calls}.fails").touch()

    def calls(self) -> int:
        return self._calls.read_bytes().count(b"\n\0") if self._calls.exists() else 0

    def make(self, out: Path, *more: str) -> int:
        amounts = ("--speech", "0.015", "--music", "0.03", "--machines", "0.01")
        return main(["negatives", str(out), "--font", str(self.font), *amounts, *more])


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs(tmp_path)
    monkeypatch.setenv("PATH", str(found.folder))
    return found


@pytest.fixture
def installed(programs: Programs) -> Programs:
    programs.install("espeak-ng", "flite", "fluidsynth")
    return programs


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


def test_the_table_says_all_of_each_clip(installed: Programs, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert installed.make(made) == 0
    table = rows(made)
    assert tuple(table[0]) == COLUMNS
    hours = dict.fromkeys(("speech", "music", "machine"), 0.0)
    for row in table:
        info = soundfile.info(made / row["file"])
        assert (info.samplerate, info.channels) == (SR, 1)
        assert info.duration == pytest.approx(float(row["seconds"]), abs=0.001)
        assert info.duration <= 20.0
        assert row["fold"] == ""  # of ESC-50 it would be
        assert row["recording"]
        assert row["author"]
        assert row["licence"]
        hours[row["kind"]] += info.duration / 3600
    assert hours["speech"] == pytest.approx(0.015, abs=20 / 3600)
    assert 0.03 <= hours["music"] < 0.03 + 121 / 3600
    assert {"espeak-ng 7.25", "fluidsynth 7.25", "otic"} <= {row["source"] for row in table}
    assert {path.suffix for path in made.rglob("*") if path.is_file()} == {".flac", ".csv"}


def test_signals_take_turns_and_need_no_program(programs: Programs, tmp_path: Path) -> None:
    none = [word for kind in ("--speech", "--music", "--machines") for word in (kind, "0")]
    assert programs.make(tmp_path / "made", *none, "--signals", "0.006") == 0
    table = rows(tmp_path / "made")
    kinds = list(SIGNALS)
    assert len(table) >= 2
    assert [row["label"] for row in table] == [kinds[i % len(kinds)] for i in range(len(table))]
    assert {(row["kind"], row["licence"]) for row in table} == {("signal", "CC0-1.0")}
    assert len({row["recording"] for row in table}) == len(table)


def test_training_and_the_base_take_the_folder(installed: Programs, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert installed.make(made) == 0
    n = len(rows(made))
    assert len(negative_clips([str(made)], LABELS)) == n
    listed = sounds_of([str(made)], ("recording", "source"))  # what the base asks for
    sounds = negative_sounds(listed, LABELS, SR)
    assert len(sounds) == n
    assert not any(sound.doubt for sound in sounds)
    assert min(np.abs(sound.y).max() for sound in sounds) > 30_000


def test_music_is_no_negative_for_its_own_instruments(installed: Programs, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert installed.make(made, "--speech", "0", "--machines", "0") == 0
    family = rows(made)[0]["may_contain"].split(":")[0]
    assert family in [*FAMILIES.split(), "drums"]
    kept = {clip.path.name for clip in negative_clips([str(made), __file__], [family])}
    assert Path(rows(made)[0]["file"]).name not in kept


def test_a_seed_gives_the_same_files(installed: Programs, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert installed.make(tmp_path / name, "--seed", seed) == 0
    a, b, c = (content(tmp_path / name) for name in "abc")
    assert a == b
    assert not {*a.values()} & {*c.values()}


def test_more_hours_begin_with_the_same_clips(installed: Programs, tmp_path: Path) -> None:
    assert installed.make(tmp_path / "less") == 0
    assert installed.make(tmp_path / "more", "--speech", "0.02") == 0
    less, more = (content(tmp_path / name) for name in ("less", "more"))
    del less["clips.csv"]
    assert less.items() < more.items()


def test_a_program_that_fails_leaves_no_folder(
    installed: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.fail()
    assert installed.make(tmp_path / "made") == 1
    assert "no voice today" in one_line(capsys)
    assert not (tmp_path / "made").exists()


def test_what_was_made_before_the_end_is_not_made_again(
    installed: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (installed.folder / "fluidsynth").write_text("#!/bin/sh\n[ $1 = --version ] && echo 7.25\n")
    assert installed.make(tmp_path / "made") == 1
    assert "fluidsynth made no audio" in one_line(capsys)
    spoken = installed.calls()
    assert spoken > 3
    installed.install("fluidsynth")
    assert installed.make(tmp_path / "made") == 0
    played = len({row["recording"] for row in rows(tmp_path / "made") if row["kind"] == "music"})
    assert installed.calls() == spoken + played
    assert not list(tmp_path.glob(".made.*"))
    assert installed.make(tmp_path / "straight") == 0
    assert content(tmp_path / "made") == content(tmp_path / "straight")


def test_missing_programs_are_named_and_the_rest_is_made(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    programs.install("flite")
    assert programs.make(tmp_path / "made") == 0
    said = capsys.readouterr().err.splitlines()[0]
    assert "apt install espeak-ng fluidsynth fluid-soundfont-gm" in said
    assert {row["kind"] for row in rows(tmp_path / "made")} == {"speech", "machine"}
    assert {row["source"] for row in rows(tmp_path / "made")} == {"flite 7.25", "otic"}


def test_without_any_program_nothing_is_made(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert programs.make(tmp_path / "made") == 1
    assert "apt install espeak-ng flite fluidsynth fluid-soundfont-gm" in one_line(capsys)
    assert not (tmp_path / "made").exists()
    assert programs.make(tmp_path / "made", "--speech", "0", "--music", "0") == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--font", "other.sf2"), 2, "free for any use"),
        (("--speech", "-1"), 2, "above 0"),
        (("--speech", "0", "--music", "0", "--machines", "0"), 2, "give hours"),
    ],
)
def test_wrong_usage_is_one_line(
    installed: Programs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert installed.make(tmp_path / "made", *words) == code
    assert said in one_line(capsys)
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_there_stays(
    installed: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").mkdir()
    assert installed.make(tmp_path / "made") == 1
    assert "is there already" in one_line(capsys)
    assert installed.calls() == 0


@pytest.mark.parametrize("language", WORDS)
def test_text_is_of_about_the_length_asked_for(language: str) -> None:
    for i in range(40):
        said = text(language, 30, i % 2 == 1, np.random.default_rng(i))
        assert 30 <= len(said.split()) < 46
        assert not said.startswith("-")


def test_there_are_many_voices_and_languages() -> None:
    assert len(set(VARIANTS.split())) >= 20
    assert len(WORDS) >= 12


@pytest.mark.parametrize("number", range(30))
def test_a_tune_is_a_midi_file_of_the_length_asked_for(number: int) -> None:
    midi, families = tune(40.0, np.random.default_rng(number))
    assert set(families) <= {*FAMILIES.split(), "drums"}
    events = midi_events(midi)
    begun: dict[tuple[int, int], int] = {}
    for _, status, data in events:
        if status >> 4 == 9:
            key = (status & 15, data[0])
            begun[key] = begun.get(key, 0) + 1
        elif status >> 4 == 8:
            begun[status & 15, data[0]] -= 1
        elif status >> 4 == 12:
            assert data[0] < 119  # no helicopter, no seashore
    assert set(begun.values()) == {0}
    assert events[-1][0] >= 38.0


def midi_events(midi: bytes) -> list[tuple[float, int, bytes]]:
    """Seconds, status and data of all but meta events, as the standard has it."""
    assert midi[:14] == b"MThd\0\0\0\6\0\0\0\1\0\x60"
    assert midi[14:18] == b"MTrk"
    assert int.from_bytes(midi[18:22], "big") == len(midi) - 22
    at, ticks, tempo, found = 22, 0, 0, []
    while at < len(midi):
        delta = 0
        while True:
            delta = delta << 7 | midi[at] & 0x7F
            at += 1
            if midi[at - 1] < 0x80:
                break
        ticks += delta
        status = midi[at]
        if status == 0xFF:
            length = midi[at + 2]
            if midi[at + 1] == 0x51:
                tempo = int.from_bytes(midi[at + 3 : at + 6], "big")
            at += 3 + length
            continue
        n = 1 if status >> 4 == 12 else 2
        data = midi[at + 1 : at + 1 + n]
        assert max(data) < 0x80
        found.append((ticks / 96 * tempo / 1e6, status, data))
        at += 1 + n
    assert midi[-3:] == b"\xff\x2f\0"
    return found


@pytest.mark.parametrize("number", range(20))
def test_a_machine_runs_all_the_time(number: int) -> None:
    y, what = machine(SR, 6.0, np.random.default_rng(number))
    assert what in ("hum", "fan", "sweep", "whine")
    assert y.dtype == np.float32
    assert len(y) == 6 * SR
    assert np.abs(y).max() == pytest.approx(1.0)
    assert np.sqrt(np.mean(y.reshape(-1, SR // 2) ** 2, axis=1)).min() > 1e-3
