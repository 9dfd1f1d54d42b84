"""Streaming models: exact for any cutting, cold behind a gap, and what a file may say of state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otic import Bundle, Classifier, Pipeline, Runner, load_bundle, save_bundle
from otic.audio.sources import ArraySource
from otic.cli.main import main
from otic.diagnostics.verify import (
    check_block_sizes,
    check_golden_cases,
    check_steps,
    check_streaming_is_batch,
)
from otic.errors import BundleError, ParameterError
from otic.features.reference import reference_log_mel
from otic.model.archive import GOLDEN, JSON, LABELS, attach, detach
from otic.model.bundle import bundle_bytes, bundled_names, parse_bundle
from otic.model.classifier import with_golden_cases
from otic.model.streaming import StateTensor, StreamParams
from otic.model.tensors import ModelInput, ModelState
from otic.sinks.jsonl import JsonlSink
from otic.streaming.control import Stop
from otic.types import Gap, Item, Scores
from tests.conftest import ROOT
from tests.support.helpers import F32, FakeClassifier, cut, noise, one_line, streaming_bundle
from tests.support.small_models import streaming_model

BUNDLE = streaming_bundle()
P, HOP = BUNDLE.features, BUNDLE.inference_hop_samples
FIRST = BUNDLE.window_samples


def scores(items: list[Item]) -> F32:
    return np.array([list(i.scores.values()) for i in items if isinstance(i, Scores)], np.float32)


def by_hand(y: F32) -> F32:
    """What the graph in ``streaming_model`` gives for a whole recording, in float64."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, P.n_features)) / 500
    log_mel, state = reference_log_mel(y, P), np.array([0.0, 0.25, -0.5])
    found = []
    for first in range(0, len(log_mel) - P.window_frames + 1, 3):
        x = log_mel[first : first + P.window_frames].ravel() * 0.05 + 1.75
        state = state * 0.8 + weights @ x
        found.append(1.0 / (1.0 + np.exp(-state)))
    return np.array(found[2:], np.float32)


def test_first_scores_follow_the_warm_up_and_equal_the_recording_at_once() -> None:
    y = noise(20_000)
    items = Pipeline(BUNDLE).process(y)
    assert [i.sample for i in items if isinstance(i, Scores)][:2] == [FIRST, FIRST + HOP]
    assert P.window_samples + 2 * HOP == FIRST
    assert BUNDLE.window_seconds == FIRST / 8000
    np.testing.assert_allclose(scores(items), by_hand(y), rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8),
    bad=st.lists(st.tuples(st.integers(0, 11_999), st.integers(1, 900)), max_size=3),
    value=st.sampled_from([np.nan, np.inf, 1e9]),
)
def test_any_cutting_gives_the_same_items_bit_for_bit(
    sizes: list[int], bad: list[tuple[int, int]], value: float
) -> None:
    """With stretches that are no audio, too: behind each a new stream begins."""
    y = noise(12_000)
    for start, n in bad:
        y[start : start + n] = value
    pipe = Pipeline(BUNDLE)
    whole = [*pipe.process(y), *pipe.flush()]
    pipe.reset()
    items = [item for block in cut(y, sizes) for item in pipe.process(block)]
    assert [*items, *pipe.flush()] == whole
    good = np.flatnonzero(np.diff(np.concatenate([[False], np.isfinite(y) & (y < 1e6), [False]])))
    expected = [by_hand(y[a:b]) for a, b in good.reshape(-1, 2) if b - a >= FIRST]
    got = scores(whole)
    assert len(got) == sum(map(len, expected))
    if expected:
        np.testing.assert_allclose(got, np.concatenate(expected), rtol=0, atol=1e-5)


def test_behind_a_gap_a_stream_begins_cold() -> None:
    y = noise(9000)
    pipe = Pipeline(BUNDLE)
    fresh = scores(pipe.process(y))
    pipe.process(noise(5000, seed=1, level=0.5))
    assert pipe.lose(100) == []
    items = pipe.process(y)
    assert items[0] == Gap(14_000, 100)
    np.testing.assert_array_equal(scores(items), fresh)
    assert next(i.sample for i in items if isinstance(i, Scores)) == 14_100 + FIRST


def test_streams_that_share_a_classifier_keep_their_own_state() -> None:
    y, z = noise(9000), noise(9000, seed=1, level=0.5)
    shared = Classifier(BUNDLE)
    a, b = Pipeline(BUNDLE, shared), Pipeline(BUNDLE, shared)
    together: tuple[list[Item], list[Item]] = ([], [])
    for i in range(0, 9000, 700):
        together[0].extend(a.process(y[i : i + 700]))
        together[1].extend(b.process(z[i : i + 700]))
    assert together == (Pipeline(BUNDLE).process(y), Pipeline(BUNDLE).process(z))


