"""A bundle as it might come from anybody: damaged, and what must hold when it is read."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Any

from otic.errors import OticError
from otic.model.bundle import Bundle, bundle_bytes, parse_bundle
from otic.model.golden import GoldenCase
from otic.model.interface import ModelInterface
from tests.fuzzing.damage import check_message, damage, put_number
from tests.support.helpers import SMALL, bundled, decision, small_bundle, streaming_bundle

MAX_SECONDS = 1.0
MAX_BYTES = 20_000

Files = dict[str, bytes]

_NASTY = (
    *("null", "true", "false", "-1", "0", "1", "0.5", "65536", "1000000", "9007199254740993"),
    *("NaN", "-Infinity", "1e400", "1e-320", "[]", "{}", "[[]]", "[null]", "[0.5,0.5,0.5]"),
    *('""', '"mean"', '"\\ud800"', '"\\u001b[2J"', '{"a":1,"a":2}'),
)
_LONG = ("9" * 5000, "[" * 3000, '{"a":' * 200 + "1" + "}" * 200, '"' + "x" * 5000 + '"')
_ZIP_SIGNATURES = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")


def seeds() -> list[bytes]:
    """Bundles of each kind, with the start of a model in place of all of it."""
    start = bundled().model[:64]
    case = GoldenCase("sweep", (0.5,) * 16, (0.2, 0.3, 0.5))
    stream = GoldenCase("pulses", (0.5,) * 168, (0.2, 0.3, 0.5) * 2, (0, 3))
    centred = replace(SMALL, center=True, tail_samples=5, statistics=("log_mel",))
    return [
        bundle_bytes(small_bundle(model=start, golden=(case,))),
        bundle_bytes(small_bundle(model=start, features=centred)),
        bundle_bytes(replace(bundled(), model=start, golden=())),
        bundle_bytes(_foreign(start)),
        bundle_bytes(streaming_bundle(model=start, golden=(stream,))),
    ]


def _foreign(start: bytes) -> Bundle:
    """One that has all of format 2."""
    patch = replace(SMALL, statistics=("log_mel",))
    return small_bundle(
        model=start,
        features=patch,
        labels=("quiet", "loud", "odd", "heard"),
        decision=decision(4),
        groups={"heard": ("loud", "odd")},
        interface=ModelInterface("bands_first", True, (0.5,), (1.0,), 1, "softmax"),
    )


def check(data: bytes) -> str:
    """Read it; what it was refused for, in a word or two, or ``read``."""
    try:
        bundle = parse_bundle("fuzz", data)
    except OticError as error:
        check_message(error)
        text = str(error)
        layers = {"not a TensorFlow": "no model", "no bundle data": "no zip", "bundle data": "zip"}
        return next((layer for words, layer in layers.items() if words in text), "content")
    if zlib.crc32(data) % 8 == 0:  # one in eight, for speed
        again = parse_bundle("again", bundle_bytes(bundle))
        # NumPy's rounding aside, which golden cases have, it is the same.
        assert replace(again, sha256="", golden=()) == replace(bundle, sha256="", golden=())
    return "read"


def mutate(data: bytes, rng: Random) -> bytes:
    """Damage one part of a bundle and leave the rest, its sums included, right."""
    kind = rng.randrange(10)
    if kind == 0:
        return damage(data, rng)
    if kind == 1:
        return _damage_directory(data, rng)
    model, files = _taken_apart(data)
    files = dict(files)
    name = rng.choice((*("otic.json",) * 3, "labels.txt", "golden.json", "state.json"))
    if kind == 2:
        model = model[:8] + damage(model[8:], rng)
    elif kind == 3:
        files[name] = damage(files.get(name, b"[]"), rng)
    elif kind == 4:
        other = rng.choice(("model.sha256", "other.txt", "labels.txt", name))
        files.pop(other, None) if rng.random() < 0.5 else files.update({other: b"x\n"})
    elif kind == 5:
        names = [b"a", b"", b"a\x07", b"x" * 300, "ü".encode(), b"\xff", b"a b", b"c"]
        files["labels.txt"] = b"\n".join(rng.choices(names, k=rng.choice((1, 3, 3, 10))))
    else:
        files[name] = _damage_json(files.get(name, b"[]"), rng)
    return put_together(model, files, rng.choice((0, 0, 8, 8, 14)) if kind == 4 else 0)


def put_together(model: bytes, files: Files, method: int = 0) -> bytes:
    """A zip behind the model; by hand, which is much faster than zipfile, and may lie."""
    local, directory = bytearray(), bytearray()
    for name, content in files.items():
        packed, encoded = content, name.encode()
        if method == 8:
            packed = zlib.compress(content, 1, -15)
        shared = struct.pack(
            "<5H3I2H",
            *(20, 0, method, 0, 33, zlib.crc32(content), len(packed), len(content)),
            *(len(encoded), 0),
        )
        at = len(model) + len(local)
        local += b"PK\x03\x04" + shared + encoded + packed
        directory += b"PK\x01\x02\x14\x00" + shared + struct.pack("<3H2I", 0, 0, 0, 0, at) + encoded
    where = len(model) + len(local)
    n = len(files) & 0xFFFF  # readers go by the directory's bytes
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, n, n, len(directory), where, 0)
    return bytes(model + local + directory + end)


@lru_cache(maxsize=4096)
def _taken_apart(data: bytes) -> tuple[bytes, Files]:
    """The model and the files; those of a seed where the damage is too great."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {e.filename: e for e in archive.infolist() if e.file_size < MAX_BYTES}
            start = min(e.header_offset for e in entries.values())
            return data[: max(8, start)], {n: archive.read(e) for n, e in entries.items()}
    except Exception:  # whatever it is, a seed will do
        return _taken_apart(_seed())


@lru_cache(maxsize=1)
def _seed() -> bytes:
    return seeds()[0]


def _damage_directory(data: bytes, rng: Random) -> bytes:
    out = bytearray(data)
    signature = rng.choice(_ZIP_SIGNATURES)
    places = [i for i in range(len(data)) if data.startswith(signature, i)] or [0]
    put_number(out, rng.choice(places) + rng.randrange(4, 46), rng)
    return bytes(out)


def _damage_json(content: bytes, rng: Random) -> bytes:
    """One value, key or list of it changed."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return damage(content, rng)
    mark = "\x00here"
    holder, key = _any_place(values, rng)
    if holder is None:
        return rng.choice(_NASTY).encode()
    what = rng.randrange(6)
    value = mark
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[rng.choice(("extra", "format", "sr", "\x1b[2J", "", "x" * 500))] = mark
    elif what == 2 and isinstance(holder, list):
        holder += [*holder[: rng.choice((1, 3, 1000))], mark]
    elif isinstance(holder[key], int | float) and what < 5:
        old = holder[key]
        changes = (old + 1, old - 1, -old, old * 2, old * 1000, float(old), str(old), not old)
        holder[key] = rng.choice(changes)
    else:
        holder[key] = value
    text = rng.choice(_LONG) if rng.random() < 0.02 else rng.choice(_NASTY)
    try:
        return json.dumps(values).replace(json.dumps(mark), text).encode()
    except (RecursionError, OverflowError):
        return content


def _any_place(values: Any, rng: Random) -> tuple[Any, Any]:
    """A dict or list somewhere within, and one of its keys."""
    holder, key = None, None
    while isinstance(values, dict | list) and values:
        holder = values
        key = rng.choice(list(values)) if isinstance(values, dict) else rng.randrange(len(values))
        values = values[key]
        if rng.random() < 0.2:
            break
    return holder, key
