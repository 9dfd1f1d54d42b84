"""The base: a stream equals the whole, in TFLite too; a run that goes on gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otic_training.base import distil, features, student, trainer
from otic_training.base.export import StepGraph
from otic_training.base.ring import Ring
from otic_training.base.student import LARGE, OVERLAP, SMALL, Block, Memory, Shape, Student
from otic_training.base.teacher import TeacherFrames, TeacherTrunk
from otic_training.base.trainer import Plan, Trainer, joined, orthogonal, saved_plan
from otic_training.data.dataset import DatasetError
from otic_training.data.scenes import Sound
from otic_training.data.sounds import save_sounds
from otic_training.experiment import load_tensorflow
from tests.conftest import DATA

TINY = Shape(
    "tiny",
    4,
    (
        Block(3, 8, 4, 1, ahead=1),
        Block(5, 8, 6, 2, stride=2),
        Block(3, 12, 6, 3, squeeze=4),
        Block(5, 12, 8, 4, stride=2, squeeze=4),
    ),
    out=16,
)
STEPS = 5

pytestmark = pytest.mark.xdist_group("tensorflow")  # one process loads it


@pytest.fixture(scope="module", autouse=True)
def _tensorflow() -> None:
    load_tensorflow()  # as other tests, which may share the process, expect it


def some_student(shape: Shape = TINY) -> Student:
    made = Student(shape, 0, features.N_MELS, shape.hops * features.HOP_SECONDS)
    rng = np.random.default_rng(1)
    for v in made.weights:
        if len(v.shape) == 1:
            v.assign(v + rng.normal(0.0, 0.3, v.shape))
    return made


def some_log_mel(steps: int, hops: int, seed: int = 0) -> NDArray[np.float32]:
    shape = (features.n_hops(steps, hops), features.N_MELS)
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


@pytest.mark.parametrize("shape", [TINY, SMALL], ids=lambda s: s.name)
def test_step_by_step_equals_the_whole(shape: Shape) -> None:
    base, mel = some_student(shape), some_log_mel(7, shape.hops)
    whole = base(tf.constant(mel[None]), Memory())[0].numpy()
    steps = [frame[0] for _, _, frame in StepGraph(base, features.N_MELS).walk(mel)]
    np.testing.assert_allclose(np.stack(steps), whole, atol=1e-5)
    assert whole.std() > 0.01


def test_what_comes_later_changes_nothing() -> None:
    base, mel = some_student(), some_log_mel(6, TINY.hops)
    whole = base(tf.constant(mel[None]), Memory()).numpy()
    changed = mel.copy()
    changed[OVERLAP + 3 * TINY.hops :] += 1.0
    other = base(tf.constant(changed[None]), Memory()).numpy()
    np.testing.assert_array_equal(whole[:, :3], other[:, :3])
    assert not np.allclose(whole[:, 3:], other[:, 3:])


def test_sizes_and_delay_are_as_promised() -> None:
    for shape, most in ((LARGE, 400_000), (SMALL, 150_000)):
        made = Student(shape, 0, features.N_MELS, 0.32)
        assert made.n_parameters <= most
        assert shape.hops == 16
        assert shape.delay_hops * features.HOP_SECONDS <= 0.5


def run_tflite(model: bytes, graph: StepGraph, mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frames of a stream through the TFLite graph, its state handed on as it comes."""
    from ai_edge_litert.interpreter import Interpreter

    runtime = Interpreter(model_content=model, num_threads=1)
    runtime.allocate_tensors()
    ins = {len(d["shape"]): d for d in runtime.get_input_details()}
    outs = {int(d["shape"][-1]): d for d in runtime.get_output_details()}
    x_in, s_in = ins[3], ins[2]
    y_out, s_out = outs[graph.student.shape.out], outs[graph.n_state]
    assert s_in["quantization"] == s_out["quantization"], "a state is handed on as it is"

    def given_as(a: NDArray[np.float32], d: Any) -> NDArray[Any]:
        scale, zero = d["quantization"]
        return a if not scale else np.clip(np.round(a / scale) + zero, -128, 127).astype("i1")

    state, frames = given_as(graph.initial_state, s_in), []
    hops = graph.student.shape.hops
    for first in range(0, len(mel) - graph.n_hops + 1, hops):
        runtime.set_tensor(x_in["index"], given_as(mel[None, first : first + graph.n_hops], x_in))
        runtime.set_tensor(s_in["index"], state)
        runtime.invoke()
        y, (scale, zero) = runtime.get_tensor(y_out["index"])[0], y_out["quantization"]
        frames.append((y.astype("f4") - zero) * scale if scale else y)
        state = runtime.get_tensor(s_out["index"])
    return np.stack(frames)


