"""When recordings began."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.audio.recording_time import TimeRule, parsed_time
from otic.errors import ParameterError

SUMMER = datetime(2024, 7, 1, 6, 0, 5, tzinfo=UTC)


def began(path: Path | str, **rule: str) -> str | None:
    found = TimeRule(**rule).began(str(path))  # type: ignore[arg-type]
    return None if found is None else found.isoformat()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20240701_060005.WAV", "2024-07-01T06:00:05+00:00"),  # AudioMoth
        ("20240701_060005T.WAV", "2024-07-01T06:00:05+00:00"),
        ("5E4AE2D2.WAV", "2020-02-17T19:00:34+00:00"),  # an early one: hexadecimal
        ("SM4_0+1_20240701_060005.wav", "2024-07-01T06:00:05+00:00"),  # Song Meter
        ("S4A01234_20240701_060005_1.flac", "2024-07-01T06:00:05+00:00"),
        ("2024-07-01T06-00-05+02-00.wav", "2024-07-01T06:00:05+00:00"),
        ("20240701T060005+1000_REC.flac", "2024-07-01T06:00:05+10:00"),  # BAR-LT
        ("2024-07-01T06:00:05.123Z.wav", "2024-07-01T06:00:05+00:00"),
        ("XC 2024-07-01 06.00.05.mp3", "2024-07-01T06:00:05+00:00"),
        ("20249901_060005.wav", None),
        ("12345678_123456.wav", None),
        ("street.wav", None),
        ("1234567890123456789.wav", None),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert began(name) == expected


def test_zones_and_formats() -> None:
    assert began("20240701_060005.wav", timezone="+05:30") == "2024-07-01T06:00:05+05:30"
    assert began("20240701_060005.wav", timezone="Europe/Berlin") == "2024-07-01T06:00:05+02:00"
    assert began("rec010724-0600.wav", time_format="rec%d%m%y-%H%M") == "2024-07-01T06:00:00+00:00"
    assert TimeRule(start=SUMMER, time_format="%Y").began("2001.wav") == SUMMER
    with pytest.raises(ParameterError, match="time zone 'Mars' is not known"):
        TimeRule(timezone="Mars")
    with pytest.raises(ParameterError, match=r"'noon' is no time: write it as 2026-"):
        parsed_time("noon")


def test_a_night_with_a_change_of_the_clocks_has_one_offset() -> None:
    """An hour later it is an hour later, whatever a zone's clocks show."""
    found = TimeRule(timezone="Europe/Berlin").began("20240331_013000.wav")
    assert found is not None
    assert (found + timedelta(hours=1)).isoformat() == "2024-03-31T02:30:00+01:00"
    assert found + timedelta(hours=1) == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)


def wav_with(folder: Path, *chunks: tuple[bytes, bytes], behind: bool = False) -> Path:
    path = folder / "x.wav"
    soundfile.write(path, np.zeros(101), 8000, "PCM_U8")
    content = path.read_bytes()
    more = b"".join(n + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for n, c in chunks)
    body = content[12:] + b"\0" * (len(content) % 2)
    body = body + more if behind else more + body
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    return path


def bext(date: str, time: str) -> tuple[bytes, bytes]:
    return b"bext", b"\0" * 320 + date.encode() + time.encode() + b"\0" * 264


def guano(text: str) -> tuple[bytes, bytes]:
    return b"guan", f"GUANO|Version: 1.0\nTimestamp: {text}\nMake: x\n".encode()


def comment(text: str) -> tuple[bytes, bytes]:
    return b"LIST", b"INFOICMT" + struct.pack("<I", len(text)) + text.encode()


MOTH = "Recorded at 06:00:05 01/07/2024 (UTC{}) by AudioMoth 24E144085F256259 at medium gain"


def test_metadata(tmp_path: Path) -> None:
    """GUANO comes before an AudioMoth's comment, that before bext, and all before the name."""
    cases = [
        ([guano("2024-07-01T06:00:05+02:00")], "2024-07-01T06:00:05+02:00"),
        ([guano("2024-07-01 06:00:05")], "2024-07-01T06:00:05+00:00"),
        ([comment(MOTH.format(""))], "2024-07-01T06:00:05+00:00"),
        ([comment(MOTH.format("+2"))], "2024-07-01T06:00:05+02:00"),
        ([comment(MOTH.format("-3:30"))], "2024-07-01T06:00:05-03:30"),
        ([bext("2024-07-01", "06:00:05")], "2024-07-01T06:00:05+00:00"),
        ([bext("2024:07:01", "06-00-05")], "2024-07-01T06:00:05+00:00"),
        ([bext("0000-00-00", "00:00:00")], None),
        (
            [bext("2023-01-01", "00:00:00"), guano("2024-07-01T06:00:05Z")],
            "2024-07-01T06:00:05+00:00",
        ),
        ([guano("soon"), comment("Recorded at noon")], None),
    ]
    for chunks, expected in cases:
        for behind in (False, True):
            path = wav_with(tmp_path, *chunks, behind=behind)
            assert began(path) == expected, chunks
    named = path.rename(tmp_path / "20240701_060005.wav")
    assert began(named) == "2024-07-01T06:00:05+00:00"
    assert began(named, timezone="Europe/Berlin") == "2024-07-01T06:00:05+02:00"
    cut = named.read_bytes()[:60]
    named.write_bytes(cut)
    assert TimeRule(timezone="-01:00").began(str(named)) == SUMMER.replace(
        tzinfo=timezone(-timedelta(hours=1))
    )
