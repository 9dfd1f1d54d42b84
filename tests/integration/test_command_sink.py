"""Events as runs of real programs."""

from __future__ import annotations

import gc
import json
import os
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from otic.config.load import load_settings
from otic.errors import ParameterError
from otic.sinks import receivers
from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, RefusedError
from otic.sinks.receivers.command import CommandReceiver
from otic.sinks.receivers.command import Section as CommandSection
from tests.conftest import ROOT

ON = Notification(
    event="3f2a-17",
    state="on",
    sensor="yard",
    source="mic",
    label="dog",
    onset=1.25,
    time=2.0,
    onset_at="2026-01-01T12:00:01.250Z",
    at="2026-01-01T12:00:02.000Z",
    score=0.9100000001,
)
OFF = replace(
    ON,
    state="off",
    time=4.75,
    at="2026-01-01T12:00:04.750Z",
    offset=4.5,
    offset_at="2026-01-01T12:00:04.500Z",
    score=None,
    peak=0.97,
    reason="restart",
)
SLACK = 15.0  # seconds by which a slow machine may be late


def script(folder: Path, text: str, interpreter: str = "#!/bin/sh") -> str:
    path = folder / "on sound"
    path.write_text(f"{interpreter}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def deliver(*argv: str, notification: Notification = ON, seconds: float = 20.0) -> None:
    made: Receiver = CommandReceiver(CommandSection(argv=argv, timeout_seconds=seconds))
    made.open()
    made.deliver(notification)
    made.idle()
    made.close()


def failure(*argv: str, notification: Notification = ON, seconds: float = 20.0) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        deliver(*argv, notification=notification, seconds=seconds)
    assert str(raised.value).isprintable()
    return raised.value


def shell(text: str, **options: Any) -> DeliveryError:
    return failure("/bin/sh", "-c", text, **options)


def told(
    folder: Path, notification: Notification
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """What a program is told of a notification: standard input, environment, arguments."""
    out = folder / "told.json"
    program = (
        "import json, os, sys;"
        f"json.dump([json.load(sys.stdin), dict(os.environ), sys.argv], open({str(out)!r}, 'w'))"
    )
    deliver(sys.executable, "-c", program, "an argument; $(exit 3)", notification=notification)
    stdin, env, argv = json.loads(out.read_text())
    return stdin, env, argv


def test_a_program_is_told_everything(tmp_path: Path) -> None:
    stdin, env, argv = told(tmp_path, OFF)
    assert stdin == OFF.to_dict()
    assert argv[1:] == ["an argument; $(exit 3)"]
    assert {k: v for k, v in env.items() if k.startswith("OTIC_") and k != "OTIC_STORE"} == {
        "OTIC_ID": "3f2a-17/off",
        "OTIC_EVENT": "3f2a-17",
        "OTIC_STATE": "off",
        "OTIC_SENSOR": "yard",
        "OTIC_SOURCE": "mic",
        "OTIC_LABEL": "dog",
        "OTIC_AT": "2026-01-01T12:00:04.750Z",
        "OTIC_ONSET_AT": "2026-01-01T12:00:01.250Z",
        "OTIC_OFFSET_AT": "2026-01-01T12:00:04.500Z",
        "OTIC_PEAK": "0.97",
        "OTIC_REASON": "restart",
    }


def test_secrets_and_leftovers_are_kept_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        *("OTIC_MQTT_PASSWORD", "OTIC_WEBHOOK_SECRET", "OTIC_WEBHOOK_URL", "OTIC_MQTT_USERNAME"),
        *("OTIC_NAME", "OTIC_COMMAND_ARGV", "NOTIFY_SOCKET"),
    ):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("OTIC_PEAK", "of another event")
    monkeypatch.setenv("OTIC_KEPT", "yes")
    _, env, _ = told(tmp_path, ON)
    assert "hunter2" not in env.values()
    assert "OTIC_PEAK" not in env
    assert env["OTIC_SCORE"] == "0.91"
    assert env["OTIC_KEPT"] == "yes"


@pytest.mark.parametrize(
    "label", ["$(touch pwned)", "`touch pwned`", "; touch pwned", "--help", "", "é '\"", "=1+1"]
)
def test_a_label_is_data_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    monkeypatch.chdir(tmp_path)
    stdin, env, _ = told(tmp_path, replace(ON, label=label))
    assert stdin["label"] == env["OTIC_LABEL"] == label
    assert not (tmp_path / "pwned").exists()


def test_text_that_an_environment_can_not_hold(tmp_path: Path) -> None:
    stdin, env, _ = told(tmp_path, replace(ON, label="a\0b", source="c\udcff"))
    assert stdin["label"] == env["OTIC_LABEL"] == "a\ufffdb"
    assert stdin["source"] == env["OTIC_SOURCE"] == "c\ufffd"


def test_what_exit_codes_mean() -> None:
    deliver("true")
    later = shell("echo busy >&2; exit 75")
    assert type(later) is DeliveryError
    assert "later: busy" in str(later)
    for code in (1, 2, 74, 126, 127, 255):
        refused = shell(f"echo first >&2; echo '  not \t\033[1mthis ' >&2; echo >&2; exit {code}")
        assert type(refused) is RefusedError
        assert f"exited with {code} on 3f2a-17/on: not \ufffd[1mthis" in str(refused)
    assert str(shell("exit 3")).endswith("exited with 3 on 3f2a-17/on")


def test_what_signals_mean() -> None:
    # What is ignored here, as SIGHUP in a job of nohup's, is ignored by what is started, too.
    heeded = [
        n
        for n in ("TERM", "INT", "HUP")
        if signal.getsignal(signal.Signals[f"SIG{n}"]) != signal.SIG_IGN
    ]
    for name in [*heeded, "KILL"]:
        ended = shell(f"kill -{name} $$; sleep 20")
        assert type(ended) is DeliveryError
        assert f"SIG{name}" in str(ended)
    # Python ignores SIGPIPE, and what it runs must not.
    broken = shell("kill -PIPE $$; exit 0")
    assert type(broken) is RefusedError
    assert "died of signal 13" in str(broken)


def test_a_program_that_can_not_be_started_is_tried_again(tmp_path: Path) -> None:
    not_executable = tmp_path / "plain"
    not_executable.write_text("#!/bin/sh\n")
    for program in ("no-such-program-of-otic", str(tmp_path / "missing"), str(not_executable)):
        made = CommandReceiver(CommandSection(argv=(program, "argument")))
        for opens in (True, False):
            with pytest.raises(DeliveryError, match=r"command\.argv") as raised:
                made.open() if opens else made.deliver(ON)
            assert type(raised.value) is DeliveryError
            assert program in str(raised.value)
            assert "argument" not in str(raised.value).replace("arguments", "")
    no_interpreter = script(tmp_path, "exit 0", interpreter="")
    assert "#!/bin/sh" in str(failure(no_interpreter))
    assert "started" in str(failure(script(tmp_path, "", interpreter="#!/no/such/interpreter")))


def test_no_program_is_said_at_once() -> None:
    for argv in ((), ("",), ("a\0b",), ("a", "b\0")):
        with pytest.raises(ParameterError, match=r"command\.argv"):
            CommandReceiver(CommandSection(argv=argv))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat_file = Path(f"/proc/{pid}/stat")  # a zombie is there until someone waits for it
    return not stat_file.exists() or stat_file.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_that_hangs_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hanging = script(
        tmp_path, f"trap '' TERM INT; sleep 60 & echo $! $$ > '{pids}'; sleep 60 | sleep 60"
    )
    begin = time.monotonic()
    error = failure(hanging, seconds=1.0)
    assert 0.9 < time.monotonic() - begin < 1.0 + SLACK
    assert type(error) is DeliveryError
    assert "ended after 1 s" in str(error)
    until = time.monotonic() + SLACK
    while any(alive(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_goes_on_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    begin = time.monotonic()
    deliver(script(tmp_path, f"sleep 60 & echo $! > '{pid}'; exit 0"))
    assert time.monotonic() - begin < SLACK
    assert alive(int(pid.read_text()))
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_noisy_program_fills_no_memory() -> None:
    noise = "head -c 30000000 /dev/zero | tr '\\0' x"
    tracemalloc.start()
    error = shell(f"{noise}; {noise} >&2; echo >&2; echo the end >&2; exit 3")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(error).endswith(": the end")
    assert peak < 5e6
    assert len(str(shell(f"{noise} >&2; exit 3"))) < 400


def test_a_program_need_not_read_its_input(tmp_path: Path) -> None:
    long = replace(ON, label="l" * 100_000)  # more than a pipe holds
    deliver("true", notification=long)
    deliver("/bin/sh", "-c", "exec <&-; sleep 0.2", notification=long)
    deliver("sleep", "0.2", notification=long)
    stdin, _, _ = told(tmp_path, long)
    assert stdin["label"] == long.label


def test_ctrl_c_does_not_kill_it_half_way(tmp_path: Path) -> None:
    done = tmp_path / "done"
    slow = script(tmp_path, f"echo begun > '{done}'; sleep 0.5; echo done > '{done}'")
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, lambda *_: None);"
        "from tests.integration.test_command_sink import deliver; deliver(sys.argv[1])"
    )
    ours = subprocess.Popen([sys.executable, "-c", code, slow], cwd=ROOT, start_new_session=True)
    until = time.monotonic() + 20.0
    while not done.exists() or not done.read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(ours.pid, signal.SIGINT)
    assert ours.wait(20.0) == 0
    assert done.read_text() == "done\n"


def test_no_descriptor_is_left_open() -> None:
    def count() -> int:
        gc.collect()  # what other tests left
        return len(list(Path("/dev/fd").iterdir()))

    deliver("true")
    before = count()
    for _ in range(5):
        deliver("true")
        shell("exit 1")
        shell("sleep 20", seconds=0.1)
        made = CommandReceiver(CommandSection(argv=("/no/such/program",)))
        with pytest.raises(DeliveryError):
            made.deliver(ON)
    assert count() <= before


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
    return [part.split("```")[0] for part in page.split(f"```{language}\n")[1:]]


def test_the_documented_script_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dogs = tmp_path / "dogs"
    monkeypatch.setenv("DOGS", str(dogs))
    [text] = blocks("sh")
    path = tmp_path / "on-sound"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    for notification in (ON, OFF, replace(ON, label="rain")):
        deliver(str(path), notification=notification)
    assert dogs.read_text() == "2026-01-01T12:00:01.250Z mic\n"
    monkeypatch.setenv("DOGS", str(tmp_path))  # a folder
    assert type(failure(str(path))) is DeliveryError


def test_the_documented_keys_and_fields_are_there(tmp_path: Path) -> None:
    for text in blocks("toml"):
        (tmp_path / "otic.toml").write_text(text)
        load_settings(str(tmp_path / "otic.toml"), {}, sections=receivers.sections)
    [text] = blocks("json")
    on, off = (Notification.from_json(line) for line in text.splitlines())
    assert [on.to_json(), off.to_json()] == text.splitlines()
    assert (on.state, off.state) == ("on", "off")
    page = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
    for field in fields(Notification):
        assert f"`{field.name}`" in page or field.name == "receivers"  # which no receiver sees
