"""Train the base: it learns the teacher's frames of scenes, without labels.

First block by block: each block of the student learns a stage of the teacher from the
teacher's own input. Then as a whole. Batches and learning rates depend on the seed and the
step alone, and the state is on disk, so a run can be stopped at any time, goes on where it
was, and gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic_training.base import features
from otic_training.base.ring import F16, Ring
from otic_training.base.student import SHAPES
from otic_training.base.teacher import TeacherFrames, TeacherTrunk
from otic_training.base.trainer import STEPS, Plan, Trainer
from otic_training.data.layouts import load_dataset
from otic_training.data.scenes import Mixer, Recipe
from otic_training.data.sound_tables import sounds_of
from otic_training.data.sounds import labelled_sounds, negative_sounds, save_sounds, saved_sounds

F32 = NDArray[np.float32]

RECIPE = Recipe(
    others=(0.05, 0.2, 0.3, 0.25, 0.2),
    others_snr_db=(-3.0, 30.0),
    speed=1.9,
    speed_share=0.6,
    made_share=0.35,
    strange_share=0.2,
)
"""Settings of scenes without labels: more at once, and changed beyond recognition.

The teacher says what it makes of them, so they need not stay what they were.
"""
SOUNDS, STATE, LOG, HEARD = "sounds.npy", "state.npz", "log.txt", "heard.json"
_STAGE_SCENES, _FRAME_SCENES = 32, 480  # that the spread of the teacher is measured on
_MEASURED, _FIRST_PART = 1 << 40, 1 << 41
"""Numbers of the first scenes that the spread is measured on, and that blocks learn from."""
_NOTE_EVERY = 100


@dataclass(frozen=True)
class SceneMaker:
    """What a process needs in order to make scenes.

    Attributes
    ----------
    sounds, teacher : Path
    seed, hops, delay_hops : int
    """

    sounds: Path
    teacher: Path
    seed: int
    hops: int
    delay_hops: int

    def open(self) -> Scenes:
        """Scenes, in the process that makes them."""
        return Scenes(self)


class Scenes:
    """Scenes with what the teacher says about them.

    Not thread safe.
    """

    def __init__(self, maker: SceneMaker) -> None:
        n = features.n_samples(STEPS, maker.hops)
        self._mixer = Mixer(saved_sounds(maker.sounds), features.SR, n, maker.seed, RECIPE)
        self._log_mel = features.LogMel(features.n_hops(STEPS, maker.hops))
        self._delay, self._teacher = maker.delay_hops, TeacherFrames(maker.teacher)
        self._trunk = TeacherTrunk(maker.teacher)

    def with_frames(self, number: int) -> tuple[F16, F16]:
        """Log-mel [n_hops, n_mels] and the teacher's frames [STEPS, width]."""
        y = self._mixer.scene(number).y
        frames = self._teacher(features.for_teacher(y, self._delay, self._teacher.n_samples))
        return self._log_mel(y).astype("f2"), frames[:STEPS].astype("f2")

    def with_log_mel(self, number: int) -> tuple[F32, F32]:
        """Log-mel of the base, and of the teacher at the same time."""
        y = self._mixer.scene(number).y
        z = features.for_teacher(y, 0, self._teacher.n_samples)
        return self._log_mel(y), self._trunk.log_mel(z)


def fill(maker: SceneMaker, ring_arguments: tuple[Any, ...], oldest: Any) -> None:
    """Fill the ring, in a process of its own, never further than the trainer has read."""
    scenes, ring, number = maker.open(), Ring(*ring_arguments), int(oldest.value)
    while True:
        if number >= oldest.value + ring.length:
            time.sleep(0.05)
        else:
            if not ring.has(number):
                ring.put(number, *scenes.with_frames(number))
            number += 1


def queue_log_mels(maker: SceneMaker, number: int, queue: Any) -> None:
    """Make scenes for the first part, in a process of its own, in order."""
    scenes = maker.open()
    while True:
        queue.put(scenes.with_log_mel(number))
        number += 1


