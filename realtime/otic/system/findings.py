"""Checks and findings of ``otic doctor``. Receivers bring checks of their own.

``--help`` loads the receivers' sections, and this with them: what only a check needs is imported
there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from otic.errors import OticError, printable

OK, WARN, FAIL = "ok", "warn", "fail"
CONNECT_SECONDS = 3.0
CONNECTION_SECONDS = 3 * CONNECT_SECONDS
"""Time limit of a connection check: for the name, the connection and TLS."""

_LITTLE_MEGABYTES, _HARDLY_ANY_MEGABYTES = 200.0, 20.0


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes
    ----------
    name : str
    result : str
        ``ok``, ``warn`` (it works, but not as it should) or ``fail``.
    found : str
        One line.
    remedies : tuple of str
        What to do, one step each; at least one unless the result is ``ok``.
    """

    name: str
    result: str
    found: str
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Names of devices, hosts and files come from outside.
        object.__setattr__(self, "found", printable(self.found))
        object.__setattr__(self, "remedies", tuple(map(printable, self.remedies)))


@dataclass(frozen=True)
class Check:
    """Something to look at; ``limit_seconds`` is how long that may take."""

    name: str
    look: Callable[[], Finding]
    limit_seconds: float = 10.0


def split_message(error: OticError) -> tuple[str, tuple[str, ...]]:
    """Split an error's message into what is wrong and what to do."""
    found, _, remedy = " ".join(str(error).split()).rpartition(": ")
    return (found, (remedy,)) if found else (remedy, ())


def disk_check(folder: Path, name: str = "disk", needed_megabytes: float = 0.0) -> Finding:
    """Check that a folder, or the one it would be made in, is writable and has space."""
    import shutil
    import tempfile

    place = folder
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
    except PermissionError:  # the state folder of a service that has its own user
        remedy = "run this as root: sudo otic doctor --config …"
        return Finding(name, WARN, f"{folder} can't be read by this user", (remedy,))
    if not place.is_dir():
        return Finding(
            name, FAIL, f"{place} is not a folder", (f"name another folder than {folder}",)
        )
    if not os.access(place, os.W_OK):
        return Finding(
            name,
            FAIL,
            f"{place} can't be written by this user",
            (f"sudo install -d -o $USER {folder}", "or run this as the user that otic runs as"),
        )
    try:
        with tempfile.TemporaryFile(
            dir=place
        ) as file:  # os.access lets root pass on a read-only disk
            file.write(b"otic")
    except OSError as error:
        remedy = "free space, or mount it for writing: see 'findmnt' and 'df'"
        return Finding(name, FAIL, f"{place} can't be written: {error.strerror}", (remedy,))
    free = shutil.disk_usage(place).free / 1e6
    found = f"{free:.0f} MB free in {place}"
    if free < _HARDLY_ANY_MEGABYTES:
        return Finding(name, FAIL, found, ("free space: 'du -xh / | sort -h | tail' shows where",))
    if free < max(_LITTLE_MEGABYTES, needed_megabytes):
        wanted = max(_LITTLE_MEGABYTES, needed_megabytes)
        return Finding(name, WARN, found, (f"free space: {wanted:.0f} MB may be needed",))
    return Finding(name, OK, found)


def extra_check(extra: str, module: str) -> Finding:
    """Check that the library of an extra is installed."""
    from importlib.util import find_spec

    if find_spec(module) is None:
        remedy = f"pip install 'otic[{extra}]'"
        return Finding(f"extra {extra}", FAIL, f"{module} is not installed", (remedy,))
    return Finding(f"extra {extra}", OK, f"{module} is installed")


def secret_check(name: str, path: str) -> Finding:
    """Check that a file with a secret exists and is not readable by everyone."""
    if path.startswith("/run/credentials/"):
        return Finding(name, OK, "provided by systemd, for the service only")
    try:
        with Path(path).open("rb") as file:
            empty = not file.read(1)
        mode = Path(path).stat().st_mode
    except OSError as error:
        remedy = "check the path; the service can read root's files with LoadCredential="
        return Finding(name, FAIL, f"{path}: {error.strerror}", (remedy,))
    if empty:
        return Finding(name, FAIL, f"{path} is empty", ("write the secret into it",))
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return Finding(name, WARN, f"{path} can be read by others", (f"chmod 640 {path}",))
    return Finding(name, OK, path)


def secret_checks(key: str, path: str | None) -> list[Check]:
    """Return the check of a file with a secret, if one is set."""
    return [] if path is None else [Check(key, partial(secret_check, key, path))]


def folder_checks(name: str, path: str | None) -> list[Check]:
    """Return the check of the folder of a file that is written, if one is set."""
    if path is None or path == "-":
        return []
    return [Check(name, partial(disk_check, Path(path).absolute().parent, name))]
