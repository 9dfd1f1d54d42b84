"""The page of a data set tells what is in it, and what can't be read."""

from __future__ import annotations

import csv
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.cli.main import main
from otic_training.data.layouts import load_dataset
from otic_training.reports.dataset_page import is_clipped, measure, silent_share
from tests.support.helpers import noise
from tests.unit.test_pages import Checker


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: stereo noise at 44 100 Hz with a silent half, and clipped tones."""
    root = tmp_path / "set"
    for label in ("hiss & <b>", "tone"):
        (root / label).mkdir(parents=True)
    for i in range(3):
        y = noise(44100, seed=i)
        y[13230 if i else 22050 :] = 0.0
        both = np.stack([y, y], axis=1)
        soundfile.write(root / "hiss & <b>" / f"{i}.wav", both, 44100)
        loud = 2.0 * np.sin(np.arange(8000 * (i + 1)) / 5).astype(np.float32)
        soundfile.write(root / "tone" / f"{i}.flac", loud.clip(-1, 0.99997), 8000)
    return root


def explored(
    capsys: pytest.CaptureFixture[str], folder: Path, report: Path, *options: str
) -> tuple[str, str]:
    """The page and what was said; stdout is the page's path."""
    assert main(["explore", str(folder), "--report", str(report), *options]) == 0
    out, err = capsys.readouterr()
    assert out == f"{report / 'index.html'}\n"
    assert all(line.startswith("otic: ") for line in err.splitlines()), err
    assert [path.name for path in report.iterdir()] == ["index.html"]
    return (report / "index.html").read_text(encoding="utf-8"), err


def test_a_page_of_class_folders(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tone" / "text.wav").write_text("no audio")
    whole = (folder / "hiss & <b>" / "0.wav").read_bytes()
    (folder / "hiss & <b>" / "cut.wav").write_bytes(whole[:20000])
    html, err = explored(capsys, folder, tmp_path / "report")
    texts = Checker(html).texts
    rows = [row.split("</tr>")[0] for row in html.split("<tr>")]
    tone = next(unescape(row) for row in rows if ">tone</th>" in row and "8000" in row)
    for cell in (">4<", ">6.0 s<", ">1.00 s<", ">2.00 s<", ">3.00 s<", ">8000<", ">1<", ">0.0%<"):
        assert cell in tone
    assert tone.endswith('>0</td><td class="number">3</td>')  # none mostly silent, all clipped
    hiss = next(unescape(row) for row in rows if ">hiss &amp; &lt;b&gt;</th>" in row)
    for cell in (">44100<", ">2<", ">63.3%<"):
        assert cell in hiss
    assert hiss.endswith('>2</td><td class="number">0</td>')
    for said in ("hiss & <b>/cut.wav: ", "tone/text.wav: can't read", "--group-regex"):
        assert said in err
    for told in ("hiss & <b>/cut.wav", "tone/text.wav", "2 of 8 clips can't be read: see below"):
        assert told in texts
    assert html.count('<img src="data:image/png') == 2
    # Of the class with silence, the example is the clip with the least.
    assert any(text.startswith("hiss & <b>/0.wav: 1.00 s, fold") for text in texts)


def test_groups_and_the_folder_reach_the_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, err = explored(capsys, folder, tmp_path / "a" / "b", "--group-regex", r"^\d")
    assert err == ""
    assert "folds made by recording" in html


def test_nothing_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(30):
            (tmp_path / "set" / label / f"{i}.wav").write_text(f"no audio {label}{i}")
    report = tmp_path / "report"
    assert main(["explore", str(tmp_path / "set"), "--report", str(report)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("otic: none of the 60 clips in")
    assert "left out 40 clips more" in lines[-2]
    assert list(report.iterdir()) == []


def test_a_missing_library_is_one_line(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("otic_training.cli.explore.find_spec", lambda _: None)
    assert main(["explore", str(folder), "--report", str(tmp_path / "r")]) == 1
    assert "pip install 'otic[train]'" in capsys.readouterr().err


def test_silence_and_clipping() -> None:
    y = noise(48000, level=0.3).clip(-0.9, 0.9)
    assert silent_share(y, 48000) == 0.0
    y[12000:] = 0.0
    assert silent_share(y, 48000) == 0.75
    y[12000:] = noise(36000, level=0.3 * 10 ** (-70 / 20))
    assert silent_share(y, 48000) == 0.75
    y[12000:] = noise(36000, level=0.3 * 10 ** (-50 / 20))
    assert silent_share(y, 48000) == 0.0
    assert silent_share(np.zeros(100, np.float32), 48000) == 1.0
    assert silent_share(np.ones(1, np.float32), 48000) == 0.0
    assert not is_clipped(y)
    y[[5, 6, 8]] = 1.0
    assert not is_clipped(y)
    y[7] = -1.0
    assert is_clipped(y)
    assert not is_clipped(y[:2])


def test_real_clips(esc10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some clips of ESC-10, as a data set in ESC-50's layout."""
    with (esc10 / "meta" / "esc50.csv").open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["category"] in ("dog", "rain")]
    picked = [r for r in rows if r["fold"] in ("1", "2")]
    few = tmp_path / "few"
    for name in ("meta", "audio"):
        (few / name).mkdir(parents=True)
    with (few / "meta" / "esc50.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(picked)
    for row in picked:
        shutil.copy(esc10 / "audio" / row["filename"], few / "audio")
    html, err = explored(capsys, few, tmp_path / "report", "--subset", "esc10")
    assert err == ""
    assert "official folds" in html
    assert "CC BY 3.0" in html
    assert len(html) < 500_000
    measured, unreadable = measure(load_dataset(str(few)))
    assert (len(measured), unreadable) == (32, [])
    silent = {m.clip.label: m.silent for m in measured if m.silent > 0.5}
    assert set(silent) == {"dog"}  # dogs bark, and then there is digital silence


def test_what_replay_would_say_of_a_clip_is_on_the_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whose channels cancel, and one whose header says half of what is there."""
    y = noise(44100)
    soundfile.write(folder / "tone" / "opposite.wav", np.stack([y, -y], axis=1), 44100, "FLOAT")
    soundfile.write(folder / "tone" / "short.wav", noise(16000), 8000)
    content = (folder / "tone" / "short.wav").read_bytes()
    wrong = content[:40] + (16000).to_bytes(4, "little") + content[44:]
    (folder / "tone" / "short.wav").write_bytes(wrong)
    html, err = explored(capsys, folder, tmp_path / "report")
    assert "Clips to look at" in html
    assert "tone/opposite.wav: the mean of its 2 channels is silence, unlike channel 1" in err
    assert "tone/short.wav: its header says 1.000 s, but sound follows: 2.000 s were read" in err
    _, err = explored(capsys, folder, tmp_path / "one", "--channel", "1")
    assert "opposite" not in err
    measured, _ = measure(load_dataset(str(folder)))
    (short,) = [m for m in measured if m.clip.path.name == "short.wav"]
    assert (short.seconds, short.rate, short.channels) == (2.0, 8000, 1)
