"""The teacher: a MobileNetV3 for audio as TFLite, with its front end inside (EfficientAT's mn04).

Its frames come from the file itself; what goes from block to block, from the same weights in
TensorFlow. Nothing of it goes into the base, which learns what it says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import tensorflow as tf
from numpy.typing import NDArray

from otic_training.data.dataset import DatasetError

F32 = NDArray[np.float32]
Tensor = Any

SR, HOP, N_FFT, N_MELS = 32_000, 320, 1024, 128
STEP_HOPS = 32
"""Log-mel frames of the teacher in one of its frames."""
_PRE_EMPHASIS = np.float32(0.97)
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_HARD_SWISH_FROM = 72  # channels: MobileNetV3's narrow blocks have ReLU


def _interpreter(path: Path, keep_all: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        model = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=keep_all)
        model.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise DatasetError(f"'{path}' is no TFLite model of a teacher: {error}") from error
    return model


class TeacherFrames:
    """The teacher's frames of recordings of one length.

    Parameters
    ----------
    path : Path
        A TFLite model: float32 [1, n] at 32 kHz in, one of its outputs [n_frames, width].

    Raises
    ------
    DatasetError
        If it has no such input or output.
    """

    def __init__(self, path: Path) -> None:
        self._model = _interpreter(path)
        (self._in,) = (d for d in self._model.get_input_details())
        outs = [d for d in self._model.get_output_details() if d["shape"][0] > 1]
        if len(outs) != 1 or len(self._in["shape"]) != 2:
            raise DatasetError(
                f"'{path}' gives no frames: its outputs must have one [frames, width]"
            )
        self._out = outs[0]["index"]
        self.n_samples = int(self._in["shape"][1])
        self.n_frames, self.width = (int(n) for n in outs[0]["shape"])

    def __call__(self, y: F32) -> F32:
        """float32 [n_samples] -> float32 [n_frames, width]."""
        self._model.set_tensor(self._in["index"], y[None])
        self._model.invoke()
        frames: F32 = self._model.get_tensor(self._out)
        return frames


class TeacherTrunk:
    """Front end and stages of the teacher, with the weights of the file.

    Layout is [B, time, frequency, channels].

    Parameters
    ----------
    path : Path

    Raises
    ------
    DatasetError
        If it does not have the layers of a MobileNetV3 for 128 mel bands.
    """

    def __init__(self, path: Path) -> None:
        model = _interpreter(path, keep_all=True)
        shape = {t["index"]: t["shape"].tolist() for t in model.get_tensor_details()}
        layers = []
        for op in model._get_ops_details():
            if op["op_name"] in _LAYERS:
                x, w, b = (int(i) for i in op["inputs"])
                out = shape[int(op["outputs"][0])]
                layers.append(
                    (op["op_name"], model.get_tensor(w), model.get_tensor(b), shape[x], out)
                )
        bins = N_FFT // 2 + 1
        fronts = [i for i, layer in enumerate(layers) if layer[1].shape == (N_MELS, bins)]
        windows = [t["index"] for t in model.get_tensor_details() if t["shape"].tolist() == [N_FFT]]
        if len(fronts) != 1 or not windows:
            raise DatasetError(
                f"'{path}' has no front end of {N_MELS} mel bands and {N_FFT} points"
            )
        _, mel, self._eps, *_ = layers.pop(fronts[0])
        self._mel = np.ascontiguousarray(mel.T)
        self._window = _hann(model, windows)
        self._stem = _conv(layers[0])
        k, n, self._blocks = 1, layers[0][1].shape[0], list[dict[str, Any]]()
        while k + 1 < len(layers) and "DEPTHWISE_CONV_2D" in (layers[k][0], layers[k + 1][0]):
            block: dict[str, Any] = {}
            if layers[k][0] == "CONV_2D":
                block["expand"] = _conv(layers[k])
                k += 1
            _, w, bias, x, y = layers[k]
            block["around"] = (tf.constant(w.transpose(2, 1, 3, 0)), tf.constant(bias))
            block["stride"] = 2 if x[1] > y[1] + w.shape[1] else 1
            block["swish"] = w.shape[-1] >= _HARD_SWISH_FROM
            k += 1
            if layers[k][0] == "FULLY_CONNECTED":
                block["squeeze"] = [(layers[i][1].T, layers[i][2]) for i in (k, k + 1)]
                k += 2
            block["project"] = _conv(layers[k])
            block["residual"] = layers[k][1].shape[0] == n and block["stride"] == 1
            n = layers[k][1].shape[0]
            k += 1
            self._blocks.append(block)
        self._last = _conv(layers[k])

    def log_mel(self, y: F32) -> F32:
        """float32 [n] at 32 kHz -> float32 [n // 320, 128], as the file's front end has it."""
        e = np.pad(y[1:] - _PRE_EMPHASIS * y[:-1], N_FFT // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(e, N_FFT)[::HOP][: len(y) // HOP]
        spectrum = scipy.fft.rfft(frames * self._window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        return np.asarray((np.log(power @ self._mel + self._eps) + 4.5) * 0.2, np.float32)

    def stages(self, mel: Tensor) -> list[Tensor]:
        """[B, T, 128] -> what goes from block to block, first to last."""
        w, b = self._stem
        x = tf.pad(mel[..., None], [[0, 0], [1, 1], [1, 1], [0, 0]])
        h = [hard_swish(tf.nn.conv2d(x, w, 2, "VALID") + b)]
        for block in self._blocks:
            h.append(self._block(block, h[-1]))
        w, b = self._last
        return [*h, hard_swish(tf.nn.conv2d(h[-1], w, 1, "VALID") + b)]

    def _block(self, block: dict[str, Any], before: Tensor) -> Tensor:
        act, x = (hard_swish if block["swish"] else tf.nn.relu), before
        if "expand" in block:
            w, b = block["expand"]
            x = act(tf.nn.conv2d(x, w, 1, "VALID") + b)
        w, b = block["around"]
        pad, s = w.shape[0] // 2, block["stride"]
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        x = act(tf.nn.depthwise_conv2d(x, w, [1, s, s, 1], "VALID") + b)
        if "squeeze" in block:
            (w1, b1), (w2, b2) = block["squeeze"]
            gate = tf.sigmoid(tf.nn.relu(tf.reduce_mean(x, [1, 2]) @ w1 + b1) @ w2 + b2)
            x = x * gate[:, None, None]
        w, b = block["project"]
        x = tf.nn.conv2d(x, w, 1, "VALID") + b
        return x + before if block["residual"] else x


def _conv(layer: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    return tf.constant(layer[1].transpose(2, 1, 3, 0)), tf.constant(layer[2])


def _hann(model: Any, indices: list[int]) -> F32:
    """The window among the file's constants: it is the one that is 0 at its ends and 1 inside."""
    for i in indices:
        try:
            w: F32 = model.get_tensor(i)
        except ValueError:
            continue
        if w.dtype == np.float32 and w.min() >= 0.0 and 0.99 < w.max() <= 1.001 and w[0] == 0.0:
            return w
    raise DatasetError("the teacher's front end has no window")


def hard_swish(x: Tensor) -> Tensor:
    """MobileNetV3's activation."""
    return x * tf.nn.relu6(x + 3.0) / 6.0
