"""Files as people have them: every sample is read to the end of the bytes, or the loss is told."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from otic.audio.sources import FileSource
from otic.errors import SourceError
from otic.types import Lost
from tests.support.helpers import F32, noise

SR = 22050
TAG = b"TAG" + bytes(125)
WORD = {"little": "<I", "big": ">I"}


def encoded(
    y: F32, kind: str, subtype: str | None = None, rate: int = SR, **options: object
) -> bytes:
    buffer = io.BytesIO()
    channels = 1 if y.ndim == 1 else y.shape[1]
    with soundfile.SoundFile(buffer, "w", rate, channels, subtype, format=kind, **options) as file:
        file.write(y)
    return buffer.getvalue()


def read(path: Path, content: bytes, block: int = 4096) -> tuple[float, str, list[str]]:
    """Seconds read, what failed in the end, and what was said."""
    path.write_bytes(content)
    source = FileSource(str(path), SR, block)
    n, problem = 0, ""
    try:
        for chunk in source.chunks():
            assert chunk is not None
            n += chunk.samples if isinstance(chunk, Lost) else len(chunk)
    except SourceError as error:
        problem = str(error)
    finally:
        source.close()
    return n / SR, problem, source.warnings()


def mp3(y: F32, variable: bool = False, rate: int = SR) -> bytes:
    """With a header that counts the frames."""
    options: dict[str, Any] = {
        "compression_level": 0.6,
        "bitrate_mode": "VARIABLE" if variable else "CONSTANT",
    }
    return encoded(y, "MP3", rate=rate, **options)


def without_count(content: bytes) -> bytes:
    """The frame that counts the others becomes one of silence."""
    assert content[:400].count(b"Xing") + content[:400].count(b"Info") == 1
    return content[:400].replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)) + content[400:]


def loud_then_soft() -> F32:
    y = noise(20 * SR, level=0.3)
    y[2 * SR :] *= 1e-5
    return y


# MP3


@pytest.mark.parametrize("block", [700, 65536])
@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize("tags", [(b"", b""), (b"ID3\4\0\0\0\0\1\0" + bytes(128), TAG)])
def test_an_mp3_without_a_count_is_read_to_its_end(
    tmp_path: Path, variable: bool, tags: tuple[bytes, bytes], block: int
) -> None:
    content = tags[0] + without_count(mp3(loud_then_soft(), variable)) + tags[1]
    seconds, problem, said = read(tmp_path / "a.mp3", content, block)
    assert (seconds, problem, said) == (pytest.approx(20.0, abs=0.2), "", [])


def test_a_vbri_header_counts_the_frames(tmp_path: Path) -> None:
    """Fraunhofer's encoder writes it; the decoder does not know it."""
    whole = without_count(mp3(loud_then_soft(), variable=True))
    frames = round(20.0 * SR / 576)
    vbri = b"VBRI" + struct.pack(">HHHII", 1, 0, 75, len(whole), frames)
    content = whole[:36] + vbri + whole[36 + len(vbri) :]
    assert read(tmp_path / "a.mp3", content)[:2] == (pytest.approx(20.0, abs=0.2), "")
    seconds, problem, _ = read(tmp_path / "a.mp3", content[: len(content) // 2])
    assert "damaged or cut off" in problem
    assert 5.0 < seconds < 19.0


@pytest.mark.parametrize("second", [mp3, lambda y: without_count(mp3(y))])
def test_of_mp3s_one_behind_the_other_all_are_read(tmp_path: Path, second: object) -> None:
    one, other = mp3(noise(3 * SR)), second(noise(2 * SR))  # type: ignore[operator]
    seconds, problem, _ = read(tmp_path / "a.mp3", one + TAG + b"ID3\4\0\0\0\0\0\0" + other)
    assert (seconds, problem) == (pytest.approx(5.0, abs=0.15), "")


def test_what_follows_the_counted_frames_is_read_and_said(tmp_path: Path) -> None:
    content = mp3(noise(2 * SR)) + without_count(mp3(noise(3 * SR)))[400 * 2 :]
    seconds, problem, said = read(tmp_path / "a.mp3", content)
    assert (seconds, problem) == (pytest.approx(5.0, abs=0.3), "")
    assert "its header says 2." in said[0]


def test_a_change_of_rate_and_channels_within_an_mp3(tmp_path: Path) -> None:
    stereo = noise(3 * 2 * 44100).reshape(-1, 2)
    content = without_count(mp3(noise(2 * SR))) + without_count(mp3(stereo, rate=44100))
    seconds, problem, _ = read(tmp_path / "a.mp3", content)
    assert (seconds, problem) == (pytest.approx(5.0, abs=0.3), "")


@pytest.mark.parametrize("hole", [bytes(20000), b"\x55" * 3000, bytes(range(256)) * 100])
def test_a_hole_in_an_mp3_is_told_and_what_follows_it_is_read(tmp_path: Path, hole: bytes) -> None:
    one = without_count(mp3(noise(3 * SR)))
    seconds, problem, _ = read(tmp_path / "a.mp3", one + hole + one)
    assert seconds == pytest.approx(6.0, abs=0.3)
    assert f"{len(hole)} bytes within it are no sound" in problem


@pytest.mark.parametrize("cut", [0.5, 0.97])
def test_a_counted_mp3_that_is_cut_off(tmp_path: Path, cut: float) -> None:
    content = mp3(noise(20 * SR))
    seconds, problem, _ = read(tmp_path / "a.mp3", content[: int(len(content) * cut)])
    assert seconds == pytest.approx(20 * cut, abs=0.2)
    assert f"cut off: {seconds:.3f} s of 20.000 s" in problem


@pytest.mark.parametrize(
    "tags",
    [
        TAG,
        b"APETAGEX" + struct.pack("<4I8x", 2000, 32 + 5000, 1, 0xA0000000) + bytes(5000)
        + b"APETAGEX" + struct.pack("<4I8x", 2000, 32 + 5000, 1, 0x80000000) + TAG,
        b"\xff\xfb\x90\x64" * 2000 + b"APETAGEX" + struct.pack("<4I8x", 2000, 8032, 1, 0),
        b"LYRICSBEGIN" + b"x" * 4000 + b"004011LYRICS200" + TAG,
        bytes(9000),
    ],
    ids=["ID3v1", "APE and ID3v1", "APE with a picture", "Lyrics3", "padding"],
)  # fmt: skip
def test_tags_behind_an_mp3_are_no_damage(tmp_path: Path, tags: bytes) -> None:
    seconds, problem, said = read(tmp_path / "a.mp3", without_count(mp3(noise(2 * SR))) + tags)
    assert (seconds, problem, said) == (pytest.approx(2.0, abs=0.2), "", [])


def test_tags_with_nothing_behind_them_are_no_audio(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3\4\0\0\0\0\1\0" + bytes(128) + b"no frame" * 100)
    with pytest.raises(SourceError, match=r"a\.mp3': it holds no audio"):
        FileSource(str(tmp_path / "a.mp3"), SR, 1024)


def test_mp3_within_a_wav(tmp_path: Path) -> None:
    content = without_count(mp3(noise(3 * SR)))
    fmt = struct.pack("<IHHIIHHHHIHHH", 30, 0x55, 1, SR, 0, 1152, 0, 12, 1, 2, 576, 1, 0)
    head = b"RIFF\xff\xff\xff\xffWAVEfmt " + fmt + b"data" + struct.pack("<I", len(content))
    assert read(tmp_path / "a.wav", head + content)[:2] == (pytest.approx(3.0, abs=0.2), "")


# Files of chunks


def with_length(content: bytes, kind: str, length: int | None) -> bytes:
    """The header says so many bytes of samples; None: what means unknown there."""
    out = bytearray(content)
    if kind == "CAF":
        at = content.index(b"data") + 4
        out[at : at + 8] = struct.pack(">q", -1 if length is None else length + 4)
    elif kind == "AU":
        out[8:12] = struct.pack(">I", 0xFFFFFFFF if length is None else length)
    elif kind == "AIFF":
        at = content.index(b"SSND") + 4
        out[at : at + 4] = struct.pack(">I", 0xFFFFFFFF if length is None else length + 8)
        at = content.index(b"COMM") + 10
        out[at : at + 4] = struct.pack(">I", (length or 0) // 2)
    elif kind == "W64":
        at = content.index(b"data\xf3\xac") + 16
        out[at : at + 8] = struct.pack("<Q", 2**63 - 1 if length is None else length + 24)
    elif kind == "RF64":
        at = content.index(b"ds64") + 16
        out[at : at + 8] = struct.pack("<Q", 2**64 - 1 if length is None else length)
    else:
        at = content.index(b"data") + 4
        order = ">I" if content[:4] == b"RIFX" else "<I"
        out[at : at + 4] = struct.pack(order, 0xFFFFFFFF if length is None else length)
    return bytes(out)


KINDS = ["WAV", "WAVEX", "RIFX", "RF64", "W64", "AIFF", "CAF", "AU"]


def chunked(y: F32, kind: str) -> bytes:
    if kind == "RIFX":
        return encoded(y, "WAV", "PCM_16", endian="BIG")
    if kind == "RF64":  # libsndfile writes a RIFF where that suffices
        content = encoded(y, "WAV", "PCM_16")
        ds64 = b"ds64" + struct.pack("<IQQQI", 28, len(content) + 28, 2 * len(y), len(y), 0)
        head = b"RF64\xff\xff\xff\xffWAVE" + ds64
        at = content.index(b"data")
        return head + content[12 : at + 4] + b"\xff\xff\xff\xff" + content[at + 8 :]
    return encoded(y, kind, "PCM_16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [0, SR * 2, SR * 2 + 3, None])
def test_a_length_that_is_too_short_loses_nothing(
    tmp_path: Path, kind: str, said: int | None
) -> None:
    """Nothing, a second, an odd number of bytes, unknown: five seconds are there."""
    y = noise(5 * SR)
    path = tmp_path / "a.wav"
    path.write_bytes(with_length(chunked(y, kind), kind, said))
    source = FileSource(str(path), SR, 999)
    got = np.concatenate([c for c in source.chunks() if isinstance(c, np.ndarray)])
    source.close()
    np.testing.assert_allclose(got, y, rtol=0, atol=1 / 32768)
    if said is None:
        assert source.warnings() == []
    else:
        line = f"a.wav: its header says {said / SR / 2:.3f} s, but sound follows: 5.000 s were read"
        assert source.warnings() == [line]


@pytest.mark.parametrize("kind", KINDS)
def test_a_length_that_is_a_little_too_long_is_no_damage(tmp_path: Path, kind: str) -> None:
    content = chunked(noise(5 * SR), kind)
    wrong = with_length(content, kind, 5 * SR * 2 + 44)
    assert read(tmp_path / "a.wav", wrong) == (5.0, "", [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_off(tmp_path: Path, kind: str) -> None:
    content = chunked(noise(5 * SR), kind)
    cut = content[: content.index(noise_bytes(content)) + 2 * SR * 2]
    seconds, problem, _ = read(tmp_path / "a.wav", cut)
    assert seconds == pytest.approx(2.0, abs=0.01)
    assert f"'a.wav' is damaged or cut off: {seconds:.3f} s of 5.000 s could be read" in problem


def noise_bytes(content: bytes) -> bytes:
    """The first bytes of the samples: what is behind the last header."""
    return content[len(content) - 5 * SR * 2 :][:64]


@pytest.mark.parametrize("said", [SR * 2, SR * 2 + 1])
@pytest.mark.parametrize("name", [b"LIST", b"id3 ", b"abcd"])
def test_chunks_behind_the_samples_are_no_sound(tmp_path: Path, name: bytes, said: int) -> None:
    content = encoded(noise(SR)[: said // 2], "WAV", "PCM_U8" if said & 1 else "PCM_16")
    y = noise(SR + 1) if said & 1 else noise(SR)
    content = encoded(y, "WAV", "PCM_U8" if said & 1 else "PCM_16")
    trailing = name + struct.pack("<I", 40000) + bytes(40000)
    assert read(tmp_path / "a.wav", content + trailing)[1:] == ("", [])
    assert read(tmp_path / "a.wav", content + trailing)[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "AU"])
def test_of_files_one_behind_the_other_all_are_read(tmp_path: Path, kind: str) -> None:
    one, other = encoded(noise(2 * SR), kind), encoded(noise(3 * SR), kind)
    assert read(tmp_path / "a.wav", one + other)[:2] == (5.0, "")


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "ULAW", "PCM_24", "DOUBLE"])
def test_a_wrong_length_in_other_encodings(tmp_path: Path, subtype: str) -> None:
    content = encoded(noise(5 * SR), "WAV", subtype)
    at = content.index(b"data") + 4
    wrong = content[:at] + bytes(4) + content[at + 4 :]
    seconds, problem, said = read(tmp_path / "a.wav", wrong)
    assert (seconds, problem) == (pytest.approx(5.0, abs=0.1), "")
    assert len(said) == 1


def test_samples_before_their_format(tmp_path: Path) -> None:
    content = encoded(noise(SR), "WAV", "PCM_16")
    fmt, at = content[12:36], content.index(b"data")
    swapped = content[:12] + content[at:] + fmt
    assert read(tmp_path / "a.wav", swapped)[:2] == (1.0, "")


@pytest.mark.parametrize("kind", ["AIFF", "CAF", "AU"])
def test_frames_of_an_absurd_size(tmp_path: Path, kind: str) -> None:
    """Found by fuzzing: a length that is wrong, and more channels than bytes in a part."""
    content = bytearray(with_length(chunked(noise(SR), kind), kind, 100))
    at = {"AIFF": content.find(b"COMM") + 8, "CAF": content.find(b"desc") + 28, "AU": 20}[kind]
    content[at : at + 2] = b"\xff\xff"
    with pytest.raises(SourceError, match=r"a\.wav"):
        read(tmp_path / "a.wav", bytes(content))


# Ogg and FLAC


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_all_links_of_a_chained_ogg_are_read(tmp_path: Path, subtype: str) -> None:
    """What a dumped radio stream is; here a link is stereo and has another rate."""
    stereo = noise(2 * 2 * 48000).reshape(-1, 2)
    links = [
        encoded(noise(3 * 24000), "OGG", subtype, 24000),
        encoded(stereo, "OGG", subtype, 48000),
        encoded(noise(24000), "OGG", subtype, 24000),
    ]
    for block in (100, 65536):
        seconds, problem, said = read(tmp_path / "a.ogg", b"".join(links), block)
        assert (seconds, problem, said) == (pytest.approx(6.0, abs=0.01), "", [])


def test_a_link_that_nobody_reads_is_told(tmp_path: Path) -> None:
    content = encoded(noise(3 * SR), "OGG", "VORBIS") + ogg_page(b"Speex   " + bytes(72))
    seconds, problem, _ = read(tmp_path / "a.ogg", content)
    assert seconds == 3.0
    assert "'a.ogg' is damaged: 3.000 s could be read and were classified" in problem


def crc(page: bytes) -> int:
    """Ogg's: of the page with zeros in the checksum's place."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def pages(content: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Head, lacing values and body of each."""
    found = []
    while content:
        head, n = content[:26], content[26]
        lacing = content[27 : 27 + n]
        end = 27 + n + sum(lacing)
        found.append((head, lacing, content[27 + n : end]))
        content = content[end:]
    return found


def test_sound_on_the_page_of_the_headers_is_lost_and_told(tmp_path: Path) -> None:
    """As an encoder of 2002 wrote it; libsndfile does not see it."""
    first, *rest = pages(encoded(noise(20 * SR), "OGG", "VORBIS"))
    taken = next(i for i, page in enumerate(rest) if page[0][6:14] != bytes(8)) + 1
    head = rest[taken - 1][0]
    lacing, body = (b"".join(page[i] for page in rest[:taken]) for i in (1, 2))
    merged = [first, (head, lacing, body), *rest[taken:]]
    content = b""
    for number, (head, lacing, body) in enumerate(merged):
        page = head[:5] + (b"\2" if number == 0 else b"\0") + head[6:18]
        page += struct.pack("<IIB", number, 0, len(lacing)) + lacing + body
        content += page[:22] + struct.pack("<I", crc(page)) + page[26:]
    seconds, problem, _ = read(tmp_path / "a.ogg", content)
    assert 15.0 < seconds < 19.9
    assert f"cut off: {seconds:.3f} s of 20.000 s could be read" in problem


def of_unknown_length(flac: bytes) -> bytes:
    """As a program writes it that can't seek back to fill in the length."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("tags", [TAG, b"ID3\4\0\0\0\0\x10\0" + bytes(2048)])
def test_tags_around_a_flac_are_no_damage(tmp_path: Path, known: bool, tags: bytes) -> None:
    content = encoded(noise(3 * SR), "FLAC", "PCM_16")
    content = content if known else of_unknown_length(content)
    content = tags + content if tags[:3] == b"ID3" else content + tags
    assert read(tmp_path / "a.flac", content) == (3.0, "", [])


@pytest.mark.parametrize("known", [True, False])
def test_of_flacs_one_behind_the_other_all_are_read(tmp_path: Path, known: bool) -> None:
    links = [encoded(noise(n * SR), "FLAC", "PCM_16") for n in (3, 1, 2)]
    content = b"".join(link if known else of_unknown_length(link) for link in links)
    assert read(tmp_path / "a.flac", content)[:2] == (6.0, "")


# What is not read, and what fails


def ogg_page(packet: bytes) -> bytes:
    """The first page of a stream, with a packet in it."""
    return b"OggS\0\2" + bytes(20) + b"\1" + bytes([len(packet)]) + packet


def flac_of(bits: int) -> bytes:
    content = bytearray(encoded(noise(SR), "FLAC", "PCM_16"))
    content[20] = content[20] & 0xFE | (bits - 1) >> 4
    content[21] = content[21] & 0x0F | (bits - 1 & 15) << 4
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (ogg_page(b"\x7fFLAC" + bytes(46)), "Ogg FLAC"),
        (ogg_page(b"Speex   " + bytes(72)), "Ogg Speex"),
        (ogg_page(b"\x80theora" + bytes(35)), "Ogg with video"),
        (flac_of(12), "FLAC of 12 bits a sample"),
        (flac_of(20), "FLAC of 20 bits a sample"),
        (bytes.fromhex("3026b2758e66cf11") + bytes(100), "Windows Media (WMA)"),
        (b"wvpk" + bytes(100), "WavPack"),
    ],
)
def test_a_kind_that_is_not_read_is_named_with_what_to_type(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    path = tmp_path / "my song.bin"
    path.write_bytes(content)
    with pytest.raises(SourceError) as raised:
        FileSource(str(path), SR, 1024)
    wanted = f"{kind} is not read: convert it: ffmpeg -i '{path}' 'my song.wav'"
    assert str(raised.value) == f"can't read '{path}': {wanted}"


class FailingDisk(io.BytesIO):
    """Gives an error behind its first 100 000 bytes."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 100_000:
            raise OSError(5, "Input/output error")
        return super().read(min(size or 0, 100_000 - self.tell()))


@pytest.mark.parametrize("kind", ["FLAC", "WAV", "MP3"])
def test_a_disk_that_fails_in_the_middle(kind: str) -> None:
    disk = FailingDisk(encoded(noise(60 * SR, level=0.3), kind))
    source = FileSource("a", SR, 4096, file=disk)
    got: list[F32] = []
    with pytest.raises(SourceError, match=r"'a' is damaged or cut off: \d+\.\d+ s of 60\.000 s"):
        got.extend(chunk for chunk in source.chunks() if isinstance(chunk, np.ndarray))
    assert sum(map(len, got)) > SR


# The mix of channels


def two_channels(left: float, right: float, n: int = 2) -> F32:
    y = np.zeros((2 * SR, n), np.float32)
    y[:, 0], y[:, 1] = left * noise(2 * SR), right * noise(2 * SR)
    return y


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (two_channels(1, -1), "mean of its 2 channels is silence, unlike channel 1"),
        (two_channels(0.5, -0.55), "27 dB below channel 2, the loudest"),
        (two_channels(0, 1, 8), "mean of its 8 channels is 18 dB below channel 2"),
        (two_channels(1, 0), ""),
        (noise(8 * SR).reshape(-1, 8), ""),
        (np.zeros((SR, 2), np.float32), ""),
    ],
)
@pytest.mark.parametrize("block", [100, 65536])
def test_a_mix_that_loses_the_sound_is_told(tmp_path: Path, y: F32, words: str, block: int) -> None:
    said = read(tmp_path / "a.wav", encoded(y, "WAV", "FLOAT"), block)[2]
    assert len(said) == bool(words)
    if words:
        assert words in said[0]
        assert "--channel" in said[0]


def test_one_channel_of_a_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", two_channels(1, -0.5), SR, "FLOAT")
    source = FileSource(str(tmp_path / "a.wav"), SR, 1000, channel=2)
    got = np.concatenate([c for c in source.chunks() if isinstance(c, np.ndarray)])
    source.close()
    np.testing.assert_array_equal(got, two_channels(1, -0.5)[:, 1])
    assert source.warnings() == []
    with pytest.raises(SourceError, match=r"a\.wav': channel 3 is outside 1 to 2"):
        FileSource(str(tmp_path / "a.wav"), SR, 1000, channel=3)
