"""Streams as inputs, without a network: addresses, what ffmpeg is given, and what it says."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from otic.audio import stream_capture
from otic.audio.microphone import NetworkMicrophone
from otic.audio.open import find_recordings
from otic.audio.open import microphone as open_microphone
from otic.audio.sources import FileSource
from otic.audio.stream_capture import FrameLog, Pace, list_of, stream_command
from otic.cli.arguments import input_device, input_url
from otic.config.load import load_settings
from otic.config.settings import InputSettings
from otic.config.stream_url import check_url, shown_url, stream_name
from otic.errors import ConfigurationError, DeviceError, ParameterError, SourceError
from tests.support.helpers import one_line, otic
from tests.unit.test_microphone_reopening import Room, losses, room, run

__all__ = ["room"]

SECRET = "rtsp://hall:s3cret@cam.example:8554/token-s3cret?key=s3cret"
SR = 8000


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        (SECRET, "rtsp://cam.example:8554", "cam.example"),
        ("RTSPS://u:p%40ss@[fe80::1]/x", "rtsps://fe80::1", "fe80::1"),
        ("http://h/live.m3u8", "http://h", "h"),
        ("udp://@:5004", "udp://:5004", "udp:5004"),
        ("/run/otic/yard.fifo", "/run/otic/yard.fifo", "yard.fifo"),
        ("file:///run/yard.wav", "/run/yard.wav", "yard.wav"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str, name: str) -> None:
    check_url(url)
    assert (shown_url(url), stream_name(url)) == (shown, name)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://hall:s3cret@h/x", "the scheme 'ftp'; it must be one of rtsp, rtsps, http"),
        ("concat://s3cret", "FIFO"),
        ("rtsp:///s3cret", "no host: write rtsp://host/path"),
        ("rtsp://hall:s3/cret@h/x", "write / as %2F"),
        ("rtsp://[s3cret/x", "must be like rtsp://user:password@host:554/path"),
        ("rtsp://h/s3cret\n'", "visible characters"),
        ("rtsp://h/" + 5000 * "s3cret", "at most 4096"),
    ],
)
def test_what_is_no_address(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        check_url(url)
    assert "s3" not in str(caught.value)
    assert "s3cret" not in shown_url("rtsp://hall:s3/cret@h/x")


def test_ffmpeg_may_open_what_the_url_needs_and_its_command_has_no_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    command = stream_command(SECRET)
    assert command[0] == "/bin/ffmpeg"
    assert "cam.example" not in " ".join(command)
    allowed = {
        url: stream_command(url)[command.index("-protocol_whitelist") + 1]
        for url in (SECRET, "https://h/", "udp://h:1", "x.fifo")
    }
    assert list(allowed.values()) == [
        "pipe,rtsp,rtp,udp,tcp",
        "pipe,tcp,https,tls,crypto",
        "pipe,udp",
        "pipe,file",
    ]
    assert {"-vn", "-sn", "-dn"} < set(command)


def test_the_list_for_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = list_of("rtsp://hall:it's@h/x", audio_only=True).decode()
    assert "\nfile 'rtsp://hall:it'\\''s@h/x'\n" in text
    assert "\noption allowed_media_types audio\n" in text
    assert "allowed_media_types" not in list_of("rtsp://h/x", audio_only=False).decode()
    (tmp_path / "grows.wav").write_bytes(b"")
    text = list_of("grows.wav", audio_only=True).decode()
    assert f"\nfile 'file:{tmp_path}/grows.wav'\n" in text
    assert "\noption follow 1\n" in text
    assert "follow" not in list_of("http://h/x", audio_only=True).decode()


def frame(pts: object, samples: int = 160, rate: int = SR) -> bytes:
    """A line of ffmpeg 5.1's ashowinfo."""
    return (
        f"[Parsed_ashowinfo_0 @ 0x55867ec150c0] [info] n:7 pts:{pts} pts_time:1.5 pos:-1 fmt:s16 "
        f"channels:2 chlayout:stereo rate:{rate} nb_samples:{samples} checksum:0A plane_checksums: "
        "[ 0A 0A ]\n"
    ).encode()


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_jump_of_a_streams_times_is_a_loss(size: int) -> None:
    said = b"".join(map(frame, [0, 160, 320, 480 + 1600, 2240, 2400 + 8000]))
    log = FrameLog()
    for start in range(0, len(said), size):
        log.add(said[start : start + size])
    assert (log.rate, log.channels) == (SR, 2)
    (first, second) = log.losses
    assert first == (480, pytest.approx(1600, abs=2))
    assert second == (800, pytest.approx(8000, abs=2))


