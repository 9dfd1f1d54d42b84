"""How kernels are compiled, and where their machine code is kept between starts.

Compiling takes seconds, and more on a small computer, so the code of the entry
kernels is kept on disk, in the first of these folders that can be written:

1. ``$NUMBA_CACHE_DIR``,
2. ``$CACHE_DIRECTORY``, which systemd sets for a unit with ``CacheDirectory=``,
3. the package's own ``__pycache__``,
4. ``$XDG_CACHE_HOME/otic`` or ``~/.cache/otic``.

Code found in an earlier one of them that can only be read (an image that was
built with ``otic warmup``) is copied from there. Where none can be written, a
temporary folder serves this process alone, and :data:`CACHE_PROBLEM` says so.

Numba notices a change of the file that an entry kernel is in, but not of the
files that it calls; so each version of the sources has a folder of its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# Sums may be reordered and fused, so that they vectorise; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

SOURCES = ("compiling.py", "fft.py", "kernels.py", "simd.py", "statistics.py")
"""The files that make up the kernels."""

Kernel = Callable[..., Any]


def leaf(function: Kernel) -> Kernel:
    """Compile a function of scalars that is always inlined."""
    return _njit(no_cpython_wrapper=True, forceinline=True)(function)


def inner(function: Kernel) -> Kernel:
    """Compile a kernel that only other kernels call: no wrapper, no file on disk."""
    return _njit(no_cpython_wrapper=True)(function)


def entry(signature: str) -> Callable[[Kernel], Kernel]:
    """Compile a kernel that Python calls, for this signature alone, and keep its code.

    It happens here and now, or the code comes from disk; a call never compiles.
    A call with other types raises TypeError. It holds the GIL: live calls take
    microseconds, and to let go of it and get it back costs 3 % of a hop alone,
    and up to 5 ms where another thread is busy.
    """

    def compile_now(function: Kernel) -> Kernel:
        # Set for numba only while this kernel is compiled: it is the whole process's setting.
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(CACHE_FOLDER or "")
        try:
            return _njit(signature, cache=CACHE_FOLDER is not None)(function)
        finally:
            numba.config.CACHE_DIR = before

    return compile_now


def _njit(*args: Any, **options: Any) -> Callable[[Kernel], Kernel]:
    decorate: Callable[[Kernel], Kernel] = numba.njit(*args, fastmath=FASTMATH, **options)
    return decorate


def _candidates() -> list[Path]:
    folders = []
    if numba.config.CACHE_DIR:
        folders.append(Path(numba.config.CACHE_DIR))
    if os.environ.get("CACHE_DIRECTORY"):
        folders.append(Path(os.environ["CACHE_DIRECTORY"].split(":")[0]))
    folders.append(Path(__file__).parent / "__pycache__")
    if os.environ.get("XDG_CACHE_HOME"):
        folders.append(Path(os.environ["XDG_CACHE_HOME"]) / "otic")
    elif os.environ.get("HOME"):
        folders.append(Path(os.environ["HOME"]) / ".cache" / "otic")
    return folders


def _can_write(folder: Path) -> bool:
    """Find out by writing: root passes every check of permissions, but not a read-only disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _temporary_folder() -> Path | None:
    try:
        folder = tempfile.mkdtemp(prefix="otic-")
    except OSError:
        return None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _choose_folder() -> tuple[Path | None, str | None]:
    """Where to keep machine code; and, where there is no good place, why, in one line."""
    sources = "".join((Path(__file__).parent / name).read_text("utf-8") for name in SOURCES)
    version = f"otic-kernels-{zlib.crc32(sources.encode()):08x}"
    candidates = [folder / version for folder in _candidates()]
    chosen = next((folder for folder in candidates if _can_write(folder)), None)
    read_only = candidates[: candidates.index(chosen)] if chosen else candidates
    filled = next((folder for folder in read_only if any(folder.glob("*/*.nbi"))), None)
    problem = None
    if chosen is None:
        chosen = _temporary_folder()
        if filled is None:
            problem = (
                "no folder for compiled kernels can be written, so that each start compiles them "
                "anew, for some seconds: set NUMBA_CACHE_DIR to a folder that can, "
                "or run 'otic warmup' before the installation becomes read-only"
            )
    if filled is not None and chosen is not None:
        try:
            shutil.copytree(filled, chosen, dirs_exist_ok=True)
        except OSError as error:
            problem = f"compiled kernels in {filled} can't be used: {error}"
    return chosen, problem


CACHE_FOLDER, CACHE_PROBLEM = _choose_folder()
"""The folder, or None; and a line for the user where every start compiles anew, or None."""
