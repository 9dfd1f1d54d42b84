"""Where a model comes from: what its bundle says of that."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from otic import __version__


def provenance(
    data: str,
    clips: int,
    folds: list[int],
    preset: str,
    epochs: int,
    seed: int,
    temperature: float,
    teacher: str | None,
    others: str | None,
    base: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Plain values for JSON; the same for the same training on the same machine."""
    import tensorflow as tf

    return {
        "data": data,
        "clips": clips,
        "folds": folds,
        "preset": preset,
        "epochs": epochs,
        "seed": seed,
        "temperature": temperature,
        "teacher": teacher,
        "others": others,
        **({} if base is None else {"base": base}),
        "commit": commit(),
        "versions": {
            "otic": __version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
    }


def commit() -> str | None:
    """The commit of the code that runs; with a plus where it was changed since; None if unknown."""
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)  # not somebody's site-packages
        top = Path(_git(here.parent, "rev-parse", "--show-toplevel"))
        head = _git(top, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(top, "status", "--porcelain", "realtime", "training") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
