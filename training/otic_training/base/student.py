"""The base network: causal, with state; frames of 0.32 s of hearing from log-mel frames.

Its shape follows MobileNetV3 (A. Howard et al., "Searching for MobileNetV3", ICCV 2019) as
the teacher has it, with what a stream and int8 need: kernels that look at the past only,
squeeze-excitation on decayed means, ReLU6 and hard sigmoids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck: widen, look around, weigh channels, narrow.

    Attributes
    ----------
    kernel : int
        Bands and steps that the depthwise convolution looks at.
    wide : int
        Channels inside.
    out : int
        Channels that leave it.
    stage : int
        Stage of the teacher that it learns first.
    stride : int
        In time and in frequency.
    squeeze : int
        Channels in the middle of the squeeze-excitation; 0 for none.
    ahead : int
        Input steps that it learns to look ahead: the stream's delay grows by so many.
    """

    kernel: int
    wide: int
    out: int
    stage: int
    stride: int = 1
    squeeze: int = 0
    ahead: int = 0


@dataclass(frozen=True)
class Shape:
    """What a base network is made of.

    Attributes
    ----------
    name : str
    stem : int
        Channels of the first convolution.
    blocks : tuple of Block
    out : int
        Channels of the last layer, and so of a frame.
    tau_seconds : float
        After this time a sound weighs 1/e in the decayed means.
    """

    name: str
    stem: int
    blocks: tuple[Block, ...]
    out: int = 384
    tau_seconds: float = 2.0

    @property
    def hops(self) -> int:
        """Log-mel frames in a step."""
        return STEM_STRIDE * int(np.prod([b.stride for b in self.blocks]))

    @property
    def delay_hops(self) -> int:
        """Log-mel frames that a frame of the base lags behind what it is about."""
        hops, delay = STEM_STRIDE, 0
        for b in self.blocks:
            delay += hops * b.ahead
            hops *= b.stride
        return delay


STEM_KERNEL, STEM_STRIDE, STEM_AHEAD = 5, 2, 2
OVERLAP = STEM_KERNEL - STEM_STRIDE
"""Log-mel frames before the new ones that each step is given again."""

LARGE = Shape(
    "large",
    16,
    (
        Block(3, 32, 16, 3, ahead=1),
        Block(5, 32, 16, 4, stride=2, ahead=1),
        Block(5, 64, 16, 6, ahead=2),
        Block(3, 96, 32, 7, stride=2),
        Block(3, 96, 32, 9, ahead=1),
        Block(3, 96, 32, 10),
        Block(3, 192, 48, 11, squeeze=16),
        Block(3, 208, 48, 12, squeeze=16),
        Block(5, 272, 64, 13, stride=2, squeeze=16),
        Block(5, 384, 64, 14, squeeze=24),
        Block(5, 384, 64, 15, squeeze=24),
    ),
)
SMALL = Shape(
    "small",
    12,
    (
        Block(3, 36, 12, 3, ahead=1),
        Block(5, 36, 16, 4, stride=2, ahead=1),
        Block(5, 48, 16, 6, ahead=2),
        Block(3, 72, 24, 7, stride=2),
        Block(3, 72, 24, 10, ahead=1),
        Block(3, 128, 32, 12, squeeze=8),
        Block(5, 160, 40, 13, stride=2, squeeze=8),
        Block(5, 192, 48, 15, squeeze=12),
    ),
)
SHAPES = {shape.name: shape for shape in (LARGE, SMALL)}


class Memory:
    """What layers keep between steps, in the order in which they ask for it.

    Parameters
    ----------
    states : sequence of tensor, optional
        What was kept after the step before; without it, the stream begins here.

    Attributes
    ----------
    after : list of tensor
        What is to be kept for the next step.
    initial : list of tensor
        What a stream that begins here would have kept; nothing where states were given.
    """

    def __init__(self, states: Sequence[Tensor] | None = None) -> None:
        self._before = states
        self.after: list[Tensor] = []
        self.initial: list[Tensor] = []

    def past(self, x: Tensor, n: int) -> Tensor:
        """``x`` behind the ``n`` steps before it: zeros at the beginning."""
        if n == 0:
            return x
        if self._before is None:
            both = tf.pad(x, [[0, 0], [n, 0], [0, 0], [0, 0]])
            self.initial.append(both[:, :n])
        else:
            both = tf.concat([self._before[len(self.after)], x], 1)
        self.after.append(both[:, -n:])
        return both

    def decayed(self, x: Tensor, decay: float, start: Tensor) -> Tensor:
        """[B, T, 1, C] -> means in which older steps weigh less, begun at ``start`` [C]."""
        if self._before is not None:
            assert x.shape[1] == 1, "a stream goes step by step"
            mean = self._before[len(self.after)] * decay + x * (1.0 - decay)
            self.after.append(mean)
            return mean
        age = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])
        weights = np.where(age >= 0, (1.0 - decay) * decay ** np.maximum(age, 0), 0.0)
        self.initial.append(tf.zeros_like(x[:, :1]) + start)
        past = tf.einsum("ts,bsac->btac", tf.constant(weights, tf.float32), x)
        left = (decay ** np.arange(1.0, len(age) + 1.0)).astype("f4")
        mean = past + left[:, None, None] * start
        self.after.append(mean[:, -1:])
        return mean


