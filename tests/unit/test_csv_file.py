"""Events in a CSV file, with real kills and a disk that is full."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from otic.errors import ParameterError
from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, RefusedError
from otic.sinks.receivers.csv import COLUMNS, TAIL_BYTES, CsvReceiver
from otic.sinks.receivers.csv import Section as CsvSection
from tests.conftest import ROOT

OFF = Notification(
    event="3f2a-17",
    state="off",
    sensor="yard",
    source="mic",
    label="dog",
    onset=1.25,
    time=4.75,
    onset_at="2026-01-01T12:00:01.250Z",
    at="2026-01-01T12:00:04.750Z",
    offset=4.5,
    offset_at="2026-01-01T12:00:04.500Z",
    peak=0.97,
)
HEADER = b"event,sensor,source,label,onset_at,offset_at,seconds,peak,onset,offset,reason\r\n"
ROW = (
    b"3f2a-17,yard,mic,dog,2026-01-01T12:00:01.250Z,2026-01-01T12:00:04.500Z,"
    b"3.25,0.97,1.25,4.5,\r\n"
)


def off(number: int) -> Notification:
    return replace(OFF, event=f"3f2a-{number}")


def append(path: Path, *notifications: Notification) -> None:
    made: Receiver = CsvReceiver(CsvSection(path=str(path)))
    made.open()
    for notification in notifications:
        made.deliver(notification)
    made.idle()
    made.close()


def failure(path: Path, *notifications: Notification) -> str:
    with pytest.raises(DeliveryError) as raised:
        append(path, *notifications)
    assert not isinstance(raised.value, RefusedError)
    assert repr(str(path)) in str(raised.value)
    return str(raised.value)


def table(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    assert raw.endswith(b"\r\n")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert all(len(row) == len(COLUMNS) and None not in row.values() for row in rows)
    return rows


def events(path: Path) -> list[str]:
    return [row["event"] for row in table(path)]


def test_an_event_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    append(path)
    assert path.read_bytes() == HEADER
    on = replace(OFF, state="on", offset=None, offset_at=None, peak=None, score=0.9)
    append(path, on, OFF)
    assert path.read_bytes() == HEADER + ROW
    append(path, replace(OFF, event="x", reason="restart", peak=0.1 + 0.2))
    last = table(path)[-1]
    assert (last["reason"], last["peak"]) == ("restart", "0.3")


def test_an_event_that_comes_again_is_no_second_row(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    append(path, off(1), off(1), off(2), off(1))
    append(path, off(2), off(3), off(1))
    assert events(path) == ["3f2a-1", "3f2a-2", "3f2a-3"]


def test_doubles_are_looked_for_in_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    n = 3 * TAIL_BYTES // len(ROW)
    rows = [ROW.replace(b"3f2a-17", b"3f2a-%d" % i) for i in range(n)]
    path.write_bytes(HEADER + b"".join(rows))
    append(path, off(n - 1), off(n - 1000), off(n))
    assert len(events(path)) == n + 1


def test_any_text_is_one_row_and_no_formula(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    labels = {
        'a,"b";c': 'a,"b";c',
        "a\r\nb\0c\x1bd": "a b\ufffdc\ufffdd",
        "Glasbruch – laut": "Glasbruch – laut",
        "=cmd|' /C calc'!A0": "'=cmd|' /C calc'!A0",
        "+1": "'+1",
        "-1": "'-1",
        "@SUM(A1)": "'@SUM(A1)",
        "\t=1": "'=1",
        "x;=1;\t-1": "x;'=1;' -1",
        " =1": "' =1",
        "＝1": "'＝1",
        "a=1": "a=1",
        "👩\u200d🚒\u2028\xa0!": "👩\u200d🚒 !",
        "": "",
        "\udcff": "\ufffd",
    }
    notifications = [
        replace(OFF, event=f"e{i}", label=label, sensor=label, source=label)
        for i, label in enumerate(labels)
    ]
    append(path, *notifications)
    append(path, *notifications)
    rows = table(path)
    assert [row["label"] for row in rows] == list(labels.values())
    assert all(row["label"] == row["sensor"] == row["source"] for row in rows)
    assert path.read_bytes().count(b"\n") == len(labels) + 1


@pytest.mark.parametrize("reason", [None, "restart"])
def test_what_was_torn_is_repaired(tmp_path: Path, reason: str | None) -> None:
    """Wherever the file ends: the event comes again, and is there once."""
    last = replace(off(2), reason=reason)
    path = tmp_path / "events.csv"
    append(path, off(1), last)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        for rest in (b"", b"\0" * 7):  # zeros: what a power cut leaves
            path.write_bytes(whole[:cut] + rest)
            append(path, off(1), last)
            assert events(path) == ["3f2a-1", "3f2a-2"], cut
            if reason is None:
                assert path.read_bytes() == whole


def test_an_edited_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    unix = (HEADER + ROW).replace(b"\r\n", b"\n")
    for text in (unix, unix.removesuffix(b"\n"), (HEADER + ROW).removesuffix(b"\n")):
        path.write_bytes(text)
        append(path, OFF, off(2))
        assert events(path) == ["3f2a-17", "3f2a-2"]


@pytest.mark.parametrize(
    "content",
    [b"name,age\r\nx,1\r\n", b"no table", b"event,sensor\r\n", b"\xff" * 300_000, b"\0" * 5000],
)
def test_another_file_is_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    assert "move it away" in failure(path, OFF)
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "no plain file" in failure(tmp_path / "pipe")
    assert "Is a directory" in failure(tmp_path)
    assert "No such file" in failure(tmp_path / "missing" / "events.csv")
    for path in (None, "", "a\0b"):
        with pytest.raises(ParameterError, match=r"csv\.path"):
            CsvReceiver(CsvSection(path=path))


def test_a_file_that_is_moved_or_emptied_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    made = CsvReceiver(CsvSection(path=str(path)))
    made.open()
    made.deliver(off(1))
    path.rename(tmp_path / "old.csv")
    made.deliver(off(2))
    path.unlink()
    made.deliver(off(3))
    assert events(path) == ["3f2a-3"]
    os.truncate(path, 0)
    made.deliver(off(4))
    made.close()
    assert events(path) == ["3f2a-4"]
    assert events(tmp_path / "old.csv") == ["3f2a-1"]


def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    made = CsvReceiver(CsvSection(path=str(path)))
    made.open()
    assert "another process" in failure(path, OFF)
    made.close()
    append(path, OFF)


def test_nothing_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    code = """
import itertools, sys
from pathlib import Path
from tests.unit.test_csv_file import CsvReceiver, CsvSection, off
made = CsvReceiver(CsvSection(path=sys.argv[1]))
made.open()
for number in itertools.count(int(sys.argv[2])):
    made.deliver(off(number))
    print(number, flush=True)