def test_a_run_says_its_warm_up_as_its_window(tmp_path: Path) -> None:
    runner, log = Runner(BUNDLE), tmp_path / "log.jsonl"
    sink = JsonlSink(str(log), frozenset({"scores", "events"}))
    source = ArraySource("audio", noise(9000), P.sr, 1000)
    runner.run([(source, runner.monitor(source))], [sink], Stop(), speed=None)
    sink.close()
    start, first, *_ = (json.loads(line) for line in log.read_text().splitlines())
    assert list(start) == [
        *("type", "format", "otic", "model", "model_sha256", "source", "sr"),
        *("window_seconds", "inference_hop_seconds", "labels"),
    ]
    assert start["window_seconds"] == first["time"] == FIRST / 8000


def test_a_program_that_knows_only_windows_is_refused() -> None:
    classifier = Classifier(BUNDLE)
    with pytest.raises(BundleError, match="'stream' is a streaming model, which hands its state"):
        classifier.predict(np.zeros(P.n_features, np.float32))
    with pytest.raises(ParameterError, match="needs a classifier with cold_state"):
        Pipeline(BUNDLE, FakeClassifier())


def test_a_file_has_a_new_format_only_with_a_state(tmp_path: Path) -> None:
    written = save_bundle(tmp_path / "s.tflite", BUNDLE)
    read = load_bundle(tmp_path / "s.tflite")
    assert read == written
    assert (read.stream, read.to_dict()["format"]) == (BUNDLE.stream, 3)
    zeros = replace(BUNDLE, stream=replace(stream(), states=(StateTensor(1, 1, "base"),)))
    assert parse_bundle("s", bundle_bytes(zeros)).stream == zeros.stream
    assert b"state.json" in bundle_bytes(BUNDLE)
    assert b"state.json" not in bundle_bytes(zeros)
    for name in bundled_names():  # what older formats hold stays as it was, byte for byte
        path = ROOT / "models" / "otic_models" / f"{name}.tflite"
        old = load_bundle(path)
        (model, files), (was, before) = (
            detach(name, content) for content in (bundle_bytes(old), path.read_bytes())
        )
        assert (model, files) == (was, {**files, **before})


