"""The newest scenes of a run, in files, so that a run that goes on has them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]


class Ring:
    """Log-mel frames and what the teacher says of them, by the number of the scene.

    One process writes, another reads what is complete.

    Parameters
    ----------
    folder : Path
    length : int
        Scenes that it holds.
    mel, frames : tuple of int
        Shapes of a scene's arrays.
    """

    def __init__(
        self, folder: Path, length: int, mel: tuple[int, ...], frames: tuple[int, ...]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.length = length
        self._mel = _array(folder / "mel.npy", (length, *mel), "f2")
        self._frames = _array(folder / "frames.npy", (length, *frames), "f2")
        self._number = _array(folder / "number.npy", (length,), "i8")

    def has(self, number: int) -> bool:
        """True once the scene is complete."""
        return int(self._number[number % self.length]) == number + 1  # 0: nothing yet

    def put(self, number: int, mel: F16, frames: F16) -> None:
        """Write one scene over the oldest."""
        i = number % self.length
        self._number[i] = 0
        self._mel[i], self._frames[i] = mel, frames
        self._number[i] = number + 1

    def get(self, numbers: NDArray[np.int64]) -> tuple[F16, F16]:
        """Scenes by number; all must be there."""
        i = numbers % self.length
        return self._mel[i], self._frames[i]


def _array(path: Path, shape: tuple[int, ...], dtype: str) -> Any:
    """A file as an array: a new one where it is missing or of another shape."""
    if path.exists():
        found = np.lib.format.open_memmap(path, "r+")
        if found.shape == shape:
            return found
        path.unlink()
    return np.lib.format.open_memmap(path, "w+", dtype, shape)
