"""Child processes of otic, for work that must not be done in its own process."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def child_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours without the current folder on its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """Return our environment with the folders of our packages, which may be on our path only."""
    specs = (importlib.util.find_spec(name) for name in ("otic", "otic_models"))
    roots = dict.fromkeys(str(Path(s.origin).parents[1]) for s in specs if s and s.origin)
    given = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*roots, *filter(None, [given])])}
