"""otic's live path: samples in, scores and events out.

Names are loaded when they are first used (PEP 562), so that ``import realtime``
costs next to nothing: numba is there only once a front end is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from realtime.version import __version__

if TYPE_CHECKING:
    from realtime.bundle import Bundle, load_bundle, save_bundle
    from realtime.classifier import Classifier
    from realtime.decision import DecisionParams
    from realtime.errors import OticError
    from realtime.events import Event, Gap, Scores
    from realtime.frontend import Frontend
    from realtime.params import FeatureParams
    from realtime.pipeline import Pipeline

_HOME = {
    "Bundle": "bundle",
    "Classifier": "classifier",
    "DecisionParams": "decision",
    "Event": "events",
    "FeatureParams": "params",
    "Frontend": "frontend",
    "Gap": "events",
    "OticError": "errors",
    "Pipeline": "pipeline",
    "Scores": "events",
    "load_bundle": "bundle",
    "save_bundle": "bundle",
}

__all__ = [
    "Bundle",
    "Classifier",
    "DecisionParams",
    "Event",
    "FeatureParams",
    "Frontend",
    "Gap",
    "OticError",
    "Pipeline",
    "Scores",
    "__version__",
    "load_bundle",
    "save_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'realtime' has no attribute '{name}'")
    return getattr(import_module(f"realtime.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
