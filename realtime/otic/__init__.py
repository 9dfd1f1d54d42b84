"""otic's live path: samples in, scores and events out.

The core is :class:`Pipeline`, pure: push samples, get items. Below it is the :class:`Frontend`
(log-mel frames and MFCC statistics), around it the :class:`Runner`, which takes sources to
sinks. ``docs/python.md`` leads from the one to the other, ``examples/`` has programs that run.

>>> import numpy as np
>>> from otic import Pipeline, load_bundle
>>> pipe = Pipeline(load_bundle("esc10-mfcc-mlp"))
>>> silence = np.zeros(3 * pipe.bundle.features.sr, np.float32)
>>> items = pipe.process(silence) + pipe.flush()
>>> type(items[0]).__name__, sorted(items[0].scores)[:3]
('Scores', ['chainsaw', 'clock_tick', 'crackling_fire'])

Names are loaded when they are first used (PEP 562), so that ``import otic``
costs next to nothing: numba is there only once a front end is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from otic.audio.converter import Converter
    from otic.audio.loading import load_audio
    from otic.audio.sources import ArraySource, FileSource
    from otic.detection.thresholds import DecisionParams
    from otic.errors import OticError
    from otic.features.frontend import Frontend
    from otic.features.params import FeatureParams
    from otic.model.bundle import Bundle, load_bundle, save_bundle
    from otic.model.classifier import Classifier
    from otic.pipeline import Pipeline
    from otic.sinks.jsonl import JsonlSink
    from otic.streaming.control import Stop, stop_on_signals
    from otic.streaming.runner import Runner
    from otic.types import (
        AudioSink,
        Chunk,
        Event,
        Gap,
        Item,
        Lost,
        Scores,
        Sink,
        Source,
        SourceHealth,
        StreamEnd,
        StreamStart,
    )

_HOME = {
    "ArraySource": "audio.sources",
    "AudioSink": "types",
    "Bundle": "model.bundle",
    "Chunk": "types",
    "Classifier": "model.classifier",
    "Converter": "audio.converter",
    "DecisionParams": "detection.thresholds",
    "Event": "types",
    "FeatureParams": "features.params",
    "FileSource": "audio.sources",
    "Frontend": "features.frontend",
    "Gap": "types",
    "Item": "types",
    "JsonlSink": "sinks.jsonl",
    "Lost": "types",
    "OticError": "errors",
    "Pipeline": "pipeline",
    "Runner": "streaming.runner",
    "Scores": "types",
    "Sink": "types",
    "Source": "types",
    "SourceHealth": "types",
    "Stop": "streaming.control",
    "StreamEnd": "types",
    "StreamStart": "types",
    "load_audio": "audio.loading",
    "load_bundle": "model.bundle",
    "save_bundle": "model.bundle",
    "stop_on_signals": "streaming.control",
}

__all__ = [
    "ArraySource",
    "AudioSink",
    "Bundle",
    "Chunk",
    "Classifier",
    "Converter",
    "DecisionParams",
    "Event",
    "FeatureParams",
    "FileSource",
    "Frontend",
    "Gap",
    "Item",
    "JsonlSink",
    "Lost",
    "OticError",
    "Pipeline",
    "Runner",
    "Scores",
    "Sink",
    "Source",
    "SourceHealth",
    "Stop",
    "StreamEnd",
    "StreamStart",
    "__version__",
    "load_audio",
    "load_bundle",
    "save_bundle",
    "stop_on_signals",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'otic' has no attribute '{name}'")
    return getattr(import_module(f"otic.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
