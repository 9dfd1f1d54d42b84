"""An audio file as it might come from anybody: damaged, and what must hold when it is read."""

from __future__ import annotations

import io
from functools import lru_cache
from random import Random

import numpy as np
import soundfile

from otic.audio.sources import FileSource
from otic.errors import SourceError
from otic.types import Lost
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
)
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
    return files


def damaged(number: int) -> bytes:
    """File ``number``: the same bytes each time, so that a finding can be had again."""
    rng = Random(number)
    data = seeds()[number % len(_KINDS)]
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
    """Read the file to its end; ``refused``, ``cut off`` or ``read``."""
    try:
        source = FileSource(path, SR, block)
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
    except SourceError as error:
        check_message(error)
        return "cut off"
    finally:
        source.close()
    return "read"