"""
    taken = -1
    for _ in range(4):
        # The spool gives the first that was not acknowledged again, and the one before, say.
        arguments = [sys.executable, "-c", code, str(path), str(max(0, taken))]
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                taken = int(line)
                break
            time.sleep(random.uniform(0.0, 0.1))
            child.send_signal(signal.SIGKILL)
            taken = max([taken, *(int(line) for line in child.stdout if line.endswith("\n"))])
    append(path)
    seen = events(path)
    assert seen == [f"3f2a-{i}" for i in range(len(seen))]
    assert len(seen) >= taken + 1


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    code = """
import json, resource, sys
from tests.unit.test_csv_file import CsvReceiver, CsvSection, DeliveryError, off
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit[1]))
made = CsvReceiver(CsvSection(path=sys.argv[1]))
number, messages = 0, []
while len(messages) < 3:
    try:
        made.open()
        while True:
            made.deliver(off(number))
            number += 1
    except DeliveryError as error:
        made.close()
        messages.append([str(error), open(sys.argv[1], 'rb').read().decode()])
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
made.open()
made.deliver(off(number))
made.close()
print(json.dumps([number, messages]))
"""
    for limit in (40, 1000, 1024):  # within the header, and within two places of a row
        path.unlink(missing_ok=True)
        out = subprocess.run(
            [sys.executable, "-c", code, str(path), str(limit)],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        number, messages = json.loads(out)
        assert number == max(0, (limit - len(HEADER)) // (len(ROW) - 1))
        for message, content in messages:
            assert "make room" in message
            assert not content or content.endswith("\r\n")
        assert events(path) == [f"3f2a-{i}" for i in range(number + 1)]
