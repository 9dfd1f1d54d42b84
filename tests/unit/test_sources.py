"""Files and raw PCM become the samples that soundfile and soxr give."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from otic.audio.pcm import PcmSource
from otic.audio.sources import ArraySource, FileSource
from otic.errors import SourceError
from otic.types import Lost, Source
from tests.support.helpers import F32, noise

SR = 22050


def read_until_error(source: Source, words: str) -> F32:
    """What a source gives before it fails."""
    got: list[F32] = []

    def read() -> None:
        for chunk in source.chunks():
            assert isinstance(chunk, np.ndarray)
            got.append(chunk)

    with pytest.raises(SourceError, match=words):
        read()
    source.close()
    return np.concatenate(got)


def samples(source: Source) -> F32:
    chunks = [c for c in source.chunks() if c is not None]
    source.close()
    assert not any(isinstance(c, Lost) for c in chunks)
    return np.concatenate([c for c in chunks if not isinstance(c, Lost)])


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_U8"),
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.flac", "PCM_24"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 2), (48000, 2)])
def test_a_file_is_what_soundfile_reads(
    tmp_path: Path, name: str, subtype: str, rate: int, channels: int
) -> None:
    path = tmp_path / name
    soundfile.write(path, noise(rate * channels).reshape(-1, channels), rate, subtype=subtype)
    y, _ = soundfile.read(path, dtype="float32", always_2d=True)
    mono = y.mean(axis=1, dtype=np.float32)
    expected = mono if rate == SR else soxr.resample(mono, rate, SR)
    # mpg123 rounds the last bit anew after a seek, which soundfile.read does and we do not.
    atol = 1e-7 if name.endswith("mp3") else 0.0
    got = samples(FileSource(str(path), SR, 999))
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("rate", "channels"), [(192000, 1), (44100, 6), (8000, 6)])
def test_unusual_rates_and_channels(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(rate * channels).reshape(-1, channels), rate)
    assert abs(len(samples(FileSource(str(path), SR, 4096))) - SR) <= 1


@pytest.mark.parametrize("block", [1, 100, 8192, 10**6])
@pytest.mark.parametrize("name", ["cut.flac", "cut.mp3", "cut.wav"])
def test_of_a_cut_off_file_everything_readable_is_given(
    tmp_path: Path, name: str, block: int
) -> None:
    path = tmp_path / name
    y = noise(SR * 2)
    soundfile.write(path, y, SR)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 5])
    words = r"damaged or cut off: \d\.\d+ s of 2\.000 s could be"
    got = read_until_error(FileSource(str(path), SR, block), words)
    assert 0.9 * SR < len(got) < 1.3 * SR
    if not name.endswith("mp3"):
        np.testing.assert_allclose(got, y[: len(got)], rtol=0, atol=1 / 32768)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.flac"])
def test_the_samples_do_not_depend_on_the_block(tmp_path: Path, name: str) -> None:
    """With soundfile alone they do for MP3: it seeks after each read, which resets the decoder."""
    soundfile.write(tmp_path / name, noise(SR), SR)
    whole = samples(FileSource(str(tmp_path / name), SR, 10**6))
    for block in (37, 1024):
        np.testing.assert_array_equal(samples(FileSource(str(tmp_path / name), SR, block)), whole)


def test_the_same_is_read_of_a_cut_off_file_whatever_the_block(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, noise(SR * 2), SR)
    path.write_bytes(path.read_bytes()[:40000])
    sources = [FileSource(str(path), SR, block) for block in (1, 333, 4096, 50000)]
    assert len({len(read_until_error(source, "cut off")) for source in sources}) == 1


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_of_unknown_length(tmp_path: Path, size: int) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, noise(SR), SR)
    content = bytearray(path.read_bytes())
    content[40:44] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(samples(FileSource(str(path), SR, 999))) == SR


def test_a_flac_of_unknown_length(tmp_path: Path) -> None:
    """As a program writes it that can't seek back to fill in the length."""
    path = tmp_path / "piped.flac"
    y = noise(SR)
    soundfile.write(path, y, SR)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_allclose(samples(FileSource(str(path), SR, 999)), y, atol=1 / 32768)


def test_what_is_not_audio(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such file"):
        FileSource(str(tmp_path / "nope.wav"), SR, 1024)
    with pytest.raises(SourceError, match="it is a folder"):
        FileSource(str(tmp_path), SR, 1024)
    (tmp_path / "text.wav").write_text("not audio at all")
    with pytest.raises(SourceError, match="as audio"):
        FileSource(str(tmp_path / "text.wav"), SR, 1024)
    soundfile.write(tmp_path / "zero.wav", np.zeros(0, np.float32), SR)
    with pytest.raises(SourceError, match="its length is 0"):
        FileSource(str(tmp_path / "zero.wav"), SR, 1024)
    soundfile.write(tmp_path / "slow.wav", np.zeros(100, np.float32), 500)
    with pytest.raises(SourceError, match=r"slow\.wav': sampling rate 500 Hz is outside"):
        FileSource(str(tmp_path / "slow.wav"), SR, 1024)


def test_not_finite_samples_are_lost_and_told(tmp_path: Path) -> None:
    y = noise(SR)
    y[1000:1100] = np.nan
    y[5000] = np.inf
    soundfile.write(tmp_path / "nan.wav", y, SR, subtype="FLOAT")
    source = FileSource(str(tmp_path / "nan.wav"), SR, 512)
    lost = [c for c in source.chunks() if isinstance(c, Lost)]
    assert lost == [Lost(100), Lost(1)]
    assert source.warnings() == [
        "nan.wav: 101 samples are NaN, infinite or above 1e+06: counted as lost"
    ]


def pcm(data: bytes, channels: int = 1, block: int = 100, parts: int = 1) -> PcmSource:
    """A source that reads ``data`` from a pipe, written in so many parts."""
    reader, writer = os.pipe()

    def feed() -> None:
        step = -(-len(data) // parts) or 1
        for at in range(0, len(data), step):
            os.write(writer, data[at : at + step])
        os.close(writer)

    threading.Thread(target=feed).start()
    return PcmSource(reader, SR, channels, SR, block)


@pytest.mark.parametrize("parts", [1, 7, 501])
def test_raw_pcm(parts: int) -> None:
    frames = np.random.default_rng(0).integers(-32768, 32767, (500, 2)).astype("<i2")
    got = samples(pcm(frames.tobytes(), channels=2, parts=parts))
    expected = (frames.astype(np.float32) / 32768).mean(axis=1, dtype=np.float32)
    np.testing.assert_array_equal(got, expected)


def test_raw_pcm_that_ends_within_a_frame() -> None:
    source = pcm(bytes(2 * 2 * 10 + 3), channels=2)
    with pytest.raises(SourceError, match="3 bytes left of 4"):
        list(source.chunks())


def test_raw_pcm_without_a_sample() -> None:
    with pytest.raises(SourceError, match="holds no audio"):
        list(pcm(b"").chunks())


def test_raw_pcm_from_a_closed_descriptor() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    os.close(reader)
    with pytest.raises(SourceError, match="can't read standard input"):
        list(PcmSource(reader, SR, 1, SR, 100).chunks())


def test_an_array() -> None:
    y = noise(1000)
    np.testing.assert_array_equal(samples(ArraySource("a", y, SR, 64)), y)
