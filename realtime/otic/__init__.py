"""otic's live path: samples in, scores and events out.

The core is :class:`Pipeline`, pure: push samples, get items. Below it is the :class:`Frontend`
(log-mel frames and MFCC statistics), around it the :class:`Runner`, which takes sources to
sinks. ``docs/python.md`` leads from the one to the other, ``examples/`` has programs that run.

>>> import numpy as np
>>> from otic import Pipeline, load_bundle
>>> pipe = Pipeline(load_bundle("esc10-tiny"))
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
    from otic.audio.converter import Chunk, Converter, Lost
    from otic.audio.loading import load_audio
    from otic.audio.sources import ArraySource, FileSource, Source, SourceHealth
    from otic.detection.detector import Event, Gap, Item, Scores
    from otic.detection.thresholds import DecisionParams
    from otic.errors import OticError
    from otic.features.frontend import Frontend
    from otic.features.params import FeatureParams
    from otic.model.bundle import Bundle, load_bundle, save_bundle
    from otic.model.classifier import Classifier
    from otic.pipeline import Pipeline
    from otic.sinks.contract import AudioSink, Sink, StreamEnd, StreamStart
    from otic.sinks.jsonl import JsonlSink
    from otic.streaming.runner import Runner
    from otic.streaming.stop import Stop, stop_on_signals

_HOME = {
    "ArraySource": "audio.sources",
    "AudioSink": "sinks.contract",
    "Bundle": "model.bundle",
    "Chunk": "audio.converter",
    "Classifier": "model.classifier",
    "Converter": "audio.converter",
    "DecisionParams": "detection.thresholds",
    "Event": "detection.detector",
    "FeatureParams": "features.params",
    "FileSource": "audio.sources",
    "Frontend": "features.frontend",
    "Gap": "detection.detector",
    "Item": "detection.detector",
    "JsonlSink": "sinks.jsonl",
    "Lost": "audio.converter",
    "OticError": "errors",
    "Pipeline": "pipeline",
    "Runner": "streaming.runner",
    "Scores": "detection.detector",
    "Sink": "sinks.contract",
    "Source": "audio.sources",
    "SourceHealth": "audio.sources",
    "Stop": "streaming.stop",
    "StreamEnd": "sinks.contract",
    "StreamStart": "sinks.contract",
    "load_audio": "audio.loading",
    "load_bundle": "model.bundle",
    "save_bundle": "model.bundle",
    "stop_on_signals": "streaming.stop",
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
