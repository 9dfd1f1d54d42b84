"""A file as an array: what the pipeline would hear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from otic import Gap, Pipeline, load_audio
from otic.audio.sources import FileSource
from otic.errors import SourceError
from tests.support.helpers import bundled, noise


def test_it_is_mono_at_the_rate_wanted(tmp_path: Path) -> None:
    stereo = np.stack([noise(44100, 1), noise(44100, 2)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 44100, "FLOAT")
    y = load_audio(tmp_path / "a.wav", 22050)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, soxr.resample(stereo.mean(axis=1), 44100, 22050))


def test_what_is_missing_is_nan_and_counts_as_lost(tmp_path: Path) -> None:
    samples = noise(4 * 22050)
    samples[1000:1100] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 22050, "FLOAT")
    y = load_audio(str(tmp_path / "a.wav"), 22050)
    np.testing.assert_array_equal(y, samples)
    pipe = Pipeline(bundled())
    assert [i for i in pipe.process(y) if isinstance(i, Gap)] == [Gap(1000, 100)]


def test_a_real_recording_is_what_a_source_gives(esc10: Path) -> None:
    path = str(sorted((esc10 / "audio").glob("*.ogg"))[0])
    source = FileSource(path, 22050, 100)
    chunks = [chunk for chunk in source.chunks() if isinstance(chunk, np.ndarray)]
    source.close()
    np.testing.assert_array_equal(load_audio(path, 22050), np.concatenate(chunks))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(22050), 22050)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"'a\.wav' is damaged or cut off"):
        load_audio(tmp_path / "a.wav", 22050)
