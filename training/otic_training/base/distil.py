"""Train the base: it learns the teacher's frames of scenes, without labels.

First block by block: each block of the student learns a stage of the teacher from the
teacher's own input. Then as a whole. Batches and learning rates depend on the seed and the
step alone, and the state is on disk, so a run can be stopped and continued at any time and
gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic_training.base import features
from otic_training.data.scenes import Mixer, Recipe
from otic_training.data.sounds import saved_sounds

F32 = NDArray[np.float32]
Tensor = Any

STEPS = 31
"""Frames of the teacher in a scene: ten seconds."""
STAGE_SCENES = 96
"""Scenes that the spread of the teacher's stages is measured on."""
FRAME_SCENES = 480
"""Scenes that the spread of the teacher's frames is measured on."""
COLD_STEPS = 2
"""First steps of a scene, which count nothing: there was no past."""
BASE_RECIPE = Recipe(others=(0.05, 0.2, 0.3, 0.25, 0.2), others_snr_db=(-3.0, 30.0))


@dataclass(frozen=True)
class Plan:
    """All that a run depends on.

    Attributes
    ----------
    shape : str
    seed : int
    batch : int
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
    block_steps: int = 700
    whole_steps: int = 20_000
    block_rate: float = 4e-3
    whole_rate: float = 2e-3
    window: int = 2000
    uses: float = 3.0

    def newest(self, step: int) -> int:
        """Scenes that exist for a step of the second part."""
        return self.window + int(step * self.batch / self.uses)

    def numbers(self, step: int) -> NDArray[np.int64]:
        """Scenes of a step of the second part."""
        rng = np.random.default_rng([self.seed, 1, step])
        return self.newest(step) - 1 - rng.choice(self.window, self.batch, replace=False)

    def rate(self, step: int, steps: int, peak: float) -> float:
        """Up within 100 steps, level, then down over the last 40 % of the steps."""
        down = min(1.0, max(0.02, (steps - step) / (0.4 * steps)))
        return peak * min(1.0, (step + 1) / 100) * down


class Scenes:
    """Scenes with what the teacher says about them.

    Not thread safe.

    Parameters
    ----------
    bank, teacher : Path
    seed, hops, delay_hops : int
    """

    def __init__(self, bank: Path, teacher: Path, seed: int, hops: int, delay_hops: int) -> None:
        from otic_training.base.teacher import TeacherFrames, TeacherTrunk

        n = features.n_samples(STEPS, hops)
        self._mixer = Mixer(saved_sounds(bank), features.SR, n, seed, BASE_RECIPE)
        self._log_mel = features.LogMel(features.n_hops(STEPS, hops))
        self._delay, self._teacher = delay_hops, TeacherFrames(teacher)
        self._trunk = TeacherTrunk(teacher)

    def with_frames(self, number: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Log-mel [n_hops, n_mels] and the teacher's frames [STEPS, width]."""
        y = self._mixer.scene(number).y
        frames = self._teacher(features.for_teacher(y, self._delay, self._teacher.n_samples))
        return self._log_mel(y).astype("f2"), frames[:STEPS].astype("f2")

    def with_log_mel(self, number: int) -> tuple[F32, F32]:
        """Log-mel of the base, and of the teacher, for what nothing looks ahead of."""
        y = self._mixer.scene(number).y
        z = features.for_teacher(y, 0, self._teacher.n_samples)
        return self._log_mel(y), self._trunk.log_mel(z)


class Ring:
    """The newest scenes in files, so that a run that goes on has them at once.

    Parameters
    ----------
    folder : Path
    length, n_hops, n_mels, width : int
    """

    def __init__(self, folder: Path, length: int, n_hops: int, n_mels: int, width: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)

        def array(name: str, shape: tuple[int, ...], dtype: str) -> Any:
            path = folder / name
            if path.exists():
                return np.lib.format.open_memmap(path, "r+")
            made = np.lib.format.open_memmap(path, "w+", dtype, shape)
            return made

        self.mel = array("mel.npy", (length, n_hops, n_mels), "f2")
        self.frames = array("frames.npy", (length, STEPS, width), "f2")
        self.number = array("number.npy", (length,), "i8")

    def has(self, number: int) -> bool:
        """True once the scene is complete."""
        return int(self.number[number % len(self.number)]) == number + 1

    def put(self, number: int, mel: Any, frames: Any) -> None:
        """Write one scene over the oldest."""
        i = number % len(self.number)
        self.number[i] = 0
        self.mel[i], self.frames[i] = mel, frames
        self.number[i] = number + 1


