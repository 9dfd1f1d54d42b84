"""Parameters of a streaming model: how it hands its state from step to step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from otic.config.values import as_float, as_tuple, check_keys, check_whole
from otic.errors import ParameterError
from otic.features.params import LOG_MEL, FeatureParams
from otic.model.interface import MAX_OUTPUTS, ModelInterface

Segment = tuple[int, tuple[float, ...]]
"""A place in a state, and the numbers from there on."""

BASE, HEAD = "base", "head"
MAX_STATES = 64
MAX_WARM_UP_STEPS = 1000
MAX_DELAY_SECONDS = 10.0
_MAX_START = 2**24


@dataclass(frozen=True)
class StateTensor:
    """One tensor that a model hands on.

    Parameters
    ----------
    input, output : int
        Number of the input that takes it and of the output that gives it, from 0.
    part : str
        Name of the part of the model that it belongs to.
    initial : tuple of (int, tuple of float)
        Numbers at the start of a stream, as places and what begins there; 0 elsewhere.
    """

    input: int
    output: int
    part: str
    initial: tuple[Segment, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not 0 <= value < MAX_OUTPUTS:
                raise ParameterError(
                    f"{name}={value!r} of a state must be a whole number from 0 to "
                    f"{MAX_OUTPUTS - 1}"
                )
        if not isinstance(self.part, str):
            raise ParameterError(f"part={self.part!r} of a state must be text")

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, without initial numbers: they have a file of their own."""
        return {"input": self.input, "output": self.output, "part": self.part}


@dataclass(frozen=True)
class StreamParams:
    """How a streaming model is served: each inference takes new frames and the state.

    An inference is a step: it takes the latest ``window_frames`` log-mel frames, of which
    ``inference_hop_frames`` are new, and the state that the step before gave. A stream, and
    what follows a gap, begins with the initial state.

    Parameters
    ----------
    warm_up_steps : int
        Steps at the start of a stream that give no scores.
    delay_seconds : float
        Time from the middle of the sound that a score is about to the score.
    states : tuple of StateTensor
        Tensors that are handed on.
    parts : dict of str to dict
        Parts of the model, ``base`` and ``head``: their names, and what is known of them.
        Of the base, ``tensor`` names the tensor that the head takes.

    Raises
    ------
    ParameterError
        If a value is outside its range.
    """

    warm_up_steps: int
    delay_seconds: float
    states: tuple[StateTensor, ...]
    parts: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        steps = self.warm_up_steps
        if steps != 0:
            check_whole("warm_up_steps", steps)
        if steps > MAX_WARM_UP_STEPS:
            raise ParameterError(f"warm_up_steps={steps} must be at most {MAX_WARM_UP_STEPS}")
        object.__setattr__(self, "delay_seconds", as_float("delay_seconds", self.delay_seconds))
        if not 0.0 <= self.delay_seconds <= MAX_DELAY_SECONDS:
            raise ParameterError(
                f"delay_seconds={self.delay_seconds:g} must be from 0 to {MAX_DELAY_SECONDS:g}"
            )
        if not 1 <= len(self.states) <= MAX_STATES:
            raise ParameterError(
                f"a streaming model has {len(self.states)} states: 1 to {MAX_STATES} are needed"
            )
        for name in ("input", "output"):
            numbers = [getattr(state, name) for state in self.states]
            if len(set(numbers)) < len(numbers):
                raise ParameterError(f"two states have the same {name}: each needs its own")
        self._check_parts()

    def _check_parts(self) -> None:
        named = isinstance(self.parts, dict) and all(
            isinstance(part, dict) for part in self.parts.values()
        )
        if not named:
            raise ParameterError("parts must be a JSON object of objects, one for each part")
        for state in self.states:
            if state.part not in self.parts:
                raise ParameterError(
                    f"a state belongs to the part {state.part!r}, but the parts are "
                    f"{', '.join(self.parts) or 'not named'}"
                )

    def check_fits(
        self, features: FeatureParams, interface: ModelInterface, hop_frames: int
    ) -> None:
        """Require features, interface and inference hop that a streaming model can have.

        Raises
        ------
        ParameterError
            If it can't; the message names the reason.
        """
        if features.statistics != (LOG_MEL,) or features.center:
            raise ParameterError(
                f"a streaming model takes {LOG_MEL} with center=False, not "
                f"{', '.join(features.statistics)} with center={features.center}"
            )
        if interface.relative_to_peak:
            raise ParameterError(
                "relative_to_peak is for models of windows: a streaming model's frames do not "
                "depend on each other"
            )
        if hop_frames > features.window_frames:
            raise ParameterError(
                f"inference_hop_frames={hop_frames} is more than the window_frames="
                f"{features.window_frames} of a step: a streaming model would miss frames"
            )
        if interface.output in {state.output for state in self.states}:
            raise ParameterError(
                f"output {interface.output} should be the scores, but a state is given there"
            )

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, in field order, without initial numbers."""
        return {**asdict(self), "states": [state.to_dict() for state in self.states]}

    @classmethod
    def from_dict(cls, values: Any, initial: Any = None) -> StreamParams:
        """Read what :meth:`to_dict` and :meth:`initial_to_json` give.

        Raises
        ------
        ParameterError
            If a key is missing or unknown, or a value is outside its range.
        """
        check_keys("stream", values, [f.name for f in fields(cls)])
        described = as_tuple("states", values["states"])
        segments = _segments(initial, len(described))
        states = []
        for number, state in enumerate(described):
            check_keys(f"state {number}", state, ["input", "output", "part"])
            states.append(StateTensor(**state, initial=segments[number]))
        return cls(**{**values, "states": tuple(states)})

    def initial_to_json(self) -> str:
        """Write the initial numbers of all states; empty where all are 0."""
        if not any(state.initial for state in self.states):
            return ""
        return json.dumps([[list(segment) for segment in state.initial] for state in self.states])


def _segments(values: Any, n_states: int) -> list[tuple[Segment, ...]]:
    """Read initial numbers, for each state."""
    if values is None:
        return [()] * n_states
    lists = isinstance(values, list) and all(isinstance(segments, list) for segments in values)
    if not lists or len(values) != n_states:
        raise ParameterError(
            f"initial states must be a list of {n_states} lists, one for each state"
        )
    return [tuple(_segment(segment) for segment in segments) for segments in values]


def _segment(values: Any) -> Segment:
    pair = isinstance(values, list) and len(values) == 2 and isinstance(values[1], list)
    start = values[0] if pair else None
    if not isinstance(start, int) or isinstance(start, bool) or not 0 <= start <= _MAX_START:
        raise ParameterError("initial states must be pairs of a place and a list of numbers")
    return start, tuple(as_float("a number of an initial state", value) for value in values[1])
