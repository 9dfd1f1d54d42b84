"""TFLite flatbuffers of scores, made from a Keras model of logits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from otic.system.log import silence_native_stderr

if TYPE_CHECKING:
    import keras

_F32 = NDArray[np.float32]

_KEPT_FLOAT = ["SUB", "MUL"]
"""The standardiser, which no network has elsewhere. MFCCs differ in size by a factor of a
hundred: with one step for all of them, int8 leaves nothing of most. Measured on mfcc-mlp:
26 % of clips in place of 80 %."""


def served(model: keras.Model, n_labels: int, temperature: float) -> keras.Model:
    """Make the model that gives scores: ``softmax(logits / temperature)`` of the labels.

    The temperature goes into the last layer's weights, where it costs nothing.
    """
    import keras

    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    last = copy.layers[-1]
    last.set_weights([w / np.float32(temperature) for w in last.get_weights()])
    scores = keras.layers.Softmax()(copy.output)
    if scores.shape[-1] > n_labels:
        scores = scores[:, :n_labels]
    return keras.Model(copy.input, scores)


def to_float(model: keras.Model) -> bytes:
    """Convert to a float32 flatbuffer that takes one window at a time."""
    with _quietly():
        return bytes(_converter(model).convert())


def to_int8(model: keras.Model, windows: _F32) -> bytes:
    """Convert with int8 weights and activations; features and scores stay float32.

    Parameters
    ----------
    model : keras.Model
    windows : float32 [n, n_features]
        Training windows, for the ranges of the activations.
    """
    import tensorflow as tf

    def examples() -> Iterator[list[_F32]]:
        for window in windows:
            yield [window[None]]

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        tf.lite.OpsSet.TFLITE_BUILTINS,
    ]
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=_KEPT_FLOAT)
    with _quietly():
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=examples, debug_options=options
        )
        return bytes(debugger.get_nondebug_quantized_model())


def _converter(model: keras.Model) -> Any:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    # tflite-runtime 2.14 can't read dense layers with a scale for each channel.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the signature that Keras prints, and the converter's warnings."""
    with silence_native_stderr(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def scores_of(flatbuffer: bytes, x: _F32) -> _F32:
    """Run a model on windows, one at a time as live; float32 [n, n_labels]."""
    from ai_edge_litert.interpreter import Interpreter

    with silence_native_stderr():
        interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
        interpreter.allocate_tensors()
    features = interpreter.get_input_details()[0]["index"]
    scores = interpreter.get_output_details()[0]["index"]
    said = []
    for window in x:
        interpreter.set_tensor(features, window[None])
        interpreter.invoke()
        said.append(interpreter.get_tensor(scores)[0])
    return np.stack(said)
