"""Live streams through a real ffmpeg: RTP, HTTP, a FIFO and a growing file, cut and lossy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from otic.audio import microphone
from otic.audio.stream_capture import StreamCapture
from otic.errors import DeviceError
from tests.support import debian, streams
from tests.support.helpers import noise
from tests.support.streams import Captured, Heard, HttpServer, RtpSender

SR = 22_050
TEN = noise(10 * SR, level=0.1)


@pytest.fixture(scope="module", autouse=True)
def ffmpeg() -> None:
    with debian.needed():
        streams.install_ffmpeg()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes long to start a process."""
    monkeypatch.setattr(microphone, "_OPEN_SECONDS", 100.0)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer(TEN, SR) as server:
        yield server


def url(server: HttpServer, path: str, login: str = "") -> str:
    return f"http://{login}127.0.0.1:{server.server_port}{path}"


def command_lines() -> dict[int, bytes]:
    """The processes below this one that run ffmpeg: other tests run theirs at the same time."""
    found = {}
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes()
        except OSError:
            continue
        if line.split(b"\0")[0].endswith(b"ffmpeg") and is_below(each.parent):
            found[int(each.parent.name)] = line
    return found


def is_below(process: Path) -> bool:
    while (pid := int(process.name)) > 1:
        if pid == os.getpid():
            return True
        try:
            stat = (process / "stat").read_text()
        except OSError:
            return False
        process = process.with_name(stat.rpartition(")")[2].split()[1])
    return False


def gone(pids: set[int]) -> bool:
    for _ in range(100):
        if not pids & command_lines().keys():
            return True
        time.sleep(0.1)
    return False


def test_packets_that_the_network_loses_are_a_loss_of_their_length() -> None:
    sender = RtpSender(noise(44_100, level=0.1))
    with sender.running(), Captured(f"rtp://127.0.0.1:{sender.port}") as heard:
        heard.read(lambda: heard.seconds > 0.5)
        sender.muted = True
        heard.read(lambda: sender.muted_seconds > 0.8)
        sender.muted = False
        heard.read(lambda: bool(heard.lost))  # ffmpeg waits for packets that are late
        heard.read(lambda: len(heard.blocks[-1]) > 100)
    assert sum(heard.lost) / 44_100 == pytest.approx(sender.muted_seconds, abs=0.11)
    assert 0.05 < np.abs(heard.y).max() < 0.7


def test_the_samples_are_those_that_were_sent(server: HttpServer) -> None:
    with Captured(url(server, "/live")) as heard:
        heard.read(lambda: heard.seconds > 1.0)
    assert (heard.capture.name, heard.capture.rate, heard.capture.channels) == ("127.0.0.1", SR, 1)
    y = heard.y[: SR // 2]
    sent = np.round(np.concatenate([TEN, TEN]) * 32767) / 32768
    at = int(np.argmax(np.correlate(sent, y, mode="valid")))
    np.testing.assert_allclose(y, sent[at : at + len(y)], atol=1e-4)


def test_a_fifo_until_its_writer_is_gone(tmp_path: Path) -> None:
    fifo = tmp_path / "yard.fifo"
    os.mkfifo(fifo)
    with streams.written_to(fifo, TEN, SR):
        heard = Captured(str(fifo))
        assert heard.capture.name == "yard.fifo"
        heard.read(lambda: heard.seconds > 0.5)
    heard.read(lambda: not heard.capture.active)


def test_a_growing_file_is_followed_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "it's growing.wav"
    path.write_bytes(streams.endless_header(SR) + streams.pcm(np.full(60 * SR, 0.9, np.float32)))
    with streams.written_to(path, TEN, SR), Captured(str(path)) as heard:
        heard.read(lambda: heard.seconds > 1.0)
    assert np.abs(heard.y).max() < 0.8
    assert heard.y.std() == pytest.approx(0.1, rel=0.2)


def test_a_server_that_goes_and_comes_back(server: HttpServer, said: list[str]) -> None:
    with Heard(url(server, "/live")) as heard:
        heard.listen(heard.for_seconds(1.0))
        server.up = False
        heard.listen(lambda: heard.state == "waiting")
        heard.listen(heard.for_seconds(1.0))
        server.up = True
        heard.listen(lambda: heard.state == "listening")
        heard.listen(heard.is_in_step)
        assert heard.source.health().reopenings == 1
        assert heard.lost_seconds > 1.0
    assert said[0] == "127.0.0.1: it is gone: waiting for it"
    assert said[-1] == "127.0.0.1: heard again"


def test_a_stream_that_stalls_is_opened_again(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(microphone, "_STREAM_STALL_SECONDS", 2.0)
    monkeypatch.setattr(microphone, "_STALL_SECONDS", 2.0)
    before = command_lines().keys()
    with Heard(url(server, "/live")) as heard:
        heard.listen(heard.for_seconds(0.5))
        ours = command_lines().keys() - before
        for pid in ours:
            os.kill(pid, signal.SIGSTOP)
        heard.listen(lambda: heard.source.health().reopenings > 0)
        assert gone(ours)
        heard.listen(heard.is_in_step)
    assert said[0] == "127.0.0.1: it delivers nothing since 2 s: waiting for it"


def test_a_password_is_sent_to_the_server_and_seen_nowhere_else(
    server: HttpServer, said: list[str]
) -> None:
    with Heard(url(server, "/secret", login="hall:p%40s3cret@")) as heard:
        heard.listen(lambda: bool(heard.chunks))
        assert server.authorization == "Basic aGFsbDpwQHMzY3JldA=="
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert not [line for line in lines if b"s3cret" in line]
        server.up = False
        heard.listen(lambda: heard.state == "waiting")
    assert said
    assert "s3cret" not in " ".join([heard.source.name, *said, *heard.source.warnings()])


def test_a_capture_that_is_killed_takes_ffmpeg_with_it(server: HttpServer) -> None:
    before = command_lines().keys()
    with Heard(url(server, "/live")) as heard:
        ours = command_lines().keys() - before
        assert ours
        process = heard.source._process
        assert process is not None
        process._process.kill()
        heard.listen(lambda: heard.state == "waiting")
        assert gone(ours)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/text", "ffmpeg hears nothing there: 'ffmpeg -i URL' tells more"),
        ("/nothing", "it has no such stream: is the path in the URL right?"),
        ("/secret", "it refuses user and password: write them into the URL, "),
        ("/file.wav", "it is a recording, no live stream: save it as a file and use 'otic replay'"),
    ],
)
def test_what_is_said_of_a_stream_that_can_not_be_heard(
    server: HttpServer, path: str, words: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        StreamCapture(url(server, path), 0.1)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("rtsp://127.0.0.1:1/s3cret", "nothing listens on this port: is it on, and is the port"),
        ("http://hall:s3cret@no-such-host.invalid/", "nobody knows this name: is the host in"),
        ("/nowhere/s3.wav", "there is no such file: is the path right?"),
    ],
)
def test_what_is_said_without_a_server(address: str, words: str) -> None:
    with pytest.raises(DeviceError) as caught:
        StreamCapture(address, 0.1)
    assert str(caught.value).startswith(words)
    assert "s3" not in str(caught.value)


def test_a_channel_that_a_stream_does_not_have(server: HttpServer) -> None:
    with pytest.raises(DeviceError, match=r"^--channel 2 is outside 1 to 1, its channels$"):
        StreamCapture(url(server, "/live"), 0.1, channel=2)
