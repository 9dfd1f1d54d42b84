"""A session view with streams in mid-course, for tests of what shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from otic.audio.sources import ArraySource
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic.pipeline import Pipeline, Predictor
from otic.review.folder import ReviewFolder
from otic.streaming.control import Control
from otic.streaming.monitor import Monitor, TimedClassifier
from otic.streaming.recent import MemorySink
from otic.streaming.session_view import SessionView
from otic.streaming.stream import Stream
from otic.types import Chunk, Lost
from tests.support.helpers import F32, bundled, decision


class ManyScores:
    """Scores of 521 classes that wander, the same ones each time."""

    def __init__(self, n_labels: int) -> None:
        rng = np.random.default_rng(5)
        self._phase, self._speed = rng.uniform(0, 6, n_labels), rng.uniform(0.05, 0.4, n_labels)
        self._height = rng.beta(0.4, 3.0, n_labels)
        self._calls = 0

    def predict(self, features: F32) -> F32:
        self._calls += 1
        wave = 0.5 + 0.5 * np.sin(self._phase + self._speed * self._calls)
        return (wave * self._height).astype(np.float32)


def many_labels() -> Bundle:
    """521 labels and three groups of them."""
    own = tuple(f"Sound {i:03d}" for i in range(521))
    groups = {"Animal": own[:70], "Music": own[130:280], "Vehicle": own[294:340]}
    labels = (*own, *groups)
    return replace(
        bundled(), name="yamnet-like", labels=labels, groups=groups, decision=decision(len(labels))
    )


class Running:
    """Streams that have been fed, and not ended.

    Parameters
    ----------
    folder : Path
        For marks and saved sound.
    sounds : mapping of str to sequence of chunks
        What each source gives.
    """

    def __init__(
        self,
        folder: Path,
        sounds: dict[str, Sequence[Chunk]],
        bundle: Bundle | None = None,
        predictor: Predictor | None = None,
        sound_is_written: bool = True,
    ) -> None:
        self.bundle = bundled() if bundle is None else bundle
        self.control = Control(self.bundle.labels, self.bundle.decision)
        self.memories = MemorySink(
            self.bundle, paused=lambda: self.control.paused, keeps_sound=sound_is_written
        )
        self.messages: list[str] = []
        self.review = ReviewFolder(folder / "review", sound=sound_is_written)
        self.session_view = SessionView(
            self.bundle,
            self.control,
            self.memories,
            "test",
            self.review,
            folder / "saved",
            sound_is_written,
            self.messages,
        )
        classifier = TimedClassifier(predictor or Classifier(self.bundle))
        self.streams = {}
        monitors = []
        for name, chunks in sounds.items():
            source = ArraySource(name, np.zeros(0, np.float32), self.bundle.features.sr, 1024)
            monitor = Monitor(source, self.bundle, classifier)
            monitors.append(monitor)
            stream = Stream(
                source, Pipeline(self.bundle, classifier), monitor, [self.memories], None
            )
            stream.begin()
            self.streams[name] = stream
            self.feed(name, chunks)
        self.session_view.show(monitors)

    def feed(self, name: str, chunks: Sequence[Chunk]) -> None:
        """The source gives these; sound in blocks, as live."""
        stream = self.streams[name]
        for chunk in chunks:
            if isinstance(chunk, Lost):
                stream.next_chunk = chunk
                stream.take()
                continue
            for start in range(0, len(chunk), 1024):
                stream.next_chunk = chunk[start : start + 1024]
                stream.take()