def train(
    plan: Plan,
    sounds: Path,
    teacher: Path,
    folder: Path,
    save_every: float,
    begin_with: Path | None = None,
) -> Trainer:
    """Train, or go on training, until the plan's last step.

    Parameters
    ----------
    plan : Plan
    sounds : Path
        As :func:`otic_training.data.sounds.save_sounds` writes them.
    teacher : Path
    folder : Path
        For state, log and scenes.
    save_every : float
        Seconds.
    begin_with : Path, optional
        State of another run, whose weights this one begins with, block by block done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, trainer = folder / STATE, Trainer(plan, TeacherTrunk(teacher))
    shape = trainer.student.shape
    maker = SceneMaker(sounds, teacher, plan.seed, shape.hops, shape.delay_hops)
    if state.exists():
        trainer.load(state)
    elif begin_with is not None:
        trainer.load(begin_with)
        trainer.use_mean()
        trainer.step = plan.block_steps
    else:
        scenes = maker.open()
        mels = [scenes.with_log_mel(_MEASURED + i)[1] for i in range(_STAGE_SCENES)]
        frames = [scenes.with_frames(_MEASURED + i)[1] for i in range(_FRAME_SCENES)]
        trainer.measure(np.stack(mels), np.stack(frames))
    log = Log(folder / LOG, save_every, lambda: trainer.save(state))
    log.say(f"{shape.name}, {trainer.student.n_parameters} parameters: step {trainer.step}")
    if trainer.step < plan.block_steps:
        for mel, teacher_mel in log_mel_batches(plan, maker, trainer.step):
            log.note(trainer, trainer.block_step(mel, teacher_mel))
        trainer.use_mean()
        trainer.save(state)
    for heard, taught in frame_batches(plan, maker, folder / "ring", trainer):
        log.note(trainer, trainer.whole_step(heard, taught))
    trainer.save(state)
    return trainer


def log_mel_batches(plan: Plan, maker: SceneMaker, step: int) -> Iterator[tuple[F32, F32]]:
    """Batches of the first part, from ``step`` on."""
    context = mp.get_context("spawn")
    queue = context.Queue(4 * plan.batch)
    first = _FIRST_PART + step * plan.batch
    process = context.Process(target=queue_log_mels, args=(maker, first, queue), daemon=True)
    process.start()
    try:
        for _ in range(step, plan.block_steps):
            mel, teacher_mel = zip(*(queue.get() for _ in range(plan.batch)), strict=True)
            yield np.stack(mel), np.stack(teacher_mel)
    finally:
        process.terminate()
        process.join()


def frame_batches(
    plan: Plan, maker: SceneMaker, folder: Path, trainer: Trainer
) -> Iterator[tuple[F16, F16]]:
    """Batches of the second part, from the trainer's step on."""
    context = mp.get_context("spawn")
    mel = (features.n_hops(STEPS, maker.hops), features.N_MELS)
    ring_arguments = (folder, 2 * plan.window, mel, (STEPS, trainer.student.shape.out))
    ring = Ring(*ring_arguments)
    oldest = context.Value("q", plan.newest(trainer.step - plan.block_steps) - plan.window)
    process = context.Process(target=fill, args=(maker, ring_arguments, oldest), daemon=True)
    process.start()
    try:
        while trainer.step < plan.steps:
            step = trainer.step - plan.block_steps
            oldest.value = plan.newest(step) - plan.window
            while not ring.has(plan.newest(step) - 1):
                if not process.is_alive():
                    raise RuntimeError("the process that makes scenes has ended")
                time.sleep(0.02)
            yield ring.get(plan.numbers(step))
    finally:
        process.terminate()
        process.join()


