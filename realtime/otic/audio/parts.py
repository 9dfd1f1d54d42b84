"""The bytes of an audio file: its kind, and the parts that are decoded one by one."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from otic.audio import chunks, mpeg
from otic.audio.file_bytes import FileBytes, Part

_OGG_LINK = re.compile(rb"OggS\0[\2\6]")  # the first page of a stream
_OGG_PAGE = 2**16  # bytes, nearly: the longest one
_VORBIS_HEADERS = 3  # packets
_MOST_FRAMES = 2**40
_FLAC = re.compile(rb"fLaC[\0\x80]\0\0\x22")
_NO_ZERO = re.compile(rb"[^\0]")
_READ_AHEAD = 2**16  # bytes that the FLAC decoder has read and not decoded, at most
_FLAC_BITS = (8, 16, 24)
_READ = ("WAV", "AIFF", "CAF", "AU", "FLAC", "MP3", "Ogg Vorbis", "Ogg Opus")
RAW = "raw PCM has no header"
_OGG_KINDS = {
    b"\x01vorbis": "Ogg Vorbis",
    b"OpusHead": "Ogg Opus",
    b"\x7fFLAC": "Ogg FLAC",
    b"fLaC": "Ogg FLAC",
    b"Speex   ": "Ogg Speex",
    b"\x80theora": "Ogg with video",
    b"fishead\0": "Ogg with several streams",
}
_DEMUXERS = {"MP4": "mov", "Matroska or WebM": "matroska", "AAC": "aac"}  # ffmpeg's names
_OTHER_KINDS = (
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, bytes.fromhex("3026b2758e66cf11"), "Windows Media (WMA)"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"wvpk", "WavPack"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"TTA1", "TTA"),
    (0, b"TTA2", "TTA"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, b"OFR ", "OptimFROG"),
    (0, b"#!AMR", "AMR"),
    (0, b".RMF", "RealAudio"),
    (0, b"MThd", "MIDI, which holds notes and no sound,"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"ADIF", "AAC"),
)


@dataclass
class Contents:
    """What a file holds.

    Attributes
    ----------
    kind : str
        ``MP3``, ``Ogg Speex``, …; empty where it is not known.
    parts : iterator of Part
        Each is decoded before the next one is asked for.
    missing_seconds : float
        What is known to miss. It and the next two are complete after the last part.
    said_seconds : float or None
        What the header says, where the file holds more.
    skipped : int
        Bytes between the parts that are no sound and no tag.
    """

    kind: str
    parts: Iterator[Part]
    missing_seconds: float = 0.0
    said_seconds: float | None = None
    skipped: int = 0

    @property
    def demuxer(self) -> str:
        """Name of the ffmpeg demuxer that reads the file; empty where libsndfile does."""
        return _DEMUXERS.get(self.kind, "")


def contents(data: FileBytes) -> Contents:
    """Look at the first bytes, and at all where the kind needs that."""
    start = mpeg.after_tags(data, 0)
    head = data.get(start, 64)
    whole = Contents(_other_kind(head), iter([Part(0, data.size, whole=True)]))
    if head[:4] in chunks.MAGICS:
        return _of_chunks(data, start, whole)
    if head[:4] == b"OggS":
        return Contents(_ogg_kind(data, start), _ogg_links(data, start))
    if head[:4] == b"fLaC":
        bits = ((head[20] & 1) << 4 | head[21] >> 4) + 1 if len(head) > 21 else 0
        kind = "FLAC" if bits in _FLAC_BITS else f"FLAC of {bits} bits a sample"
        return Contents(kind, _flac_streams(data, start))
    if not whole.kind:
        found = _of_mpeg(data, start, mpeg.before_tags(data))
        if found is not None:
            return found
        if start > 0:  # tags, and nothing behind them
            return Contents("MP3", iter(()))
    return whole


def refusal(shown: str, kind: str, reason: str) -> str:
    """What to say of a file that is not read, and what to type."""
    if kind in _DEMUXERS:
        return f"can't read '{shown}', which looks like {kind}: {reason}"
    if reason == RAW:
        return f"can't read '{shown}': {RAW}; pipe it in with - and --rate"
    convert = f"ffmpeg -i {shlex.quote(shown)} {shlex.quote(PurePath(shown).stem + '.wav')}"
    if kind and kind not in _READ:
        return f"can't read '{shown}': {kind} is not read: convert it: {convert}"
    of_kind = f", though it looks like {kind}" if kind else ""
    return (
        f"can't read '{shown}' as audio{of_kind} ({reason}): WAV, FLAC, Ogg and MP3 files are "
        f"read, for others try: {convert}"
    )


def needs_ffmpeg(shown: str, kind: str) -> str:
    """What to say of a file where ffmpeg is not installed."""
    return (
        f"can't read '{shown}': {kind} is read through ffmpeg, which is not installed: install it; "
        f"{', '.join(_READ[:-1])} and {_READ[-1]} are read without it"
    )


def is_of_a_file(head: bytes) -> bool:
    """Tell whether a stream that begins with these bytes is a sound file, not raw PCM."""
    if head[:4] in (*chunks.MAGICS, b"OggS", b"fLaC") or head[:3] == b"ID3":
        return head[8:12] == b"WAVE" if head[:4] in (b"RIFF", b"RIFX") else True
    return bool(_other_kind(head)) or mpeg.begins_with_frames(head)


def _other_kind(head: bytes) -> str:
    return next((kind for at, magic, kind in _OTHER_KINDS if head.startswith(magic, at)), "")


def _of_chunks(data: FileBytes, start: int, whole: Contents) -> Contents:
    found = chunks.layout(data, start)
    if found.mpeg is not None:
        inside = _of_mpeg(data, *found.mpeg)
        if inside is not None:
            inside.missing_seconds = found.missing_seconds
            return inside
    parts = iter(found.parts) if found.parts else whole.parts
    kind = {b"FORM": "AIFF", b"caff": "CAF", b".snd": "AU", b"dns.": "AU"}
    name = kind.get(data.get(start, 4), "WAV")
    return Contents(name, parts, found.missing_seconds, found.said_seconds)


def _of_mpeg(data: FileBytes, start: int, stop: int) -> Contents | None:
    """None where there are no frames."""
    runs = mpeg.runs(data, start, stop)
    first = next(runs, None)
    if first is None:
        return None
    found = Contents("MP3", iter(()))

    def parts() -> Iterator[Part]:
        run: mpeg.Run | None = first
        at, counted = start, None
        while run is not None:
            found.skipped += _skipped(data, at, run.start, run)
            seconds = run.kind.samples / run.kind.rate  # of a frame
            if run.counted is not None:
                counted = run.counted * seconds
                if not run.gapless:  # else the decoder has that count and sees what is missing
                    found.missing_seconds += max(0, run.counted - run.frames) * seconds
            elif counted is not None:
                found.said_seconds = counted
            frames = None if run.gapless else run.frames * run.kind.samples
            yield Part(run.start, run.stop, frames=frames, hide_size=True)
            at, last = run.stop, run
            run = next(runs, None)
        found.skipped += _skipped(data, at, stop, last)

    found.parts = parts()
    return found


def _skipped(data: FileBytes, start: int, stop: int, run: mpeg.Run) -> int:
    """Bytes without a frame, where they are more than nobody misses, and no tags."""
    start = mpeg.after_tags(data, start)
    seconds = max(1, run.frames) * run.kind.samples / run.kind.rate
    bytes_a_second = (run.stop - run.start) / seconds
    if stop - start <= max(run.kind.size + 1, chunks.NO_DAMAGE_SECONDS * bytes_a_second):
        return 0
    if mpeg.begins_with_frame(data, start, stop):  # the last one, cut off
        return 0
    padding = stop >= data.size - 160 and data.find(_NO_ZERO, start, stop) < 0
    return 0 if padding else stop - start


def _ogg_kind(data: FileBytes, start: int) -> str:
    head = data.get(start, 27 + 255 + 16)
    packet = head[27 + head[26] :] if len(head) > 26 else b""
    return next((name for magic, name in _OGG_KINDS.items() if packet.startswith(magic)), "Ogg")


def _ogg_links(data: FileBytes, start: int) -> Iterator[Part]:
    """Streams one behind the other, as a radio sends them; streams side by side are one link."""
    starts = [start]
    at, group_end = start, start
    while at >= 0:
        if at > group_end:
            starts.append(at)
        head = data.get(at, 27 + 255)
        segments = head[26] if len(head) > 26 else 0
        group_end = at + 27 + segments + sum(head[27 : 27 + segments])
        at = data.find(_OGG_LINK, at + 6)
    for begin, end in zip(starts, [*starts[1:], data.size], strict=True):
        frames = _hidden_frames(data, begin, end)
        yield Part(begin, end, frames=frames, whole=begin == 0 and end == data.size)


def _hidden_frames(data: FileBytes, start: int, stop: int) -> int | None:
    """All frames of a Vorbis stream, where the decoder does not see the first of them.

    An encoder of 2002 put sound into the page with which the headers end: libsndfile drops it.
    """
    if _ogg_kind(data, start) != "Ogg Vorbis":
        return None
    at, headers = start, 0
    while headers < _VORBIS_HEADERS:
        page = data.get(at, 27 + 255)
        lacing = page[27 : 27 + page[26]] if page[:4] == b"OggS" and len(page) > 26 else b""
        if not lacing or at >= stop:
            return None
        for i, length in enumerate(lacing):
            headers += length < 255
            if headers == _VORBIS_HEADERS:
                if i + 1 == len(lacing):
                    return None
                break
        at += 27 + len(lacing) + sum(lacing)
    last = data.get(max(start, stop - _OGG_PAGE), min(_OGG_PAGE, stop - start)).rfind(b"OggS")
    position = data.get(max(start, stop - _OGG_PAGE) + last + 6, 8) if last >= 0 else b""
    frames = int.from_bytes(position, "little")
    return frames if 0 < frames < _MOST_FRAMES else None


def _flac_streams(data: FileBytes, start: int) -> Iterator[Part]:
    """Yield the streams; decoding one shows where it ends and the next one begins."""
    stop = mpeg.before_tags(data)
    while start >= 0:
        part = Part(start, stop)
        yield part
        start = data.find(_FLAC, max(start + 8, part.reached - _READ_AHEAD), stop)