class Student(tf.Module):  # type: ignore[misc]
    """The base network, with random weights.

    Parameters
    ----------
    shape : Shape
    seed : int
    n_mels : int
    step_seconds : float
    """

    def __init__(self, shape: Shape, seed: int, n_mels: int, step_seconds: float) -> None:
        super().__init__()
        self.shape, self._rng = shape, np.random.default_rng(seed)
        self.weights: list[Tensor] = []
        self._decay = float(np.exp(-step_seconds / shape.tau_seconds))
        self._stem = self._layer((STEM_KERNEL, STEM_KERNEL, 1, shape.stem), STEM_KERNEL**2, 2.0)
        n, steps = shape.stem, shape.hops // STEM_STRIDE
        self._blocks: list[dict[str, Any]] = []
        for b in shape.blocks:
            steps //= b.stride
            layers: dict[str, Any] = {"steps": steps}
            layers["expand"] = self._layer((1, 1, n, b.wide), n, 2.0)
            layers["around"] = self._layer((b.kernel, b.kernel, b.wide, 1), b.kernel**2, 2.0)
            if b.squeeze:
                layers["start"] = self._variable(np.full(b.wide, 0.5))
                layers["squeeze"] = self._layer((b.wide, b.squeeze), b.wide, 2.0)
                layers["excite"] = self._layer((b.squeeze, b.wide), b.squeeze, 1.0)
            layers["project"] = self._layer((1, 1, b.wide, b.out), b.wide, 1.0)
            layers["residual"] = n == b.out and b.stride == 1
            n = b.out
            self._blocks.append(layers)
        self._last = self._layer((1, 1, n, shape.out), n, 2.0)

    def _variable(self, a: Any) -> Tensor:
        self.weights.append(tf.Variable(a.astype("f4")))
        return self.weights[-1]

    def _layer(self, size: tuple[int, ...], fan: int, gain: float) -> tuple[Tensor, Tensor]:
        weight = self._variable(self._rng.standard_normal(size) * np.sqrt(gain / fan))
        depthwise = len(size) == 4 and size[-1] == 1
        return weight, self._variable(np.zeros(size[2] if depthwise else size[-1]))

    @property
    def n_parameters(self) -> int:
        """All that is learned."""
        return sum(int(np.prod(v.shape)) for v in self.weights)

    def first(self, mel: Tensor) -> Tensor:
        """[B, OVERLAP + T, n_mels] -> [B, T / 2, n_mels / 2, stem]."""
        x = tf.reshape(mel, [-1, mel.shape[1], mel.shape[2], 1])
        w, b = self._stem
        x = tf.nn.conv2d(padded(x, STEM_KERNEL, STEM_STRIDE), w, STEM_STRIDE, "VALID")
        return tf.nn.relu6(x + b)

    def block(self, i: int, x: Tensor, memory: Memory) -> Tensor:
        """[B, T, F, channels] -> [B, T / stride, F / stride, out], by block ``i``."""
        spec, layers, before = self.shape.blocks[i], self._blocks[i], x
        w, b = layers["expand"]
        x = tf.nn.relu6(tf.nn.conv2d(x, w, 1, "VALID") + b)
        x = memory.past(x, spec.kernel - spec.stride)
        w, b = layers["around"]
        strides = [1, spec.stride, spec.stride, 1]
        x = tf.nn.depthwise_conv2d(padded(x, spec.kernel, spec.stride), w, strides, "VALID")
        x = tf.nn.relu6(x + b)
        w, b = layers["project"]
        if spec.squeeze:
            x = x * self._gate(x, layers, memory)
            w = w * (1.0 / 6.0)
        x = tf.nn.conv2d(x, w, 1, "VALID") + b
        return x + before if layers["residual"] else x

    def _gate(self, x: Tensor, layers: dict[str, Any], memory: Memory) -> Tensor:
        """What each channel is multiplied by, 0 to 6, from what there was so far."""
        (w1, b1), (w2, b2), steps = layers["squeeze"], layers["excite"], layers["steps"]
        _, n, bands, channels = x.shape
        if n == steps:  # as a stream has it; convolutions and means that keep 4 axes run fast
            mean = tf.reduce_mean(x, [1, 2], keepdims=True)
        else:
            x = tf.reshape(x, [-1, n // steps, steps * bands, channels])
            mean = tf.reduce_mean(x, 2, keepdims=True)
        mean = memory.decayed(mean, self._decay, layers["start"])
        middle = tf.nn.relu(tf.nn.conv2d(mean, w1[None, None], 1, "VALID") + b1)
        gate = tf.nn.relu6(tf.nn.conv2d(middle, w2[None, None], 1, "VALID") + (b2 + 3.0))
        return tf.repeat(gate, steps, axis=1) if steps > 1 and n > steps else gate

    def last(self, x: Tensor) -> Tensor:
        """What the frames are the mean of over frequency."""
        w, b = self._last
        return tf.nn.relu6(tf.nn.conv2d(x, w, 1, "VALID") + b)

    def __call__(self, mel: Tensor, memory: Memory) -> Tensor:
        """[B, OVERLAP + T * hops, n_mels] -> frames [B, T, out]."""
        x = self.first(mel)
        for i in range(len(self.shape.blocks)):
            x = self.block(i, x, memory)
        return tf.reduce_mean(self.last(x), 2)


def padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros below and above the bands: row ``i`` of the result is about band ``stride * i``."""
    before, bands = kernel // 2, x.shape[2]
    behind = (-(-bands // stride) - 1) * stride + kernel - before - bands
    return tf.pad(x, [[0, 0], [0, 0], [before, max(behind, 0)], [0, 0]])
