"""A small head on the frames of a base: fitted on kept frames, joined to the base as one graph.

The head looks at a frame and at means of all frames so far in which older ones weigh less
(they decay over 1 s and 4 s); one hidden layer; a sigmoid for each label. The means are state
of their own in float32, beside the base's: 8-bit steps would stall a slow mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.errors import OticError
from otic.features.frame_ring import FrameRing
from otic.model.bundle import Bundle
from otic.model.classifier import Classifier, with_golden_cases
from otic.model.interface import ModelInterface
from otic.model.streaming import BASE, HEAD, Segment, StateTensor, StreamParams
from otic_training.networks.tflite_surgery import (
    cut,
    find_tensor,
    graft,
    rows_in_8_bits,
    tensor_name,
    with_8_bit_matrices,
)

if TYPE_CHECKING:
    from otic_training.base.export import StepGraph

F32 = NDArray[np.float32]

TAU_SECONDS = (1.0, 4.0)
"""After these times a frame weighs 1/e in the decayed means."""
HIDDEN = 128
_LEAST_SD = 0.02  # about a step of an int8 frame: numbers that are nearly dead stay quiet
_FRAME, _MEMORY, _SCORES, _NEW_MEMORY = "frame", "memory", "scores", "new_memory"
_SEGMENT_GAP = 8  # zeros in a row that end a segment of an initial state


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
    import tensorflow as tf

    some = frames[:2000].astype(np.float32)
    mean, sd = some.mean((0, 1)), some.std((0, 1)) + np.float32(_LEAST_SD)
    keep, rng = keep_of(step_seconds), np.random.default_rng(how.seed)
    tf.keras.utils.set_random_seed(how.seed)
    width, n_labels = frames.shape[-1] * (1 + len(keep)), labels.shape[-1]
    start = rng.standard_normal((width, how.hidden)) * np.sqrt(2.0 / width)
    variables = [
        tf.Variable(a.astype(np.float32))
        for a in (
            start,
            np.zeros(how.hidden),
            rng.standard_normal((how.hidden, n_labels)) * 0.01,
            np.full(n_labels, -3.0),
        )
    ]
    adam = tf.keras.optimizers.AdamW(how.rate, weight_decay=how.decay)

    @tf.function  # type: ignore[untyped-decorator]
    def learn(x: Any, y: Any, w: Any) -> None:
        w1, b1, w2, b2 = variables
        with tf.GradientTape() as tape:
            h = tf.nn.relu(tf.nn.dropout(x, how.drop) @ w1 + b1)
            z = tf.nn.dropout(h, how.drop) @ w2 + b2
            loss = tf.nn.sigmoid_cross_entropy_with_logits(y, z) * w
            loss = tf.reduce_sum(loss) / (tf.reduce_sum(w) + 1e-6)
        adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    order = np.concatenate([rng.permutation(len(frames)) for _ in range(how.epochs)])
    steps = np.array_split(order, max(1, len(order) // how.batch))
    for number, chosen in enumerate(steps):
        fallen = 0.5 + 0.5 * np.cos(np.pi * number / len(steps))
        adam.learning_rate.assign(how.rate * max(0.02, fallen))
        x = with_means((frames[chosen].astype(np.float32) - mean) / sd, keep)
        learn(*(tf.constant(a.astype(np.float32)) for a in (x, labels[chosen], weights[chosen])))
    w1, b1, w2, b2 = (v.numpy() for v in variables)
    return Head(mean, sd, w1, b1, w2, b2, keep)


def head_tflite(head: Head) -> bytes:
    """Make the head's graph: a frame and its memory in, scores and the new memory out.

    The memory is float32 [1, n_taus * width + 1]: the decayed means, and 1 once there was a
    frame. It begins with zeros. The hidden layer's weights are kept in 8 bits, see
    :meth:`Head.in_8_bits`.
    """
    import tensorflow as tf

    width, n_taus = head.width, len(head.keep)
    keep = np.repeat(head.keep, width)[None]
    specs = (
        tf.TensorSpec([1, width], name=_FRAME),
        tf.TensorSpec([1, n_taus * width + 1], name=_MEMORY),
    )

    def step(frame: Any, memory: Any) -> dict[str, Any]:
        before, begun = tf.split(memory, [n_taus * width, 1], axis=1)
        means = before + (tf.tile(frame, [1, n_taus]) - before) * (1.0 - begun * keep)
        # Scaled before they are joined: the converter would put the scale into the matrix, whose
        # columns would then be of very different sizes.
        parts = ((frame, 1), (means, n_taus))
        x = tf.concat(
            [(a - np.tile(head.mean, n)) * np.tile(1.0 / head.sd, n) for a, n in parts], 1
        )
        z = tf.nn.relu(x @ head.w1 + head.b1) @ head.w2 + head.b2
        new = tf.concat([means, tf.maximum(begun, 1.0)], 1)
        return {_SCORES: tf.sigmoid(z), _NEW_MEMORY: new}

    run = tf.function(step, input_signature=specs).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([run])
    return with_8_bit_matrices(converter.convert(), head.w1.size)


def base_bundle(
    graph: StepGraph, model: bytes, name: str, licence: str, provenance: dict[str, Any]
) -> Bundle:
    """Make a bundle of a base alone: its frames are served as labels that never start an event.

    Parameters
    ----------
    graph : StepGraph
        What the model was converted from: its sizes, delay and initial state are taken.
    model : bytes
        A TFLite graph of one step, in float32 or int8.
    name, licence : str
    provenance : dict
        Training of the base; with ``weights="int8"`` for a model of 8-bit steps.
    """
    from otic_training.base import features
    from otic_training.base.trainer import COLD_STEPS

    shape, initial = graph.student.shape, graph.initial_state
    p = features.params(graph.n_hops)
    middle = features.FIRST_MIDDLE - shape.delay_hops * features.HOP_SECONDS
    ins, outs = _shapes(model)
    state = next(i for i, sizes in enumerate(ins) if sizes[-1] == initial.size)
    new = next(i for i, sizes in enumerate(outs) if sizes[-1] == initial.size)
    width, tensor = outs[1 - new][-1], tensor_name(model, _indices(model)[1][1 - new])
    return Bundle(
        name=name,
        labels=_frame_labels(width),
        features=p,
        inference_hop_frames=shape.hops,
        decision=_never(width),
        accuracy={"protocol": "frames of a base, no scores"},
        license=licence,
        provenance=provenance,
        model=model,
        interface=ModelInterface(
            scale=(1.0 / features.SPREAD_DB,),
            offset=(-features.LEVEL_DB / features.SPREAD_DB,),
            output=1 - new,
        ),
        stream=StreamParams(
            warm_up_steps=COLD_STEPS,
            delay_seconds=round(p.window_seconds - middle, 6),
            states=(StateTensor(state, new, BASE, segments(initial)),),
            parts={BASE: {"name": name, "tensor": tensor, "width": width}},
        ),
    )


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
    outputs = _indices(bundle.model)[1]
    states = [state for state in stream.states if state.part == BASE]
    model = cut(
        bundle.model,
        find_tensor(bundle.model, str(about["tensor"])),
        *(outputs[state.output] for state in states),
    )
    heads = {state.input for state in stream.states if state.part != BASE}
    kept = [number for number in range(len(_indices(bundle.model)[0])) if number not in heads]
    width = int(about["width"])
    return replace(
        bundle,
        name=str(about.get("name", BASE)),
        labels=_frame_labels(width),
        groups={},
        decision=_never(width),
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
        Of :func:`base_bundle` or :func:`without_head`.
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
    graph = head_tflite(head)
    ins, outs = _shapes(graph)
    taken = next(i for i, shape in enumerate(ins) if shape[-1] == head.width)
    new_memory = next(i for i, shape in enumerate(outs) if shape[-1] == ins[1 - taken][-1])
    outputs = _indices(base.model)[1]
    tensor = find_tensor(base.model, str(frame["tensor"]))
    kept = [outputs[state.output] for state in base.stream.states]
    model = graft(base.model, tensor, graph, taken, kept)
    n_inputs = len(_shapes(base.model)[0])
    states = [replace(state, output=len(outs) + i) for i, state in enumerate(base.stream.states)]
    states.append(StateTensor(n_inputs, new_memory, HEAD))
    delay = base.stream.delay_seconds - early_steps * base.inference_hop_seconds
    parts = {BASE: frame, HEAD: {**about, "hidden": int(head.w1.shape[1])}}
    return with_golden_cases(
        replace(
            bundle,
            features=base.features,
            inference_hop_frames=base.inference_hop_frames,
            interface=replace(base.interface, output=1 - new_memory),
            stream=replace(
                base.stream,
                states=tuple(states),
                parts=parts,
                delay_seconds=max(0.0, round(delay, 6)),
            ),
            model=model,
        )
    )


class BaseFrames:
    """Frames of recordings, computed step by step as a stream computes them.

    Not thread safe.

    Parameters
    ----------
    base : Bundle
        Of :func:`base_bundle` or :func:`without_head`.
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

    def __call__(self, y: F32) -> F32:
        """Compute float32 [n] -> float32 [steps, width], from a cold state."""
        return np.array(list(self._steps(y)), np.float32)

    def _steps(self, y: F32) -> Iterator[F32]:
        p, hop = self.base.features, self.base.inference_hop_frames
        ring = FrameRing(p, max(1, 1 + (len(y) - p.n_fft) // p.hop_length))
        n_frames = ring.push(y)
        state = self._classifier.cold_state()
        for first in range(0, n_frames - p.window_frames + 1, hop):
            window = ring.log_mel[first : first + p.window_frames]
            yield self._classifier.step(window.ravel(), state)


def segments(initial: F32) -> tuple[Segment, ...]:
    """Describe an initial state by what is not 0 in it."""
    flat = initial.ravel()
    places = np.flatnonzero(flat)
    if not len(places):
        return ()
    runs = np.split(places, np.flatnonzero(np.diff(places) > _SEGMENT_GAP) + 1)
    return tuple(
        (int(run[0]), tuple(flat[run[0] : run[-1] + 1].astype(float).tolist())) for run in runs
    )


def _frame_labels(width: int) -> tuple[str, ...]:
    return tuple(f"frame {i}" for i in range(width))


def _never(n: int) -> DecisionParams:
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


def _shapes(model: bytes) -> tuple[list[list[int]], list[list[int]]]:
    """Shapes of inputs and outputs."""
    ins, outs = _details(model)
    return [d["shape"].tolist() for d in ins], [d["shape"].tolist() for d in outs]


def _indices(model: bytes) -> tuple[list[int], list[int]]:
    """Tensors that are inputs and outputs, by their index in the graph."""
    ins, outs = _details(model)
    return [int(d["index"]) for d in ins], [int(d["index"]) for d in outs]
