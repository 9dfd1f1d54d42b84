"""What tests of teaching share: a base that is tiny, sounds, and a plan that is quick."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from otic import Bundle, save_bundle
from otic.model.interface import ModelInterface
from otic.model.streaming import BASE, StateTensor, StreamParams
from otic_training.base import features
from otic_training.base.head import frame_labels, never
from otic_training.base.head_graph import Graph
from otic_training.teaching.learn import Plan
from tests.support.helpers import F32, noise

SR = 22_050
_WIDTH = 28


def quick_plan(seed: int = 0) -> Plan:
    """Few scenes and a small head."""
    plan = Plan(scenes=60, quiet=40, folds=3, axes=40, seed=seed)
    return replace(plan, fit=replace(plan.fit, hidden=12, epochs=30, batch=8))


def write_base(path: Path) -> Path:
    """Write a base whose frames are levels of groups of bands; its state is one number."""
    p = features.params(19)
    groups = np.repeat(np.eye(14, dtype=np.float32), 4, axis=0) / np.float32(4 * 19)
    groups -= groups.mean(1, keepdims=True)
    w = np.tile(np.concatenate([groups, -groups], 1), (19, 1))
    g = Graph()
    mel, state = g.tensor("mel", 19 * 56), g.tensor("state", 1)
    one = g.constant("one", np.ones((1, 1)))
    frame = g.dense(mel, 3 * w, np.zeros(_WIDTH, np.float32), relu=True)
    model = g.packed([mel, state], [frame, g.operator("MAXIMUM", [state, one])])
    name = f"{g.name_of(frame)}"
    bundle = Bundle(
        name="levels",
        labels=frame_labels(_WIDTH),
        features=p,
        inference_hop_frames=16,
        decision=never(_WIDTH),
        accuracy={"protocol": "none"},
        license="CC0-1.0",
        provenance={},
        model=model,
        interface=ModelInterface(scale=(0.05,), offset=(1.75,), output=0),
        stream=StreamParams(
            warm_up_steps=1,
            delay_seconds=0.25,
            states=(StateTensor(1, 1, BASE),),
            parts={BASE: {"name": "levels", "tensor": name, "width": _WIDTH}},
        ),
    )
    save_bundle(path, bundle)
    return path


def tone(hz: float, seconds: float, seed: int) -> F32:
    """A tone with an overtone that fades, and a little noise."""
    t = np.arange(round(seconds * SR)) / SR
    y = np.sin(2 * np.pi * hz * t) * np.exp(-3.0 * t) + 0.3 * np.sin(4 * np.pi * hz * t)
    return (0.3 * y + 0.002 * noise(len(t), seed)).astype(np.float32)


def written(folder: Path, hz: float, n: int = 6) -> Path:
    """Write clips of tones near a frequency."""
    folder.mkdir(parents=True)
    for i in range(n):
        y = tone(hz * 1.02 ** (i - 3), 0.8 + 0.1 * i, i)
        soundfile.write(folder / f"{i}.wav", y, SR)
    return folder
