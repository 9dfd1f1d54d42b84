"""Files above 4 GiB, whose length the header can't state."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from otic.audio.chunks import layout
from otic.audio.decoder import Decoder
from otic.audio.file_bytes import FileBytes


@pytest.mark.parametrize("magic", [b"RIFF", b"RF64"])
@pytest.mark.parametrize(
    ("said", "trailing"),
    [("cut to 32 bits", b""), ("cut to 32 bits", b"LIST\4\0\0\0INFO"), ("unknown", b"")],
)
def test_a_wav_above_4_gib(tmp_path: Path, magic: bytes, said: str, trailing: bytes) -> None:
    """960 s of stereo at 768 kHz in a sparse file; its last second is decoded."""
    rate, seconds = 768_000, 960
    size = rate * 4 * 2 * seconds
    header = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 2, rate, rate * 8, 8, 32)
    stated = size % 2**32 if said == "cut to 32 bits" else 0xFFFFFFFF
    path = tmp_path / "a.wav"
    y = np.random.default_rng(0).integers(-(2**31), 2**31, (rate, 2)).astype("<i4")
    with path.open("wb") as file:
        file.write(magic + b"\xff\xff\xff\xff" + header + b"data" + struct.pack("<I", stated))
        start = file.tell()
        file.seek(start + size - y.nbytes)
        file.write(y.tobytes() + trailing)
    with path.open("rb", buffering=0) as raw:
        found = layout(FileBytes(raw))
        assert sum(part.stop - part.start for part in found.parts) == size
        assert found.parts[0].start == start
        last = found.parts[-1]
        decoder = Decoder(raw, str(path), last)
        *_, end = (block for block in decoder.blocks(2**20))
        np.testing.assert_allclose(end[-1000:], y[-1000:] / 2.0**31, atol=1e-7)
        assert decoder.missing_seconds == 0.0
        decoder.close()
