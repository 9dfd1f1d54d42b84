"""What the README and the model cards say is true now."""

from __future__ import annotations

import re

import pytest

from otic import load_bundle
from otic.cli.main import COMMANDS
from otic.config.values import DEFAULT_MODEL
from otic.model.bundle import bundled_names
from tests.conftest import ROOT
from tests.support.helpers import noise

README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
MOST_WORDS = 900


def test_it_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_the_python_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {"y": noise(22050 * 5)})  # the README's own text
    assert f"Scores(sample={load_bundle(DEFAULT_MODEL).window_samples}," in capsys.readouterr().out


def test_every_command_named_there_is_one() -> None:
    named = set(re.findall(r"(?:^|`)otic ([a-z]+)[ `\n]", README, re.MULTILINE))
    named -= {"listens", "is", "import"}
    assert {"listen", "replay", "doctor"} <= named
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("name", bundled_names())
def test_a_card_is_its_models(name: str) -> None:
    bundle = load_bundle(name)
    card = (ROOT / "models" / "otic_models" / f"{name}.md").read_text(encoding="utf-8")
    assert bundle.sha256 in card
    assert bundle.license in card
    accuracy = bundle.accuracy
    assert f"{accuracy['clip_mean']:.1%} ± {accuracy['clip_sd']:.1%}" in card
    assert accuracy["protocol"] in card


def test_the_accuracies_there_are_the_cards() -> None:
    for name in bundled_names():
        if f"{name}-int8" not in bundled_names():
            continue
        accuracy, int8 = (load_bundle(n).accuracy for n in (name, f"{name}-int8"))
        row = next(line for line in MODELS.splitlines() if line.startswith(f"| [`{name}`]"))
        assert f"{accuracy['clip_mean']:.1%} ± {accuracy['clip_sd']:.1%}" in row
        assert f"(int8 {int8['clip_mean']:.1%})" in row
        assert abs(int8["clip_mean"] - accuracy["clip_mean"]) < 0.0051
    card = (ROOT / "models" / "otic_models" / "esc10-mfcc-mlp.md").read_text(encoding="utf-8")
    match = re.search(r"tutorial, same protocol \| ([\d.]+)% ± ([\d.]+)%", card)
    assert match
    assert f"{match[1]} ± {match[2]} %" in MODELS
