"""The examples of ``docs/extending.md`` run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic import load_bundle
from otic.audio.soundscape import synthesise
from otic.cli import main as cli
from otic.config.load import load_settings
from otic.diagnostics.receiver_checks import receiver_checks
from otic.errors import ConfigurationError, UsageError
from otic.sinks import receivers
from tests.conftest import ROOT
from tests.support.helpers import noise, otic, write_dataset

PAGE = ROOT / "docs" / "extending.md"


def examples(heading: str) -> list[str]:
    """The blocks of Python in a section."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (found,) = (part for part in section if part.startswith(f"{heading}\n"))
    return re.findall(r"```python\n(.*?)```", found, re.DOTALL)


def test_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row, module = examples("A command")
    command = eval(row, vars(cli))
    package = tmp_path / "loudness.py"
    package.write_text(module)
    monkeypatch.setattr("otic.cli.__path__", [*sys.modules["otic.cli"].__path__, str(tmp_path)])
    monkeypatch.setitem(cli.COMMANDS, command.name, command)
    monkeypatch.setitem(cli.TABLE, "Try it", (*cli.TABLE["Try it"], command))

    y = np.full(22050, 0.1, np.float32)
    soundfile.write(tmp_path / "a.wav", y, 22050)
    assert cli.main(["loudness", str(tmp_path / "a.wav")]) == 0
    assert capsys.readouterr().out == "-20.0 dBFS\n"
    assert cli.main(["loudness", "--help"]) == 0
    assert "example: otic loudness street.wav" in capsys.readouterr().out
    assert cli.main(["loudness", "x.wav", "--rat", "1"]) == 2
    assert "did you mean '--rate'?" in capsys.readouterr().err
    assert cli.main(["--help"]) == 0
    assert re.search(r"loudness +Print how loud an audio file is", capsys.readouterr().out)


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the documented receiver, as pip would install it; its folder."""
    (module,) = examples("A receiver")
    (tmp_path / "otic_note.py").write_text(module)
    (tmp_path / "otic_note-1.dist-info").mkdir()
    (tmp_path / "otic_note-1.dist-info" / "METADATA").write_text("Name: otic-note\nVersion: 1\n")
    (entry,) = re.findall(r"```ini\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    points = tomllib.loads(entry)["project"]["entry-points"]["otic.receivers"]
    lines = ["[otic.receivers]", *(f"{name} = {value}" for name, value in points.items()), ""]
    (tmp_path / "otic_note-1.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    receivers._installed.cache_clear()
    yield tmp_path
    receivers._installed.cache_clear()
    sys.modules.pop("otic_note", None)


def test_a_receiver_of_another_package(note: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its flags, its section and its checks; events reach it."""
    soundfile.write(note / "a.wav", synthesise(22050)[0][: 8 * 22050], 22050)
    replay = ["replay", str(note / "a.wav"), "--speed", "max", "--name", "hall", "--no-dashboard"]
    assert cli.main([*replay, "--note-path", str(note / "notes.txt")]) == 0
    lines = (note / "notes.txt").read_text().splitlines()
    assert len(lines) >= 2
    assert all(re.fullmatch(r"\d+\.\d\d s hall [0-9a-f]{32}/(on|off)", line) for line in lines)
    receivers._installed.cache_clear()
    assert cli.main([*replay, "--note-path", str(note / "b.txt"), "--note-most", "1"]) == 1
    assert "note.most" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"'--note-colour'.*did you mean"):
        cli.load_command(cli.COMMANDS["replay"])[0].parse_args(["a.wav", "--note-colour", "1"])

    receivers._installed.cache_clear()
    (note / "otic.toml").write_text(f'[note]\npath = "{note}/c.txt"\n')
    found = load_settings(str(note / "otic.toml"), {}, sections=receivers.sections)
    assert found.receivers["note"].path == f"{note}/c.txt"
    assert [check.look().result for check in receiver_checks(found)] == ["ok"]


def test_other_packages_are_looked_for_only_where_a_name_is_unknown(
    note: Path, tmp_path: Path
) -> None:
    (tmp_path / "otic.toml").write_text('[csv]\npath = "x.csv"\n')
    load_settings(str(tmp_path / "otic.toml"), {"OTIC_NOTE_PATH": "x"}, sections=receivers.sections)
    cli.load_command(cli.COMMANDS["listen"])[0].parse_args(["--csv-path", "x.csv"])
    assert not receivers._installed.cache_info().currsize


