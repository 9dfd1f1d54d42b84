"""What systemd is told: datagrams on a real socket."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from otic.system.sd_notify import Notifier, journal_prefix


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().splitlines()


def nothing_more(manager: socket.socket) -> bool:
    manager.setblocking(False)
    try:
        manager.recv(1)
    except BlockingIOError:
        return True
    finally:
        manager.settimeout(5)
    return False


def test_each_message_is_systemds(manager: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})
    assert notifier.active
    notifier.ready("listening to\nmic")
    assert received(manager) == ["READY=1", "STATUS=listening to mic"]
    notifier.status("dog is on")
    assert received(manager) == ["STATUS=dog is on"]
    notifier.status("dog is on")
    notifier.alive()  # no watchdog: nothing
    assert nothing_more(manager)
    notifier.stopping()
    assert received(manager) == ["STOPPING=1"]


def test_ready_needs_no_status(manager: socket.socket) -> None:
    Notifier(manager.getsockname()).ready()
    assert received(manager) == ["READY=1"]


def test_an_abstract_socket_is_found() -> None:
    name = f"otic-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        receiver.settimeout(5)
        Notifier(f"@{name}").stopping()
        assert received(receiver) == ["STOPPING=1"]


def test_the_watchdog_hears_each_third_of_its_period(manager: socket.socket) -> None:
    now = 0.0
    notifier = Notifier(manager.getsockname(), 30.0, clock=lambda: now)
    beats = 0
    for step in range(601):
        now = step / 10
        notifier.alive()
        if not nothing_more(manager):
            beats += 1
    assert beats == 7  # at 0, 10, … 60 s


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_this_process(environment: dict[str, str], seconds: float | None) -> None:
    assert Notifier.from_environment(environment).watchdog_seconds == seconds


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "/nowhere/at/all", "/" + "x" * 300])
def test_nothing_is_raised_where_nobody_listens(address: str | None) -> None:
    notifier = Notifier(address, 30.0)
    notifier.ready("x")
    notifier.status("y")
    notifier.alive()
    notifier.stopping()


def test_a_full_socket_does_not_wait(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    for number in range(5000):  # far more than a queue holds
        notifier.status(str(number))


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="systemd-notify is missing")
def test_it_says_what_systemd_notify_says(manager: socket.socket) -> None:
    address = manager.getsockname()
    subprocess.run(
        ["systemd-notify", "--no-block", "--ready", "--status=listening"],
        env={**os.environ, "NOTIFY_SOCKET": address},
        check=True,
        timeout=30,
    )
    theirs = received(manager)
    Notifier(address).ready("listening")
    ours = received(manager)
    assert sorted(ours) == sorted(line for line in theirs if not line.startswith("MAINPID="))


_PRINT = "from otic.system.sd_notify import journal_prefix as p; print(p('error') + p('warning'))"


def test_lines_have_a_priority_where_stderr_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "other").open("w") as other:
        status = os.fstat(journal.fileno())
        environment = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        for stderr, expected in ((journal, "<3><4>"), (other, "")):
            done = subprocess.run(
                [sys.executable, "-c", _PRINT],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                check=True,
                timeout=60,
            )
            assert done.stdout.strip() == expected


def test_there_is_no_priority_elsewhere() -> None:
    assert journal_prefix("info", {}) == ""
    assert journal_prefix("info", {"JOURNAL_STREAM": "nonsense"}) == ""


def test_a_system_without_sock_cloexec_is_notified_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS has no such flag; Python closes sockets in child processes by itself."""
    monkeypatch.delattr(socket, "SOCK_CLOEXEC")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        Notifier(str(tmp_path / "notify")).ready()
        assert manager.recv(100) == b"READY=1"
