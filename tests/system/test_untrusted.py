"""Models and sounds may come from anybody: what is too much, or meant to harm, is one clear line.

The long runs are ``python -m tests.fuzzing.bundles`` and ``python -m tests.fuzzing.audio``.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import soundfile

from otic import Bundle, Classifier, load_bundle, save_bundle
from otic.audio.sources import MAX_CHANNELS, FileSource
from otic.errors import BundleError, ParameterError, SourceError
from otic.model import archive as attached
from otic.model import bundle
from otic.model.bundle import bundle_bytes, parse_bundle
from otic.model.golden import GoldenCase
from tests.fuzzing import audio_target, bundle_target
from tests.fuzzing.bundle_target import Files, put_together
from tests.fuzzing.damage import check_message
from tests.support.helpers import bundled, noise, small_bundle

MODEL = small_bundle().model
SR = audio_target.SR


def files(**changes: bytes) -> Files:
    """What a good bundle has behind its model, by the start of the name."""
    good = small_bundle()
    parts = {"otic": json.dumps(good.to_dict()).encode(), "labels": b"quiet\nloud\nodd\n"}
    ends = {"otic": ".json", "labels": ".txt", "golden": ".json"}
    return {name + ends[name]: content for name, content in {**parts, **changes}.items()}


def with_value(key: str, text: str) -> bytes:
    """The bundle's JSON with a value that ``json.dumps`` would not write."""
    values = {**small_bundle().to_dict(), key: "here"}
    return json.dumps(values).replace('"here"', text).encode()


def refusal(content: bytes) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(BundleError) as caught:
        parse_bundle("m.tflite", content)
    check_message(caught.value)
    return str(caught.value)


def test_fuzzed_bundles() -> None:
    seeds = bundle_target.seeds()
    ends: Counter[str] = Counter()
    for number in range(4000):
        rng = Random(number)
        content = bundle_target.mutate(seeds[number % len(seeds)], rng)
        if number % 3:
            content = bundle_target.mutate(content, rng)
        ends[bundle_target.check(content)] += 1
    assert min(ends[how] for how in ("read", "content", "zip", "no zip")) > 20, ends


def test_fuzzed_audio(tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for number in range(1000):
        (tmp_path / "damaged").write_bytes(audio_target.damaged(number))
        ends[audio_target.check(str(tmp_path / "damaged"), 2048)] += 1
    assert min(ends[how] for how in ("read", "cut off", "refused")) > 25, ends


def test_what_the_fuzzer_puts_together_is_a_bundle() -> None:
    for method in (0, 8):
        read = parse_bundle("good", put_together(MODEL, files(), method))
        assert replace(read, sha256="") == small_bundle()


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "m.tflite").open("wb") as file:
        file.truncate(attached.MAX_BYTES + 1)
    with pytest.raises(BundleError, match=r"has 268435457 bytes: the limit is 268435456, is it"):
        load_bundle(tmp_path / "m.tflite")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    for path in (tmp_path / "pipe.tflite", Path("/dev/zero")):
        with pytest.raises(BundleError, match="it is no file; copy it into one first"):
            load_bundle(path)
    with pytest.raises(BundleError, match="null"):
        load_bundle("a\0.tflite")


def test_a_zip_bomb_is_not_decompressed() -> None:
    """Of what it says of its size, 100 bytes, the standard library's read() takes no notice."""
    bomb = zlib.compress(bytes(300 * 2**20), 9)[2:-4]
    content = put_together(MODEL, files(labels=b"x" * 100))
    stored = b"x" * 100
    content = content.replace(stored, bomb)
    # Method 8, and the true length of what is packed, in the local header and in the directory.
    grown = len(bomb) - len(stored)
    out = bytearray(content)
    local, directory, end = out.index(b"labels") - 30, out.rindex(b"labels") - 46, len(out) - 22
    for at in (local + 8, directory + 10):
        out[at : at + 2] = (8).to_bytes(2, "little")
        out[at + 10 : at + 14] = len(bomb).to_bytes(4, "little")
    where = int.from_bytes(out[end + 16 : end + 20], "little") + grown
    out[end + 16 : end + 20] = where.to_bytes(4, "little")
    tracemalloc.start()
    try:
        assert "is damaged" in refusal(bytes(out))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_sizes_behind_the_model() -> None:
    long = b"x" * (attached.MAX_FILE_BYTES + 1)
    words = "1048577 bytes of labels.txt, the limit is 1048576: is it a model"
    for method in (0, 8):
        assert words in refusal(put_together(MODEL, files(labels=long), method))
    many = {**files(), **{f"{i}.txt": b"" for i in range(63)}}
    assert "has 65 files, the limit is 64: delete" in refusal(put_together(MODEL, many))


