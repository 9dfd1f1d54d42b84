"""Files of phones and browsers, read through a child ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import soundfile

from otic import Pipeline, load_audio, load_bundle
from otic.audio.open import find_recordings
from otic.audio.soundscape import synthesise
from otic.audio.sources import FileSource
from otic.errors import SourceError
from otic.types import Event
from otic_training.data.layouts import load_dataset
from tests.support import debian
from tests.support.helpers import F32, noise

SR = 44100
SUFFIXES = (".m4a", ".mp4", ".aac", ".webm")


@pytest.fixture(scope="module", autouse=True)
def ffmpeg() -> None:
    with debian.needed():
        debian.install(["ffmpeg"], lambda: [] if which("ffmpeg") else ["ffmpeg"])


def chords(seconds: float) -> F32:
    """Two tones whose pitch and level change every tenth of a second, so that no shift fits."""
    t = np.arange(round(seconds * SR)) / SR
    rng = np.random.default_rng(1)
    steps = np.repeat(rng.uniform(0.0, 1.0, (2, round(seconds * 10) + 1)), SR // 10, axis=1)
    pitch, level = 200.0 * 8.0 ** steps[0, : len(t)], 0.1 + 0.3 * steps[1, : len(t)]
    phase = 2 * np.pi * np.cumsum(pitch) / SR
    return (level * (np.sin(phase) + 0.5 * np.sin(1.5 * phase))).astype(np.float32)


def encoded(path: Path, y: F32, sr: int = SR, *options: str) -> Path:
    wav = path.parent / f"{path.stem}-of.wav"
    soundfile.write(wav, y, sr, subtype="FLOAT")
    run("-i", str(wav), *options, f"file:{path}")
    wav.unlink()
    return path


def run(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True)


def failure(path: Path) -> tuple[float, str]:
    """Seconds that were read, and what was said."""
    source = FileSource(str(path), 22050, 4096)
    n = 0
    try:
        for chunk in source.chunks():
            assert isinstance(chunk, np.ndarray)
            n += len(chunk)
    except SourceError as error:
        return n / 22050, str(error)
    finally:
        source.close()
    raise AssertionError(f"{path} is read without a word")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_it_is_the_sound_of_the_wav_but_for_the_codec(tmp_path: Path, suffix: str) -> None:
    y = chords(2.5)
    soundfile.write(tmp_path / "a.wav", y, SR, subtype="FLOAT")
    bit_rate = ("-b:a", "192k")
    path = encoded(tmp_path / f"a{suffix}", y, SR, *bit_rate)
    wav, got = load_audio(tmp_path / "a.wav", 22050), load_audio(path, 22050)
    late = 0
    if suffix == ".aac":  # what its encoder took to begin is written nowhere
        late = int(np.argmax([np.dot(got[i : i + 44100], wav[:44100]) for i in range(1200)]))
        assert 300 < late < 1100
    assert len(wav) <= len(got) - late <= len(wav) + 2048
    error = got[late : late + len(wav)] - wav
    assert 20 * np.log10(np.std(error) / np.std(wav)) < -20.0


@pytest.mark.parametrize("suffix", [".m4a", ".webm"])
def test_no_block_size_changes_a_sample(tmp_path: Path, suffix: str) -> None:
    path = encoded(tmp_path / f"a{suffix}", np.stack([chords(1.5), noise(66150)], axis=1))
    wanted = load_audio(path, 16000)
    for block in (333, 10**9):
        source = FileSource(str(path), 16000, block)
        assert source.format == (48000 if suffix == ".webm" else SR, 2)
        got = [chunk for chunk in source.chunks() if isinstance(chunk, np.ndarray)]
        source.close()
        np.testing.assert_array_equal(np.concatenate(got), wanted)


def test_a_stream_of_it_has_the_events_of_the_wav(tmp_path: Path) -> None:
    bundle = load_bundle("esc10-stream")
    y, _ = synthesise(bundle.features.sr)
    path = encoded(tmp_path / "a.m4a", y, bundle.features.sr, "-b:a", "128k")

    def events(samples: F32) -> list[tuple[str, float]]:
        pipeline = Pipeline(bundle)
        items = [*pipeline.process(samples), *pipeline.flush()]
        return [(e.label, e.onset) for e in items if isinstance(e, Event) and e.state == "on"]

    wanted, got = events(y), events(load_audio(path, bundle.features.sr))
    assert len(wanted) >= 3
    assert [label for label, _ in got] == [label for label, _ in wanted]
    assert [onset for _, onset in got] == pytest.approx([onset for _, onset in wanted], abs=0.33)


def test_it_is_decoded_as_it_is_taken_and_ends_with_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encoded(tmp_path / "a.mkv", noise(120 * SR), SR, "-c:a", "pcm_s16le")
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def spy(*args: object, **options: object) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **options))  # type: ignore[call-overload]
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", spy)
    source = FileSource(str(path), None, 4096)
    first = next(chunk for chunk in source.chunks() if chunk is not None)
    assert isinstance(first, np.ndarray)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits until more is taken
        children[0].wait(1.0)
    source.close()
    assert children[0].returncode is not None


def test_damage_is_one_line(tmp_path: Path) -> None:
    y = chords(8.0)
    whole = encoded(tmp_path / "a.m4a", y).read_bytes()
    (tmp_path / "a.m4a").write_bytes(whole[: len(whole) // 2])
    assert failure_to_open(tmp_path / "a.m4a") == "which looks like MP4: moov atom not found"
    for suffix, options in ((".m4a", ("-movflags", "faststart")), (".webm", ()), (".aac", ())):
        path = encoded(tmp_path / f"b{suffix}", y, SR, *options)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        seconds, said = failure(path)
        assert 3.0 < seconds < 5.0
        assert said.startswith(f"'{path.name}' is damaged or cut off: {seconds:.2f}"[:-1])
    path = encoded(tmp_path / "c.m4a", y)
    hole = bytearray(path.read_bytes())
    hole[len(hole) // 2 : len(hole) // 2 + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(hole)
    seconds, said = failure(path)
    assert seconds > 7.0
    assert "is damaged or cut off: " in said


def failure_to_open(path: Path) -> str:
    with pytest.raises(SourceError) as raised:
        FileSource(str(path), SR, 1024)
    said = str(raised.value)
    assert said.startswith(f"can't read '{path}', ")
    return said.removeprefix(f"can't read '{path}', ")


def test_of_a_film_the_sound_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", chords(2.0), SR)
    picture = ("-f", "lavfi", "-i", "testsrc=duration=2:size=64x64:rate=5")
    run(*picture, "-i", str(tmp_path / "a.wav"), str(tmp_path / "a.mp4"))
    assert len(load_audio(tmp_path / "a.mp4", SR)) == pytest.approx(2 * SR, abs=3000)
    run(*picture, str(tmp_path / "silent.mp4"))
    said = failure_to_open(tmp_path / "silent.mp4")
    assert said == "which looks like MP4: it holds no sound"


@pytest.mark.parametrize(
    "name", ["-y.m4a", "concat:a|b.m4a", "a\nb.m4a", "http:ex.m4a", "%03d.m4a"]
)
def test_no_name_says_something_to_ffmpeg(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded(tmp_path / "plain.m4a", chords(1.0)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(load_audio(name, SR)) == pytest.approx(SR, abs=3000)


def test_a_playlist_in_disguise_opens_nothing(tmp_path: Path) -> None:
    """What ffmpeg would follow, were it left to guess the format."""
    soundfile.write(tmp_path / "secret.wav", noise(SR), SR)
    path = tmp_path / "a.m4a"
    path.write_text("#EXTM3U\n#EXTINF:1,\nsecret.wav\n")
    with pytest.raises(SourceError, match="can't read"):
        FileSource(str(path), SR, 1024)
    path.write_bytes(b"\0\0\0\x14ftypM4A " + b"#EXTM3U\n#EXTINF:1,\nsecret.wav\n")
    assert failure_to_open(path).startswith("which looks like MP4: ")


def test_without_ffmpeg_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoded(tmp_path / "a.m4a", chords(0.5))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError) as raised:
        FileSource(str(path), SR, 1024)
    assert str(raised.value) == (
        f"can't read '{path}': MP4 is read through ffmpeg, which is not installed: install it; "
        "WAV, AIFF, CAF, AU, FLAC, MP3, Ogg Vorbis and Ogg Opus are read without it"
    )


def test_folders_have_them(tmp_path: Path) -> None:
    for label in ("bell", "kettle"):
        (tmp_path / label).mkdir()
        for i, suffix in enumerate((".m4a", ".WEBM", ".aac", ".mp4")):
            (tmp_path / label / f"{i}{suffix}").touch()
    assert len(find_recordings([str(tmp_path)])) == 8
    dataset = load_dataset(str(tmp_path))
    assert (dataset.labels, len(dataset.clips)) == (("bell", "kettle"), 8)
