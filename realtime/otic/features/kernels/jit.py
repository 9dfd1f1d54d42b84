"""How kernels are compiled, and where their machine code is kept between starts.

Compiling takes seconds, and more on a small computer, so the code of the entry
kernels is kept on disk, in the first of these folders that can be written:

1. ``$NUMBA_CACHE_DIR``,
2. ``$CACHE_DIRECTORY``, which systemd sets for a unit with ``CacheDirectory=``,
3. the package's own ``__pycache__``,
4. ``$XDG_CACHE_HOME/otic`` or ``~/.cache/otic``.

Code found in an earlier one of them that can only be read (an image that was
built with ``otic warmup``) is copied from there. Where none can be written, a
temporary folder serves this process alone. Code that can't be read is thrown
away and made again. :func:`cache_problem` tells where each start compiles.

Numba would notice a change of the file that an entry kernel is in, but not of
the files that it calls; so each version of the sources has a folder of its own. It
does not lock its files; so each kernel has files of its own, and two starts at
once write the same into them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from otic import __version__
from otic.errors import RuntimeMissingError

# Sums may be reordered and fused, so that they vectorise; NaN and infinity keep their meaning.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

SOURCES = (
    "jit.py",
    "../tables.py",
    "fft.py",
    "level.py",
    "log_mel.py",
    "simd.py",
    "mfcc_statistics.py",
)
"""The files that make up the kernels, from this folder on."""

_PROBE = bytes(65536)  # a full disk takes an empty file, but not this

Kernel = Callable[..., Any]


def leaf(function: Kernel) -> Kernel:
    """Compile a function of scalars that is always inlined."""
    return _njit(no_cpython_wrapper=True, forceinline=True)(function)


def inner(*sizes: int) -> Callable[[Kernel], Kernel]:
    """Compile a kernel that only other kernels call: no wrapper, no file on disk.

    Parameters
    ----------
    sizes : int
        What the function depends on besides its arguments; part of its name. Code kept by
        different processes is linked by name, and numba tells functions of one name
        apart by a number that each process counts from the start.

    Raises
    ------
    ValueError
        If there is a kernel of that name already: the one could run in the other's place.
    """

    def compile_later(function: Kernel) -> Kernel:
        function.__qualname__ = "_".join([function.__name__, *map(str, sizes)])
        name = (function.__module__, function.__qualname__)
        if name in _inner_names:
            raise ValueError(f"there is a kernel {name[1]} in {name[0]} already")
        _inner_names.add(name)
        return _njit(no_cpython_wrapper=True)(function)

    return compile_later


def entry(name: str, signature: str) -> Callable[[Kernel], Kernel]:
    """Compile a kernel that Python calls, for this signature alone, and keep its code.

    It happens here and now, or the code comes from disk; a call never compiles.
    A call with other types raises TypeError. It holds the GIL: live calls take
    microseconds, and to let go of it and get it back costs 3 % of a hop alone,
    and up to 5 ms where another thread is busy.

    Parameters
    ----------
    name : str
        Of the files with its code; no two kernels may share one.
    signature : str
        In numba's words.

    Raises
    ------
    RuntimeMissingError
        If numba is set not to compile.
    """

    def compile_now(function: Kernel) -> Kernel:
        if numba.config.DISABLE_JIT:
            raise RuntimeMissingError(
                "NUMBA_DISABLE_JIT is set, but otic's kernels must be compiled"
            )
        function.__qualname__ = name
        with _lock:
            if _state.folder is not None:
                try:
                    return _compile_cached(function, signature)
                except Exception:  # whatever a damaged file or a full disk may raise
                    shutil.rmtree(_state.folder, ignore_errors=True)
                try:
                    return _compile_cached(function, signature)
                except Exception as error:
                    _state.problem = f"compiled kernels can't be kept in {_state.folder}: {error}"
            return _njit(signature)(function)

    return compile_now


def _compile_cached(function: Kernel, signature: str) -> Kernel:
    kernel: Any = _njit()(function)
    # Set for numba only while it looks for a place: it is the whole process's setting.
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_state.folder)
    try:
        kernel.enable_caching()
    finally:
        numba.config.CACHE_DIR = before
    # Numba takes code for stale where the source's time of change differs, as it does once an
    # image was packed. The folder's name stands for the sources already.
    files: Any = getattr(kernel._cache, "_cache_file", None)
    if hasattr(files, "_source_stamp"):
        files._source_stamp = "see the folder's name"
    kernel.compile(signature)
    kernel.disable_compile()
    if _state.temporary and sum(kernel.stats.cache_misses.values()):
        _state.problem = _NOWHERE
    return kernel  # type: ignore[no-any-return]


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
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_PROBE)
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


def _version() -> str:
    """Hash the kernels' sources; without sources, otic's version."""
    here = Path(__file__).parent
    try:
        text = "".join((here / name).read_text("utf-8") for name in SOURCES)
    except OSError:
        text = __version__
    return f"otic-kernels-{zlib.crc32(text.encode()):08x}"


def _is_filled(folder: Path) -> bool:
    return any(folder.glob("*/*.nbi"))


def _copy_into(empty: Path, filled: Path) -> None:
    """Copy files, but not their permissions, and all or none of them."""
    beside = Path(tempfile.mkdtemp(prefix="otic-", dir=empty.parent))
    try:
        for file in filled.glob("*/*.nb?"):
            (beside / file.parent.name).mkdir(exist_ok=True)
            shutil.copyfile(file, beside / file.parent.name / file.name)
        beside.rename(empty)  # fails where another start was quicker, which will do as well
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)


class _State:
    """Folder in which code is kept, and what is wrong with it."""

    def __init__(self) -> None:
        version = _version()
        own = Path(__file__).parent / "__pycache__" / version
        candidates = [folder / version for folder in _candidates()]
        chosen = next((folder for folder in candidates if _can_write(folder)), None)
        read_only = candidates[: candidates.index(chosen)] if chosen else candidates
        filled = next((folder for folder in read_only if _is_filled(folder)), None)
        self.temporary = chosen is None
        self.folder = chosen or _temporary_folder()
        self.problem = None if self.folder else _NOWHERE
        if self.folder == own:
            for other in own.parent.glob("otic-kernels-*"):
                if other != own:  # of sources that are no longer there
                    shutil.rmtree(other, ignore_errors=True)
        if filled and self.folder and not _is_filled(self.folder):
            _copy_into(self.folder, filled)


_NOWHERE = (
    "no folder for compiled kernels can be written, so that each start compiles them again, for "
    "some seconds: set NUMBA_CACHE_DIR to a folder that can, or run 'otic warmup' on such a "
    "machine before the installation becomes read-only"
)
_inner_names: set[tuple[str, str]] = set()
_lock = threading.RLock()
_state = _State()


def cache_folder() -> Path | None:
    """Name the folder of compiled kernels; None where only this process has them."""
    return None if _state.temporary else _state.folder


def cache_problem() -> str | None:
    """Explain in one line why each start compiles again; None where it does not."""
    return _state.problem


def processor_name() -> str:
    """LLVM's name of the processor that kernels are compiled for."""
    from llvmlite import binding

    return str(binding.get_host_cpu_name())