def test_a_directory_of_very_many_files() -> None:
    """Of millions zipfile would make objects of gigabytes before anybody could count them."""
    content = put_together(MODEL, {**files(), **{str(i): b"" for i in range(100_000)}})
    tracemalloc.start()
    try:
        assert "is damaged, or has more than 4194304 bytes" in refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_a_model_above_what_is_searched_for_the_zip() -> None:
    model = MODEL + bytes(2 * attached.MAX_ATTACHED_BYTES)
    read = parse_bundle("large", bundle_bytes(small_bundle(model=model)))
    assert read.model == model


def test_other_compression_is_refused() -> None:
    """LZMA's header may ask for a dictionary of 4 GiB, and fails with errors of its own."""
    packed = put_together(MODEL, files(labels=lzma.compress(b"a\nb")), 14)
    assert "by method 14: store it, or use deflate, method 8" in refusal(packed)


def test_files_that_are_there_twice_or_before_the_model() -> None:
    twice = put_together(MODEL, {**files(), "otic.jsoN": b"{}"}).replace(b"otic.jsoN", b"otic.json")
    assert "is damaged" in refusal(twice)
    content = bytearray(put_together(MODEL, files()))
    at = content.rindex(b"PK\x01\x02") + 42
    content[at : at + 4] = (3).to_bytes(4, "little")
    assert "is damaged" in refusal(bytes(content))


def test_every_flipped_byte_of_the_model_is_noticed() -> None:
    content = bundle_bytes(small_bundle(model=bundled().model[:200]))
    for at in range(8, 200):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        assert "its sha256 differs): copy the file again" in refusal(changed)


def test_a_bundle_without_a_checksum_is_read() -> None:
    """As those of the first versions are."""
    assert parse_bundle("old", put_together(MODEL, files())).model == MODEL


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1" + "0" * 400, "name=inf is too large"),
        ("9" * 1_000_000, "name=inf is too large"),
        ("-1e400", "name=-inf is too large"),
        ("NaN", "finite numbers, at most 9007199254740992 from 0, are needed"),
        ("9007199254740993", "name=9007199254740993 is too large"),
        ("[" * 40 + "]" * 40, "name is nested deeper than 32 levels"),
        ("[" * 100_000, "bundle is nested deeper than 32 levels"),
        ('{"a":' * 100_000, "bundle is nested deeper than 32 levels"),
        ('{"sr": 1, "a": 2, "sr": 3}', "key 'sr' is there twice: keep one of them"),
        ('"\\u001b[2J"', "name='\\x1b[2J' has control characters"),
        ('"\\ud800"', "name='\\ud800' has control characters"),
        ('{"\\u0007": 1}', "key '\\x07' in name has control characters"),
        ('"a\\nb"', "name 'a\\nb' must be printable, on one line"),
        (json.dumps("x" * 201), "has 201 characters, the limit is 200: shorten it"),
        ("7", "name must be text, not int"),
    ],
)
def test_values_in_the_json(text: str, words: str) -> None:
    assert words in refusal(put_together(MODEL, files(otic=with_value("name", text))))


def test_a_message_does_not_quote_a_whole_file() -> None:
    text = json.dumps({**small_bundle().to_dict(), "x" * 100_000: 1})
    assert "unknown keys xxx" in refusal(put_together(MODEL, files(otic=text.encode())))


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    golden = json.dumps([{"sound": "\u2028\u202e", "features": [], "scores": []}]).encode()
    assert "sound '\ufffd\ufffd' is unknown" in refusal(put_together(MODEL, files(golden=golden)))


def test_labels_have_limits() -> None:
    many = "\n".join(map(str, range(bundle.MAX_LABELS + 1))).encode()
    words = "4097 labels, the limit is 4096: use a model with fewer"
    assert words in refusal(put_together(MODEL, files(labels=many)))
    long = b"a\nb\n\x1f" + b"x" * 200  # found by fuzzing: the message held the \x1f
    words = "label '\\x1fxxxxxxxxxxxxxxxxxxx'… has 201 characters, the limit is 200: shorten it"
    assert words in refusal(put_together(MODEL, files(labels=long)))


@pytest.mark.parametrize(
    "change",
    [
        lambda b: replace(b, accuracy={"clip_mean": float("nan")}),
        lambda b: replace(b, provenance={"note": "\x1b[2J"}),
        lambda b: replace(b, golden=(GoldenCase("noise", (1e300,), (float("inf"),)),)),
    ],
)
def test_what_could_not_be_read_is_not_written(
    tmp_path: Path, change: Callable[[Bundle], Bundle]
) -> None:
    with pytest.raises(ParameterError):
        save_bundle(tmp_path / "m.tflite", change(small_bundle()))
    assert not list(tmp_path.iterdir())


