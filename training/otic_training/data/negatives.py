"""Recordings of sounds that have no label: whatever else a microphone hears."""

from __future__ import annotations

import re
from collections.abc import Sequence

from otic.model.bundle import NOT_STATED
from otic_training.data.dataset import Clip
from otic_training.data.layouts import ESC50, URBAN, known_layout, listed_recording
from otic_training.data.sound_tables import audio_below

OTHER_LABEL = ""
OTHER_FOLD = -1
"""No data set has it: these clips are trained on, never tested on."""

_NON_COMMERCIAL = "model: non-commercial use only; "
_MEANS_NON_COMMERCIAL = re.compile(r"[Nn]on-?[Cc]ommercial|\bNC\b")  # "CC BY-NC 4.0"


def other_clips(paths: Sequence[str]) -> list[Clip]:
    """Files, and all audio below folders, as clips without a label.

    Where ``recordings.csv`` is in the folder that holds theirs, it says of which recording
    they are: of one that a data set has, too, they are on its side of every test.

    Raises
    ------
    DatasetError
        If one is missing, or there is none at all.
    """
    found = [path for name in paths for path in audio_below(name)]
    return [
        Clip(path, OTHER_LABEL, OTHER_FOLD, listed_recording(path) or path.name) for path in found
    ]


def described_others(clips: Sequence[Clip]) -> str | None:
    """For provenance: how many, and of what."""
    if not clips:
        return None
    count = f"{len(clips)} recording{'s' if len(clips) > 1 else ''}"
    return f"{count} of {', '.join(_sources(clips))}"


def license_with(own: str, others: Sequence[Clip]) -> str:
    """A data set's licence line, for a model that was also trained against other sounds."""
    if not others:
        return own
    known = {name: text.removeprefix(_NON_COMMERCIAL) for name, text in (ESC50, URBAN)}
    sources = _sources(others)
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
    """A licence line for a head on a base model, with the base's own line in it."""
    if not own.startswith(_NON_COMMERCIAL):
        if _MEANS_NON_COMMERCIAL.search(base_license):
            own = _under(_NON_COMMERCIAL, own)
        elif base_license == NOT_STATED:
            own = _under("model: as its base, whose licence is not known; ", own)
    return f"{own}; built on {base} ({base_license})"


def _under(terms: str, own: str) -> str:
    """A licence line with other terms for the model, and the rest of it."""
    model, _, rest = own.partition("; ")
    return terms + (rest or f"otherwise {model.removeprefix('model: ')}")


def _sources(clips: Sequence[Clip]) -> list[str]:
    """The data sets that recordings are of; for others their folders' names."""
    return sorted({known_layout(clip.path) or clip.path.resolve().parent.name for clip in clips})
