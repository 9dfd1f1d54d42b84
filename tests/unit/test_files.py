"""Where files are kept, and who has one open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otic.config.settings import ReviewSettings, Settings, SpoolSettings
from otic.diagnostics.doctor import _state_folder
from otic.errors import ConfigurationError, printable
from otic.review.folder import review_path
from otic.sinks.open import spool_file
from otic.system.files import is_same_file, open_locked, state_folder
from otic.system.machine import Board


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/otic:/x", "XDG_STATE_HOME": "/s"}, "/var/lib/otic"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/otic"),
        ({"HOME": "/h"}, "/h/.local/state/otic"),
    ],
)
def test_the_state_folder(environment: dict[str, str], expected: str) -> None:
    assert state_folder(environment, "--spool-directory") == Path(expected)


def test_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missed only where no folder is named, and then in one line."""

    def none(cls: type) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(none))
    given = str(tmp_path)
    settings = Settings(spool=SpoolSettings(given))
    assert spool_file(settings, {}) == tmp_path / "queue.jsonl"
    assert review_path(ReviewSettings(given), {}) == tmp_path
    assert spool_file(Settings(), {"STATE_DIRECTORY": given}) == tmp_path / "queue.jsonl"
    with pytest.raises(ConfigurationError, match=r"no home folder .* --spool-directory"):
        spool_file(Settings(), {})
    with pytest.raises(ConfigurationError, match=r"no home folder .* --review-directory"):
        review_path(ReviewSettings(), {})


def test_the_queue_of_an_older_otic_is_not_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool.sqlite3").touch()
    spool_file(Settings(spool=SpoolSettings(str(tmp_path))), {})
    [record] = caplog.records
    assert "spool.sqlite3' is the queue of an older otic" in record.getMessage()
    assert "start that otic once more" in record.getMessage()


def test_the_doctor_looks_at_the_folder_that_a_sensor_uses() -> None:
    for environment in ({"XDG_STATE_HOME": "/s"}, {"STATE_DIRECTORY": "/d"}):
        board = Board(run=lambda _: None, environment=environment)
        assert _state_folder(board) == state_folder(environment, "")


def test_a_file_has_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first = open_locked(path, os.O_RDWR | os.O_CREAT)
    with pytest.raises(BlockingIOError):
        open_locked(path, os.O_RDWR)
    assert is_same_file(path, first)
    path.rename(tmp_path / "old")
    assert not is_same_file(path, first)
    second = open_locked(path, os.O_RDWR | os.O_CREAT)
    os.close(first)
    os.close(second)
    assert not is_same_file(path, second)


def test_a_file_that_is_replaced_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a file that has no name any more keeps nobody out: it is opened again."""
    path, new = tmp_path / "file", tmp_path / "new"
    path.write_text("old")
    new.write_text("new")
    really_open = os.open

    def replacing(*args: object, **more: object) -> int:
        fd = really_open(*args, **more)  # type: ignore[arg-type]
        if new.exists():
            new.rename(path)
        return fd

    monkeypatch.setattr(os, "open", replacing)
    fd = open_locked(path, os.O_RDWR)
    assert os.pread(fd, 10, 0) == b"new"
    os.close(fd)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Küche 2 – Fenster", "Küche 2 – Fenster"),
        ("a\r\n b\tc", "a b c"),
        ("\x1b[2Jx\x9b31m\x07\x7f", "\ufffd[2Jx\ufffd31m\ufffd\ufffd"),
        ("caf\udce9", "caf\ufffd"),
        ("👩\u200d🚒", "👩\u200d🚒"),
        ("a\u202egpj.exe\u2028b", "a\ufffdgpj.exe b"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert shown.encode().decode() == shown