def make_scenes(arguments: tuple[Any, ...], ring_arguments: tuple[Any, ...], oldest: Any) -> None:
    """Body of the process that fills the ring, never further than the trainer has read."""
    os.nice(1)
    scenes, ring = Scenes(*arguments), Ring(*ring_arguments)
    number = max(0, int(oldest.value))
    while True:
        if number >= oldest.value + len(ring.number):
            time.sleep(0.05)
        else:
            if not ring.has(number):
                ring.put(number, *scenes.with_frames(number))
            number += 1


def make_log_mels(arguments: tuple[Any, ...], first: int, queue: Any) -> None:
    """Body of the process that makes scenes for the first part, in order."""
    scenes, number = Scenes(*arguments), first
    while True:
        queue.put(scenes.with_log_mel(number))
        number += 1


class Trainer:
    """The student, what is learned beside it, Adam's state and the running mean of all weights.

    Parameters
    ----------
    plan : Plan
    teacher : Path
    """

    def __init__(self, plan: Plan, teacher: Path) -> None:
        import tensorflow as tf

        from otic_training.base.student import SHAPES, Student
        from otic_training.base.teacher import TeacherTrunk

        self.tf, self.plan = tf, plan
        shape = SHAPES[plan.shape]
        self.student = Student(shape, plan.seed, features.N_MELS, shape.hops * features.HOP_SECONDS)
        self.trunk = TeacherTrunk(teacher)
        rng = np.random.default_rng([plan.seed, 2])
        self._out = tf.Variable(
            (rng.standard_normal((shape.out, shape.out)) / np.sqrt(shape.out)).astype("f4")
        )
        self._bias = tf.Variable(np.zeros(shape.out, "f4"))
        self.variables = [*self.student.weights, self._out, self._bias]
        self._sizes = [int(np.prod(v.shape)) for v in self.variables]
        flat = lambda: tf.Variable(tf.zeros(sum(self._sizes)))  # noqa: E731
        self.m, self.v, self.mean = flat(), flat(), flat()
        self.mean.assign(self._flat(self.variables))
        self.step = 0
        self.scales: dict[str, F32] = {}
        self._functions: dict[str, Any] = {}

    def _flat(self, tensors: Any) -> Tensor:
        return self.tf.concat([self.tf.reshape(t, [-1]) for t in tensors], 0)

    # What is compared with what

    def measure_stages(self, mels: F32) -> None:
        """Take the spread of the teacher's stages."""
        stages = self.trunk.stages(self.tf.constant(mels))
        for i, h in enumerate(stages):
            v = np.var(h.numpy(), axis=(0, 1, 2))
            self.scales[f"stage{i}"] = (v + 0.01 * v.mean() + 1e-6).astype("f4")

    def measure_frames(self, frames: NDArray[np.float16]) -> None:
        """Take the mean, spread and principal components of the teacher's frames."""
        f = frames[:, COLD_STEPS:].reshape(-1, frames.shape[-1]).astype("f8")
        mean, variance = f.mean(0), f.var(0)
        raw = variance + 0.05 * variance.mean()
        z = (f - mean) / np.sqrt(raw)
        values, vectors = np.linalg.eigh(np.cov(z.T))
        values = np.maximum(values, 1e-4 * values.max())
        weights = 1.0 / np.sqrt(values)  # half-whitened: between as they are and all alike
        weights /= (weights * values).sum()
        self.scales |= {
            "frame_mean": mean.astype("f4"),
            "frame_sd": np.sqrt(raw).astype("f4"),
            "components": vectors.astype("f4"),
            "component_weights": weights.astype("f4"),
        }

    def stage_errors(self, mel: Tensor, teacher_mel: Tensor) -> list[Tensor]:
        """How far each block is from its stage of the teacher, given the stage before."""
        from otic_training.base.student import Memory

        tf, student = self.tf, self.student
        h = self.trunk.stages(teacher_mel)
        n, bands = STEPS * student.shape.hops // 2, features.N_MELS // 2
        x, errors = student.first(mel), []
        for i, spec in enumerate(student.shape.blocks):
            if i:
                x = h[student.shape.blocks[i - 1].stage][:, :, :bands]
            x = tf.pad(x[:, spec.ahead :], [[0, 0], [0, spec.ahead], [0, 0], [0, 0]])[:, :n]
            x = tf.pad(x, [[0, 0], [0, n - x.shape[1]], [0, 0], [0, 0]])
            y = student.block(i, x, Memory())
            n, bands = n // spec.stride, -(-bands // spec.stride)
            target = h[spec.stage][:, :n, :bands]
            scale = tf.constant(self.scales[f"stage{spec.stage}"])
            errors.append(tf.reduce_mean((y - target) ** 2 / scale))
        frames = tf.reduce_mean(student.last(h[-2][:, :STEPS]), 2)
        errors.append(self.frame_error(frames, tf.reduce_mean(h[-1], 2)[:, :STEPS])[0])
        return errors

    def frame_error(self, frames: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
        """Half-whitened and plain error of frames: 0 if equal, 1 if no better than the mean."""
        tf, s = self.tf, self.scales
        z = (taught - tf.constant(s["frame_mean"])) / tf.constant(s["frame_sd"])
        miss = frames @ self._out + self._bias - z
        miss = miss[:, COLD_STEPS:]
        plain = tf.reduce_mean(miss**2)
        weights = tf.constant(s["component_weights"])
        parts = tf.reduce_mean((miss @ tf.constant(s["components"])) ** 2, [0, 1])
        return tf.reduce_sum(parts * weights), plain

    # Steps

    def block_step(self, mel: F32, teacher_mel: F32) -> F32:
        """Learn from one batch block by block; the errors before it."""
        tf = self.tf

        def run(rate: Tensor, t: Tensor, mel: Tensor, teacher_mel: Tensor) -> Tensor:
            with tf.GradientTape() as tape:
                errors = self.stage_errors(mel, teacher_mel)
                total = tf.add_n(errors)
            self._learn(tape.gradient(total, self.variables), rate, t)
            return tf.stack(errors)

        return self._run("block", run, mel, teacher_mel)

    def whole_step(self, mel: Any, frames: Any) -> F32:
        """Learn from one batch as a whole; the errors before it."""
        tf = self.tf

        def run(rate: Tensor, t: Tensor, mel: Tensor, frames: Tensor) -> Tensor:
            from otic_training.base.student import Memory

            with tf.GradientTape() as tape:
                mine = self.student(tf.cast(mel, tf.float32), Memory())
                errors = self.frame_error(mine, tf.cast(frames, tf.float32))
            self._learn(tape.gradient(errors[0], self.variables), rate, t)
            return tf.stack(errors)

        return self._run("whole", run, mel, frames)

    def _run(self, name: str, function: Any, *batch: Any) -> F32:
        plan, tf = self.plan, self.tf
        if name not in self._functions:
            self._functions[name] = tf.function(function)
            self.m.assign(tf.zeros_like(self.m)) if self.first_of_part else None
            self.v.assign(tf.zeros_like(self.v)) if self.first_of_part else None
        if name == "block":
            rate = plan.rate(self.step, plan.block_steps, plan.block_rate)
            t = self.step + 1
        else:
            t = self.step - plan.block_steps + 1
            rate = plan.rate(t - 1, plan.whole_steps, plan.whole_rate)
        result: F32 = self._functions[name](
            tf.constant(rate, tf.float32), tf.constant(t, tf.float32), *map(tf.constant, batch)
        ).numpy()
        self.step += 1
        return result

    @property
    def first_of_part(self) -> bool:
        """True where Adam begins."""
        return self.step in (0, self.plan.block_steps)

    def _learn(self, gradients: Any, rate: Tensor, t: Tensor) -> None:
        """Adam with a clipped norm, and the running mean of the weights."""
        tf = self.tf
        pairs = zip(gradients, self.variables, strict=True)
        g = self._flat([tf.zeros_like(v) if g is None else g for g, v in pairs])
        g = g / tf.maximum(1.0, tf.norm(g))
        m = self.m.assign(0.9 * self.m + 0.1 * g)
        v = self.v.assign(0.995 * self.v + 0.005 * g * g)
        change = rate * (m / (1.0 - 0.9**t)) / (tf.sqrt(v / (1.0 - 0.995**t)) + 1e-7)
        weights = self._flat(self.variables) - change
        share = tf.minimum(0.998, (1.0 + t) / (10.0 + t))
        self.mean.assign(share * self.mean + (1.0 - share) * weights)
        for part, variable in zip(tf.split(weights, self._sizes), self.variables, strict=True):
            variable.assign(tf.reshape(part, variable.shape))

    # State

    def use_mean(self) -> None:
        """Put the running mean in the weights' place."""
        for part, v in zip(self.tf.split(self.mean, self._sizes), self.variables, strict=True):
            v.assign(self.tf.reshape(part, v.shape))

    def save(self, path: Path) -> None:
        """Write all state, whole or not at all."""
        arrays = {
            "plan": np.array(json.dumps(asdict(self.plan))),
            "step": np.array(self.step),
            "weights": self._flat(self.variables).numpy(),
            "m": self.m.numpy(),
            "v": self.v.numpy(),
            "mean": self.mean.numpy(),
        }
        arrays |= {f"scale_{name}": a for name, a in self.scales.items()}
        partial = path.with_suffix(".partial.npz")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what :meth:`save` wrote."""
        with np.load(path) as saved:
            self.step = int(saved["step"])
            parts = self.tf.split(self.tf.constant(saved["weights"]), self._sizes)
            for part, variable in zip(parts, self.variables, strict=True):
                variable.assign(self.tf.reshape(part, variable.shape))
            self.m.assign(saved["m"])
            self.v.assign(saved["v"])
            self.mean.assign(saved["mean"])
            self.scales = {k[6:]: saved[k] for k in saved.files if k.startswith("scale_")}


def train(
    plan: Plan, bank: Path, teacher: Path, folder: Path, save_every: int, stop_at: int | None
) -> None:
    """Train, or go on training, until the plan's last step or ``stop_at``."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.npz"
    trainer = Trainer(plan, teacher)
    shape = trainer.student.shape
    last = plan.block_steps + plan.whole_steps
    last = last if stop_at is None else min(last, stop_at)
    arguments = (bank, teacher, plan.seed, shape.hops, shape.delay_hops)
    print(f"{shape.name}: {trainer.student.n_parameters} parameters, {last} steps", flush=True)
    if state.exists():
        trainer.load(state)
        print(f"goes on at step {trainer.step}", flush=True)
    else:
        measure(trainer, Scenes(*arguments))
    log = Log(folder / "log.txt", save_every, lambda: trainer.save(state))
    while trainer.step < last and trainer.step < plan.block_steps:
        steps = min(last, plan.block_steps) - trainer.step
        for mel, teacher_mel in log_mel_batches(plan, arguments, trainer.step, steps):
            log.note(trainer, trainer.block_step(mel, teacher_mel))
        if trainer.step == plan.block_steps:
            trainer.use_mean()
        trainer.save(state)
    if trainer.step < last:
        ring_arguments = (
            folder / "ring",
            2 * plan.window,
            features.n_hops(STEPS, shape.hops),
            features.N_MELS,
            shape.out,
        )
        for mel, frames in frame_batches(plan, arguments, ring_arguments, trainer, last):
            log.note(trainer, trainer.whole_step(mel, frames))
    trainer.save(state)


def measure(trainer: Trainer, scenes: Scenes) -> None:
    """Take the spread of what the teacher says about the first scenes of another seed."""
    first = 1 << 40
    mels = [scenes.with_log_mel(first + i)[1] for i in range(STAGE_SCENES)]
    trainer.measure_stages(np.stack(mels[:32]))
    trainer.measure_frames(
        np.stack([scenes.with_frames(first + i)[1] for i in range(FRAME_SCENES)])
    )


def log_mel_batches(
    plan: Plan, arguments: tuple[Any, ...], step: int, steps: int
) -> Iterator[tuple[F32, F32]]:
    """Batches of the first part."""
    context = mp.get_context("spawn")
    queue = context.Queue(4 * plan.batch)
    first = (1 << 41) + step * plan.batch
    maker = context.Process(target=make_log_mels, args=(arguments, first, queue), daemon=True)
    maker.start()
    try:
        for _ in range(steps):
            mel, teacher_mel = zip(*(queue.get() for _ in range(plan.batch)), strict=True)
            yield np.stack(mel), np.stack(teacher_mel)
    finally:
        maker.terminate()
        maker.join()


def frame_batches(
    plan: Plan,
    arguments: tuple[Any, ...],
    ring_arguments: tuple[Any, ...],
    trainer: Trainer,
    last: int,
) -> Iterator[tuple[Any, Any]]:
    """Batches of the second part."""
    context = mp.get_context("spawn")
    ring = Ring(*ring_arguments)
    step = trainer.step - plan.block_steps
    oldest = context.Value("q", plan.newest(step) - plan.window)
    maker = context.Process(
        target=make_scenes, args=(arguments, ring_arguments, oldest), daemon=True
    )
    maker.start()
    try:
        while trainer.step < last:
            step = trainer.step - plan.block_steps
            oldest.value = plan.newest(step) - plan.window
            numbers = plan.numbers(step)
            while not ring.has(plan.newest(step) - 1):
                if not maker.is_alive():
                    raise RuntimeError("the process that makes scenes has ended")
                time.sleep(0.02)
            i = numbers % len(ring.number)
            yield ring.mel[i], ring.frames[i]
    finally:
        maker.terminate()
        maker.join()


class Log:
    """A line each hundred steps, and the state on disk each so many seconds."""

    def __init__(self, path: Path, save_every: float, save: Any) -> None:
        self._path, self._every, self._save = path, save_every, save
        self._errors: list[F32] = []
        self._saved = self._began = time.monotonic()

    def note(self, trainer: Trainer, errors: F32) -> None:
        """Take the errors of a step."""
        if self._errors and len(self._errors[0]) != len(errors):
            self._errors.clear()
        self._errors.append(errors)
        if trainer.step % 100 == 0:
            mean = " ".join(f"{e:.3f}" for e in np.mean(self._errors, 0))
            now = time.monotonic()
            pace = len(self._errors) / (now - self._began)
            line = f"{time.strftime('%H:%M:%S')} step {trainer.step} {pace:.2f}/s errors {mean}"
            print(line, flush=True)
            with self._path.open("a") as file:
                file.write(line + "\n")
            self._errors.clear()
            self._began = now
        if time.monotonic() - self._saved > self._every:
            self._save()
            self._saved = time.monotonic()


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bank", type=Path, help="sounds, as save_sounds writes them")
    parser.add_argument("teacher", type=Path, help="the teacher's TFLite file")
    parser.add_argument("folder", type=Path, help="state, log and scenes of the run")
    parser.add_argument("--shape", default="large")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block-steps", type=int, default=Plan.block_steps)
    parser.add_argument("--whole-steps", type=int, default=Plan.whole_steps)
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--stop-at", type=int, help="step")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(a.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    plan = Plan(a.shape, a.seed, block_steps=a.block_steps, whole_steps=a.whole_steps)
    train(plan, a.bank, a.teacher, a.folder, a.save_every, a.stop_at)


if __name__ == "__main__":
    main()
