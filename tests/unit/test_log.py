"""Messages: one line each, and never a wait for somebody who does not read."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from otic.system import log
from otic.system.log import HoldingHandler, held_messages, print_lines, start_logging


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """No handler outlives a test."""
    logger = logging.getLogger("otic")
    before, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


def test_a_message_is_one_line_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_logging()
    start_logging()  # twice shows nothing twice
    logging.getLogger("otic.audio.x").warning("100 % of\ntwo \x1b[31m lines")
    logging.getLogger("otic.audio.x").debug("not for a person")
    assert capsys.readouterr().err == "otic: 100 % of two \ufffd[31m lines\n"


def test_a_dashboard_holds_the_latest_and_prints_them_in_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = start_logging()
    with held_messages() as held:
        for n in range(60):
            logger.info(f"message {n}")
        assert capsys.readouterr().err == ""
        assert len(held) == 50
        assert any(isinstance(each, HoldingHandler) for each in logger.handlers)
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0], lines[-1]) == ("otic: message 10", "otic: message 59")
    logger.info("after")
    assert capsys.readouterr().err == "otic: after\n"


def test_the_journal_gets_a_priority() -> None:
    code = (
        "import os; s = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{s.st_dev}:{s.st_ino}'\n"
        "from otic.system.log import start_logging; l = start_logging()\n"
        "l.info('i'); l.warning('w'); l.error('e')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["<6>otic: i", "<4>otic: w", "<3>otic: e"]


def test_messages_that_nobody_reads_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(log, "_stderr", log._Stderr())
    with os.fdopen(writer, "w") as full, os.fdopen(reader) as other_end:
        monkeypatch.setattr(sys, "stderr", full)
        begin = time.monotonic()
        for n in range(3000):
            print_lines(f"{n} " + "x" * 100)
        assert time.monotonic() - begin < 2.0  # one wait for a slow reader, not 2400
        os.set_blocking(reader, False)
        text = other_end.read()
        kept = len(text.splitlines())
        assert 100 < kept < 2000
        print_lines("and now")
        assert other_end.read() == f"otic: {3000 - kept} messages were not read in time\nand now\n"


def test_a_long_message_is_torn_rather_than_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    monkeypatch.setattr(log, "_stderr", log._Stderr())
    with os.fdopen(writer, "w") as full, os.fdopen(reader) as other_end:
        monkeypatch.setattr(sys, "stderr", full)
        print_lines("y" * 10_000)
        os.set_blocking(reader, False)
        assert set(other_end.read()) == {"y"}
        print_lines("next")
        lines = other_end.read().splitlines()
        assert lines[-1] == "next"
        assert "1 messages were not read" in lines[-2]


def test_closed_standard_error_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    for closed in (None, open(os.devnull, "w")):  # noqa: SIM115, PTH123
        if closed is not None:
            closed.close()
        monkeypatch.setattr(sys, "stderr", closed)
        print_lines("nobody there")


def test_what_repeats_itself_is_shown_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("otic.system.log.time.monotonic", lambda: now)
    logger = logging.getLogger("otic.test.once")
    logger.addFilter(log.OncePerMinute())
    for _ in range(1000):
        logger.warning("no file descriptor is left")
    logger.warning("something else")
    now = 61.0
    logger.warning("no file descriptor is left")
    assert said == [
        "no file descriptor is left",
        "something else",
        "no file descriptor is left (999 times more since)",
    ]
