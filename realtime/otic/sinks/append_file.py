"""A file that whole lines are appended to."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from otic.system.files import is_same_file, open_locked


class AppendFile:
    """Appends whole lines, or nothing of them, while no other process does.

    Not thread safe.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    @property
    def is_open(self) -> bool:
        """True while there is a file to append to."""
        return self._fd >= 0

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return os.fstat(self._fd).st_size

    def open(self) -> None:
        """Open the file, or begin it.

        Raises
        ------
        OSError
            Also where the path is no plain file, or another process appends to it.
        """
        self.close()
        # Not waiting for a reader, where the path is a named pipe.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        try:
            self._fd = open_locked(self._path, flags)
        except BlockingIOError:
            raise OSError(errno.EBUSY, "another process writes to it") from None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "it is no plain file")

    def was_moved(self) -> bool:
        """Tell whether the path is not, or no longer, the file that is open."""
        return not is_same_file(self._path, self._fd)

    def read(self, begin: int, size: int) -> bytes:
        """Read a part; raises OSError."""
        return os.pread(self._fd, size, begin)

    def cut(self, size: int) -> None:
        """Leave only the first ``size`` bytes; raises OSError."""
        os.ftruncate(self._fd, size)

    def append(self, lines: bytes, sync: bool = False) -> None:
        """Append all of ``lines`` or nothing; with ``sync`` they are on the disk then.

        Raises
        ------
        OSError
        """
        size = self.size
        left = memoryview(lines)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
            if sync:
                os.fsync(self._fd)
        except OSError:
            try:
                self.cut(size)
            except OSError:
                self.close()  # the next open repairs its end
            raise

    def close(self) -> None:
        """Let go of the file. Raises nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
