"""The pure core: samples in, predictions and events out.

It has no thread, no clock, no file and no terminal.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otic.detection.detector import EventDetector, FindOnset
from otic.detection.loud import LOUD, LoudSounds
from otic.detection.onset import first_rise
from otic.detection.unknown import UNKNOWN, UnknownSounds
from otic.errors import ParameterError
from otic.features.frontend import Frontend, StreamFrontend
from otic.features.level import LevelMeter, LevelParams
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier, State
from otic.model.streaming import StreamParams
from otic.types import Event, Gap, Item, Level, Scores, mono_samples, usable_runs

ONSET_SECONDS = 2.0
"""Time before a step of a streaming model in which the onset of its sound is looked for."""


class Predictor(Protocol):
    """Turns features into scores, as :class:`otic.model.classifier.Classifier` does."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn float32 [n_features] into float32 [n_labels]."""


@runtime_checkable
class StepPredictor(Protocol):
    """Turns the frames of steps into scores, as :class:`otic.model.classifier.Classifier` does."""

    def cold_state(self) -> State:
        """Make the state with which a stream begins."""

    def step(self, frames: NDArray[np.float32], state: State) -> NDArray[np.float32]:
        """Turn float32 [n_features] into float32 [n_labels], and bring the state up to date."""


class _Steps:
    """Runs the steps of one stream, from its cold state on.

    Raises
    ------
    ParameterError
        If the classifier can't run steps.
    """

    def __init__(self, classifier: Predictor, stream: StreamParams) -> None:
        if not isinstance(classifier, StepPredictor):
            raise ParameterError(
                "a streaming model needs a classifier with cold_state() and step(), not "
                f"{type(classifier).__name__}"
            )
        self._classifier, self._stream = classifier, stream
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._state = self._classifier.cold_state()
        self._cold_steps = self._stream.warm_up_steps

    def predict(self, frames: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Turn the frames of a step into scores; None while the model warms up."""
        scores = self._classifier.step(frames, self._state)
        if self._cold_steps == 0:
            return scores
        self._cold_steps -= 1
        return None


class Detector(Protocol):
    """Turns scores into events, as :class:`otic.detection.detector.EventDetector` does."""

    @property
    def on(self) -> bool: ...

    @property
    def busy(self) -> bool: ...

    def set_threshold(self, label: str, value: float) -> None: ...

    def start(self, sample: int) -> None: ...

    def update(
        self, sample: int, scores: NDArray[np.float32], began: FindOnset
    ) -> tuple[NDArray[np.float64], list[Event]]: ...

    def close(self, sample: int) -> list[Event]: ...


class _Levels:
    """Measures the levels of one stream, and finds what is loud.

    Raises
    ------
    ParameterError
        If the rate is too low.
    """

    def __init__(self, sr: int, params: LevelParams) -> None:
        self._loud: LoudSounds | None = None
        if params.loud_db is None:
            self._meter = LevelMeter(sr, params)
        else:
            self._loud = LoudSounds(sr, params.loud_db - (params.calibration_db or 0.0))
            self._meter = LevelMeter(sr, params, self._loud.update)

    def push(self, y: NDArray[np.float32]) -> list[Item]:
        """Take samples, float32 [n], finite; returns what they complete."""
        levels = self._meter.push(y)
        return [*levels, *self._loud.events()] if self._loud is not None else [*levels]

    def lose(self, n: int) -> list[Level]:
        """Take note that ``n`` samples are lost."""
        return self._meter.lose(n)

    def close(self, sample: int) -> list[Event]:
        """End the stretch of audio at ``sample``: what is loud is no more."""
        if self._loud is None:
            return []
        self._loud.close(sample)
        return self._loud.events()

    def flush(self) -> list[Level]:
        """End the stream."""
        return self._meter.flush()

    def reset(self) -> None:
        """Forget everything."""
        self.close(0)
        self._meter.reset()


class Pipeline:
    """Classify one stream.

    The same samples give the same items however they are cut into blocks. Time
    is the sample clock: it counts samples, lost ones included, at the bundle's
    rate, from 0 at the start or the last :meth:`reset`.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    bundle : Bundle
        The model to serve.
    classifier : Predictor, optional
        Used in place of a new :class:`otic.model.classifier.Classifier`; for a streaming
        model, a :class:`StepPredictor`.
    detector : Detector, optional
        Used in place of a new :class:`otic.detection.detector.EventDetector`.
    unknown : bool
        Also report sounds that stand out from the background and get no label, as events
        of the label ``unknown``; see :mod:`otic.detection.unknown`.
    level : LevelParams, optional
        Also measure how loud each minute is, see :mod:`otic.features.level`, and report sounds
        above a limit, as events of the label ``loud``, see :mod:`otic.detection.loud`.

    Raises
    ------
    BundleError, RuntimeMissingError
        If the model can't be loaded.
    ParameterError
        If the model's rate is too low to measure levels, or one of its labels is ``unknown`` or
        ``loud`` and these are asked for.

    Examples
    --------
    >>> from otic.model.bundle import load_bundle
    >>> from otic.audio.soundscape import synthesise
    >>> pipe = Pipeline(load_bundle("esc10-stream"))
    >>> y, plan = synthesise(pipe.bundle.features.sr)
    >>> [(e.label, e.state) for e in pipe.process(y[:150_000]) if isinstance(e, Event)]
    [('rain', 'on')]
    >>> [(e.label, e.state) for e in pipe.lose(22050) if isinstance(e, Event)]
    [('rain', 'off')]
    >>> pipe.process(y[172_050:172_060])
    [Gap(sample=150000, lost=22050)]
    """

    def __init__(
        self,
        bundle: Bundle,
        classifier: Predictor | None = None,
        detector: Detector | None = None,
        unknown: bool = False,
        level: LevelParams | None = None,
    ) -> None:
        self.bundle = bundle
        classifier = classifier if classifier is not None else Classifier(bundle)
        self._steps = None if bundle.stream is None else _Steps(classifier, bundle.stream)
        self._predict = classifier.predict if self._steps is None else self._steps.predict
        self._frontend = open_frontend(bundle)
        self._detector: Detector = (
            detector
            if detector is not None
            else EventDetector(bundle.labels, bundle.decision, bundle.features.sr)
        )
        if unknown and UNKNOWN in bundle.labels:
            raise ParameterError(f"the model has a label '{UNKNOWN}' of its own")
        self._unknown = UnknownSounds(bundle.features.sr) if unknown else None
        if level is not None and level.loud_db is not None and LOUD in bundle.labels:
            raise ParameterError(f"the model has a label '{LOUD}' of its own")
        self._levels = None if level is None else _Levels(bundle.features.sr, level)
        self._fresh_frames = min(bundle.inference_hop_frames, bundle.features.window_frames)
        self.reset()

    @property
    def sample(self) -> int:
        """Sample clock: samples so far, lost ones included."""
        return self._sample

    @property
    def lost(self) -> int:
        """Lost samples so far."""
        return self._lost

    def process(self, y: ArrayLike) -> list[Item]:
        """Take samples.

        Parameters
        ----------
        y : float32 [n]
            Mono samples at ``bundle.features.sr``, nominally in [-1, 1], any
            ``n``. NaN, infinite and absurdly large ones (``MAX_AMPLITUDE``) count as lost.

        Returns
        -------
        list of Scores, Event, Gap and Level
            Everything that these samples completed, in time order. A gap is reported once
            its length is known: when audio goes on after it, or by :meth:`flush`.

        Raises
        ------
        ParameterError
            If ``y`` is not one-dimensional.
        """
        samples = mono_samples(y)
        items: list[Item] = []
        for start, stop, usable in usable_runs(samples):
            if usable:
                items += self._resume()
                self._consume_and_measure(samples[start:stop], items)
            else:
                items += self.lose(stop - start)
        return items

    def lose(self, n: int) -> list[Item]:
        """Take note that the next ``n`` samples of the stream are lost.

        Whatever is on goes off, and a new window starts behind the gap.
        """
        if n <= 0:
            return []
        items: list[Item] = []
        if self._gap == 0:
            items += self._close()
            self._frontend.reset()
        self._gap += n
        self._lost += n
        self._sample += n
        if self._levels is not None:
            items += self._levels.lose(n)
        return items

    def set_threshold(self, label: str, value: float) -> None:
        """Set the smoothed score, in (0, 1], at which events of a label start; 1 means never.

        The score at which they end keeps its ratio to it. What is on stays on.

        Raises
        ------
        ParameterError
            If there is no such label, or the value is outside the range.
        """
        self._detector.set_threshold(label, value)

    def flush(self) -> list[Item]:
        """End the stream: whatever is on goes off.

        The sample clock stands; samples that follow would start a new window.
        """
        items: list[Item] = [*self._resume(), *self._close()]
        if self._levels is not None:
            items += self._levels.flush()
        self._start_stretch()
        return items

    def reset(self) -> None:
        """Forget everything; the sample clock starts from 0."""
        self._sample = 0
        self._lost = 0
        self._gap = 0  # length of the gap that the stream is in; 0 outside a gap
        if self._levels is not None:
            self._levels.reset()
        self._start_stretch()

    def _start_stretch(self) -> None:
        self._frontend.reset()
        if self._steps is not None:
            self._steps.reset()
        self._detector.start(self._sample)
        if self._unknown is not None:
            self._unknown.start(self._sample)
        self._next_inference = self._sample + self.bundle.features.window_samples

    def _resume(self) -> list[Item]:
        """Report the gap that the stream was in, if any."""
        if self._gap == 0:
            return []
        gap = Gap(self._sample - self._gap, self._gap)
        self._gap = 0
        self._start_stretch()
        return [gap]

    def _consume_and_measure(self, y: NDArray[np.float32], items: list[Item]) -> None:
        levels: list[Item] = [] if self._levels is None else self._levels.push(y)
        if not levels:
            self._consume(y, items)
            return
        self._consume(y, levels)
        items += sorted(levels, key=_time)

    def _consume(self, y: NDArray[np.float32], items: list[Item]) -> None:
        """Push up to each inference's last sample, so that the window ends there."""
        position = 0
        while position < len(y):
            step = min(len(y) - position, self._next_inference - self._sample)
            self._frontend.push(y[position : position + step])
            position += step
            self._sample += step
            if self._sample == self._next_inference:
                self._infer(items)
                self._next_inference += self.bundle.inference_hop_samples

    def _infer(self, items: list[Item]) -> None:
        scores = self._predict(self._frontend.features())
        if scores is None:  # a streaming model warms up
            return
        smoothed, events = self._detector.update(self._sample, scores, self._began)
        labels = self.bundle.labels
        items.append(
            Scores(
                self._sample,
                self._sample / self.bundle.features.sr,
                dict(zip(labels, scores.tolist(), strict=True)),
                dict(zip(labels, smoothed.tolist(), strict=True)),
            )
        )
        items.extend(events)
        if self._unknown is not None:
            level_db = self._frontend.level_db(self._fresh_frames)
            items += self._unknown.update(
                self._sample, level_db, self._detector.on, self._detector.busy, self._began
            )

    def _close(self) -> list[Event]:
        """End all events that are on."""
        events = self._detector.close(self._sample)
        if self._unknown is not None:
            events = events + self._unknown.close(self._sample)
        if self._levels is not None:
            events = events + self._levels.close(self._sample)
        return events

    def _began(self) -> int:
        """Find the sample at which the latest sound began; the first of the window, if older."""
        p, stream = self.bundle.features, self.bundle.stream
        log_mel = self._frontend.log_mel()
        frame = first_rise(log_mel, p.hop_length / p.sr)
        start = self._sample - p.window_samples
        if stream is not None:  # more frames are kept than a step takes
            start -= (len(log_mel) - p.window_frames) * p.hop_length
        if frame is not None:
            return start + frame * p.hop_length + (0 if p.center else p.n_fft // 2)
        return start if stream is None else self._sample - round(stream.delay_seconds * p.sr)


def _time(item: Item) -> float:
    """Return when an item was decided, in seconds of the stream."""
    assert not isinstance(item, Gap)
    return item.time


def open_frontend(bundle: Bundle) -> Frontend | StreamFrontend:
    """Make the front end that a model needs."""
    p = bundle.features
    if bundle.stream is None:
        return Frontend(p)
    return StreamFrontend(p, round(ONSET_SECONDS * p.sr / p.hop_length))
