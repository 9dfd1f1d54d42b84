"""Heads of the preset ``stream`` for any folds of a data set, each on a base that may be tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from otic.errors import OticError
from otic.model.bundle import Bundle
from otic_training.data.cache import Store
from otic_training.data.dataset import Clip, Dataset, listed, trained_folds
from otic_training.data.negatives import negative_clips, split_negatives
from otic_training.data.scenes import Sound
from otic_training.data.sound_tables import sounds_of
from otic_training.data.sounds import labelled_sounds, negative_sounds
from otic_training.fitting.stream import StreamRecipe, open_base, train_stream


@dataclass(frozen=True)
class HeadMaterial:
    """What heads of a data set are made of: its sounds and negatives, decoded once.

    Attributes
    ----------
    dataset : Dataset
    bases : tuple of Bundle
        All at one sampling rate.
    known, others : tuple of (Clip, Sound)
        Clips with a label, and negatives that heads learn from.
    quiet : tuple of Clip
        Negatives that thresholds are set on.
    """

    dataset: Dataset
    bases: tuple[Bundle, ...]
    known: tuple[tuple[Clip, Sound], ...]
    others: tuple[tuple[Clip, Sound], ...]
    quiet: tuple[Clip, ...]

    @property
    def negatives(self) -> list[Clip]:
        """All recordings without a label: those that heads learn from, and the quiet ones."""
        return [*(clip for clip, _ in self.others), *self.quiet]

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        bases: Sequence[Bundle],
        negatives: Sequence[str],
        any_use: bool = False,
    ) -> HeadMaterial:
        """Decode a data set and the negatives that some files and folders hold.

        With ``any_use`` only negatives whose licence allows any use.

        Raises
        ------
        DatasetError, SourceError
            If something can't be read.
        """
        sr = bases[0].features.sr
        learned, quiet = split_negatives(negative_clips(negatives, dataset.labels, any_use))
        listed_as = {sound.path: sound for sound in sounds_of(negatives)}
        others = negative_sounds([listed_as[clip.path] for clip in learned], dataset.labels, sr)
        clips = dataset.learned(dataset.folds)
        known = labelled_sounds(clips, dataset.labels, sr)
        return cls(
            dataset,
            tuple(bases),
            tuple(zip(clips, known, strict=True)),
            tuple(zip(learned, others, strict=True)),
            tuple(quiet),
        )

    def fit(
        self,
        path: str | Path,
        test_folds: Sequence[int],
        seed: int,
        budget_per_hour: float,
        store: Store,
        recipe: StreamRecipe,
    ) -> Bundle:
        """Fit a head on all folds but some, and write it with its base as one bundle.

        Recordings of those folds are left out of the negatives, too.

        Raises
        ------
        OticError
            If every base has heard one of those folds, or the file can't be written.
        """
        base = base_without(self.bases, self.dataset, test_folds)
        folds = [fold for fold in self.dataset.folds if fold not in test_folds]
        tested = {clip.recording for clip in self.dataset.clips if clip.fold in test_folds}
        others = [pair for pair in self.others if pair[0].recording not in tested]
        sounds = [sound for clip, sound in self.known if clip.fold in folds]
        sounds += [sound for _, sound in others]
        bundle, _ = train_stream(
            path,
            base,
            self.dataset,
            folds,
            sounds,
            [clip for clip, _ in others],
            [clip for clip in self.quiet if clip.recording not in tested],
            seed,
            budget_per_hour,
            store,
            recipe,
        )
        return bundle


def open_bases(paths: Sequence[str]) -> list[Bundle]:
    """Load bases, or the bases of models.

    Raises
    ------
    OticError
        If there is none, one is no streaming model, or they have several sampling rates.
    """
    bases = [open_base(path) for path in paths] or [open_base(None)]
    rates = sorted({base.features.sr for base in bases})
    if len(rates) > 1:
        raise OticError(f"--base: sampling rates {listed(rates)} Hz; they must have the same")
    return bases


def base_without(bases: Sequence[Bundle], dataset: Dataset, folds: Sequence[int]) -> Bundle:
    """Find the first base that has heard none of some folds; of no folds, the first base.

    Raises
    ------
    OticError
        If there is none.
    """
    if not folds:
        return bases[0]
    said = []
    for base in bases:
        name = f"'{base.origin or base.name}'"
        heard = trained_folds(base.provenance, dataset)
        if "folds" not in base.provenance:
            said.append(f"{name} does not say what it has heard (to_bundle --heard)")
        elif set(heard) & set(folds):
            said.append(f"{name} has heard folds {listed(heard)}")
        else:
            return base
    raise OticError(
        f"--base: no base may be tested on fold {listed(folds)} of {dataset.name}: "
        f"{'; '.join(said)}; name one that has not heard it"
    )
