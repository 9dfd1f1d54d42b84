"""Events as runs of a program."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import partial

from otic.config.load import keys
from otic.config.settings import setting
from otic.errors import ParameterError, printable
from otic.sinks import receivers
from otic.sinks.delivery.notification import (
    DeliveryError,
    Notification,
    Receiver,
    RefusedError,
    Sensor,
)
from otic.system.findings import FAIL, OK, Check, Finding

_TRY_AGAIN = 75  # EX_TEMPFAIL in sysexits.h
_ENDED_FROM_OUTSIDE = {signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM}
_POLL_SECONDS = 0.02
_STDERR_BYTES = 4096  # of the end of what the program says
_LINE_CHARACTERS = 200
_FIELDS = ("id", "event", "state", "sensor", "source", "label", "at", "onset_at", "offset_at")
_NUMBERS = ("score", "peak")


@dataclass(frozen=True)
class Section:
    """A program that is run for each event."""

    argv: tuple[str, ...] = setting(
        (),
        "program and arguments to run for each event, without a shell",
        shown=False,
        metavar="WORD",
    )
    timeout_seconds: float = setting(
        30.0, "the program is ended after this", least=0.1, most=3600.0
    )


def open_receiver(section: Section, sensor: Sensor) -> Receiver | None:
    """Return the receiver that the section asks for."""
    return None if not section.argv else CommandReceiver(section)


def checks(section: Section) -> list[Check]:
    """List the checks of ``otic doctor``."""
    return [Check("command", partial(_program_check, section.argv[0]))] if section.argv else []


def _program_check(program: str) -> Finding:
    if shutil.which(program) is None:
        return Finding(
            "command", FAIL, f"no program {program!r} that can be run", ("correct command.argv",)
        )
    return Finding("command", OK, program)


class CommandReceiver:
    """Runs a program for each notification; exit code 0 means that it took it.

    There is no shell: what a notification holds reaches the program as data, on its standard input
    and in its environment. Not thread safe.

    Parameters
    ----------
    settings : Section

    Raises
    ------
    ParameterError
        If there is no program to run.
    """

    name = "command"

    def __init__(self, settings: Section) -> None:
        if not settings.argv or not settings.argv[0]:
            raise ParameterError("command.argv is empty: name a program and its arguments")
        if any("\0" in word for word in settings.argv):
            raise ParameterError("command.argv holds a zero byte: leave it out")
        self._argv = settings.argv
        self._program = repr(settings.argv[0])  # messages leave out arguments
        self._timeout = settings.timeout_seconds

    def open(self) -> None:
        if shutil.which(self._argv[0]) is None:
            raise DeliveryError(
                f"no program {self._program} that can be run: "
                "make it executable, or correct command.argv"
            )

    def deliver(self, notification: Notification) -> None:
        deadline = time.monotonic() + self._timeout
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(notification),
                start_new_session=True,  # Ctrl-C is for otic, not for what it runs
            )
        except (OSError, ValueError) as error:
            raise DeliveryError(self._unstartable(error)) from error
        try:
            said = _attend(process, notification.to_json().encode() + b"\n", deadline)
        finally:
            in_time = process.returncode is not None
            _end(process)
        if not in_time:
            raise DeliveryError(
                f"{self._program} was ended after {self._timeout:g} s: "
                "make it faster, or raise command.timeout_seconds"
            )
        self._judge(process.returncode, notification, _last_line(said))

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _unstartable(self, error: Exception) -> str:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        hint = "correct command.argv"
        if isinstance(error, OSError) and error.errno == errno.ENOEXEC:
            hint = "a script's first line must name its interpreter, as in #!/bin/sh"
        return f"{self._program} can't be started: {reason}: {hint}"

    def _judge(self, code: int, notification: Notification, line: str) -> None:
        if code == 0:
            return
        said = f": {line}" if line else ""
        if code == _TRY_AGAIN:
            raise DeliveryError(f"{self._program} asked to be run again later{said}")
        if -code in _ENDED_FROM_OUTSIDE:  # a shutdown, or memory that ran out: not its decision
            raise DeliveryError(f"{self._program} was ended by {signal.Signals(-code).name}{said}")
        how = f"exited with {code}" if code > 0 else f"died of signal {-code}"
        raise RefusedError(f"{self._program} {how} on {notification.id}{said}")


def environment(notification: Notification) -> dict[str, str]:
    """Return our environment without our configuration, plus what the notification holds."""
    values: dict[str, object] = {name: getattr(notification, name) for name in (*_FIELDS, "reason")}
    for name in _NUMBERS:
        value = getattr(notification, name)
        values[name] = None if value is None else round(value, 6)
    own = {f"OTIC_{name.upper()}": value for name, value in values.items()}
    # OTIC_WEBHOOK_URL may hold a token, OTIC_MQTT_PASSWORD is one.
    configuration = {key.variable for key in keys(receivers.sections(installed=True))}
    unwanted = own.keys() | configuration | {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {k: str(v) for k, v in own.items() if v is not None}


def _attend(process: subprocess.Popen[bytes], data: bytes, deadline: float) -> bytes:
    """Give ``data`` to the process and wait for its end; the end of its standard error.

    Returns at the deadline (of ``time.monotonic``) in any case; ``process.returncode`` is then
    None. Waits for the process, not for the end of its pipes: what it leaves running in the
    background may hold these open for ever.
    """
    assert process.stdin is not None
    assert process.stderr is not None
    rest = memoryview(data)
    said = b""
    with selectors.DefaultSelector() as selector:
        for pipe, event in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stderr, selectors.EVENT_READ),
        ):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, event)
        while process.poll() is None and (left := deadline - time.monotonic()) > 0.0:
            for key, _ in selector.select(min(left, _POLL_SECONDS)):
                if key.fileobj is process.stderr:
                    new = _read(key.fd)
                    said = (said + new)[-_STDERR_BYTES:]
                    done = not new
                else:
                    rest = rest[_write(key.fd, rest) :]
                    done = not rest
                if done:
                    selector.unregister(key.fileobj)
                    if key.fileobj is process.stdin:
                        process.stdin.close()
    return (said + _read(process.stderr.fileno()))[-_STDERR_BYTES:]


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 2**20)  # more than a pipe holds
    except BlockingIOError:
        return b""


def _write(fd: int, data: memoryview) -> int:
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError:  # it does not want its input: that is its affair
        return len(data)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all of its group unless it has ended, and let go of its pipes."""
    if process.returncode is None:  # so its number is still its own
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").splitlines()
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return printable(last)[:_LINE_CHARACTERS]
