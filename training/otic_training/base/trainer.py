"""Steps of training the base, and their state on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from otic_training.base import features
from otic_training.base.student import OVERLAP, SHAPES, Memory, Student
from otic_training.data.dataset import DatasetError

F32 = NDArray[np.float32]
Tensor = Any

STEPS = 31
"""Frames of the teacher in a scene: ten seconds."""
COLD_STEPS = 1
"""First steps of a scene, which count nothing: there was no past."""
HORIZONS = (0.5, 0.3, 0.2)
"""How much it counts to know a frame once all is there that it is about; a step earlier; two."""
_WARM_UP = 100
_DECAY_SHARE = 0.4
_LEAST_RATE = 0.02
_BETA_1, _BETA_2 = 0.9, 0.995
_MEAN_SHARE = 0.998


class Trunk(Protocol):
    """What has stages that blocks can learn from."""

    def stages(self, mel: Tensor) -> list[Tensor]:
        """Log-mel of the teacher [B, T, bands] -> what goes from block to block."""
        ...


@dataclass(frozen=True)
class Plan:
    """All that a run depends on, but for its sounds and its teacher.

    Attributes
    ----------
    shape : str
        One of :data:`otic_training.base.student.SHAPES`.
    seed : int
    batch : int
    joined : int
        Scenes of a batch that a stream goes through, one after the other, so that the base does
        not learn how scenes begin.
    block_steps, whole_steps : int
        Steps block by block, then as a whole.
    block_rate, whole_rate : float
        Learning rates.
    window : int
        Scenes that a batch is drawn from,
    uses : float
        each of them so often, on average.
    """

    shape: str
    seed: int = 0
    batch: int = 16
    joined: int = 4
    block_steps: int = 600
    whole_steps: int = 20_000
    block_rate: float = 4e-3
    whole_rate: float = 2e-3
    window: int = 2000
    uses: float = 5.0

    @property
    def steps(self) -> int:
        """All steps."""
        return self.block_steps + self.whole_steps

    def newest(self, step: int) -> int:
        """Scenes that have to be there for a step of the second part."""
        return self.window + int(step * self.batch / self.uses)

    def numbers(self, step: int) -> NDArray[np.int64]:
        """Scenes of a step of the second part."""
        rng = np.random.default_rng([self.seed, 1, step])
        return self.newest(step) - 1 - rng.choice(self.window, self.batch, replace=False)


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate: up within 100 steps, level, then down over the last 40 % of the steps."""
    down = min(1.0, max(_LEAST_RATE, (steps - step) / (_DECAY_SHARE * steps)))
    return peak * min(1.0, (step + 1) / _WARM_UP) * down


