"""The preset ``stream``: a head on a base, fitted on scenes of a data set's clips.

Scenes are mixed by number, the base's frames of them are computed as a stream computes them and
kept, and a head is fitted on the frames in a minute.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic.model.bundle import Bundle, load_bundle, save_bundle
from otic_training.base.head import (
    BaseFrames,
    Fit,
    Head,
    fit_head,
    join,
    stream_decision,
    without_head,
)
from otic_training.cli.progress import progress, say
from otic_training.data.cache import Arrays, Store, fitting_code, key_of, mixing_code
from otic_training.data.dataset import Clip, Dataset
from otic_training.data.licences import licence_counts
from otic_training.data.negatives import license_on, license_with, negatives_text
from otic_training.data.scenes import Mixer, Recipe, Sound, step_targets
from otic_training.fitting.provenance import commit, versions
from otic_training.scoring.thresholds import within_budget

F32 = NDArray[np.float32]
Mixed = tuple[F32, F32, F32]
"""Log-mel frames of a scene, and the labels and weights of its steps."""


@dataclass(frozen=True)
class StreamRecipe:
    """How a head is made.

    Attributes
    ----------
    scenes, steps : int
        Scenes that a head is fitted on, and steps of the base in each.
    joined : int
        Scenes that a stream goes through, one after the other: a head that is fitted on cold
        beginnings alone is worse where streams go on.
    early_steps : int
        Steps by which the head is ahead of the base's latest frame: it decides sooner.
    fit : Fit
    mix : Recipe
        How scenes are mixed.
    on_threshold : float
        The lowest that negatives may set, and all where there are none.
    keep_log_mels : bool
        Keep the scenes in the store, too, for another base.
    """

    scenes: int = 10_000
    steps: int = 31
    joined: int = 4
    early_steps: int = 2
    fit: Fit = field(default_factory=Fit)
    mix: Recipe = field(default_factory=Recipe)
    on_threshold: float = 0.9
    keep_log_mels: bool = False


def open_base(path: str | None) -> Bundle:
    """Load the base of a streaming model: a bundle of a base alone, or with another head.

    Raises
    ------
    OticError
        If it is missing, or no such bundle.
    """
    if path is None:
        raise OticError(
            "stream is a head on a base: name a streaming model, --base MODEL.tflite or a bundled "
            "name"
        )
    return without_head(load_bundle(path))


def kept_frames(
    frames: BaseFrames,
    sounds: Sequence[Sound],
    n_labels: int,
    seed: int,
    recipe: StreamRecipe,
    store: Store,
) -> tuple[NDArray[np.float16], F32, F32]:
    """Compute the base's frames of scenes, and what each step should say; kept in the store.

    Returns
    -------
    frames : float16 [streams, joined * steps, width]
    labels, weights : float32 [streams, joined * steps, n_labels]
    """
    about = [(s.kind, s.labels, s.doubt, zlib.crc32(s.y.tobytes())) for s in sounds]
    made_of = key_of(about, n_labels, seed, replace(recipe, fit=Fit()), frames.base.features)
    key = key_of("stream", frames.base.model, made_of, fitting_code())
    kept = store.load(key)
    if kept is None:
        scenes = mixed(frames, sounds, n_labels, seed, recipe)
        if recipe.keep_log_mels:
            scenes = _kept(
                key_of("scenes", made_of, list(frames.times(1)), mixing_code()), scenes, store
            )
        kept = _frames_of_scenes(frames, scenes, recipe.joined)
        store.save(key, kept)
    return kept["frames"], kept["labels"], kept["weights"]  # type: ignore[return-value]


def _kept(key: str, scenes: Iterator[Mixed], store: Store) -> Iterator[Mixed]:
    """Give the scenes of the store, or else these, and keep them: log-mel frames in 16 bits."""
    kept = store.load(key)
    if kept is None:
        log_mels, labels, weights = zip(*scenes, strict=True)
        arrays = (np.array(log_mels, np.float16), np.array(labels), np.array(weights))
        kept = dict(zip(("log_mels", "labels", "weights"), arrays, strict=True))
        store.save(key, kept)
    for log_mel, wanted, counts in zip(*kept.values(), strict=True):
        yield log_mel.astype(np.float32), wanted, counts


def _frames_of_scenes(frames: BaseFrames, scenes: Iterator[Mixed], joined: int) -> Arrays:
    """Compute frames of streams that go through so many scenes each."""
    found, labels, weights = [], [], []
    for number, (log_mel, wanted, counts) in enumerate(scenes):
        if number % joined == 0:
            state = frames.cold_state()
        found.append(frames.of_log_mel(log_mel, state).astype(np.float16))
        labels.append(wanted)
        weights.append(counts)

    def streams(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        steps, width = parts[0].shape
        return np.stack(parts).reshape(-1, joined * steps, width)

    return {"frames": streams(found), "labels": streams(labels), "weights": streams(weights)}


def mixed(
    frames: BaseFrames, sounds: Sequence[Sound], n_labels: int, seed: int, recipe: StreamRecipe
) -> Iterator[Mixed]:
    """Mix scenes, with what each of their steps should say.

    Nothing of it depends on the base but its front end and the times of its steps.
    """
    mixer = Mixer(sounds, frames.sr, frames.n_samples(recipe.steps), seed, recipe.mix)
    times = frames.times(recipe.steps) + recipe.early_steps * frames.step_seconds
    n_scenes = -(-recipe.scenes // recipe.joined) * recipe.joined
    with progress("scenes", n_scenes) as advance:
        for number in range(n_scenes):
            scene = mixer.scene(number)
            wanted, counts = step_targets(scene, times, frames.sr, n_labels)
            counts[times < 0.0] = 0.0
            yield frames.log_mel(scene.y), wanted, counts
            advance(1)


def train_stream(
    path: str | Path,
    base: Bundle,
    dataset: Dataset,
    folds: Sequence[int],
    sounds: Sequence[Sound],
    negatives: Sequence[Clip],
    quiet: Sequence[Clip],
    seed: int,
    budget_per_hour: float,
    store: Store,
    recipe: StreamRecipe,
    served: Sequence[str] = (),
) -> tuple[Bundle, Head]:
    """Fit a head on some folds, set its thresholds, and write base and head as one bundle.

    Parameters
    ----------
    path : str or Path
        Bundle to write.
    base : Bundle
        Of :func:`open_base`.
    dataset : Dataset
    folds : sequence of int
        Folds that ``sounds`` with labels are of.
    sounds : sequence of Sound
        What scenes are made of.
    negatives, quiet : sequence of Clip
        Recordings of the sounds without labels, and those that thresholds are set on.
    seed : int
    budget_per_hour : float
        False alarms on ``quiet``, of all labels together.
    store : Store
    recipe : StreamRecipe
    served : sequence of str
        Labels to serve, where not all that are learned.

    Returns
    -------
    bundle : Bundle
    head : Head

    Raises
    ------
    OticError
        If base and head do not fit together, or the file can't be written.
    """
    assert base.stream is not None
    frames, labels = BaseFrames(base), dataset.labels
    found, wanted, counts = kept_frames(frames, sounds, len(labels), seed, recipe, store)
    say(f"fitting a head on {len(found) * recipe.joined} scenes")
    batch = max(1, recipe.fit.batch // recipe.joined)
    how = replace(recipe.fit, seed=seed, batch=batch)
    head = fit_head(found, wanted, counts, frames.step_seconds, how)
    if served:
        head, labels = head.only([labels.index(label) for label in served]), tuple(served)
    delay = max(0.0, base.stream.delay_seconds - recipe.early_steps * frames.step_seconds)
    terms = license_with(dataset.license, [*negatives, *quiet])
    provenance: dict[str, Any] = {
        "data": dataset.name,
        "clips": sum(sound.label >= 0 for sound in sounds),
        "folds": list(folds),
        "licences": licence_counts(dataset.learned(folds)),
        "preset": "stream",
        "scenes": recipe.scenes,
        "epochs": recipe.fit.epochs,
        "seed": seed,
        "others": negatives_text(negatives),
        "weights": base.provenance.get("weights", "float32"),
        "base": {"name": base.name, "license": base.license, **base.provenance},
        "commit": commit(),
        "versions": versions(),
    }
    named = replace(
        base,
        name=Path(path).stem,
        labels=labels,
        decision=stream_decision(len(labels), delay, recipe.on_threshold),
        accuracy={"protocol": "not measured yet"},
        license=license_on(terms, base.name, base.license),
        provenance=provenance,
    )
    about = {"data": dataset.name, "early_steps": recipe.early_steps, "fit": asdict(recipe.fit)}
    whole = join(base, head, about, named, recipe.early_steps)
    whole = within_budget(whole, quiet, budget_per_hour, recipe.on_threshold)
    save_bundle(path, whole)
    return load_bundle(Path(path).absolute()), head
