"""The examples in docstrings and in docs/python.md give what they say."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import otic
from tests.conftest import ROOT

# Each has at least one example.
MODULES = (
    "otic",
    "otic.audio.converter",
    "otic.detection.thresholds",
    "otic.detection.detector",
    "otic.detection.event_log",
    "otic.detection.loud",
    "otic.features.tables",
    "otic.features.frontend",
    "otic.features.level",
    "otic.audio.loading",
    "otic.detection.onset",
    "otic.features.params",
    "otic.pipeline",
    "otic.audio.arrivals",
    "otic.audio.ring_buffer",
    "otic.audio.stream_capture",
    "otic.audio.soundscape",
    "otic.sinks.event_filter",
)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    found = doctest.testmod(module)
    assert found.attempted >= 1
    assert found.failed == 0


def test_no_example_is_left_out() -> None:
    """Every docstring with an example is in a module above."""
    for path in (ROOT / "realtime").glob("**/*.py"):
        parts = path.relative_to(ROOT / "realtime").with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        has_examples = re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert (has_examples is not None) == (name in MODULES), name


def test_everything_exported_is_there() -> None:
    for name in otic.__all__:
        assert getattr(otic, name).__doc__ or name == "__version__"


def test_the_python_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks run in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 8
    names: dict[str, object] = {"__name__": "python_page"}
    for block in blocks:
        exec(block, names)  # the page's own text
    output = capsys.readouterr().out
    assert re.search(r"^[12]\.\d\d to \d\.\d\d s: rain, (0\.\d\d|1\.00)$", output, re.MULTILINE)
    assert "Gap(sample=110250, lost=22050)\n" in output
    assert "hum begins\n" in output
    assert "hum ends after 3.0 s\n" in output
    assert "unknown model 'esc10-mfcc' (did you mean 'esc10-mfcc-mlp'" in output
    assert getattr(names["features"], "shape", None) == (80,)
    log = (tmp_path / "events.jsonl").read_text(encoding="utf-8")
    assert '"label":"rain"' in log
    assert log.splitlines()[-1].startswith('{"type":"end","samples":970200')
    examples = set(re.findall(r"`(examples/\w+\.\w+)`", text))
    assert examples == {
        f"examples/{path.name}" for path in (ROOT / "examples").iterdir() if path.suffix
    }
