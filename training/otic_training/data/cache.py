"""Store on disk of results that took long, by what they were made from.

Features of a clip are kept by its bytes, the parameters and the code that computes them;
tests of a held-out fold are kept by all that went into them. So an interrupted run
continues where it was, and a second one is quick. Nothing else depends on
the folder: it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import otic
import otic_training

STORE_VARIABLE = "OTIC_STORE"
"""Names the folder; ``off`` keeps nothing."""

Arrays = dict[str, NDArray[np.generic]]


class Store:
    """Arrays on disk, by key.

    Parameters
    ----------
    folder : Path or None
        None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def load(self, key: str) -> Arrays | None:
        """Read the arrays of a key; None where there are none, or the file is damaged."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except Exception:  # damage has many faces, and what was kept can be made again
            return None

    def save(self, key: str, arrays: Arrays) -> None:
        """Keep arrays, unless that fails: a full disk, say, is no reason to stop."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self._folder, suffix=".part", delete=False
            ) as file:
                beside = Path(file.name)
                try:
                    np.savez(file, **arrays)  # type: ignore[arg-type]
                    file.close()
                    beside.rename(self._folder / f"{key}.npz")
                finally:
                    beside.unlink(missing_ok=True)
        except OSError:
            return


def default_store() -> Store:
    """Open ``$OTIC_STORE``, ``$XDG_CACHE_HOME/otic/training`` or ``~/.cache/otic/training``."""
    named = os.environ.get(STORE_VARIABLE)
    if named == "off":
        return Store(None)
    if named:
        return Store(Path(named))
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Store(Path(caches) / "otic" / "training")


def key_of(*parts: object) -> str:
    """Hash parts to a key: bytes as they are, the rest by its ``repr``."""
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:40]


def feature_code() -> bytes:
    """Stand for the code that computes features and takes windows, and its libraries."""
    live = Path(otic.__file__).parent
    names = ("chunks", "converter", "decoder", "ffmpeg", "file_bytes", "mpeg", "parts", "sources")
    files = [live / "types.py", *(live / "audio" / f"{name}.py" for name in names)]
    files.append(_beside("windows"))
    files += sorted((live / "features").glob("**/*.py"))
    return _versions("numpy", "numba", "soxr", "soundfile") + _contents(files)


def mixing_code() -> bytes:
    """Stand for the code that mixes scenes and computes their features, and its libraries."""
    names = ("scenes", "backgrounds", "synthetic")
    return feature_code() + _versions("scipy") + _contents([_beside(name) for name in names])


def fitting_code() -> bytes:
    """Stand for the code that computes features, trains and tests, and its libraries."""
    here = Path(otic_training.__file__).parent
    files = [
        path for room in ("data", "networks", "fitting") for path in (here / room).glob("*.py")
    ]
    libraries = _versions("tensorflow", "keras", "scikit-learn", "ai-edge-litert")
    return feature_code() + libraries + _contents(sorted(files))


def _beside(name: str) -> Path:
    return Path(__file__).with_name(f"{name}.py")


def _contents(files: list[Path]) -> bytes:
    return b"".join(path.read_bytes() for path in files)


def _versions(*libraries: str) -> bytes:
    return repr([(name, metadata.version(name)) for name in libraries]).encode()
