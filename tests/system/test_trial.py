"""A model that crashes the runtime is told of, in place of taking the command with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from otic.errors import BundleError
from otic.model import sandbox as trial
from otic.model.bundle import load_bundle, save_bundle
from otic.model.sandbox import load_checked_bundle
from tests.support.helpers import bundled, one_line, otic


@pytest.fixture
def crasher(tmp_path: Path) -> Path:
    """A bundle whose first operator has no inputs, which LiteRT 2.3 believes and dies of."""
    good = bundled()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(good.model, 0))
    operator = model.subgraphs[0].operators[0]
    operator.inputs = np.full(len(operator.inputs), -1)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    save_bundle(tmp_path / "bad.tflite", replace(good, model=bytes(builder.Output())))
    return tmp_path / "bad.tflite"


@pytest.mark.parametrize(
    "command", [("inspect",), ("verify",), ("demo", "--speed", "max", "--model")]
)
def test_a_crash_is_one_line(crasher: Path, command: tuple[str, ...]) -> None:
    done = otic(*command, crasher)
    assert done.returncode == 1
    assert "crashes the TFLite runtime (SIGSEGV)" in one_line(done.stderr)


def test_a_good_model_is_tried_and_a_bundled_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bundle(tmp_path / "good.tflite", bundled())
    assert load_checked_bundle(str(tmp_path / "good.tflite")).labels == bundled().labels
    monkeypatch.setattr(trial, "_TRIAL_SECONDS", 0.0)
    assert load_checked_bundle("esc10-mfcc-mlp") == bundled()
    with pytest.raises(BundleError, match="takes more than 0 s for one prediction"):
        load_checked_bundle(str(tmp_path / "good.tflite"))


def batch_at(model: bytes, name: bytes) -> int:
    """Where in the file the first size of a tensor is."""
    graph = schema.Model.GetRootAs(model).Subgraphs(0)
    tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
    table = next(tensor for tensor in tensors if tensor.Name() == name)._tab
    return int(table.Vector(table.Offset(4)))


def test_a_model_that_takes_all_memory_is_refused(tmp_path: Path) -> None:
    """48 kB that ask for gigabytes: the sandbox stops them, and nothing is loaded here."""
    good = load_bundle("esc10-mfcc-mlp-int8")
    at = batch_at(good.model, b"tfl.quantize")
    for wanted in (8_000_000, 30_000_000):
        model = good.model[:at] + wanted.to_bytes(4, "little") + good.model[at + 4 :]
        save_bundle(tmp_path / "big.tflite", replace(good, model=model))
        done = otic("replay", tmp_path / "none.wav", "--model", tmp_path / "big.tflite")
        assert done.returncode == 1
        words = one_line(done.stderr)
        assert "MB of memory" in words
        assert "it is damaged, or made to: don't use it" in words