def test_tflite_equals_the_whole_and_int8_is_near() -> None:
    base, mel = some_student(), some_log_mel(12, TINY.hops)
    graph = StepGraph(base, features.N_MELS)
    whole = base(tf.constant(mel[None]), Memory())[0].numpy()
    np.testing.assert_allclose(run_tflite(graph.tflite(), graph, mel), whole, atol=1e-5)
    examples = [(x, state) for x, state, _ in graph.walk(some_log_mel(12, TINY.hops, 5))]
    near = run_tflite(graph.tflite(examples), graph, mel)
    assert np.mean((near - whole) ** 2) < 0.1 * np.var(whole, axis=0).mean()


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 5000), max_size=12))
def test_any_blocks_give_the_same_log_mel(cuts: list[int]) -> None:
    n = features.n_samples(3, 16)
    y = np.random.default_rng(2).normal(0.0, 0.1, n).astype("f4")
    log_mel = features.LogMel(features.n_hops(3, 16))
    whole = log_mel(y)
    at = np.clip(np.cumsum(cuts), 0, n)
    np.testing.assert_array_equal(log_mel.of_blocks(np.split(y, at)), whole)


class FakeTrunk:
    """Stages of the right sizes, from random weights."""

    def stages(self, mel: Any) -> list[Any]:
        x = tf.nn.avg_pool2d(mel[..., None], (4, 4), (4, 4), "SAME")
        widths, strides = (4, 4, 6, 6, 12, 16), (1, 1, 2, 1, 2, 1)  # 12: the block has 8
        h = []
        for i, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            rng = np.random.default_rng(i)
            w = tf.constant(rng.standard_normal((3, 3, x.shape[-1], width)).astype("f4") * 0.3)
            x = tf.nn.relu(tf.nn.conv2d(x, w, stride, "SAME"))
            h.append(x)
        return h


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setitem(student.SHAPES, "tiny", TINY)
    monkeypatch.setattr(trainer, "STEPS", STEPS)
    return Plan("tiny", 3, batch=2, joined=2, block_steps=6, whole_steps=14, window=8)


def trained(plan: Plan, state: Path, stops: set[int]) -> Trainer:
    """A run that is saved, dropped and loaded at the steps of ``stops``."""
    mels = np.stack([some_log_mel(STEPS, TINY.hops, i) for i in range(30)])
    rng = np.random.default_rng(9)
    teacher_mels = rng.standard_normal((30, 16 * STEPS, 128)).astype("f4")
    frames = rng.standard_normal((30, STEPS, TINY.out)).astype("f2")
    run = Trainer(plan, FakeTrunk())
    run.measure(teacher_mels[:8], frames)
    while run.step < plan.steps:
        if run.step in stops:
            run.save(state)
            run = Trainer(saved_plan(state), FakeTrunk())
            run.load(state)
        if run.step < plan.block_steps:
            i = np.arange(2) + 2 * run.step
            errors = run.block_step(mels[i], teacher_mels[i])
            assert errors.shape == (len(TINY.blocks) + 1,)
        else:
            i = plan.numbers(run.step - plan.block_steps) % 30
            errors = run.whole_step(mels[i].astype("f2"), frames[i])
        assert np.isfinite(errors).all()
    run.save(state)
    return run


def test_a_run_that_goes_on_gives_the_same_bytes(tiny: Plan, tmp_path: Path) -> None:
    trained(tiny, tmp_path / "once.npz", set())
    trained(tiny, tmp_path / "often.npz", {3, 6, 9})
    with np.load(tmp_path / "once.npz") as once, np.load(tmp_path / "often.npz") as often:
        assert set(once.files) == set(often.files)
        for name in once.files:
            np.testing.assert_array_equal(once[name], often[name], err_msg=name)


def test_another_run_begins_with_the_mean(tiny: Plan, tmp_path: Path) -> None:
    run = trained(tiny, tmp_path / "whole.npz", set())
    run.save_mean(tmp_path / "mean.npz")
    run.use_mean()
    other = Trainer(tiny, FakeTrunk())
    other.load(tmp_path / "mean.npz")
    for mine, its in zip(run.student.weights, other.student.weights, strict=True):
        np.testing.assert_allclose(its.numpy(), mine.numpy(), rtol=1e-3, atol=1e-6)
    mel = np.stack([some_log_mel(STEPS, TINY.hops, i) for i in range(2)])
    frames = np.zeros((2, STEPS, TINY.out), "f2")
    np.testing.assert_allclose(
        other.whole_step(mel, frames), run.whole_step(mel, frames), rtol=0.01
    )


def test_training_learns(tiny: Plan) -> None:
    run = Trainer(tiny, FakeTrunk())
    mel = np.stack([some_log_mel(STEPS, TINY.hops, i) for i in range(4)])
    frames = mel[:, OVERLAP:].reshape(4, STEPS, TINY.hops, -1).mean(2)[..., :16]
    teacher_mel = np.random.default_rng(0).standard_normal((4, 16 * STEPS, 128)).astype("f4")
    run.measure(teacher_mel, frames.astype("f2"))
    run.step = tiny.block_steps
    errors = [run.whole_step(mel, frames)[0] for _ in range(14)]
    assert max(np.diff(errors)) < 0.0
    assert errors[-1] < 0.97 * errors[0]


