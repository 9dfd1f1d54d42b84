"""Trackers are told what the run did; a missing one says what to install."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile

from otic.errors import RuntimeMissingError
from otic_training.data.dataset import Clip, Dataset
from otic_training.reports import tracker as tracking
from otic_training.reports.tracker import Tracker, start_tracker
from otic_training.scoring.metrics import Figures
from otic_training.scoring.metrics import Tested as Outcome
from tests.support.helpers import noise


def finish(tracker: Tracker, folder: Path) -> None:
    soundfile.write(folder / "a.wav", noise(8000), 22050)
    (folder / "b.wav").write_text("not a sound")
    clips = (Clip(folder / "a.wav", "a", 1, "r"), Clip(folder / "b.wav", "b", 1, "s"))
    results = [Outcome(1, np.eye(2, dtype=np.float32), np.arange(2), np.arange(2))]
    (folder / "m.tflite").write_bytes(b"model")
    named = {"tiny": Figures.of(results, "protocol")}
    tracker.loss(1, 0.5)
    tracker.finish(Dataset("set", "free", clips, "folds"), named, results, str(folder / "m.tflite"))


class FakeExperiment:
    """What otic calls of comet_ml, and what it was called with."""

    made: ClassVar[list[FakeExperiment]] = []

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[str] = []
        FakeExperiment.made.append(self)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> None:
            self.calls.append(name)

        return call


def test_comet_without_a_key_is_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("comet_ml")
    module.OfflineExperiment = FakeExperiment  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "comet_ml", module)
    monkeypatch.setattr(tracking, "find_spec", lambda name: True)
    monkeypatch.delenv("COMET_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    finish(start_tracker("comet", "m"), tmp_path)
    experiment = FakeExperiment.made[-1]
    assert experiment.options["offline_directory"] == str(Path("runs") / "m")
    expected = {"log_metric", "log_parameters", "log_image", "log_audio", "log_model", "end"}
    assert expected <= set(experiment.calls)
    assert experiment.calls.count("log_audio") == 1  # the clip that can't be read is left out


def test_runs_do_not_overwrite_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for expected in ("m", "m-2", "m-3"):
        assert tracking._new_folder("m") == Path("runs") / expected


def test_none_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finish(start_tracker("none", "m"), tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("kind", "extra"), [("tensorboard", "train"), ("comet", "comet")])
def test_a_missing_tracker_says_what_to_install(
    kind: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(RuntimeMissingError, match=rf"pip install 'otic\[{extra}\]'"):
        start_tracker(kind, "m")
