"""Options and fixtures that several test files share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest

# A machine that is busy with something else is no failure.
hypothesis.settings.register_profile("otic", deadline=None)
hypothesis.settings.load_profile("otic")

os.environ["OTIC_STORE"] = "off"  # tests keep nothing of theirs, nor find anything

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("OTIC_DATA", ROOT.parent / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the expected outputs in tests/golden"
    )
    parser.addoption(
        "--require-real-audio",
        action="store_true",
        help="fail, in place of skipping, where the real recordings are missing",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real_audio: needs the recordings in $OTIC_DATA")
    config.addinivalue_line("markers", "slow: make test-slow runs it, make test does not")
    config.addinivalue_line("markers", "training: of otic_training, which needs the extra train")


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Messages for a person, as they come."""
    from tests.support.helpers import Recorder

    recorder = Recorder()
    yield recorder.start()
    recorder.stop()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: an archive holds the time, and workers must collect the same."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def esc10(request: pytest.FixtureRequest) -> Path:
    """The folder of ESC-10."""
    folder = DATA / "esc10"
    if not folder.is_dir():
        reason = f"no recordings at {folder}: set OTIC_DATA to a folder that holds esc10"
        if request.config.getoption("--require-real-audio"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "esc10" in getattr(item, "fixturenames", ()):
            item.add_marker("real_audio")
        if _is_about_training(item.path):
            item.add_marker("training")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files about training unread where they are deselected: they import tensorflow."""
    deselected = "not training" in config.option.markexpr
    is_test = collection_path.match("test_*.py")
    return True if deselected and is_test and _is_about_training(collection_path) else None


@cache
def _is_about_training(path: Path) -> bool:
    return "otic_training" in path.read_text(encoding="utf-8")


def _ran_on_real_audio(config: pytest.Config) -> int:
    """Reports of finished tests: all that a run of several processes knows of its workers'."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    assert isinstance(reporter, pytest.TerminalReporter)
    reports = [r for outcome in ("passed", "failed") for r in reporter.getreports(outcome)]
    return sum("real_audio" in report.keywords for report in reports)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say whether the real recordings were used: nobody should have to guess."""
    terminalreporter.write_line(f"tests on real recordings that ran: {_ran_on_real_audio(config)}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With --require-real-audio, a whole run in which none of them ran has failed."""
    if hasattr(session.config, "workerinput") or exitstatus != 0:  # the workers' parent decides
        return
    if session.config.getoption("--require-real-audio") and not _ran_on_real_audio(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
