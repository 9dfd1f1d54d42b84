"""Write the base of a run as a bundle, in float32 or int8: what ``otic train --base`` takes."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.model.bundle import Bundle, save_bundle
from otic.model.classifier import with_golden_cases
from otic_training.base import features
from otic_training.base.distil import HEARD
from otic_training.base.export import StepGraph, base_bundle
from otic_training.base.trainer import STEPS, Trainer, saved_plan
from otic_training.data.scenes import Mixer
from otic_training.data.sounds import saved_sounds

_CALIBRATION_SCENES = 24
_CALIBRATION = 1 << 42  # numbers of scenes that no run learned from


def bundle_of(
    run: Path,
    name: str,
    licence: str,
    calibration: Sequence[NDArray[np.float32]] = (),
    about: Mapping[str, Any] | None = None,
) -> Bundle:
    """Make a bundle of a run's base, by the running mean of its weights.

    Parameters
    ----------
    run : Path
        State that :mod:`otic_training.base.distil` saved, ``state.npz``.
    name, licence : str
    calibration : sequence of float32 [n_hops, n_mels]
        Log-mel frames of scenes, for the ranges of an int8 graph; none for float32.
    about : mapping, optional
        More for its provenance: its ``teacher``; ``data`` and ``folds`` of it that it has heard.
    """
    plan = saved_plan(run)
    trainer = Trainer(plan)
    trainer.load(run)
    trainer.use_mean()
    graph = StepGraph(trainer.student, features.N_MELS)
    examples = [(x, state) for mel in calibration for x, state, _ in graph.walk(mel)]
    provenance = {
        "base": plan.shape,
        "steps": trainer.step,
        "seed": plan.seed,
        "parameters": trainer.student.n_parameters,
        "weights": "int8" if examples else "float32",
        **(about or {}),
    }
    model = graph.tflite(examples)
    return with_golden_cases(base_bundle(graph, model, name, licence, provenance))


def calibration_of(run: Path, sounds: Path) -> list[NDArray[np.float32]]:
    """Make log-mel frames of scenes from a run's bank of sounds."""
    plan = saved_plan(run)
    hops = Trainer(plan).student.shape.hops
    mixer = Mixer(saved_sounds(sounds), features.SR, features.n_samples(STEPS, hops), plan.seed)
    log_mel = features.LogMel(features.n_hops(STEPS, hops))
    numbers = range(_CALIBRATION, _CALIBRATION + _CALIBRATION_SCENES)
    return [log_mel(mixer.scene(number).y) for number in numbers]


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path, help="state.npz of a run of otic_training.base.distil")
    parser.add_argument("out", type=Path, help="the bundle to write, NAME.tflite")
    parser.add_argument("--licence", default="not stated", help="licence line of the base")
    parser.add_argument(
        "--int8", type=Path, metavar="SOUNDS", help="8-bit weights; the run's sounds.npy"
    )
    parser.add_argument("--teacher", metavar="TEXT", help="its teacher, with the teacher's licence")
    parser.add_argument(
        "--heard",
        type=heard,
        metavar="DATASET=N,…|none",
        help="folds that the run has heard, ESC-10=1,2,3 (default: what the run itself wrote)",
    )
    a = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    calibration = calibration_of(a.state, a.int8) if a.int8 else []
    about: dict[str, Any] = {"teacher": a.teacher} if a.teacher else {}
    noted = a.state.with_name(HEARD)
    if a.heard is not None:
        about |= a.heard
    elif noted.exists():
        about |= json.loads(noted.read_text())
    save_bundle(a.out, bundle_of(a.state, a.out.stem, a.licence, calibration, about))


def heard(text: str) -> dict[str, Any]:
    """Read ``ESC-10=1,2,3``, or ``none``, as provenance has it."""
    if text == "none":
        return {"folds": []}
    data, _, folds = text.partition("=")
    return {"data": data, "folds": sorted(int(fold) for fold in folds.split(","))}


if __name__ == "__main__":
    main()