def test_a_receiver_that_cannot_be_loaded_is_said(note: Path) -> None:
    (note / "otic_note.py").write_text("import no_such_library\n")
    (note / "otic.toml").write_text("[note]\n")
    with pytest.raises(ConfigurationError, match=r"'note' can't be loaded .*no_such_library"):
        load_settings(str(note / "otic.toml"), {}, sections=receivers.sections)


def test_the_table_of_receivers_is_light() -> None:
    code = (
        "import sys; from otic.sinks import receivers; from otic.config.load import keys;"
        "keys(receivers.sections()); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.split()
    heavy = {"numpy", "ssl", "http.client", "urllib.request", "importlib.metadata", "paho"}
    assert not heavy & set(loaded)
    assert {f"otic.sinks.receivers.{name}" for name in receivers.BUILT_IN} <= set(loaded)


def copied(tmp_path: Path, *roots: str) -> dict[str, str]:
    """An environment in which copies of these source roots are imported."""
    for root in roots:
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    rest = [str(ROOT / root) for root in ("realtime", "training", "models") if root not in roots]
    path = os.pathsep.join([*(str(tmp_path / root) for root in roots), *rest])
    return {"PYTHONPATH": path}


@pytest.mark.xdist_group("tensorflow")
def test_a_preset(tmp_path: Path) -> None:
    network, recipe = examples("A preset")
    env = copied(tmp_path, "training")
    networks = tmp_path / "training" / "otic_training" / "networks"
    for name, block in (("layers.py", network), ("presets.py", recipe)):
        with (networks / name).open("a") as file:
            file.write(f"\n\n{block}")
    t = np.arange(round(22050 * 2.2)) / 22050
    rows = []
    for i in range(6):
        tone = 0.3 * np.sin(2 * np.pi * (400 + 50 * i) * t) + noise(len(t), i, 1e-3)
        rows.append((f"tone{i}.wav", i % 2 + 1, "tone", tone.astype(np.float32)))
        rows.append((f"hiss{i}.wav", i % 2 + 1, "hiss", noise(len(t), 50 + i, 0.2)))
    data = write_dataset(tmp_path / "set", rows)
    words = ("--preset", "mfcc-linear", "--tracker", "none", "--out", tmp_path / "m.tflite")
    done = otic("train", data, *words, env=env, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    bundle = load_bundle(tmp_path / "m.tflite")
    assert bundle.provenance["preset"] == "mfcc-linear"
    assert bundle.accuracy["clip_mean"] >= 0.8
    assert b"mfcc-linear" in otic("train", "--help", env=env).stdout


CHECK = """
import numpy as np
from otic import Frontend
from otic.features.params import FeatureParams
from otic.features.reference import reference_features

p = FeatureParams(
    sr=8000, n_fft=256, hop_length=100, n_mels=24, n_mfcc=8, fmin=50.0, fmax=4000.0, top_db=80.0,
    center=False, window_frames=7, statistics=("delta_max", "mean"),
)
y = (np.random.default_rng(0).standard_normal(p.window_samples) * 0.1).astype(np.float32)
frontend = Frontend(p)
for part in np.array_split(y, 5):
    frontend.push(part)
found, expected = frontend.features(), reference_features(y, p)
np.testing.assert_allclose(found, expected, rtol=0, atol=5e-4)
assert found[:8].min() > 0.0
print(p.looked_at)
"""


def test_a_statistic(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (diff,) = re.findall(r"```diff\n(.*?)```", text, re.DOTALL)
    env = copied(tmp_path, "realtime")
    files = re.split(r"^--- a/(.*)\n", diff, flags=re.MULTILINE)[1:]
    assert len(files) == 2 * 3
    for name, hunks in zip(files[::2], files[1::2], strict=True):
        source = (tmp_path / name).read_text(encoding="utf-8")
        for hunk in hunks.split("@@\n")[1:]:
            lines = hunk.splitlines(keepends=True)
            before, after = (
                "".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +")
            )
            assert source.count(before) == 1, before
            source = source.replace(before, after)
        (tmp_path / name).write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout == "delta_max + mean of 8 MFCCs\n", done.stderr