def test_verify_inspect_and_golden_streams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = with_golden_cases(BUNDLE)
    case = bundle.golden[0]
    assert (case.steps, len(case.scores)) == ((0, 1, 3, 7, 12), 15)
    save_bundle(tmp_path / "s.tflite", bundle)
    read = load_bundle(tmp_path / "s.tflite")
    y = noise(12_000)
    proofs = (check_golden_cases(read), check_streaming_is_batch(read, y), check_steps(read, y))
    for check in proofs:
        assert check.passed, check
    other = StateTensor(1, 1, "base", ((0, (3.0,)),))
    wrong = replace(read, stream=replace(stream(), states=(other,)))
    assert not check_golden_cases(wrong).passed
    assert main(["verify", str(tmp_path / "s.tflite")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ok  ") == 5
    assert "behind a gap, within 0.0e+00" in printed
    assert main(["inspect", str(tmp_path / "s.tflite"), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["kind"], values["window_seconds"]) == ("streaming", FIRST / 8000)
    assert values["stream"]["parts"] == {"base": {"name": "one layer"}}


def test_a_state_that_is_forgotten_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of verify fail where a pipeline would not begin cold behind a gap."""
    y = noise(12_000)
    monkeypatch.setattr("otic.pipeline._Steps.reset", lambda self: _begin_once(self))
    assert not check_steps(BUNDLE, y).passed
    monkeypatch.undo()
    assert check_block_sizes(BUNDLE, y).passed


def _begin_once(steps: Any) -> None:
    if not hasattr(steps, "_state"):
        steps._state, steps._cold_steps = steps._classifier.cold_state(), 2


def stream(**changes: Any) -> StreamParams:
    assert BUNDLE.stream is not None
    return replace(BUNDLE.stream, **changes)


def with_model(**changes: Any) -> Bundle:
    weights = np.zeros((3, P.n_features), np.float32)
    return replace(BUNDLE, model=streaming_model(weights, (1, 7, 24), **changes))


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        (
            replace(BUNDLE, stream=stream(states=(StateTensor(2, 1, "base"),))),
            "state 0 of the bundle is input 2, but the model has 2 inputs",
        ),
        (
            replace(BUNDLE, stream=stream(states=(StateTensor(1, 5, "base"),))),
            "state 0 of the bundle is output 5, but the model has 2 outputs",
        ),
        (
            with_model(state=(1, 1)),
            "does not match: the model takes float32 [1, 1], but gives float32 [1, 3]",
        ),
        (
            replace(BUNDLE, stream=stream(states=(StateTensor(1, 1, "base", ((2, (1.0, 2.0)),)),))),
            "begins with numbers up to 4, but the model's state has 3",
        ),
        (
            replace(BUNDLE, stream=stream(states=(StateTensor(0, 1, "base"),))),
            "does not match: the model takes float32 [1, 7, 24], but gives float32 [1, 3]",
        ),
    ],
    ids=["input", "output", "shape", "initial", "swapped"],
)
def test_state_tensors_that_do_not_match_are_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], bundle: Bundle, words: str
) -> None:
    save_bundle(tmp_path / "s.tflite", bundle)
    assert main(["inspect", str(tmp_path / "s.tflite")]) == 1
    assert words in one_line(capfd.readouterr().err.encode())


def detail(index: int, dtype: type = np.float32, shape: tuple[int, ...] = (1, 3)) -> dict[str, Any]:
    """What the runtime says of a tensor."""
    return {
        "index": index,
        "name": f"t{index}",
        "dtype": dtype,
        "shape": np.array(shape),
        "quantization": (0.5, 3) if dtype is np.int8 else (0.0, 0),
    }


def test_the_type_and_the_number_of_states_must_match() -> None:
    frames = detail(0, shape=(1, 7, 24))
    with pytest.raises(BundleError) as raised:
        ModelState(BUNDLE, 0, [frames, detail(1)], [detail(2), detail(3, np.int8)])
    assert str(raised.value).endswith(
        "state 0 of the bundle does not match: the model takes float32 [1, 3], but gives "
        "int8 [1, 3] in steps of 0.5 from 3"
    )
    with pytest.raises(BundleError) as raised:
        ModelInput(BUNDLE, [frames, detail(1), detail(2)])
    assert "one input is needed beside 1 of the bundle's states, it has" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["stream"]["states"][0].pop("part"), "state 0: missing keys part"),
        (lambda v: v["stream"]["states"][0].update(part="tail"), "the part 'tail', but the parts"),
        (lambda v: v["stream"].update(states=[]), "has 0 states: 1 to 64 are needed"),
        (lambda v: v["stream"].update(states=v["stream"]["states"] * 2), "have the same input"),
        (lambda v: v["stream"].update(warm_up_steps=-1), "warm_up_steps=-1 must be a whole number"),
        (lambda v: v["stream"].update(warm_up_steps=1e9), "warm_up_steps=1000000000.0 must be"),
        (lambda v: v["stream"].update(delay_seconds=-1), "delay_seconds=-1 must be from 0 to 10"),
        (lambda v: v["stream"].update(parts=[]), "parts must be a JSON object of objects"),
        (lambda v: v["features"].update(statistics=["mean"]), "takes log_mel with center=False"),
        (lambda v: v.update(inference_hop_frames=8), "a streaming model would miss frames"),
        (lambda v: v["interface"].update(output=1), "output 1 should be the scores, but a state"),
        (lambda v: v.update(stream=None), "stream must be a JSON object"),
        (lambda v: v.update(format=4), "format 4, this otic reads formats 1, 2, 3: use the otic"),
        (lambda v: v.update(format=2), "bundle: unknown keys stream"),
    ],
)
def test_what_a_file_may_not_say_of_state(change: Any, words: str) -> None:
    content = bundle_bytes(BUNDLE)
    text = json.dumps(BUNDLE.to_dict(), indent=1, ensure_ascii=False)
    values = BUNDLE.to_dict()
    change(values)
    model, files = detach("s", content)
    assert files[JSON].decode().rstrip("\n") == text
    texts = {JSON: json.dumps(values), LABELS: files[LABELS].decode().rstrip("\n")}
    assert GOLDEN not in files
    with pytest.raises(BundleError, match="'s': ") as raised:
        parse_bundle("s", attach(model, texts))
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("initial", "words"),
    [
        ("3", "initial states must be a list of 1 lists"),
        ("[[], []]", "initial states must be a list of 1 lists"),
        ("[[[1]]]", "must be pairs of a place and a list of numbers"),
        ("[[[-1, [0.0]]]]", "must be pairs of a place and a list of numbers"),
        ('[[[0, ["a"]]]]', "a number of an initial state='a' must be a finite number"),
    ],
)
def test_initial_states_are_checked(initial: str, words: str) -> None:
    with pytest.raises(ParameterError, match="state") as raised:
        StreamParams.from_dict(stream().to_dict(), json.loads(initial))
    assert words in str(raised.value)
