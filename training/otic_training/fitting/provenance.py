"""Provenance: what a bundle says of where its model comes from."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from otic import __version__
from otic.model.bundle import Bundle
from otic.model.interface import ModelInterface
from otic_training.data.licences import licence_counts
from otic_training.data.negatives import license_on, license_with, negatives_text
from otic_training.experiment import Experiment
from otic_training.fitting.prepare import Prepared
from otic_training.scoring.metrics import Figures


def make_bundle(
    experiment: Experiment,
    prepared: Prepared,
    folds: Sequence[int],
    figures: Figures,
    temperature: float,
) -> Bundle:
    """Make the bundle of a model of these folds, without the model, its name and golden cases.

    Its provenance is the same for the same training on the same machine.
    """
    dataset, recipe, base = experiment.dataset, experiment.preset, experiment.base
    terms = license_with(dataset.license, prepared.negatives)
    provenance = {
        "data": dataset.name,
        "clips": int(np.isin(np.delete(prepared.fold, prepared.untrained), folds).sum()),
        "folds": list(folds),
        "licences": licence_counts(dataset.learned(folds)),
        "preset": recipe.name,
        "epochs": experiment.epochs,
        "seed": experiment.seed,
        "temperature": temperature,
        "teacher": None if experiment.teacher is None else experiment.teacher.name,
        "others": negatives_text(prepared.negatives),
        **({} if base is None else {"base": base.origin}),
        "commit": commit(),
        "versions": versions(),
    }
    return Bundle(
        name="",
        labels=dataset.labels,
        features=recipe.features,
        inference_hop_frames=recipe.inference_hop_frames,
        decision=recipe.decision(len(dataset.labels)),
        accuracy=figures.to_dict(),
        license=terms if base is None else license_on(terms, base.name, base.license),
        provenance=provenance,
        model=b"",
        interface=ModelInterface() if base is None else base.interface,
    )


def versions() -> dict[str, str]:
    """Name the versions of all that a training depends on."""
    import tensorflow as tf

    return {
        "otic": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
    }


def commit() -> str | None:
    """Name the commit of the code that runs, with a plus where it was changed; None: unknown."""
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)  # not somebody's site-packages
        top = Path(_git(here.parent, "rev-parse", "--show-toplevel"))
        head = _git(top, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(top, "status", "--porcelain", "realtime", "training") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