class Trainer:
    """The student, what is learned beside it, Adam's state and the running mean of all weights.

    Parameters
    ----------
    plan : Plan
    trunk : Trunk, optional
        The teacher's; only learning block by block needs it.
    """

    def __init__(self, plan: Plan, trunk: Trunk | None = None) -> None:
        self.plan, self._trunk, self.step = plan, trunk, 0
        shape = SHAPES[plan.shape]
        self.student = Student(shape, plan.seed, features.N_MELS, shape.hops * features.HOP_SECONDS)
        rng = np.random.default_rng([plan.seed, 2])
        out = rng.standard_normal((shape.out, len(HORIZONS) * shape.out)) / np.sqrt(shape.out)
        # From the student's frames to the teacher's, which need not be alike: left behind after.
        self._out = tf.Variable(out.astype("f4"))
        self._bias = tf.Variable(np.zeros(len(HORIZONS) * shape.out, "f4"))
        self._variables = [*self.student.weights, self._out, self._bias]
        self._sizes = [int(np.prod(v.shape)) for v in self._variables]
        self._mean = tf.Variable(_flat(self._variables))
        self._m, self._v = (tf.Variable(tf.zeros_like(self._mean)) for _ in range(2))
        self._scales: dict[str, F32] = {}
        self._functions: dict[str, Any] = {}

    # What is compared with what

    def measure(self, teacher_mels: F32, frames: NDArray[np.floating]) -> None:
        """Take the spread of the teacher's stages, and the components of its frames.

        Parameters
        ----------
        teacher_mels : float32 [n, T, bands]
        frames : float [n, STEPS, width]
        """
        assert self._trunk is not None
        stages = self._trunk.stages(tf.constant(teacher_mels))
        for spec in self.student.shape.blocks:
            h = stages[spec.stage].numpy()
            if spec.out < h.shape[-1]:
                _, vectors = np.linalg.eigh(np.cov(h.reshape(-1, h.shape[-1]).T))
                self._scales[f"basis{spec.stage}"] = _f32(vectors[:, -spec.out :])
                h = h @ self._scales[f"basis{spec.stage}"]
            variance = np.var(h, axis=(0, 1, 2))
            self._scales[f"stage{spec.stage}"] = _f32(variance + 0.01 * variance.mean() + 1e-6)
        f = frames[:, COLD_STEPS:].reshape(-1, frames.shape[-1]).astype("f8")
        variance = f.var(0)
        sd = np.sqrt(variance + 0.05 * variance.mean())
        values, vectors = np.linalg.eigh(np.cov(((f - f.mean(0)) / sd).T))
        values = np.maximum(values, 1e-4 * values.max())
        weights = 1.0 / np.sqrt(values)  # half-whitened: between as they are and all alike
        weights /= (weights * values).sum()
        self._scales |= {
            "frame_mean": _f32(f.mean(0)),
            "frame_sd": _f32(sd),
            "components": _f32(vectors),
            "component_weights": _f32(weights),
        }

    def _stage_errors(self, mel: Tensor, teacher_mel: Tensor) -> list[Tensor]:
        """How far each block is from its stage of the teacher, given the stage before."""
        student = self.student
        assert self._trunk is not None
        h = self._trunk.stages(teacher_mel)
        n, bands = STEPS * student.shape.hops // 2, features.N_MELS // 2
        x, errors = student.first(mel), []
        for i, spec in enumerate(student.shape.blocks):
            x = x[:, spec.ahead :, :bands][:, :n]
            x = tf.pad(x, [[0, 0], [0, n - x.shape[1]], [0, 0], [0, 0]])
            y = student.block(i, x, Memory())
            n, bands = n // spec.stride, -(-bands // spec.stride)
            x = h[spec.stage]  # what the next block is given, too
            if f"basis{spec.stage}" in self._scales:  # a narrow block learns the main components
                x = x @ tf.constant(self._scales[f"basis{spec.stage}"])
            scale = tf.constant(self._scales[f"stage{spec.stage}"])
            errors.append(tf.reduce_mean((y - x[:, :n, :bands]) ** 2 / scale))
        frames = tf.reduce_mean(student.last(x[:, :STEPS]), 2)
        return [*errors, self._frame_errors(frames, tf.reduce_mean(h[-1], 2)[:, :STEPS])[0]]

    def _frame_errors(self, frames: Tensor, taught: Tensor) -> list[Tensor]:
        """Errors of frames, half-whitened: all together, and of each horizon; 1 is the mean's.

        The last is the plain error of the latest horizon.
        """
        s, n = self._scales, taught.shape[1]
        z = (taught - tf.constant(s["frame_mean"])) / tf.constant(s["frame_sd"])
        said = tf.split(frames @ self._out + self._bias, len(HORIZONS), -1)
        errors, plain = [], []
        for early, mine in enumerate(said):
            miss = mine[:, COLD_STEPS : n - early] - z[:, COLD_STEPS + early :]
            parts = tf.reduce_mean((miss @ tf.constant(s["components"])) ** 2, [0, 1])
            errors.append(tf.reduce_sum(parts * tf.constant(s["component_weights"])))
            plain.append(tf.reduce_mean(miss**2))
        total = tf.add_n([share * e for share, e in zip(HORIZONS, errors, strict=True)])
        return [total, *errors, plain[0]]

    # Steps

    def block_step(self, mel: F32, teacher_mel: F32) -> F32:
        """Learn from one batch block by block.

        Returns
        -------
        float32 [n_blocks + 1]
            The errors before it: of each block, and of the last layer.
        """

        def run(rate: Tensor, t: Tensor, mel: Tensor, teacher_mel: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                errors = self._stage_errors(mel, teacher_mel)
                total = tf.add_n(errors)
            self._learn(tape.gradient(total, self._variables), rate, t)
            return tf.stack(errors)

        plan = self.plan
        rates = (rate(self.step, plan.block_steps, plan.block_rate), self.step + 1)
        return self._run("block", run, *rates, mel, teacher_mel)

    def whole_step(self, mel: NDArray[np.floating], frames: NDArray[np.floating]) -> F32:
        """Learn from one batch as a whole.

        Returns
        -------
        float32 [5]
            The errors of the frames before it: half-whitened all together, of each horizon,
            and plain of the latest.
        """

        def run(rate: Tensor, t: Tensor, mel: Tensor, frames: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                mine = self.student(joined(tf.cast(mel, tf.float32), self.plan.joined), Memory())
                mine = tf.reshape(mine, frames.shape)
                errors = self._frame_errors(mine, tf.cast(frames, tf.float32))
            self._learn(tape.gradient(errors[0], self._variables), rate, t)
            return tf.stack(errors)

        plan, step = self.plan, self.step - self.plan.block_steps
        rates = (rate(step, plan.whole_steps, plan.whole_rate), step + 1)
        return self._run("whole", run, *rates, mel, frames)

    def _run(self, name: str, function: Any, rate: float, t: int, *batch: Any) -> F32:
        if t == 1:
            self._m.assign(tf.zeros_like(self._m))
            self._v.assign(tf.zeros_like(self._v))
        if name not in self._functions:
            self._functions[name] = tf.function(function)
        numbers = (tf.constant(rate, tf.float32), tf.constant(t, tf.float32))
        errors: F32 = self._functions[name](*numbers, *map(tf.constant, batch)).numpy()
        self.step += 1
        return errors

    def _learn(self, gradients: Sequence[Any], rate: Tensor, t: Tensor) -> None:
        """Take a step of a clipped norm: Muon for matrices, Adam for the rest; keep the mean.

        K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024, scaled
        to Adam's rate as J. Liu et al., "Muon is scalable for LLM training", 2025, do.
        """
        pairs = zip(gradients, self._variables, strict=True)
        g = _flat([tf.zeros_like(v) if g is None else g for g, v in pairs])
        g = g / tf.maximum(1.0, tf.norm(g))
        m = self._m.assign(_BETA_1 * self._m + (1.0 - _BETA_1) * g)
        v = self._v.assign(_BETA_2 * self._v + (1.0 - _BETA_2) * g * g)
        size = tf.sqrt(v / (1.0 - _BETA_2**t)) + 1e-7
        adam = self._parts(m / (1.0 - _BETA_1**t) / size)
        ahead = self._parts(_BETA_1 * m + (1.0 - _BETA_1) * g)
        change = [
            orthogonal(a) if _is_matrix(b.shape) else b for a, b in zip(ahead, adam, strict=True)
        ]
        weights = _flat(self._variables) - rate * _flat(change)
        share = tf.minimum(_MEAN_SHARE, (1.0 + t) / (10.0 + t))
        self._mean.assign(share * self._mean + (1.0 - share) * weights)
        self._assign(weights)

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = zip(tf.split(flat, self._sizes), self._variables, strict=True)
        return [tf.reshape(part, v.shape) for part, v in parts]

    def _assign(self, weights: Tensor) -> None:
        for part, v in zip(self._parts(weights), self._variables, strict=True):
            v.assign(part)

    # State

    def use_mean(self) -> None:
        """Put the running mean in the weights' place."""
        self._assign(self._mean)

    def save(self, path: Path) -> None:
        """Write all state, whole or not at all."""
        arrays = {
            "plan": np.array(json.dumps(asdict(self.plan))),
            "step": np.array(self.step),
            "weights": _flat(self._variables).numpy(),
            "m": self._m.numpy(),
            "v": self._v.numpy(),
            "mean": self._mean.numpy(),
        }
        self._write(path, arrays)

    def save_mean(self, path: Path) -> None:
        """Write the running mean alone, in half precision, for another run to begin with."""
        arrays = {
            "plan": np.array(json.dumps(asdict(self.plan))),
            "step": np.array(self.step),
            "weights": self._mean.numpy().astype(np.float16),
        }
        self._write(path, arrays)

    def _write(self, path: Path, arrays: dict[str, Any]) -> None:
        arrays |= {f"scale_{name}": a for name, a in self._scales.items()}
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote, or begin with what :meth:`save_mean` did.

        Raises
        ------
        DatasetError
            If it can't be read, or is of another shape.
        """
        try:
            with np.load(path) as file:
                saved = {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise DatasetError(f"can't read the base's state '{path}': {error}") from error
        if saved["weights"].shape != (sum(self._sizes),):
            named = json.loads(str(saved["plan"]))["shape"]
            raise DatasetError(f"'{path}' is of the shape '{named}', not '{self.plan.shape}'")
        self.step = int(saved["step"])
        weights = _f32(saved["weights"])
        self._assign(tf.constant(weights))
        self._mean.assign(saved.get("mean", weights))
        for variable, name in ((self._m, "m"), (self._v, "v")):
            variable.assign(saved.get(name, np.zeros_like(weights)))
        self._scales = {k[6:]: saved[k] for k in saved if k.startswith("scale_")}


def joined(mel: Tensor, n: int) -> Tensor:
    """Put ``n`` scenes behind each other: [n * B, OVERLAP + T, F] -> [B, OVERLAP + n * T, F]."""
    batch, t, bands = mel.shape
    new = tf.reshape(mel[:, OVERLAP:], [batch // n, n * (t - OVERLAP), bands])
    return tf.concat([mel[::n, :OVERLAP], new], 1)


def orthogonal(momentum: Tensor) -> Tensor:
    """Set the singular values of a matrix to about 1 by five Newton-Schulz steps, and scale it."""
    rows, columns = int(np.prod(momentum.shape[:-1])), int(momentum.shape[-1])
    x = tf.reshape(momentum, [rows, columns])
    x = tf.transpose(x) if rows > columns else x
    x = x / (tf.norm(x) + 1e-12)
    for _ in range(5):
        square = x @ tf.transpose(x)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    x = tf.transpose(x) if rows > columns else x
    return tf.reshape(x * (0.2 * max(rows, columns) ** 0.5), momentum.shape)


def saved_plan(path: Path) -> Plan:
    """The plan of a run that was saved."""
    with np.load(path) as file:
        return Plan(**json.loads(str(file["plan"])))


def _is_matrix(shape: Sequence[int]) -> bool:
    """Tell weights that mix channels from those of one channel each."""
    return len(shape) > 1 and shape[-1] > 1


def _flat(tensors: Sequence[Any]) -> Tensor:
    return tf.concat([tf.reshape(t, [-1]) for t in tensors], 0)


def _f32(a: Any) -> F32:
    return np.asarray(a, np.float32)