def test_scenes_are_joined_in_order() -> None:
    mel = np.arange(4.0 * 7 * 2, dtype=np.float32).reshape(4, OVERLAP + 4, 2)
    both = joined(tf.constant(mel), 2).numpy()
    np.testing.assert_array_equal(both[0], np.concatenate([mel[0], mel[1, OVERLAP:]]))
    np.testing.assert_array_equal(both[1], np.concatenate([mel[2], mel[3, OVERLAP:]]))


@pytest.mark.parametrize("shape", [(1, 1, 24, 40), (40, 24)])
def test_a_step_of_a_matrix_goes_all_ways_alike(shape: tuple[int, ...]) -> None:
    momentum = np.random.default_rng(0).standard_normal(shape).astype("f4")
    momentum[..., 0] *= 100.0
    step = orthogonal(tf.constant(momentum)).numpy()
    values = np.linalg.svd(step.reshape(-1, shape[-1]), compute_uv=False) / (0.2 * 40**0.5)
    assert step.shape == shape
    assert 0.3 < values.min() <= values.max() < 1.4


def test_a_state_of_another_shape_is_named(tiny: Plan, tmp_path: Path) -> None:
    Trainer(tiny).save(tmp_path / "state.npz")
    with pytest.raises(DatasetError, match="is of the shape 'tiny', not 'small'"):
        Trainer(Plan("small")).load(tmp_path / "state.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="can't read the base's state"):
        Trainer(tiny).load(tmp_path / "broken.npz")


def test_scenes_of_a_step_are_new_and_there(tiny: Plan) -> None:
    for step in (0, 1, 7, 1000):
        numbers = tiny.numbers(step)
        assert len(set(numbers.tolist())) == tiny.batch
        assert tiny.newest(step) - tiny.window <= numbers.min()
        assert numbers.max() < tiny.newest(step)
        np.testing.assert_array_equal(numbers, tiny.numbers(step))


def test_the_ring_forgets_the_oldest_and_lasts(tmp_path: Path) -> None:
    ring = Ring(tmp_path / "ring", 4, (3, 2), (5,))
    for number in range(6):
        ring.put(number, np.full((3, 2), number, "f2"), np.full(5, number, "f2"))
    again = Ring(tmp_path / "ring", 4, (3, 2), (5,))
    assert [again.has(i) for i in range(8)] == [False, False, True, True, True, True, False, False]
    mel, frames = again.get(np.array([5, 2]))
    assert mel[:, 0, 0].tolist() == [5.0, 2.0]
    assert frames[:, 0].tolist() == [5.0, 2.0]


@pytest.mark.real_audio
def test_a_run_on_scenes_goes_on_where_it_was(
    esc10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = (
        Block(3, 8, 4, 3, ahead=1),
        Block(3, 8, 4, 4, stride=2),
        Block(3, 8, 8, 7, stride=2),
        Block(3, 8, 8, 13, stride=2),
    )
    monkeypatch.setitem(student.SHAPES, "tiny", Shape("tiny", 4, blocks))
    monkeypatch.setattr(distil, "_STAGE_SCENES", 2)
    monkeypatch.setattr(distil, "_FRAME_SCENES", 14)
    rng = np.random.default_rng(0)
    noise = [np.round(rng.normal(0, 5000, 60_000)).astype("i2") for _ in range(3)]
    sounds, teacher = tmp_path / "sounds.npy", DATA / "teacher/mn04-10s.tflite"
    save_sounds(sounds, [Sound(y, kind) for y, kind in zip(noise, ("room", "x", "y"), strict=True)])

    def run(folder: str, *whole_steps: int) -> dict[str, Any]:
        for n in whole_steps:
            plan = Plan("tiny", 1, batch=2, joined=2, block_steps=2, whole_steps=n, window=4)
            distil.train(plan, sounds, teacher, tmp_path / folder, 1e9)
        with np.load(tmp_path / folder / distil.STATE) as state:
            return {name: state[name] for name in state.files}

    once, often = run("once", 3), run("often", 0, 3)
    assert once["step"] == 5
    for name in ("weights", "m", "v", "mean", "scale_components"):
        np.testing.assert_array_equal(once[name], often[name], err_msg=name)
    assert "step 2, " in (tmp_path / "once" / distil.LOG).read_text()


@pytest.mark.real_audio
def test_the_teachers_stages_end_in_its_frames(esc10: Path) -> None:
    path = DATA / "teacher/mn04-10s.tflite"
    trunk, frames = TeacherTrunk(path), TeacherFrames(path)
    y = np.random.default_rng(0).normal(0.0, 0.05, frames.n_samples).astype("f4")
    y *= np.linspace(0.0, 1.0, len(y), dtype="f4")
    h = trunk.stages(tf.constant(trunk.log_mel(y)[None]))
    np.testing.assert_allclose(tf.reduce_mean(h[-1], 2)[0], frames(y), atol=1e-4)
    for i, spec in enumerate(LARGE.blocks):
        assert h[spec.stage].shape[-1] == spec.out, f"block {i}"


def test_a_file_that_is_no_teacher_is_named(tmp_path: Path) -> None:
    path = tmp_path / "not.tflite"
    path.write_bytes(b"nothing of that kind")
    with pytest.raises(DatasetError, match="is no TFLite model of a teacher"):
        TeacherTrunk(path)
