"""Files that outlive this process: where they are, and opened by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from otic.errors import ConfigurationError


def open_locked(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """Open a file that no other process has open in this way; its descriptor.

    Where the file system has no locks, the file is opened without one.

    Raises
    ------
    BlockingIOError
        If another process has the file.
    OSError
    """
    while True:
        fd = os.open(path, flags | os.O_CLOEXEC, mode)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:
                return fd
            if is_same_file(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody put another in its place just now


@contextmanager
def written_beside(path: Path) -> Iterator[TextIO]:
    """Open a text file that takes the place of ``path`` once all of it is on the disk.

    Raises
    ------
    OSError
        If it can't be written; then ``path`` stays as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", errors="replace", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def is_same_file(path: str | os.PathLike[str], fd: int) -> bool:
    """Tell whether the path still names the file that is open."""
    with suppress(OSError):
        return os.path.samestat(os.stat(path), os.fstat(fd))  # noqa: PTH116
    return False


def state_folder(environment: Mapping[str, str], option: str) -> Path:
    """Return where otic keeps what it must not lose: the service's folder, else the user's.

    Parameters
    ----------
    environment : mapping
        ``STATE_DIRECTORY`` is systemd's, ``XDG_STATE_HOME`` and ``HOME`` are the user's.
    option : str
        The option that names a folder, for the message.

    Raises
    ------
    ConfigurationError
        If the user has no home.
    """
    if service := environment.get("STATE_DIRECTORY", "").split(":")[0]:
        return Path(service)
    if users := environment.get("XDG_STATE_HOME"):
        return Path(users) / "otic"
    try:
        home = Path(environment.get("HOME") or Path.home())
    except RuntimeError as error:
        raise ConfigurationError(
            f"this user has no home folder to keep files in: name a folder with {option}, or set "
            "HOME"
        ) from error
    return home / ".local/state/otic"
