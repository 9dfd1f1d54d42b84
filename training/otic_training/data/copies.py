"""Equal files: a clip that is tested must not be trained on under another name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

_PROBE = 4096


def equal_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Group files of the same content, in the order given; a file without equals is in no group.

    Sizes are compared first, then a few kilobytes, then all: hardly any file is read whole.
    Empty files, and files that can't be read, are equal to none.
    """
    groups: list[list[Path]] = [list(dict.fromkeys(paths))]
    for key in (_size, _probe, _digest):
        groups = [part for group in groups for part in _split(group, key)]
    return groups


def _split(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    found: dict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        try:
            value = key(path)
        except OSError:
            continue
        if value is not None:
            found[value].append(path)
    return [group for group in found.values() if len(group) > 1]


def _size(path: Path) -> int | None:
    return path.stat().st_size or None


def _probe(path: Path) -> bytes:
    """Read the beginning, the middle and the end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        parts = []
        for at in (0, max(0, (size - _PROBE) // 2), max(0, size - _PROBE)):
            file.seek(at)
            parts.append(file.read(_PROBE))
    return b"".join(parts)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
