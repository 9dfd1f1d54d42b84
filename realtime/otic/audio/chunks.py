"""Files of chunks (WAV, RF64, W64, AIFF, CAF, AU): where the samples end by the file's own bytes.

A recorder that dies leaves a length that fits no longer, one that writes into a pipe can't
know it, and a WAV can't hold one above 4 GiB. So the header's length is compared with what
lies behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from otic.audio.file_bytes import FileBytes, Part

NO_DAMAGE_SECONDS = 0.1
"""A header may be wrong by less: nobody misses that."""

_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # what the ids of its chunks end with
_MOST_CHUNKS = 10_000
_MOST_FORMAT_BYTES = 4096
_MOST_FRAME_BYTES = 2**20
_PART_BYTES = 2**30  # below what 32 bits can count
_NO_FILE_HAS = 2**60  # bytes; a length of -1 is an unknown one
_KNOWN = frozenset(
    b"LIST id3  ID3  bext fact cue  smpl inst PEAK JUNK junk FLLR iXML _PMX axml levl DISP cart "
    b"plst acid strc regn umid PAD  chna dbmd afsp minf elm1 LGWV SAUR CHAN MARK INST COMT NAME "
    b"AUTH ANNO APPL (c)  info strg mark pakt chan free uuid midi edct peak ovvw umid".split(b" ")
)
_AIFF_BYTES = {
    b"NONE": 0, b"twos": 0, b"sowt": 0, b"raw ": 1, b"in24": 3, b"in32": 4, b"fl32": 4,
    b"FL32": 4, b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1,
}  # fmt: skip
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_MPEG_TAGS = (0x50, 0x55)


@dataclass(frozen=True)
class Layout:
    """What a file holds.

    Attributes
    ----------
    parts : tuple of Part
        In their order; empty where nobody can tell, and the file is the decoder's to judge.
    missing_seconds : float
        What the header promises and the file does not hold.
    said_seconds : float or None
        The header's length where the file holds more.
    mpeg : tuple of int and int, or None
        The bytes with MP3 in a WAV.
    """

    parts: tuple[Part, ...] = ()
    missing_seconds: float = 0.0
    said_seconds: float | None = None
    mpeg: tuple[int, int] | None = None


@dataclass(frozen=True)
class _Container:
    """How chunks are written."""

    magic: bytes
    first: int  # byte of the first chunk
    length: struct.Struct
    data: bytes
    format: bytes
    id_bytes: int = 4
    counts_itself: bool = False  # a chunk's length includes its id and the length
    align: int = 2

    @property
    def head(self) -> int:
        return self.id_bytes + self.length.size


_LE, _BE = struct.Struct("<I"), struct.Struct(">I")
_CONTAINERS = {
    b"RIFF": _Container(b"RIFF", 12, _LE, b"data", b"fmt "),
    b"RIFX": _Container(b"RIFX", 12, _BE, b"data", b"fmt "),
    b"RF64": _Container(b"RF64", 12, _LE, b"data", b"fmt "),
    b"BW64": _Container(b"BW64", 12, _LE, b"data", b"fmt "),
    b"riff": _Container(
        b"riff", 40, struct.Struct("<Q"), b"data" + _W64, b"fmt " + _W64, 16, True, 8
    ),
    b"FORM": _Container(b"FORM", 12, _BE, b"SSND", b"COMM"),
    b"caff": _Container(b"caff", 8, struct.Struct(">Q"), b"data", b"desc", align=1),
}
MAGICS = (*_CONTAINERS, b".snd", b"dns.")


@dataclass(frozen=True)
class Sound:
    """The chunk of samples and the format that goes with it.

    Attributes
    ----------
    container : _Container or None
        None: AU, which has no chunks.
    format : bytes
    start : int
        The first byte of the samples.
    said : int or None
        How many bytes the header says there are; None where its writer could not know.
    frame : int
        Bytes of a frame, or of a block that can't be divided.
    byte_rate : float
        Bytes a second.
    odd : bool
        Whether libsndfile would trust another count, or not find the format.
    """

    container: _Container | None
    format: bytes
    start: int
    said: int | None
    frame: int
    byte_rate: float
    odd: bool = False


def layout(data: FileBytes, start: int = 0) -> Layout:
    """Find the samples.

    Several files one behind the other, and several chunks of samples, are as many parts.
    """
    parts: list[Part] = []
    missing, said_seconds = 0.0, None
    at: int | None = start
    while at is not None:
        sound = find_sound(data, at)
        if sound is None:
            break
        end, missing_bytes, more, at = _end(data, sound)
        if missing_bytes > NO_DAMAGE_SECONDS * sound.byte_rate:
            missing += missing_bytes / sound.byte_rate
        if more:
            said_seconds = (said_seconds or 0.0) + (sound.said or 0) / sound.byte_rate
        tag = int.from_bytes(sound.format[:2], "little")
        if sound.container and sound.container.magic in (b"RIFF", b"RF64") and tag in _MPEG_TAGS:
            return Layout(missing_seconds=missing, mpeg=(sound.start, end))
        honest = not (more or missing_bytes or sound.odd or sound.said is None)
        if honest and at is None and not parts:
            return Layout((Part(start, data.size, whole=start == 0),), missing)
        parts += _parts(sound, end)
    return Layout(tuple(parts), missing, said_seconds)


def find_sound(data: FileBytes, start: int = 0) -> Sound | None:
    """Find the samples of the file that begins at ``start``; None where that is not known."""
    head = data.get(start, 24)
    if head[:4] in (b".snd", b"dns."):
        return _au_sound(head, start)
    container = _CONTAINERS.get(head[:4])
    if container is None:
        return None
    if container.magic == b"FORM" and head[8:12] not in (b"AIFF", b"AIFC"):
        return None
    long_size = fmt = found = None
    late = False
    for name, at, size in _chunks(data, container, start + container.first):
        if name == container.format and size <= _MOST_FORMAT_BYTES:
            fmt = data.get(at, size)
            late = found is not None and container.magic != b"FORM"
        elif name == b"ds64":
            long_size = int.from_bytes(data.get(at + 8, 8), "little")
        elif name == container.data:
            found = at, size
        if fmt is not None and found is not None:
            sound = _with_format(container, fmt, found[0], found[1], long_size)
            return replace(sound, odd=True) if sound is not None and late else sound
    return None


def _chunks(data: FileBytes, container: _Container, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Id, first byte and length of each."""
    for _ in range(_MOST_CHUNKS):
        head = data.get(at, container.head)
        if len(head) < container.head:
            return
        size = container.length.unpack(head[container.id_bytes :])[0]
        if container.counts_itself:
            size = max(0, size - container.head)
        yield head[: container.id_bytes], at + container.head, size
        at = _padded(at + container.head + size, container)


