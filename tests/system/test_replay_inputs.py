"""What ``otic replay`` is given: files, folders, patterns, and sound files on a pipe."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from otic.audio.pcm import PcmSource
from otic.errors import SourceError
from tests.support.helpers import F32, noise, of_type, one_line, otic

SR = 22050
FAST = ("--speed", "max", "--jsonl", "-", "--log", "events")


def piped(content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "otic", "replay", "-", *FAST, *arguments],
        input=content,
        capture_output=True,
        check=False,
    )


def sound_file(kind: str, y: F32, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, y, SR, subtype, format=kind)
    return buffer.getvalue()


def from_pipe(content: bytes, block: int = 1024, sr: int = SR) -> tuple[F32, str, list[str]]:
    """The samples, what failed in the end, and what was said."""
    reader, writer = os.pipe()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=writer)
    os.close(writer)
    assert process.stdin is not None
    source = PcmSource(reader, None, None, sr, block)
    chunks = source.chunks()
    got: list[F32] = []
    problem = ""
    try:
        process.stdin.write(content)
        process.stdin.close()
        got.extend(chunk for chunk in chunks if isinstance(chunk, np.ndarray))
    except SourceError as error:
        problem = str(error)
    source.close()
    os.close(reader)
    process.wait()
    return np.concatenate([np.zeros(0, np.float32), *got]), problem, source.warnings()


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *((kind, "PCM_16") for kind in ("WAV", "WAVEX", "W64", "RF64", "AIFF", "CAF", "AU")),
        *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")),
        *((kind, None) for kind in ("FLAC", "OGG", "MP3")),
    ],
)
def test_a_sound_file_on_a_pipe_is_read_as_from_a_file(
    tmp_path: Path, kind: str, subtype: str | None
) -> None:
    content = sound_file(kind, noise(2 * SR).reshape(-1, 2), subtype)
    y, problem, said = from_pipe(content)
    path = tmp_path / "a"
    path.write_bytes(content)
    expected, _ = soundfile.read(path, dtype="float32")
    assert (problem, said) == ("", [])
    np.testing.assert_allclose(y, expected.mean(axis=1)[: len(y)], rtol=0, atol=2e-7)
    assert len(y) == len(expected)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF, SR])
def test_a_wav_on_a_pipe_is_read_to_its_end_whatever_it_says(length: int) -> None:
    y = noise(3 * SR)
    content = sound_file("WAV", y, "PCM_16")
    at = content.index(b"data") + 4
    got, problem, said = from_pipe(content[:at] + length.to_bytes(4, "little") + content[at + 4 :])
    assert problem == ""
    np.testing.assert_allclose(got, y, rtol=0, atol=1 / 32768)
    expected = ["stdin: its header says 0.500 s, but sound follows: all of it was read"]
    assert said == (expected if length == SR else [])


def test_chunks_and_files_behind_a_wav_on_a_pipe() -> None:
    one, other = sound_file("WAV", noise(SR), "PCM_U8"), sound_file("WAV", noise(SR + 1), "PCM_U8")
    chunk = b"LIST\xa0\x0f\0\0" + bytes(4000)
    assert len(from_pipe(one + chunk)[0]) == SR
    assert len(from_pipe(other + bytes(len(other) & 1) + chunk)[0]) == SR + 1
    assert len(from_pipe(one + other)[0]) == 2 * SR + 1


def test_a_wav_on_a_pipe_that_is_cut_off() -> None:
    got, problem, _ = from_pipe(sound_file("WAV", noise(4 * SR), "PCM_16")[: 44 + 2 * SR])
    assert len(got) == SR
    assert problem.startswith("standard input is cut off: 1.000 s of 4.000 s could be read")


def test_samples_of_a_wav_come_before_the_pipe_ends() -> None:
    """As from arecord, whose end nobody waits for."""
    reader, writer = os.pipe()
    source = PcmSource(reader, None, None, SR, 1024)
    chunks = source.chunks()
    content = sound_file("WAV", noise(SR), "PCM_16")
    os.write(writer, content[:30000])
    n = 0
    while n < (30000 - 44) // 2:
        chunk = next(chunks)
        assert isinstance(chunk, np.ndarray)
        n += len(chunk)
    assert next(chunks) is None  # there is no more yet
    os.close(writer)
    with pytest.raises(SourceError, match="cut off"):
        list(chunks)
    os.close(reader)


def test_exit_codes_of_standard_input() -> None:
    wav = sound_file("WAV", noise(3 * SR), "PCM_16")
    done = piped(wav)
    assert done.returncode == 0
    assert of_type(done.stdout, "end")[0]["seconds"] == 3.0
    done = piped(wav, "--rate", "22050")
    assert done.returncode == 2
    assert "standard input is a sound file" in one_line(done.stderr)
    done = piped(noise(3 * SR).astype("<f4").tobytes())
    assert done.returncode == 2
    assert "raw PCM has no header: give --rate HZ" in one_line(done.stderr)
    done = piped(b"wvpk" + bytes(5000))
    assert done.returncode == 1
    assert "WavPack is not read: convert it" in one_line(done.stderr)
    done = piped(b"")
    assert done.returncode == 1
    assert "standard input holds no audio" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--channels", "2"), "--rate and --channels describe raw PCM"),
        (("--rate", "8000"), "--rate and --channels describe raw PCM"),
        (("--report", ""), "--report needs the path of a page"),
        (("--spool-directory", "x"), "--spool-directory"),
    ],
)
def test_options_without_effect_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(SR), SR)
    done = otic("replay", tmp_path / "a.wav", *arguments)
    assert done.returncode == 2
    assert words in one_line(done.stderr)


def test_too_many_channels_of_raw_pcm() -> None:
    done = piped(bytes(100), "--rate", "8000", "--channels", "1000000000")
    assert done.returncode == 2
    assert "--channels 1000000000 must be 1 to 256" in one_line(done.stderr)


def test_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "night" / ".trash").mkdir(parents=True)
    for name in ("b.wav", "night/a.flac", "night/.trash/x.wav", "night/._a.wav", "[odd].wav"):
        soundfile.write(tmp_path / name, noise(3 * SR), SR)
    (tmp_path / "notes.txt").write_text("no sound")

    def sources(*names: str) -> list[str]:
        done = otic("replay", *[tmp_path / name for name in names], *FAST)
        assert done.returncode == 0, done.stderr.decode()
        return [start["source"] for start in of_type(done.stdout, "start")]

    assert sources(".") == ["[odd].wav", "b.wav", "a.flac"]
    assert sources("*.wav") == ["[odd].wav", "b.wav"]
    assert sources("**/*.flac", "[odd].wav") == ["a.flac", "[odd].wav"]
    done = otic("replay", tmp_path / "*.mp3")
    assert done.returncode == 1
    assert one_line(done.stderr) == f"otic: no file matches '{tmp_path}/*.mp3'"


def test_one_channel_and_what_is_said_of_a_mix(tmp_path: Path) -> None:
    y = noise(3 * SR)
    soundfile.write(tmp_path / "a.wav", np.stack([y, -y], axis=1), SR, "FLOAT")
    done = otic("replay", tmp_path / "a.wav", *FAST)
    assert done.returncode == 0
    assert "the mean of its 2 channels is silence" in one_line(done.stderr)
    done = otic("replay", tmp_path / "a.wav", *FAST, "--channel", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    done = otic("replay", tmp_path / "a.wav", *FAST, "--channel", "3")
    assert done.returncode == 1
    assert "channel 3 is outside 1 to 2" in one_line(done.stderr)


def test_a_header_that_lies_is_told_and_one_that_promises_more_fails(tmp_path: Path) -> None:
    content = sound_file("WAV", noise(5 * SR), "PCM_16")
    (tmp_path / "a.wav").write_bytes(content[:40] + (2 * SR).to_bytes(4, "little") + content[44:])
    done = otic("replay", tmp_path / "a.wav", *FAST)
    assert done.returncode == 0
    assert "its header says 1.000 s, but sound follows: 5.000 s were read" in one_line(done.stderr)
    (tmp_path / "a.wav").write_bytes(content[: 44 + 4 * SR])
    done = otic("replay", tmp_path / "a.wav", *FAST)
    assert done.returncode == 1
    assert "2.000 s of 5.000 s could be read" in one_line(done.stderr)
