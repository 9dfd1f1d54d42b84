"""Files in the zip behind a model, and the JSON in them, read within limits.

A model may come from anywhere. Sizes, numbers and texts are checked here, before
anything else sees them.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from otic.errors import BundleError, ParameterError
from otic.model.foreign import refuse_folder

JSON, LABELS, GOLDEN, SHA256 = "otic.json", "labels.txt", "golden.json", "model.sha256"
STATE = "state.json"

MAX_BYTES = 256 * 2**20
"""Limit of a model's file."""
MAX_ATTACHED_BYTES = 4 * 2**20
"""Limit of the whole zip: only this much of a file's end is searched for it."""
MAX_FILES = 64
MAX_FILE_BYTES = 2**20
"""Limit of each attached file, decompressed."""
MAX_JSON_DEPTH = 32
MAX_NUMBER = 2**53
"""Whole numbers above are not exact in every program that reads JSON."""

_MAX_DIGITS = 20  # MAX_NUMBER and its sign have 17; reading a million takes minutes
_MIN_MODEL_BYTES = 8
_METHODS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # with the others a file may choose what is allocated
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # a terminal would obey them
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's earliest date: the same content gives the same bytes


def read_model(path: Path) -> bytes:
    """Read a model's file.

    Raises
    ------
    BundleError
        If it can't be read, or is too large to be a model.
    """
    refuse_folder(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"can't read model '{path}': it is no file; copy it into one first")
        if status.st_size > MAX_BYTES:
            raise BundleError(
                f"model '{path}' has {status.st_size} bytes: the limit is {MAX_BYTES}, "
                "is it a model at all?"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BundleError(f"can't read model '{path}': {reason}") from error


def attach(model: bytes, texts: dict[str, str]) -> bytes:
    """Put texts behind a model, with the model's checksum: a zip has one for its files only."""
    buffer = io.BytesIO()
    buffer.write(model)
    # Not "a": that would extend a zip that the model ends with, and so change the model.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in {**texts, SHA256: hashlib.sha256(model).hexdigest()}.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), text + "\n")
    return buffer.getvalue()


def detach(origin: str, content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Split a file into the model and the attached files whose names this module knows.

    Raises
    ------
    BundleError
        Where nothing is attached, it is damaged or beyond the limits, or the
        model is not the one that was written.
    """
    attached = f"model '{origin}': the bundle data behind the model"
    try:
        return _split(attached, content)
    except zipfile.BadZipFile as error:
        if b"PK\x03\x04" not in content or JSON.encode() not in content:
            raise BundleError(
                f"model '{origin}' has no bundle data (labels, feature parameters): "
                "make a bundle of it with 'otic pack'"
            ) from error
        raise _damaged(attached) from error
    except (zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise _damaged(attached) from error


def read_files(what: str, content: bytes, names: tuple[str, ...]) -> dict[str, bytes]:
    """Read the named files from the zip behind a model; nothing where there is no zip.

    Parameters
    ----------
    what : str
        Name of the zip in messages.
    content : bytes
        The whole file.
    names : tuple of str

    Raises
    ------
    BundleError
        Where the zip is damaged or beyond the limits.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content[-MAX_ATTACHED_BYTES:])) as archive:
            members = {entry.filename: entry for entry in archive.infolist()[:MAX_FILES]}
            return {n: _decompressed(what, archive, members[n]) for n in names if n in members}
    except (zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise _damaged(what) from error
    except zipfile.BadZipFile:
        return {}


def _damaged(attached: str) -> BundleError:
    return BundleError(
        f"{attached} is damaged, or has more than {MAX_ATTACHED_BYTES} bytes: copy the file again"
    )


def _split(attached: str, content: bytes) -> tuple[bytes, dict[str, bytes]]:
    skipped = max(0, len(content) - MAX_ATTACHED_BYTES)
    with zipfile.ZipFile(io.BytesIO(content[skipped:])) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_FILES:
            raise BundleError(
                f"{attached} has {len(entries)} files, the limit is {MAX_FILES}: "
                "delete those that are not otic's"
            )
        members = {entry.filename: entry for entry in entries}
        if JSON not in members or LABELS not in members:
            raise zipfile.BadZipFile("not otic's")
        model = content[: max(0, skipped + min(entry.header_offset for entry in entries))]
        if len(members) < len(entries) or len(model) < _MIN_MODEL_BYTES:
            raise ValueError("a file is there twice, or lies before the model")
        files = {
            name: _decompressed(attached, archive, members[name])
            for name in (JSON, LABELS, GOLDEN, STATE, SHA256)
            if name in members
        }
    if SHA256 in files and files[SHA256].strip() != hashlib.sha256(model).hexdigest().encode():
        raise BundleError(
            f"{attached} belongs to another model, or the model is damaged (its sha256 differs): "
            "copy the file again"
        )
    return model, files


def _decompressed(attached: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read one file; the size that it states is only taken as a limit."""
    if entry.file_size > MAX_FILE_BYTES:
        raise BundleError(
            f"{attached} has {entry.file_size} bytes of {entry.filename}, "
            f"the limit is {MAX_FILE_BYTES}: is it a model at all?"
        )
    if entry.compress_type not in _METHODS:
        raise BundleError(
            f"{attached} is compressed by method {entry.compress_type}: "
            "store it, or use deflate, method 8"
        )
    with archive.open(entry) as file:
        content = file.read(entry.file_size)  # without a number it would decompress all there is
    if len(content) != entry.file_size:
        raise EOFError(entry.filename)
    return content


def read_json(what: str, content: bytes) -> Any:
    """Read JSON whose values can be held, printed, and written as JSON again.

    Raises
    ------
    ParameterError
        If it is no JSON or beyond the limits; the message names the value.
    """
    try:
        values = json.loads(content.decode(), object_pairs_hook=_distinct, parse_int=_whole)
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError as error:
        raise ParameterError(f"{what}: {error}") from error
    check_json(what, values)
    return values


def check_json(what: str, value: Any, levels: int = MAX_JSON_DEPTH) -> None:
    """Require values that :func:`read_json` would give.

    Raises
    ------
    ParameterError
        Naming the key and the limit.
    """
    if isinstance(value, dict | list | tuple):
        if levels == 0:
            raise _too_deep(what)
        for key, inner in _items(what, value):
            check_json(key, inner, levels - 1)
    elif isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
        raise ParameterError(
            f"{what}={value} is too large or no number: finite numbers, "
            f"at most {MAX_NUMBER} from 0, are needed"
        )
    elif isinstance(value, str) and _CONTROL.search(value):
        raise ParameterError(f"{what}={value!r} has control characters: take them out")


def _items(what: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(what, inner) for inner in value]
    for key in value:
        if _CONTROL.search(str(key)):  # one that json.dumps writes as text may be a number
            raise ParameterError(f"key {key!r} in {what} has control characters: take them out")
    return list(value.items())


def _too_deep(what: str) -> ParameterError:
    return ParameterError(
        f"{what} is nested deeper than {MAX_JSON_DEPTH} levels: no model needs as many"
    )


def _whole(text: str) -> float:
    return int(text) if len(text) <= _MAX_DIGITS else math.inf


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ParameterError(f"key {twice!r} is there twice: keep one of them")
    return values