def _padded(at: int, container: _Container) -> int:
    return -(-at // container.align) * container.align


def _with_format(
    container: _Container, fmt: bytes, at: int, size: int, long_size: int | None
) -> Sound | None:
    """None where nobody can tell how many frames the bytes hold."""
    said: int | None = size
    differ = False
    if container.magic == b"FORM":
        frame, rate, counted = _aiff_format(fmt)
        at, said = at + 8, None if _is_unknown(size) else max(0, size - 8)
        differ = abs(counted * frame - (said or 0)) > NO_DAMAGE_SECONDS * rate * frame
        byte_rate = rate * frame
    elif container.magic == b"caff":
        rate, frame, per_packet = *struct.unpack(">d8xI", fmt[:20].ljust(20, b"\0")), fmt[20:24]
        if per_packet != b"\0\0\0\1":
            return None
        at, said = at + 4, max(0, size - 4)
        byte_rate = rate * frame
    else:
        order = ">" if container.magic == b"RIFX" else "<"
        tag, _, rate, average, frame = struct.unpack(f"{order}HHIIH", fmt[:14].ljust(14, b"\0"))
        plain = tag in (1, 3, 6, 7, 0xFFFE)  # a block is a frame there
        byte_rate = float(rate * frame if plain else average or rate)
        if long_size is not None and size == 0xFFFFFFFF:
            said = long_size
        elif container.length.size == 4 and _is_unknown(size):
            said = None
    if said is not None and said >= _NO_FILE_HAS:
        said = None
    if not (0 < frame <= _MOST_FRAME_BYTES and 0.0 < byte_rate < 1e12):
        return None
    return Sound(container, fmt, at, said, frame, byte_rate, differ)


def _is_unknown(size: int) -> bool:
    """What programs write that can't know the length, near the most that 31 or 32 bits hold."""
    return size >= 2**32 - 2**16 or 2**31 - 2**16 <= size <= 2**31 + 2**12


def _aiff_format(fmt: bytes) -> tuple[int, float, int]:
    """Bytes of a frame (0: unknown), rate, and frames."""
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", fmt[:18].ljust(18, b"\0"))
    compression = fmt[18:22] or b"NONE"
    width = _AIFF_BYTES.get(compression, -1) or -(-bits // 8)
    rate = mantissa * 2.0 ** (min(exponent & 0x7FFF, 16500) - 16383 - 63)
    return max(0, width) * channels, rate, frames


def _au_sound(head: bytes, start: int) -> Sound | None:
    order = ">" if head[:4] == b".snd" else "<"
    if len(head) < 24:
        return None
    offset, size, encoding, rate, channels = struct.unpack(f"{order}5I", head[4:24])
    frame = _AU_BYTES.get(encoding, 0) * channels
    if not (0 < frame <= _MOST_FRAME_BYTES and rate and offset >= 24):
        return None
    said = None if _is_unknown(size) else size
    return Sound(None, head, start + offset, said, frame, float(frame * rate))


def _end(data: FileBytes, sound: Sound) -> tuple[int, int, bool, int | None]:
    """Find where the samples end, how many bytes are missing or more than stated, and what follows.

    The last is the first byte of another file, behind this one.
    """
    size = data.size
    if sound.said is None:
        return size, 0, False, None
    said_end = sound.start + sound.said
    if said_end >= size:
        return size, said_end - size, False, None
    ends = [said_end]
    if size > 2**32 and sound.container is not None and sound.container.length.size == 4:
        ends = list(range(said_end, size + 1, 2**32))  # a length that was cut to 32 bits
    for end in ends:
        follows, behind = _follows(data, sound, end)
        if follows:
            return end, 0, end > said_end, behind
    if (size - said_end) <= NO_DAMAGE_SECONDS * sound.byte_rate:
        return said_end, 0, False, None
    return size, 0, True, None


def _follows(data: FileBytes, sound: Sound, end: int) -> tuple[bool, int | None]:
    """Tell whether the samples end here (with the file, chunks or another file), and where."""
    starts = {end} if sound.container is None else {end, _padded(end, sound.container)}
    for start in sorted(starts):
        if start >= data.size:
            return True, None
        if find_sound(data, start) is not None:
            return True, start
        if sound.container is None:
            continue
        chunks = 0
        for name, at, size in _chunks(data, sound.container, start):
            if chunks and find_sound(data, at - sound.container.head) is not None:
                return True, at - sound.container.head
            if not is_chunk(name, at + size <= data.size, sound.container):
                break
            chunks += 1
        if chunks:
            return True, None
    return False, None


def is_chunk(name: bytes, fits: bool, container: _Container) -> bool:
    """Tell whether this is the id of a chunk without samples: a second such chunk is not read."""
    if name == container.data:
        return False
    if container.id_bytes == 16:
        return name.endswith(_W64[1:])
    return name in _KNOWN or (fits and all(0x20 <= byte < 0x7F for byte in name))


def _parts(sound: Sound, end: int) -> Iterator[Part]:
    """The bytes of the samples, each part behind a header that fits it."""
    step = _PART_BYTES // sound.frame * sound.frame
    for start in range(sound.start, end, step):
        stop = min(start + step, end)
        yield Part(start, stop, header=header(sound, stop - start))


def header(sound: Sound, size: int) -> bytes:
    """A header for so many bytes of samples."""
    container, fmt = sound.container, sound.format
    if container is None:
        order = ">" if fmt[:4] == b".snd" else "<"
        return fmt[:4] + struct.pack(f"{order}II", 24, size) + fmt[12:24]
    if container.magic == b"caff":
        return (
            b"caff\0\1\0\0desc"
            + struct.pack(">Q", len(fmt))
            + fmt
            + b"data"
            + struct.pack(">QI", size + 4, 0)
        )
    if container.magic == b"FORM":
        kind = b"AIFC" if len(fmt) > 18 else b"AIFF"
        fmt = fmt[:2] + struct.pack(">I", size // sound.frame) + fmt[6:]
        chunks = _chunk(b"COMM", fmt, _BE) + b"SSND" + struct.pack(">III", size + 8, 0, 0)
        return b"FORM" + _BE.pack(4 + len(chunks) + size) + kind + chunks
    magic, length = (b"RIFX", _BE) if container.magic == b"RIFX" else (b"RIFF", _LE)
    chunks = _chunk(b"fmt ", fmt, length) + b"data" + length.pack(size)
    return magic + length.pack(4 + len(chunks) + size) + b"WAVE" + chunks


def _chunk(name: bytes, content: bytes, length: struct.Struct) -> bytes:
    return name + length.pack(len(content)) + content + bytes(len(content) & 1)
