"""The examples of ``docs/extending.md`` run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.audio.soundscape import synthesise
from otic.cli import main as cli
from otic.config.load import load_settings
from otic.diagnostics.receiver_checks import receiver_checks
from otic.errors import ConfigurationError, UsageError
from otic.sinks import receivers
from tests.conftest import ROOT

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
    assert "loudness  Print how loud an audio file is" in capsys.readouterr().out


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
    assert all(re.fullmatch(r"\S+Z hall [0-9a-f]{32}/(on|off)", line) for line in lines)
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
