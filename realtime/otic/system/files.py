"""Files that outlive this process: opened by one process at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress


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


def is_same_file(path: str | os.PathLike[str], fd: int) -> bool:
    """Tell whether the path still names the file that is open."""
    with suppress(OSError):
        return os.path.samestat(os.stat(path), os.fstat(fd))  # noqa: PTH116
    return False
