"""A small disk that somebody else fills and empties."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path


class SmallDisk:
    """A tmpfs of a few megabytes where that may be mounted, else a folder that is never full.

    ``limited`` tells which.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._filler = folder / "somebody-elses"
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        self.limited = False
        with suppress(OSError):
            self.limited = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def fill(self) -> None:
        """Leave no byte."""
        if not self.limited:
            return
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = 1 << 20
            while size:
                try:
                    os.write(fd, bytes(size))
                except OSError:
                    size //= 2
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Give it all back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it, with all that it holds."""
        if self.limited:
            subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)
