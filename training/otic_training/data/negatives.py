"""Negatives: recordings of sounds that no label is true of, to be trained as "none of these"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from otic.model.bundle import NOT_STATED
from otic_training.data.class_folders import listed_recording
from otic_training.data.dataset import Clip
from otic_training.data.layouts import ESC50, URBAN, known_layout
from otic_training.data.sound_tables import audio_below

NEGATIVE_LABEL = ""
NEGATIVE_FOLD = -1
"""The fold of negatives, which no data set has: they are trained on, never tested on."""

_NON_COMMERCIAL = "model: non-commercial use only; "
_MEANS_NON_COMMERCIAL = re.compile(r"[Nn]on-?[Cc]ommercial|\bNC\b")  # "CC BY-NC 4.0"


def negative_clips(paths: Sequence[str]) -> list[Clip]:
    """Take files, and all audio below folders, as clips without a label.

    Where ``recordings.csv`` is in the folder above theirs, it names the recording of each.
    A negative of a recording that a data set has, too, is on that recording's side of a test.

    Raises
    ------
    DatasetError
        If one is missing, or there is none at all.
    """
    found = [path for name in paths for path in audio_below(name)]
    return [
        Clip(path, NEGATIVE_LABEL, NEGATIVE_FOLD, listed_recording(path) or path.name)
        for path in found
    ]


def negatives_text(clips: Sequence[Clip]) -> str | None:
    """Count negatives and name their sources, for provenance; None where there are none."""
    if not clips:
        return None
    count = f"{len(clips)} recording{'s' if len(clips) > 1 else ''}"
    return f"{count} of {', '.join(_sources(clips))}"


def license_with(own: str, negatives: Sequence[Clip]) -> str:
    """Licence line of a model that was trained on a data set and against negatives."""
    if not negatives:
        return own
    known = {name: text.removeprefix(_NON_COMMERCIAL) for name, text in (ESC50, URBAN)}
    sources = _sources(negatives)
    against = [
        known[source].replace("trained on", "trained against")
        if source in known
        else f"trained against recordings in '{source}', whose licence otic does not know"
        for source in sources
    ]
    parts = [own, *against]
    if any(source in known for source in sources) and not own.startswith(_NON_COMMERCIAL):
        parts[0] = _under(_NON_COMMERCIAL, own)
    return "; ".join(parts)


def license_on(own: str, base: str, base_license: str) -> str:
    """Licence line of a head on a base model, with the base's own line in it."""
    if not own.startswith(_NON_COMMERCIAL):
        if _MEANS_NON_COMMERCIAL.search(base_license):
            own = _under(_NON_COMMERCIAL, own)
        elif base_license == NOT_STATED:
            own = _under("model: as its base, whose licence is not known; ", own)
    return f"{own}; built on {base} ({base_license})"


def _under(terms: str, own: str) -> str:
    """Replace the terms for the model in a licence line, and keep the rest."""
    model, _, rest = own.partition("; ")
    return terms + (rest or f"otherwise {model.removeprefix('model: ')}")


def _sources(clips: Sequence[Clip]) -> list[str]:
    """Name the data sets of recordings, or the folders of those that are of none."""
    return sorted({known_layout(clip.path) or clip.path.resolve().parent.name for clip in clips})
