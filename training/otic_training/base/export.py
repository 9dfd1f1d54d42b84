"""The base as a TFLite graph of one step: log-mel frames and state in, a frame and state out.

The state is one flat tensor, so that a step costs two copies and no more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from otic.model.bundle import Bundle
from otic.model.interface import ModelInterface
from otic.model.streaming import BASE, Segment, StateTensor, StreamParams
from otic_training.base import features
from otic_training.base.head import frame_labels, never, tensor_indices, tensor_shapes
from otic_training.base.student import OVERLAP, Memory, Student
from otic_training.base.trainer import COLD_STEPS
from otic_training.networks.tflite_surgery import tensor_name

F32 = NDArray[np.float32]
Tensor = Any

MEL, STATE, FRAME, NEW_STATE = "mel", "state", "frame", "new_state"
"""Names of inputs and outputs in the graph's signature."""
_SEGMENT_GAP = 8  # zeros in a row that end a segment of an initial state


class StepGraph(tf.Module):  # type: ignore[misc]
    """One step of a student as a function of flat arrays.

    Parameters
    ----------
    student : Student
    n_mels : int
    """

    def __init__(self, student: Student, n_mels: int) -> None:
        super().__init__()
        self.student = student
        self.n_hops = OVERLAP + student.shape.hops
        self.n_mels = n_mels
        memory = Memory()
        student(tf.zeros([1, self.n_hops, n_mels]), memory)
        self._shapes = [a.shape.as_list() for a in memory.initial]
        self._sizes = [int(np.prod(shape)) for shape in self._shapes]
        self.initial_state: F32 = _flat(memory.initial).numpy()

    @property
    def n_state(self) -> int:
        """Numbers in the state."""
        return sum(self._sizes)

    def __call__(self, mel: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[1, n_hops, n_mels], [1, n_state] -> frame [1, width], new state."""
        parts = tf.split(state, self._sizes, axis=1)
        states = [tf.reshape(p, shape) for p, shape in zip(parts, self._shapes, strict=True)]
        memory = Memory(states)
        frame = self.student(mel, memory)
        return tf.reshape(frame, [1, -1]), _flat(memory.after)

    def tflite(self, examples: Sequence[tuple[F32, F32]] = ()) -> bytes:
        """The graph in float32, or with examples of its two inputs, in int8."""
        specs = (
            tf.TensorSpec([1, self.n_hops, self.n_mels], name=MEL),
            tf.TensorSpec([1, self.n_state], name=STATE),
        )
        run = tf.function(self._named, input_signature=specs)
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(self, folder, signatures=run.get_concrete_function())
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            if examples:

                def calibration() -> Iterator[dict[str, F32]]:
                    for mel, state in examples:
                        yield {MEL: mel, STATE: state}

                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.representative_dataset = calibration
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.inference_input_type = tf.int8
                converter.inference_output_type = tf.int8
            model: bytes = converter.convert()
        return model

    def _named(self, mel: Tensor, state: Tensor) -> dict[str, Tensor]:
        frame, new_state = self(mel, state)
        return {FRAME: frame, NEW_STATE: new_state}

    def walk(self, mel: F32) -> Iterator[tuple[F32, F32, F32]]:
        """Input, state before and frame of each step of log-mel frames [n, n_mels]."""
        run, state = tf.function(self.__call__), tf.constant(self.initial_state)
        for first in range(0, len(mel) - self.n_hops + 1, self.student.shape.hops):
            x = mel[None, first : first + self.n_hops].astype(np.float32)
            frame, after = run(tf.constant(x), state)
            yield x, state.numpy(), frame.numpy()
            state = after


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return tf.concat([tf.reshape(t, [1, -1]) for t in tensors], 1)


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
    shape, initial = graph.student.shape, graph.initial_state
    p = features.params(graph.n_hops)
    middle = features.FIRST_MIDDLE - shape.delay_hops * features.HOP_SECONDS
    ins, outs = tensor_shapes(model)
    state = next(i for i, sizes in enumerate(ins) if sizes[-1] == initial.size)
    new = next(i for i, sizes in enumerate(outs) if sizes[-1] == initial.size)
    width, tensor = outs[1 - new][-1], tensor_name(model, tensor_indices(model)[1][1 - new])
    return Bundle(
        name=name,
        labels=frame_labels(width),
        features=p,
        inference_hop_frames=shape.hops,
        decision=never(width),
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
