"""A small head on the frames of a base: fitted on kept frames, joined to the base as one graph.

The head looks at a frame and at means of all frames so far in which older ones weigh less
(they decay over 1 s and 4 s); one hidden layer; a sigmoid for each label. The means are state
of their own in float32, beside the base's: 8-bit steps would stall a slow mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.features.frame_ring import FrameRing
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier, with_golden_cases
from otic.model.streaming import BASE, HEAD, StateTensor
from otic_training.base.head_graph import head_tflite
from otic_training.networks.tflite_surgery import chained, cut, find_tensor, graft, rows_in_8_bits

F32 = NDArray[np.float32]

TAU_SECONDS = (1.0, 4.0)
"""After these times a frame weighs 1/e in the decayed means."""
HIDDEN = 64
_LEAST_SD = 0.02  # about a step of an int8 frame: numbers that are nearly dead stay quiet


@dataclass(frozen=True)
class Fit:
    """How a head is fitted.

    Attributes
    ----------
    hidden : int
        Numbers in the hidden layer.
    drop : float
        Share of inputs and hidden numbers that are left out of a step.
    epochs, batch : int
        Passes over the scenes, and scenes in a step.
    rate, decay : float
        Highest learning rate and weight decay of AdamW; the rate falls as half a cosine.
    seed : int
    """

    hidden: int = HIDDEN
    drop: float = 0.2
    epochs: int = 12
    batch: int = 96
    rate: float = 1e-3
    decay: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class Head:
    """Weights of a head, float32.

    Attributes
    ----------
    mean, sd : [width]
        Of the frames that it was fitted on: each number of a frame is standardised.
    w1, b1 : [(1 + n_taus) * width, hidden], [hidden]
    w2, b2 : [hidden, n_labels], [n_labels]
    keep : [n_taus]
        Share of a decayed mean that is kept from step to step.
    """

    mean: F32 = field(repr=False)
    sd: F32 = field(repr=False)
    w1: F32 = field(repr=False)
    b1: F32 = field(repr=False)
    w2: F32 = field(repr=False)
    b2: F32 = field(repr=False)
    keep: F32

    @property
    def width(self) -> int:
        """Numbers in a frame."""
        return len(self.mean)

    def scores(self, frames: F32) -> F32:
        """Score streams of frames from their beginning: [..., steps, width] -> [..., steps, n]."""
        x = with_means((frames - self.mean) / self.sd, self.keep)
        z = np.maximum(x @ self.w1 + self.b1, 0.0) @ self.w2 + self.b2
        scores: F32 = (0.5 + 0.5 * np.tanh(0.5 * z)).astype(np.float32)
        return scores

    def only(self, labels: Sequence[int]) -> Head:
        """Leave out the outputs of all other labels."""
        return replace(self, w2=self.w2[:, labels], b2=self.b2[list(labels)])

    def in_8_bits(self) -> Head:
        """Round the hidden layer to what a graph keeps of it, a scale for each hidden number."""
        steps, scale = rows_in_8_bits(np.ascontiguousarray(self.w1.T))
        return replace(self, w1=np.ascontiguousarray((steps * scale[:, None]).T))

    def save(self, path: Path) -> None:
        """Write the weights as ``.npz``."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Head:
        """Read what :meth:`save` wrote."""
        with np.load(path) as saved:
            return cls(**{name: saved[name] for name in cls.__dataclass_fields__})


def keep_of(step_seconds: float) -> F32:
    """Compute what is kept of each decayed mean from step to step."""
    return np.exp(-step_seconds / np.array(TAU_SECONDS)).astype(np.float32)


def with_means(frames: F32, keep: F32) -> F32:
    """Append decayed means: [..., steps, width] -> [..., steps, (1 + n_taus) * width].

    A mean begins as the first frame.
    """
    parts = [frames]
    for kept in keep:
        mean, means = frames[..., 0, :], []
        for step in range(frames.shape[-2]):
            mean = mean + (frames[..., step, :] - mean) * (1.0 - kept if step else np.float32(1.0))
            means.append(mean)
        parts.append(np.stack(means, -2))
    return np.concatenate(parts, -1).astype(np.float32)


def fit_head(
    frames: NDArray[np.floating], labels: F32, weights: F32, step_seconds: float, how: Fit
) -> Head:
    """Fit a head on kept frames of scenes.

    Parameters
    ----------
    frames : float16 or float32 [n_scenes, steps, width]
        Of each scene from its cold beginning.
    labels, weights : float32 [n_scenes, steps, n_labels]
        What each step should say, and how much that counts.
    step_seconds : float
    how : Fit
    """
    mean, sd, keep = *spread(frames), keep_of(step_seconds)

    def inputs(chosen: NDArray[np.int64]) -> F32:
        return with_means((frames[chosen].astype(np.float32) - mean) / sd, keep)

    return Head(mean, sd, *fit_layers(inputs, labels, weights, how), keep=keep)


