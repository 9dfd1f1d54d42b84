"""The examples of ``docs/extending.md`` run as they stand there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.cli import main as cli
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