def test_small_jumps_add_up_and_a_slow_drift_is_none() -> None:
    lossy, drifting, nervous = FrameLog(), FrameLog(), FrameLog()
    for n in range(1000):
        lossy.add(frame(160 * n + 160 * (n // 10)))  # each tenth packet is missing
        drifting.add(frame(160 * n + n // 10))  # by 0.06 %
        nervous.add(frame(160 * n + (-1) ** n * 300))
    told = sum(frames for _, frames in lossy.losses)
    assert told == pytest.approx(16_000, rel=0.05)
    assert not drifting.losses
    assert not nervous.losses


def test_times_that_are_missing_or_go_back_are_no_loss() -> None:
    log = FrameLog()
    for pts in (0, "NOPTS", 90_000, 90_160, 0, 160):
        log.add(frame(pts))
    assert not log.losses


def test_another_rate_in_between() -> None:
    """ffmpeg goes on writing at the first rate."""
    log = FrameLog()
    for pts, rate in ((0, SR), (160, 2 * SR), (480, 2 * SR), (640 + 16_000, 2 * SR)):
        log.add(frame(pts, samples=160 if rate == SR else 320, rate=rate))
    log.add(frame(16_960, 320, 2 * SR))
    assert log.rate == SR
    assert not log.losses or log.losses[0][0] == 480


def test_a_stream_neither_outruns_the_clock_nor_trails_for_good() -> None:
    pace = Pace(early_seconds=1.0)
    taken = []
    for _ in range(100_000):  # an hour and more, with a clock that is too fast by 0.01 %
        pace.passed(0.1)
        taken.append(pace.take(0.0, 0.10001))
    assert taken.count(0.0) == len(taken)
    pace.passed(3.0)
    assert pace.take(3.0, 0.1) == 3.0  # also after that


def test_a_stream_waits_longer_than_a_device_and_is_opened_again(
    room: Room, said: list[str]
) -> None:
    source = NetworkMicrophone(SECRET, SR, 400)
    assert source.name == "cam.example"
    source.await_opening()
    chunks = source.chunks()
    run(room, chunks, 3.0)
    room.dead = True
    run(room, chunks, 9.0)
    assert source.health().state == "listening"
    found = run(room, chunks, 2.0)
    assert source.health().state == "waiting"
    room.dead = False
    found += run(room, chunks, 3.0)
    assert source.health().reopenings == 1
    assert sum(losses(found)) == pytest.approx(11.0, abs=0.6)
    assert said == [
        "cam.example: it delivers nothing since 10 s: waiting for it",
        "cam.example: heard again",
    ]
    assert room.options[-1] == {"url": SECRET, "block_seconds": 0.05, "channel": None}


def test_a_stream_that_is_not_there_is_tried_ever_less_often(room: Room, said: list[str]) -> None:
    source = NetworkMicrophone(SECRET, SR, 400, name="door")
    room.present = False
    run(room, source.chunks(), 60.0)
    assert 8 < len(room.processes) < 15
    assert len(said) == 1
    assert said[0].startswith("door: ")
    with pytest.raises(DeviceError, match=r"^rtsp://cam.example:8554: no input device 'Fake'$"):
        NetworkMicrophone(SECRET, SR, 400).await_opening()


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "otic.toml"
    path.write_text(text)
    return str(path)


def test_the_configuration(tmp_path: Path) -> None:
    text = f'[[inputs]]\nurl = "{SECRET}"\nname = "door"\n[[inputs]]\nurl_file = "~/url"\n'
    found = load_settings(written(tmp_path, text), {})
    assert found.inputs[0] == InputSettings(url=SECRET, name="door")
    assert found.inputs[1].url_file == str(Path.home() / "url")
    assert [each.is_stream for each in (*found.inputs, InputSettings("USB"))] == [True, True, False]
    assert "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('device = "USB"\nurl = "x"', "inputs, number 1: it has more than one of device, url and"),
        (f'device = "{SECRET}"', "device: is the address of a stream: write url in place of dev"),
        ('url = "ftp://h:s3cret@x/"', "url: has the scheme 'ftp'"),
        ("url = 7", "url: its value must be text"),
    ],
)
def test_a_mistake_in_the_configuration(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_settings(written(tmp_path, f"[[inputs]]\n{text}\n"), {})
    assert "s3cret" not in str(caught.value)


def test_a_url_in_a_file(tmp_path: Path, room: Room) -> None:
    (tmp_path / "url").write_text(SECRET + "\n")
    chosen = InputSettings(url_file=str(tmp_path / "url"), channel=2)
    open_microphone(chosen, SR, 400).close()
    assert room.options[-1] == {"url": SECRET, "block_seconds": 0.05, "channel": 2}
    (tmp_path / "url").write_text("ftp://hall:s3cret@h/")
    with pytest.raises(ParameterError, match=r"the URL in '.*url' has the scheme 'ftp'") as caught:
        open_microphone(chosen, SR, 400)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ParameterError, match=r"inputs.url_file '.*none': No such file"):
        open_microphone(InputSettings(url_file=str(tmp_path / "none")), SR, 400)


def test_a_stream_where_a_file_is_meant() -> None:
    for ask in (lambda: find_recordings([SECRET]), lambda: FileSource(SECRET, SR, 400)):
        with pytest.raises(SourceError, match="'otic listen --url URL' hears") as caught:
            ask()
        assert "s3cret" not in str(caught.value)


def test_options(said: list[str]) -> None:
    assert input_device("USB") == InputSettings("USB")
    with pytest.raises(argparse.ArgumentTypeError, match="give it as --url"):
        input_device(SECRET)
    assert input_url("rtsp://hall@h/x") == InputSettings(url="rtsp://hall@h/x")
    assert said == []
    assert input_url(SECRET) == InputSettings(url=SECRET)
    assert len(said) == 1
    assert "give that as --url-file" in said[0]
    assert "s3cret" not in said[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("listen", "--device", SECRET), 2, "'rtsp://cam.example:8554' is the address of a stream"),
        (("listen", "--url", "ftp://h:s3cret@x/"), 2, "--url: has the scheme 'ftp'"),
        (("replay", SECRET), 1, "'rtsp://cam.example:8554': it is the address of a stream, no f"),
        (("doctor", "--device", SECRET), 2, "give it as --url"),
    ],
)
def test_one_line_and_no_password(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = otic(*arguments)
    assert done.returncode == code
    assert words in one_line(done.stderr)
    assert b"s3cret" not in done.stderr


def test_without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(DeviceError, match=r"^ffmpeg is not installed: apt install ffmpeg$"):
        stream_capture.StreamCapture(SECRET, 0.1)