def spread(frames: NDArray[np.floating]) -> tuple[F32, F32]:
    """Compute mean and spread of each number of a frame, of up to 2000 scenes."""
    some = frames[:2000].astype(np.float32)
    return some.mean((0, 1)), some.std((0, 1)) + np.float32(_LEAST_SD)


def fit_layers(
    inputs: Callable[[NDArray[np.int64]], F32], labels: F32, weights: F32, how: Fit
) -> tuple[F32, F32, F32, F32]:
    """Fit the two layers of a head.

    Parameters
    ----------
    inputs : callable
        Numbers of scenes, int64 [n] -> what the first layer takes, float32 [n, steps, n_in].
    labels, weights : float32 [n_scenes, steps, n_labels]
    how : Fit

    Returns
    -------
    w1, b1, w2, b2 : float32
        As a :class:`Head` has them.
    """
    rng, n_labels = np.random.default_rng(how.seed), labels.shape[-1]
    n_in = inputs(np.arange(1)).shape[-1]
    layers = [
        a.astype(np.float32)
        for a in (
            rng.standard_normal((n_in, how.hidden)) * np.sqrt(2.0 / n_in),
            np.zeros(how.hidden),
            rng.standard_normal((how.hidden, n_labels)) * 0.01,
            np.full(n_labels, -3.0),
        )
    ]
    adam = _AdamW(layers, how.decay)
    order = np.concatenate([rng.permutation(len(labels)) for _ in range(how.epochs)])
    steps = np.array_split(order, max(1, len(order) // how.batch))
    for number, chosen in enumerate(steps):
        fallen = 0.5 + 0.5 * np.cos(np.pi * number / len(steps))
        y, w = (a[chosen].reshape(-1, n_labels) for a in (labels, weights))
        slopes = _slopes(layers, inputs(chosen).reshape(-1, n_in), y, w, how.drop, rng)
        adam.step(slopes, how.rate * max(0.02, fallen))
    w1, b1, w2, b2 = layers
    return w1, b1, w2, b2


def _slopes(
    layers: list[F32], x: F32, y: F32, w: F32, drop: float, rng: np.random.Generator
) -> list[F32]:
    """Compute how the weighted mean cross-entropy of rows grows with each weight."""
    w1, b1, w2, b2 = layers
    x = x * _dropped(x.shape, drop, rng)
    left = _dropped((len(x), len(b1)), drop, rng)
    h = np.maximum(x @ w1 + b1, 0.0)
    left *= h > 0.0
    h *= left
    z = h @ w2 + b2
    dz = (0.5 + 0.5 * np.tanh(0.5 * z) - y) * w / np.float32(w.sum() + 1e-6)
    dh = (dz @ w2.T) * left
    return [x.T @ dh, dh.sum(0), h.T @ dz, dz.sum(0)]


def _dropped(shape: tuple[int, ...], drop: float, rng: np.random.Generator) -> F32:
    """Draw 0 for this share of numbers, and for the others what keeps the mean."""
    if not drop:
        return np.ones(shape, np.float32)
    bytes_ = rng.integers(0, 256, shape, np.uint8)
    limit = round(256 * drop)
    return (bytes_ >= limit).astype(np.float32) * np.float32(256 / (256 - limit))


class _AdamW:
    """Steps downhill with moments and decay (Loshchilov and Hutter, ICLR 2019), in place."""

    def __init__(self, weights: list[F32], decay: float) -> None:
        self._weights, self._decay, self._steps = weights, np.float32(decay), 0
        self._mean = [np.zeros_like(w) for w in weights]
        self._square = [np.zeros_like(w) for w in weights]

    def step(self, slopes: list[F32], rate: float) -> None:
        self._steps += 1
        first, second = np.float32(0.9), np.float32(0.999)
        scale = rate * np.sqrt(1.0 - 0.999**self._steps) / (1.0 - 0.9**self._steps)
        parts = zip(self._weights, slopes, self._mean, self._square, strict=True)
        for w, slope, mean, square in parts:
            mean += (slope - mean) * (1 - first)
            square += (slope * slope - square) * (1 - second)
            w -= np.float32(rate) * self._decay * w
            w -= np.float32(scale) * mean / (np.sqrt(square) + np.float32(1e-7))


def without_head(bundle: Bundle) -> Bundle:
    """Take the base out of a bundle of base and head, or of a base alone.

    The same base gives the same bytes from both.

    Raises
    ------
    OticError
        If the bundle is no streaming model, or does not say what its base is.
    """
    stream = bundle.stream
    about = {} if stream is None else stream.parts.get(BASE, {})
    if stream is None or "tensor" not in about:
        raise OticError(
            f"the base '{bundle.origin or bundle.name}' is no streaming model with a base in it: "
            "name one that 'otic inspect' shows with stream.parts.base"
        )
    outputs = tensor_indices(bundle.model)[1]
    states = [state for state in stream.states if state.part == BASE]
    model = cut(
        bundle.model,
        find_tensor(bundle.model, str(about["tensor"])),
        *(outputs[state.output] for state in states),
    )
    heads = {state.input for state in stream.states if state.part != BASE}
    kept = [number for number in range(len(tensor_indices(bundle.model)[0])) if number not in heads]
    width = int(about["width"])
    return replace(
        bundle,
        name=str(about.get("name", BASE)),
        labels=frame_labels(width),
        groups={},
        decision=never(width),
        interface=replace(bundle.interface, output=0, activation="none"),
        stream=replace(
            stream,
            states=tuple(
                replace(state, input=kept.index(state.input), output=1 + i)
                for i, state in enumerate(states)
            ),
            parts={BASE: about},
        ),
        model=model,
        golden=(),
    )


def join(
    base: Bundle, head: Head, about: dict[str, Any], bundle: Bundle, early_steps: int = 0
) -> Bundle:
    """Join a base and a head into one graph and one bundle, with golden cases.

    Parameters
    ----------
    base : Bundle
        Of :func:`otic_training.base.export.base_bundle` or :func:`without_head`.
    head : Head
    about : dict
        What is known of the head.
    bundle : Bundle
        Name, labels, decision, accuracy, licence and provenance of the result.
    early_steps : int
        Steps by which the head was fitted to decide earlier than the base's latest frame.

    Raises
    ------
    OticError
        If head and base do not fit together.
    """
    assert base.stream is not None
    frame = base.stream.parts[BASE]
    if head.width != frame["width"]:
        raise OticError(
            f"the head takes frames of {head.width} numbers, the base gives {frame['width']}"
        )
    inputs, outputs = tensor_indices(base.model)
    tensor = find_tensor(base.model, str(frame["tensor"]))
    kept = [outputs[state.output] for state in base.stream.states]
    model = graft(base.model, tensor, head_tflite(head), 0, kept)
    states = [replace(state, output=3 + i) for i, state in enumerate(base.stream.states)]
    states += [StateTensor(len(inputs) + i, 1 + i, HEAD) for i in range(2)]
    delay = base.stream.delay_seconds - early_steps * base.inference_hop_seconds
    parts = {BASE: frame, HEAD: {**about, "hidden": int(head.w1.shape[1])}}
    return with_golden_cases(
        replace(
            bundle,
            features=base.features,
            inference_hop_frames=base.inference_hop_frames,
            interface=replace(base.interface, output=0),
            stream=replace(
                base.stream,
                states=tuple(states),
                parts=parts,
                delay_seconds=max(0.0, round(delay, 6)),
            ),
            model=model,
        )
    )


def add_head(model: Bundle, head: Head, about: dict[str, Any], bundle: Bundle) -> Bundle:
    """Put a second head on the base of a model: its scores follow the model's own.

    Parameters
    ----------
    model : Bundle
        Of :func:`join` or of this.
    head : Head
        Fitted to decide as early as the model's own head does.
    about : dict
        What is known of the head.
    bundle : Bundle
        Name, labels, decision, accuracy, licence and provenance of the result.

    Raises
    ------
    OticError
        If head and base do not fit together, or the model computes scores outside its graph.
    """
    assert model.stream is not None
    if model.interface.activation != "none":
        raise OticError(
            f"'{model.name}' gives logits, to which no other scores can be added: take another"
        )
    inputs, outputs = tensor_indices(model.model)
    frame = find_tensor(model.model, str(model.stream.parts[BASE]["tensor"]))
    n_new = 3
    kept = [outputs[model.interface.output], *(outputs[s.output] for s in model.stream.states)]
    graph = chained(graft(model.model, frame, head_tflite(head), 0, kept), n_new, 0)
    # The new scores have left: the new means are output 0, what is begun is 1, all scores are 2.
    states = [replace(state, output=n_new + i) for i, state in enumerate(model.stream.states)]
    states += [StateTensor(len(inputs) + i, i, HEAD) for i in range(n_new - 1)]
    parts = {**model.stream.parts, "taught": about}
    return with_golden_cases(
        replace(
            bundle,
            interface=replace(model.interface, output=n_new - 1),
            stream=replace(model.stream, states=tuple(states), parts=parts),
            model=graph,
        )
    )


def stream_decision(n_labels: int, delay_seconds: float, on_threshold: float) -> DecisionParams:
    """Make thresholds and times: an onset lies where the score left the ground."""
    return DecisionParams(
        smoothing_scores=1,
        on_thresholds=(on_threshold,) * n_labels,
        off_thresholds=(on_threshold / 2,) * n_labels,
        min_on_seconds=0.0,
        min_off_seconds=2.0,
        max_on_seconds=600.0,
        lag_seconds=round(delay_seconds, 6),
        onset_ground=0.1,
        onset_back_seconds=4.0,
    )


class BaseFrames:
    """Frames of recordings, computed step by step as a stream computes them.

    Not thread safe.

    Parameters
    ----------
    base : Bundle
        Of :func:`otic_training.base.export.base_bundle` or :func:`without_head`.
    """

    def __init__(self, base: Bundle) -> None:
        assert base.stream is not None
        self.base = base
        self.sr, self.step_seconds = base.features.sr, base.inference_hop_seconds
        self._classifier = Classifier(base)
        p = base.features
        first = p.window_seconds - base.stream.delay_seconds
        self.first_seconds = first
        """Time of the recording that the first frame is about."""

    def n_samples(self, steps: int) -> int:
        """Count the samples that so many steps need."""
        return self.base.features.window_samples + (steps - 1) * self.base.inference_hop_samples

    def times(self, steps: int) -> NDArray[np.float64]:
        """Seconds of the recording that each frame is about."""
        return np.float64(self.first_seconds) + self.step_seconds * np.arange(steps, dtype=float)

    def cold_state(self) -> list[Any]:
        """Make the state that a stream begins with."""
        return self._classifier.cold_state()

    def __call__(self, y: F32) -> F32:
        """Compute float32 [n] -> float32 [steps, width], from a cold state."""
        return self.of_log_mel(self.log_mel(y))

    def log_mel(self, y: F32) -> F32:
        """Compute float32 [n] -> float32 [n_frames, n_mels]."""
        p = self.base.features
        ring = FrameRing(p, max(1, 1 + (len(y) - p.n_fft) // p.hop_length))
        return ring.log_mel[: ring.push(y)]

    def of_log_mel(self, log_mel: F32, state: list[Any] | None = None) -> F32:
        """Compute float32 [n_frames, n_mels] -> float32 [steps, width].

        From a cold state, or on from ``state``, which is then that of the last step.
        """
        length, hop = self.base.features.window_frames, self.base.inference_hop_frames
        state, step = state or self.cold_state(), self._classifier.step
        starts = range(0, len(log_mel) - length + 1, hop)
        return np.array([step(log_mel[i : i + length].ravel(), state) for i in starts], np.float32)


def frame_labels(width: int) -> tuple[str, ...]:
    """Name the numbers of a frame, which a base alone serves as labels."""
    return tuple(f"frame {i}" for i in range(width))


def never(n: int) -> DecisionParams:
    """Make thresholds of a base alone: no event ever starts."""
    return DecisionParams(
        smoothing_scores=1,
        on_thresholds=(1.0,) * n,
        off_thresholds=(1.0,) * n,
        min_on_seconds=0.0,
        min_off_seconds=0.0,
        max_on_seconds=1.0,
        lag_seconds=0.0,
    )


def _details(model: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from ai_edge_litert.interpreter import Interpreter

    from otic.system.log import silence_native_stderr

    with silence_native_stderr():
        interpreter = Interpreter(model_content=model, num_threads=1)
    return interpreter.get_input_details(), interpreter.get_output_details()


def tensor_shapes(model: bytes) -> tuple[list[list[int]], list[list[int]]]:
    """Shapes of inputs and outputs."""
    ins, outs = _details(model)
    return [d["shape"].tolist() for d in ins], [d["shape"].tolist() for d in outs]


def tensor_indices(model: bytes) -> tuple[list[int], list[int]]:
    """Tensors that are inputs and outputs, by their index in the graph."""
    ins, outs = _details(model)
    return [int(d["index"]) for d in ins], [int(d["index"]) for d in outs]
