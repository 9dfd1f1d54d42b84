"""Credits: who is named for what, and the file that is installed beside the models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from otic import load_bundle
from otic_training.data.dataset import Clip
from otic_training.reports.card import model_card
from otic_training.reports.cost import Cost
from otic_training.reports.credits import TEACHER, credits_text, write_credits
from tests.conftest import ROOT


def clip(name: str, licence: str, author: str, source: str) -> Clip:
    return Clip(Path(f"{name}.ogg"), "", 1, name, False, licence, author, source)


CLIPS = [
    clip("a", "CC-BY-3.0", "ann_b", "X (https://freesound.org/s/20/)"),
    clip("b", "CC-BY-3.0", "ann_b", "http://www.freesound.org/people/ann_b/sounds/3/"),
    clip("c", "CC-BY-3.0", "[↓](#authors)", "a [pack]"),
    clip("d", "CC0-1.0", "Carl%20D", "https://freesound.org/s/7/"),
    clip("e", "CC0-1.0", "berta", ""),
    clip("f", "", "", ""),
]


def test_recordings_are_named_where_credit_is_owed() -> None:
    text = credits_text(CLIPS)
    assert text == credits_text(CLIPS[::-1])
    assert "* ann\\_b: fs3, fs20\n* author not stated: a \\[pack\\]\n" in text
    assert (
        "2 clips, <https://creativecommons.org/publicdomain/zero/1.0/>.\n\nberta, Carl D.\n" in text
    )
    assert text.endswith("## Licence not stated\n\n1 clip.\n")
    assert credits_text(CLIPS, teacher=True) == f"{text}\n{TEACHER}"


def test_a_card_names_the_credits_beside_it(tmp_path: Path) -> None:
    card = str(tmp_path / "my.md")
    assert write_credits(card, CLIPS[5:]) == ""
    assert not any(tmp_path.iterdir())
    name = write_credits(card, CLIPS)
    assert (tmp_path / name).read_text(encoding="utf-8") == credits_text(CLIPS)
    bundle = load_bundle("esc10-mfcc-mlp")
    origin = bundle.provenance | {"licences": {"CC-BY-3.0": 3, "CC0-1.0": 2}}
    text = model_card(
        replace(bundle, provenance=origin), "otic train", None, Cost(1, 2, 3, 4.0, 5.0), name
    )
    assert "Clips by their own licence: CC-BY-3.0 3, CC0-1.0 2.\n" in text
    assert "Whose recordings they are: [my-credits.md](my-credits.md).\n" in text


def test_the_models_come_with_credits() -> None:
    text = (ROOT / "models" / "otic_models" / "CREDITS.md").read_text(encoding="utf-8")
    assert text.endswith(TEACHER)
    assert "* dobroide: fs4211, fs21934, " in text  # of ESC-10
    assert "pionium" not in text  # a rooster under CC Sampling+
