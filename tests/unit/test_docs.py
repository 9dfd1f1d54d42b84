"""What the documents say can be done: links lead somewhere, commands and settings are real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from otic.cli.main import COMMANDS, load_command
from otic.config.load import load_settings
from otic.errors import UsageError
from otic.sinks import receivers
from tests.conftest import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
ALL = [*DOCS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
_ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}


def name(path: Path) -> str:
    return path.name


def headings(path: Path) -> set[str]:
    """The anchors that a page has, as GitHub makes them."""
    text = blocks(path.read_text(encoding="utf-8"))[1]
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = blocks(page.read_text(encoding="utf-8"))[1]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), target


def blocks(text: str) -> tuple[list[tuple[str, str]], str]:
    """The fenced blocks, each with its language, and what is between them."""
    found: list[tuple[str, str]] = []
    between: list[str] = []
    inside: list[str] | None = None
    language = ""
    for line in text.splitlines():
        if not line.lstrip().startswith("```"):
            (between if inside is None else inside).append(line)
        elif inside is None:
            inside, language = [], line.strip().strip("`")
        else:
            found.append((language, "\n".join(inside)))
            inside = None
    return found, "\n".join(between)


def commands(text: str) -> list[list[str]]:
    """The words of each ``otic …`` in a block of code or between backticks, without ``otic``."""
    fenced, prose = blocks(text)
    lines = [line for _, block in fenced for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`]+)`", prose)
    found = []
    for line in lines:
        match = re.match(r"\s*(?:sudo )?(?:/opt/otic/bin/)?otic (.+)", line, re.DOTALL)
        if match:
            words = shlex.split(match[1], comments=True)
            ends = (i for i, word in enumerate(words) if word in _ENDS)
            found.append(words[: next(ends, None)])
    return found


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_commands_can_be_typed(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("…", "X")
    for words in commands(text):
        if words[0] not in COMMANDS or len(words) == 1:  # alone, it is only talked of
            continue
        try:
            load_command(COMMANDS[words[0]])[0].parse_args(words[1:])
        except SystemExit as done:
            if done.code:  # else --help
                pytest.fail(f"otic {shlex.join(words)}")
        except UsageError as error:
            pytest.fail(f"otic {shlex.join(words)}: {error}")


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_settings_are_taken(page: Path, tmp_path: Path) -> None:
    fenced = blocks(page.read_text(encoding="utf-8"))[0]
    for number, block in enumerate(block for language, block in fenced if language == "toml"):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        load_settings(str(path), {}, sections=receivers.sections)


def test_the_pages_of_a_sensor_are_there() -> None:
    assert {"sensor.md", "receivers.md"} <= {page.name for page in DOCS}


def test_commands_are_found() -> None:
    text = "```\nsudo /opt/otic/bin/otic doctor --json | less  # x\nnot otic x\n```\n`otic run -h`"
    assert commands(text) == [["doctor", "--json"], ["run", "-h"]]
