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

from otic_training.base.student import OVERLAP, Memory, Student

F32 = NDArray[np.float32]
Tensor = Any

MEL, STATE, FRAME, NEW_STATE = "mel", "state", "frame", "new_state"
"""Names of inputs and outputs in the graph's signature."""


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
