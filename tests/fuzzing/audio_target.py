"""An audio file as it might come from anybody: damaged, and what must hold when it is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from otic.audio.pcm import PcmSource
from otic.audio.sources import FileSource
from otic.errors import SourceError, UsageError
from otic.types import Lost, Source
from tests.fuzzing.damage import check_message, damage, put_number
from tests.support.helpers import noise

SR = 22050
MAX_SECONDS = 5.0
_MAX_SAMPLES = 50_000_000  # that a file of some KiB may become: libFLAC expands a constant much
_KINDS = (
    ("WAV", "PCM_16", 16000, 1),
    ("WAV", "PCM_24", 44100, 2),
    ("WAV", "FLOAT", 22050, 1),
    ("WAV", "IMA_ADPCM", 8000, 1),
    ("FLAC", "PCM_16", 22050, 2),
    ("FLAC", "PCM_24", 48000, 1),
    ("OGG", "VORBIS", 16000, 2),
    ("OGG", "OPUS", 24000, 1),
    ("MP3", "MPEG_LAYER_III", 16000, 1),
    ("AIFF", "PCM_16", 44100, 1),
    ("CAF", "ALAC_16", 22050, 1),
    ("W64", "PCM_16", 22050, 1),
    ("AU", "PCM_16", 22050, 2),
    ("RF64", "PCM_16", 22050, 1),
)
_KINDS_IN_A_ROW = ("FLAC", "OGG", "MP3")
_HEADER_BYTES = 80


@lru_cache(maxsize=1)
def seeds() -> list[bytes]:
    """A little synthetic sound in every kind of file that people have."""
    files = []
    for kind, subtype, rate, channels in _KINDS:
        buffer = io.BytesIO()
        y = noise(1500 * channels, level=0.2).reshape(-1, channels)
        soundfile.write(buffer, y, rate, subtype, format=kind)
        files.append(buffer.getvalue())
        if kind in _KINDS_IN_A_ROW:  # as radios send them, and without a count of frames
            files.append(2 * files[-1].replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)))
    return files


def damaged(number: int) -> bytes:
    """File ``number``: the same bytes each time, so that a finding can be had again."""
    rng = Random(number)
    data = seeds()[number % len(seeds())]
    kind = rng.randrange(8)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind < 4:
        head = bytearray(data[:_HEADER_BYTES])
        for _ in range(rng.choice((1, 1, 2, 3))):
            put_number(head, rng.randrange(len(head)), rng)
        return bytes(head) + data[_HEADER_BYTES:]
    if kind == 4:
        return damage(data[:_HEADER_BYTES], rng) + data[_HEADER_BYTES:]
    if kind == 5:  # the start of one kind, the rest of another
        other = rng.choice(seeds())
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    return damage(damage(data, rng), rng)


def check(path: str, block: int) -> str:
    """Read the file to its end, and the same bytes from a pipe; ``refused``, … of the file."""
    with Path(path).open("rb") as file:
        _read(lambda: PcmSource(file.fileno(), None, None, SR, block))
    return _read(lambda: FileSource(path, SR, block))


def _read(open_source: Callable[[], Source]) -> str:
    try:
        source = open_source()
    except SourceError as error:
        check_message(error)
        return "refused"
    count = 0
    try:
        for chunk in source.chunks():
            if isinstance(chunk, Lost):
                assert chunk.samples > 0
                count += chunk.samples
            elif chunk is not None:
                assert chunk.dtype == np.float32
                assert np.isfinite(chunk).all()
                count += len(chunk)
            assert count <= _MAX_SAMPLES, "it does not end"
    except (SourceError, UsageError) as error:
        check_message(error)
        return "cut off"
    finally:
        source.close()
    for line in source.warnings():
        assert line.isprintable()
    return "read"