def test_a_window_of_many_features_takes_no_memory_to_check() -> None:
    features = replace(small_bundle().features, window_frames=500_000, statistics=("log_mel",))
    case = GoldenCase("noise", (0.0,) * 3, (0.2, 0.3, 0.5))
    content = bundle_bytes(small_bundle(features=features, golden=(case,)))
    tracemalloc.start()
    try:
        assert "has 3 features and 3 scores: 512 and 3 are needed" in refusal(content)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_runtime_that_fails_later_than_at_loading() -> None:
    """LiteRT finds some faults of a model only when it is asked for its inputs, or run."""
    classifier = Classifier(bundled())

    class Failing:
        def set_tensor(self, index: int, value: Any) -> None:
            pass

        def invoke(self) -> None:
            raise RuntimeError("Input tensor 13 lacks data\nNode number 27 failed")

    classifier._interpreter = Failing()
    with pytest.raises(BundleError, match=r"runtime can't run it: Input tensor 13 lacks data$"):
        classifier.predict(np.zeros(bundled().features.n_features, np.float32))


def test_an_output_whose_shape_changes() -> None:
    classifier = Classifier(bundled())

    class Shrinking:
        def set_tensor(self, index: int, value: Any) -> None:
            pass

        def invoke(self) -> None:
            pass

        def get_tensor(self, index: int) -> np.float32:
            return np.float32(0.5)

    classifier._interpreter = Shrinking()
    with pytest.raises(BundleError, match=r"runtime can't run it: its output has shape \[\] now"):
        classifier.predict(np.zeros(bundled().features.n_features, np.float32))


def test_a_tensor_name_that_is_no_text() -> None:
    model = bundled().model.replace(b"StatefulPartitionedCall", b"StatefulPartitionedCal\xe8")
    assert model != bundled().model
    with pytest.raises(BundleError, match="runtime can't load it: 'utf-8' codec"):
        Classifier(replace(bundled(), model=model))


def wav(channels: int, rate: int = SR, frames: int = 4) -> bytes:
    """A WAV whose header may promise anything."""
    block, size = 2 * channels, 2 * channels * frames
    form = struct.pack("<2H2I2H", 1, channels, rate, rate * block % 2**32, block % 65536, 16)
    riff = struct.pack("<4sI8sI", b"RIFF", 36 + size, b"WAVEfmt ", len(form))
    return riff + form + struct.pack("<4sI", b"data", size) + bytes(size)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (wav(257), "it has 257 channels, the limit is 256: extract some of them with ffmpeg"),
        (wav(1000), "it has 1000 channels, the limit is 256"),
        (wav(30000), "as audio"),
        (wav(1, rate=2**31 - 1), "sampling rate 2147483647 Hz is outside 1000 to 768000 Hz"),
    ],
)
def test_what_a_header_promises(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        FileSource(str(tmp_path / "a.wav"), SR, 2**20)
    check_message(caught.value)


def test_many_channels_in_long_blocks_take_little_memory(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(MAX_CHANNELS, frames=100_000))
    source = FileSource(str(tmp_path / "a.wav"), SR, 2**20)
    tracemalloc.start()
    try:
        assert sum(len(c) for c in source.chunks() if isinstance(c, np.ndarray)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20  # of the block asked for, 1 GiB
    finally:
        tracemalloc.stop()
    source.close()


def test_a_length_that_is_not_there(tmp_path: Path) -> None:
    """36 bits of total samples in a FLAC: 36 days."""
    soundfile.write(tmp_path / "a.flac", noise(SR), SR)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(content)
    source = FileSource(str(tmp_path / "a.flac"), SR, 4096)
    with pytest.raises(SourceError, match=r"damaged or cut off: 1\.000 s of 3116529\.\d+ s could"):
        list(source.chunks())
    source.close()


def test_raw_pcm_by_its_name(tmp_path: Path) -> None:
    """soundfile asks for the rate with a TypeError."""
    (tmp_path / "a.raw").write_bytes(bytes(1000))
    with pytest.raises(SourceError, match="raw PCM has no header; pipe it in with - and --rate"):
        FileSource(str(tmp_path / "a.raw"), SR, 4096)


def test_a_model_that_ends_with_a_zip_stays_as_it_is() -> None:
    """Fuzzing found it, after six million bundles: the zip was continued in place."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("x", "y")
    model = bundled().model + inner.getvalue()
    whole = bundle_bytes(replace(bundled(), model=model))
    assert parse_bundle("again", whole).model == model