class Log:
    """A line each hundred steps, and the state on disk each so many seconds."""

    def __init__(self, path: Path, save_every: float, save: Callable[[], None]) -> None:
        self._path, self._every, self._save = path, save_every, save
        self._errors: list[F32] = []
        self._saved = self._began = time.monotonic()

    def note(self, trainer: Trainer, errors: F32) -> None:
        """Take the errors of a step."""
        now = time.monotonic()
        self._errors.append(errors)
        if trainer.step % _NOTE_EVERY == 0 or trainer.step == trainer.plan.block_steps:
            mean = " ".join(f"{e:.3f}" for e in np.mean(self._errors, axis=0))
            pace = len(self._errors) / (now - self._began)
            self.say(f"step {trainer.step}, {pace:.2f} a second, errors {mean}")
            self._errors, self._began = [], now
        if now - self._saved > self._every:
            self._save()
            self._saved = time.monotonic()

    def say(self, line: str) -> None:
        """Append a line to the log, and print it."""
        line = f"{time.strftime('%H:%M:%S')} {line}"
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")


def prepare_sounds(
    path: Path, others: list[str], dataset: str | None, held_out: list[int], clean: bool
) -> None:
    """Decode all recordings once: those of folders with a ``clips.csv``, and of a data set.

    Sounds of the data set keep their labels, so that scenes hold about one of them each; what
    the base learns of them is what the teacher says all the same.
    """
    clips = () if dataset is None else load_dataset(dataset, None, "esc10").clips
    tested = {f"fs{clip.recording}" for clip in clips if clip.fold in held_out}
    clips = tuple(c for c in clips if c.fold not in held_out and not c.tested_only)
    labels = sorted({clip.label for clip in clips})
    heard = [
        sound
        for sound in sounds_of(others, ("recording", "source"))
        if sound.recording not in tested and not (clean and sound.of_esc50)
    ]
    sounds = negative_sounds(heard, (), features.SR)
    save_sounds(path, [*sounds, *labelled_sounds(clips, labels, features.SR)])


def note_heard(
    folder: Path, dataset: str | None, held_out: list[int], begin_with: Path | None
) -> None:
    """Write which folds of a data set a run hears, those of the run that it begins with too."""
    heard: dict[str, Any] = {"folds": []}
    earlier = begin_with.with_name(HEARD) if begin_with else None
    if earlier is not None and earlier.exists():
        heard = json.loads(earlier.read_text())
    if dataset is not None:
        read = load_dataset(dataset, None, "esc10")
        folds = {*heard["folds"], *(fold for fold in read.folds if fold not in held_out)}
        heard = {"data": read.name, "folds": sorted(folds)}
    (folder / HEARD).write_text(json.dumps(heard))


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("teacher", type=Path, help="the teacher's TFLite file")
    parser.add_argument("folder", type=Path, help="for state, log and scenes of the run")
    parser.add_argument("--other", action="append", default=[], help="folder with a clips.csv")
    parser.add_argument("--dataset", help="labelled clips that the base hears, too")
    parser.add_argument(
        "--held-out",
        type=int,
        nargs="+",
        default=[],
        help="folds of it that the base does not hear",
    )
    parser.add_argument("--begin-with", type=Path, help="state of another run to begin with")
    parser.add_argument("--clean", action="store_true", help="hear no clip of ESC-50")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="large")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block-steps", type=int, default=Plan.block_steps)
    parser.add_argument("--whole-steps", type=int, default=Plan.whole_steps)
    parser.add_argument("--whole-rate", type=float, default=Plan.whole_rate, help="learning rate")
    parser.add_argument("--save-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(a.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    a.folder.mkdir(parents=True, exist_ok=True)
    sounds = a.folder / SOUNDS
    if not sounds.exists():
        prepare_sounds(sounds, a.other, a.dataset, a.held_out, a.clean)
        note_heard(a.folder, a.dataset, a.held_out, a.begin_with)
    plan = Plan(
        a.shape,
        a.seed,
        block_steps=a.block_steps,
        whole_steps=a.whole_steps,
        whole_rate=a.whole_rate,
    )
    train(plan, sounds, a.teacher, a.folder, a.save_every, a.begin_with)


if __name__ == "__main__":
    main()
