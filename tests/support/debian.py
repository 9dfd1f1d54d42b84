"""Programs that only tests need, from Debian's packages."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class NotInstalledError(Exception):
    """A program is not there and can't be installed, or does not run."""


@contextmanager
def needed() -> Iterator[None]:
    """Skip the test that can't have what it needs; in CI, fail it."""
    try:
        yield
    except NotInstalledError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs all tests: {error}")
        pytest.skip(str(error))


def install(packages: list[str], missing: Callable[[], list[str]], *options: str) -> None:
    """Install packages with apt, where something is missing and that is allowed.

    Raises
    ------
    NotInstalledError
        If something is still missing then.
    """
    with (Path(tempfile.gettempdir()) / "otic-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers of pytest-xdist want the same, or others
        if not missing():
            return
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise NotInstalledError(f"not installed: {', '.join(missing())}")
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "-y", *options, *packages]):
            done = subprocess.run(
                ["apt-get", *arguments], env=env, capture_output=True, check=False
            )
        if missing():
            raise NotInstalledError(f"apt-get could not install: {done.stderr.decode()[-500:]}")
