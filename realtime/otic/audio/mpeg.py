"""MP3 and its kin: where the frames of a file lie. The file's bytes count, not its header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from otic.audio.file_bytes import FileBytes

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_RATES = (44100, 48000, 32000)
_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_FEW = 3
"""Frames in a row that count as sound after bytes that are not frames."""


@dataclass(frozen=True)
class Kind:
    """What a frame's header says: bytes, samples of each channel, and Hz."""

    size: int
    samples: int
    rate: int


@dataclass(frozen=True)
class Run:
    """Frames of one kind without anything between them.

    Attributes
    ----------
    start, stop : int
        Bytes of the file.
    frames : int
        How many, without the one that only counts the others.
    kind : Kind
        Of the first one.
    counted : int or None
        Frames that a Xing, Info or VBRI header says there are.
    gapless : bool
        Whether the decoder knows that header (Xing, Info) and obeys it.
    """

    start: int
    stop: int
    frames: int
    kind: Kind
    counted: int | None
    gapless: bool


def _kind(second: int, third: int) -> Kind | None:
    version = {0: 4, 2: 2, 3: 1}.get(second >> 3 & 3)  # 4 is what is called 2.5
    layer = 4 - (second >> 1 & 3)
    bits, rate = third >> 4, third >> 2 & 3
    if version is None or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    hz = _RATES[rate] // version
    bit_rate = 1000 * _KBITS[min(version, 2), layer][bits - 1]
    padding = third >> 1 & 1
    if layer == 1:
        return Kind((12 * bit_rate // hz + padding) * 4, 384, hz)
    samples = 576 if layer == 3 and version > 1 else 1152
    return Kind(samples // 8 * bit_rate // hz + padding, samples, hz)


_KINDS = {
    second << 8 | third: kind
    for second in range(0xE0, 0x100)
    for third in range(256)
    if (kind := _kind(second, third))
}


def _stream(header: bytes) -> tuple[int, int, bool]:
    """What must not change within a stream: version and layer, rate, and mono or not."""
    return header[1] & 0xFE, header[2] & 0x0C, header[3] >> 6 == 3


def _kind_at(data: FileBytes, at: int, stop: int) -> tuple[Kind, bytes] | None:
    """The whole frame at ``at``, if there is one."""
    header = data.get(at, 4)
    if len(header) < 4 or header[0] != 0xFF:
        return None
    kind = _KINDS.get(header[1] << 8 | header[2])
    return (kind, header) if kind is not None and at + kind.size <= stop else None


def runs(data: FileBytes, start: int, stop: int) -> Iterator[Run]:
    """The runs of frames between two bytes, in their order."""
    at, few = start, 1
    while (begin := _next_frame(data, at, stop, few)) >= 0:
        run = _run(data, begin, stop)
        yield run
        at = run.stop
        few = 1 if _kind_at(data, at, stop) else _FEW


def _next_frame(data: FileBytes, at: int, stop: int, few: int) -> int:
    """Find the first frame from ``at`` on that others follow, or the end; -1 if none does."""
    while True:
        at = after_tags(data, at)
        if at >= stop:
            return -1
        if _is_stream(data, at, stop, few):
            return at
        at = data.find(_SYNC, at + 1, stop)
        if at < 0:
            return -1


def _is_stream(data: FileBytes, at: int, stop: int, few: int) -> bool:
    first = None
    for _ in range(few + 1):
        found = _kind_at(data, at, stop)
        if found is None:
            return first is not None and (at >= stop or after_tags(data, at) > at)
        stream = _stream(found[1])
        if first is not None and stream != first:
            return False
        first = stream
        at += found[0].size
    return True


def _run(data: FileBytes, start: int, stop: int) -> Run:
    found = _kind_at(data, start, stop)
    assert found is not None
    kind, header = found
    counted, gapless = _frame_count(data.get(start, kind.size), header)
    stream = _stream(header)
    most = counted if gapless and counted else -1  # where the decoder stops
    at = start + kind.size
    frames = 0 if gapless else 1
    while frames != most:
        found = _kind_at(data, at, stop)
        if found is None or _stream(found[1]) != stream:
            break
        frames += 1
        at += found[0].size
    return Run(start, at, frames, kind, counted, gapless)


def _frame_count(frame: bytes, header: bytes) -> tuple[int | None, bool]:
    """What a Xing, Info or VBRI header in the first frame says, and whether it is of the former.

    ``(None, True)`` is a Xing header without a count.
    """
    mono, first_version = header[3] >> 6 == 3, header[1] & 0x08
    at = 4 + ((17 if mono else 32) if first_version else (9 if mono else 17))
    if frame[at : at + 4] in (b"Xing", b"Info") and len(frame) >= at + 8:
        counts = frame[at + 7] & 1 and len(frame) >= at + 12
        return (int.from_bytes(frame[at + 8 : at + 12], "big") or None) if counts else None, True
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return int.from_bytes(frame[50:54], "big") or None, False
    return None, False


def after_tags(data: FileBytes, at: int) -> int:
    """The byte behind all tags (ID3, APE, Lyrics3) that begin at ``at``."""
    while True:
        head = data.get(at, 32)
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            at += 10 + size + (10 if head[5] & 0x10 else 0)
        elif head[:3] == b"TAG":
            at += 128
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            size = int.from_bytes(head[12:16], "little")
            at += 32 + (size if head[23] & 0x20 else 0)  # of a footer the tag lies before it
        elif head[:11] == b"LYRICSBEGIN":
            end = data.find(re.compile(rb"LYRICS200|LYRICSEND"), at)
            at = end + 9 if end >= 0 else data.size
        else:
            return at


def before_tags(data: FileBytes) -> int:
    """The end of the file without the tags that it ends with."""
    end = data.size
    while True:
        tail = data.get(max(0, end - 160), min(end, 160))
        if tail[-128:-125] == b"TAG":
            end -= 128
        elif tail[-32:-24] == b"APETAGEX":
            size = int.from_bytes(tail[-20:-16], "little")
            end -= max(32, size) + (32 if tail[-9] & 0x80 else 0)
        elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
            end -= int(tail[-15:-9]) + 15
        elif tail[-10:-7] == b"3DI" and max(tail[-4:]) < 0x80:
            size = tail[-4] << 21 | tail[-3] << 14 | tail[-2] << 7 | tail[-1]
            end -= size + 20
        else:
            return end
        if end <= 0:
            return data.size  # none of this is a tag


def begins_with_frame(data: FileBytes, at: int, stop: int) -> bool:
    """Tell whether the bytes up to ``stop`` are one frame, cut off."""
    header = data.get(at, 4)
    kind = _KINDS.get(header[1] << 8 | header[2]) if len(header) == 4 else None
    return kind is not None and header[0] == 0xFF and at + kind.size > stop


def begins_with_frames(head: bytes) -> bool:
    """Tell whether these bytes are a frame and the beginning of another one like it."""
    if len(head) < 4 or head[0] != 0xFF:
        return False
    kind = _KINDS.get(head[1] << 8 | head[2])
    if kind is None or len(head) < kind.size + 4 or head[kind.size] != 0xFF:
        return False
    other = head[kind.size : kind.size + 4]
    return other[1] << 8 | other[2] in _KINDS and _stream(other) == _stream(head)
