"""The table of commands: what ``otic --help`` shows, and what a mistyped word is answered with."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from otic.cli.main import COMMANDS, TABLE, load_command, main, overview
from otic.config.values import DEFAULT_MODEL

WITHOUT_NUMPY = [name for name, c in COMMANDS.items() if c.place.startswith("otic.")]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return shown.err


def loaded_after(code: str) -> set[str]:
    code += "\nimport sys; print(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_overview_lists_every_command_under_its_group() -> None:
    text = overview()
    for group, commands in TABLE.items():
        section = text[text.index(f"\n{group}:") :]
        for command in commands:
            assert f"\n  {command.name:<11} {command.summary}" in section


def test_summaries_are_imperatives_and_fit_a_narrow_terminal() -> None:
    for command in COMMANDS.values():
        assert command.summary[0].isupper()
        assert not command.summary.endswith(".")
    assert max(map(len, overview().splitlines())) < 100


def test_each_row_names_a_function_and_its_options() -> None:
    for command in COMMANDS.values():
        parser, body = load_command(command)
        assert callable(body)
        assert parser.prog == f"otic {command.name}"
        assert parser.epilog is not None
        assert parser.epilog.startswith("example: ")
        assert f"otic {command.name}" in parser.epilog
        module, _, function = command.place.partition(":")
        assert body is getattr(import_module(module), function)


def test_the_overview_builds_no_parser_and_loads_no_logging() -> None:
    loaded = loaded_after("from otic.cli.main import main; main(['--help'])")
    assert not loaded & {"argparse", "logging", "numpy", "difflib"}


@pytest.mark.parametrize("name", WITHOUT_NUMPY)
def test_the_help_of_a_command_does_not_wait_for_numpy(name: str) -> None:
    loaded = loaded_after(f"from otic.cli.main import main; main([{name!r}, '--help'])")
    assert not loaded & {"numpy", "numba", "rich"}


def test_the_help_of_training_does_not_need_tensorflow() -> None:
    code = "import sys; sys.modules['tensorflow'] = None; from otic.cli.main import main\n"
    for name in ("train", "crossval", "search", "evaluate", "tune"):
        code += f"assert main([{name!r}, '--help']) == 0\n"
    loaded = loaded_after(code)
    assert not loaded & {"keras", "librosa", "optuna", "matplotlib"}


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["lisen"], "did you mean 'listen'?"),
        (["Replay"], "did you mean 'replay'?"),
        (["--verson"], "did you mean '--version'?"),
        (["replay", "a.wav", "--mqtt-hots", "x"], "did you mean '--mqtt-host'?"),
        (["review", "list", "--jsn"], "did you mean '--json'?"),
    ],
)
def test_the_nearest_word_is_suggested(
    capsys: pytest.CaptureFixture[str], words: list[str], near: str
) -> None:
    assert near in said(capsys, *words)


@pytest.mark.parametrize(
    ("words", "helper"),
    [
        (["replay", "a.wav", "--frob"], "see 'otic replay --help'"),
        (["models", "--frob"], "see 'otic models --help'"),
        (["review", "export", "--out", "x", "--frob"], "see 'otic review export --help'"),
        (["models", "more"], "unexpected argument 'more': see 'otic models --help'"),
        (["train"], "see 'otic train --help'"),
    ],
)
def test_wrong_usage_points_at_the_help_of_the_command(
    capsys: pytest.CaptureFixture[str], words: list[str], helper: str
) -> None:
    assert helper in said(capsys, *words)


@pytest.mark.parametrize(
    "words",
    [
        ["--mqtt-passwor=hunter2"],
        ["--mqtt-passwor", "hunter2"],
        ["-mqtt-password=hunter2"],
        ["--mqtt-password=hunter2"],
        ["--webhook-secrets=hunter2"],
    ],
)
def test_a_mistyped_secret_is_not_repeated(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    for command in (["listen"], ["run"], ["replay", "a.wav"]):
        assert "hunter2" not in said(capsys, *command, *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["otic", "lis"], "listen"),
        (["otic", "listen", "--filter-qu"], "--filter-quiet"),
        (["otic", "replay", "--model", DEFAULT_MODEL[:-1]], DEFAULT_MODEL),
        (["otic", "inspect", DEFAULT_MODEL[:-1]], DEFAULT_MODEL),
        (["otic", "replay", "no-such-fi"], ""),  # then the shell completes names of files
    ],
)
def test_bash_completes(words: list[str], expected: str, bash_script: str) -> None:
    ask = f"COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1}; _otic; echo $COMPREPLY"
    command = ["bash", "-c", f"{bash_script}\n{ask}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (expected, "")


@pytest.fixture(scope="module")
def bash_script() -> str:
    command = [sys.executable, "-m", "otic", "completion", "bash"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_zsh_and_fish_get_the_same_words(
    capsys: pytest.CaptureFixture[str], bash_script: str
) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == bash_script.splitlines()
    assert main(["completion", "fish"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("complete -c otic -n '__fish_") for line in lines)
    assert all(any(f"from {name}'" in line for line in lines) for name in COMMANDS)


@pytest.mark.parametrize(
    ("command", "common"),
    [
        ("listen", ["--device", "--model", "--jsonl"]),
        ("run", ["--config", "--device", "--model"]),
        ("replay", ["FILE", "--model", "--speed", "--report"]),
    ],
)
def test_help_shows_what_is_most_used_first(
    command: str, common: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    _, first, *rest = capsys.readouterr().out.split("\n\n")[1:]
    lines = first.splitlines()
    assert lines[0] == "most used:"
    named = [line.split()[0].rstrip(",") for line in lines[1:] if line[2] != " "]
    assert named == common
    assert [part.partition(":")[0] for part in rest if part.startswith("options")] == ["options"]
    assert not any(f"\n  {option} " in part for part in rest for option in common)
