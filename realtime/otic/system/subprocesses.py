"""How otic starts itself again, for what must not be done in its own process."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours, with nothing from the current folder on its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def child_environment() -> dict[str, str]:
    """Our environment, with where our packages are: a clone may be on our own path only."""
    specs = (importlib.util.find_spec(name) for name in ("otic", "otic_models"))
    roots = dict.fromkeys(str(Path(s.origin).parents[1]) for s in specs if s and s.origin)
    given = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*roots, *filter(None, [given])])}
