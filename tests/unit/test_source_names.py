"""Files of one name are told apart: each has a source, and so marks, of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from otic.audio.open import source_names


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/x.wav"], ["x.wav"]),
        (["a/x.wav", "b/y.wav"], ["x.wav", "y.wav"]),
        (["a/x.wav", "b/x.wav", "b/y.wav"], ["a/x.wav", "b/x.wav", "y.wav"]),
        (["1/a/x.wav", "2/a/x.wav", "1/b/x.wav"], ["1/a/x.wav", "2/a/x.wav", "1/b/x.wav"]),
        (["x.wav", "a/../x.wav", "./x.wav"], ["x.wav"] * 3),  # one file, whatever its path
        (["-", "a/stdin"], ["stdin", "stdin"]),
        (["/x.wav", "/a/x.wav"], ["/x.wav", "a/x.wav"]),
        (["a\x1b/x.wav", "b\n/x.wav"], ["a\ufffd/x.wav", "b /x.wav"]),
    ],
)
def test_names_of_sources(files: list[str], names: list[str]) -> None:
    assert source_names(files) == names


def test_files_in_and_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert source_names(["x.wav", "a/x.wav"]) == ["here/x.wav", "a/x.wav"]


def test_names_that_differ_only_in_what_can_not_be_shown() -> None:
    files = [f"a/\udce9{i}.wav" for i in "\x01\x02"]
    names = source_names(files)
    assert len(set(names)) == 2
    assert all(name.isprintable() for name in names)
