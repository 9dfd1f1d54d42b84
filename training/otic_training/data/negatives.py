"""Negatives: recordings of sounds that no label is true of, to be trained as "none of these"."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import soundfile

from otic.audio.loading import load_audio
from otic.errors import SourceError
from otic.model.bundle import NOT_STATED
from otic_training.cli.progress import say
from otic_training.data.class_folders import listed_recording
from otic_training.data.dataset import Clip, DatasetError
from otic_training.data.layouts import ESC50, URBAN, known_layout
from otic_training.data.licences import for_any_use
from otic_training.data.sound_tables import TABLE, UNVETTED, ListedSound, audio_below, sounds_of

NEGATIVE_LABEL = ""
NEGATIVE_FOLD = -1
"""The fold of negatives, which no data set has: they are trained on, never tested on."""

DOUBT = 0.3
"""A negative that may hold a label with this score, or a higher one, is left out."""

QUIET_SECONDS = 600.0
"""The least of negatives from which thresholds are set."""

_LOW_RATE = 8000  # Hz, to measure a length
_FREESOUND = re.compile(r"fs(\d+)")
_NON_COMMERCIAL = "model: non-commercial use only; "
_MEANS_NON_COMMERCIAL = re.compile(r"[Nn]on-?[Cc]ommercial|\bNC\b|Sampling\+")  # "CC BY-NC 4.0"


def negative_clips(
    names: Sequence[str], labels: Sequence[str], any_use: bool = False
) -> list[Clip]:
    """List recordings of sounds that are none of the labels, as clips without a label.

    Recordings that may hold a label after all, by their table's ``may_contain``, are left out.
    The table, or a ``recordings.csv`` in the folder above, names the original recording of each.
    A negative of a recording that a data set has, too, is on that recording's side of a test.

    Parameters
    ----------
    names : sequence of str
        Files; folders with a ``clips.csv`` that states licences, or without.
    labels : sequence of str
    any_use : bool
        Leave out what does not state a licence that allows any use, see
        :func:`otic_training.data.licences.for_any_use`.

    Raises
    ------
    DatasetError
        If a file or a licence is missing, there is none at all, or one is named as a label.
    """
    for name in names:
        if not (Path(name) / TABLE).is_file():
            _check_folders(name, labels)
    listed = sounds_of(names, ("licence",))
    kept = [sound for sound in listed if not _doubtful(sound, labels)]
    if len(kept) < len(listed):
        say(
            f"left out: {len(listed) - len(kept)} of {len(listed)} negatives may hold a label, by "
            f"their may_contain ({DOUBT:g} or more)"
        )
    if listed and not kept:
        raise DatasetError("no negative is left: name others, or correct their may_contain")
    if any_use:
        free = [sound for sound in kept if for_any_use(sound.licence)]
        if len(free) < len(kept):
            say(
                f"left out: {len(kept) - len(free)} of {len(kept)} negatives state no licence that "
                "allows any use"
            )
        if kept and not free:
            raise DatasetError(
                "no negative is left: --any-use takes those under CC0, the public domain, CC BY, "
                f"Apache-2.0, BSD or MIT, by the licence in their {TABLE}"
            )
        kept = free
    for sound in kept:
        if sound.label in labels:
            raise DatasetError(
                f"'{sound.path}' is named '{sound.label}' in its {TABLE}, a label of the data set: "
                f"it is no negative; delete its line, or add {sound.label}:1 to may_contain"
            )
    clips = [
        Clip(
            sound.path,
            NEGATIVE_LABEL,
            NEGATIVE_FOLD,
            _recording_of(sound),
            licence=sound.licence,
            author=sound.author,
            source=sound.source,
        )
        for sound in kept
    ]
    unknown = sum(not clip.licence and known_layout(clip.path) is None for clip in clips)
    if unknown:
        say(
            f"{unknown} of {len(clips)} negatives have no {TABLE} that states their licence: the "
            "model's licence line says so"
        )
    return clips


def split_negatives(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Split into those to train on and those to set thresholds on, by recording.

    The second are about a fifth; none where a fifth is less than ``QUIET_SECONDS``.
    """
    quiet = [c for c in clips if hashlib.sha256(c.recording.encode()).digest()[0] % 5 == 0]
    if sum(_seconds(clip.path) for clip in quiet) < QUIET_SECONDS:
        return list(clips), []
    return [clip for clip in clips if clip not in quiet], quiet


def _seconds(path: Path) -> float:
    """Read a file's length; 0 where it can't be read, which is said when it is used."""
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError:  # its header says nothing, or ffmpeg reads it
        with suppress(SourceError):
            return len(load_audio(path, _LOW_RATE)) / _LOW_RATE
    except OSError:
        pass
    return 0.0


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
    against = []
    for source in _sources(negatives):
        licences = sorted({c.licence for c in negatives if _source(c) == source and c.licence})
        if licences:
            against.append(f"trained against recordings in '{source}' ({', '.join(licences)})")
        elif source in known:
            against.append(known[source].replace("trained on", "trained against"))
        else:
            against.append(
                f"trained against recordings in '{source}', whose licence otic does not know"
            )
    parts = [own, *against]
    if any(_MEANS_NON_COMMERCIAL.search(text) for text in against) and not own.startswith(
        _NON_COMMERCIAL
    ):
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
    """Name the data sets that recordings are of."""
    return sorted({_source(clip) for clip in clips})


def _source(clip: Clip) -> str:
    """Name the data set that a recording is of, else the folder of its table, else its folder."""
    folder = clip.path.resolve().parent
    if clip.licence:  # from a table, beside it or above
        folder = next((f for f in (folder, *folder.parents) if (f / TABLE).is_file()), folder)
    return known_layout(clip.path) or folder.name


def _doubtful(sound: ListedSound, labels: Sequence[str]) -> bool:
    return any(d.score >= DOUBT and d.label in (*labels, UNVETTED) for d in sound.doubts)


def _recording_of(sound: ListedSound) -> str:
    """Name the recording as a data set does: ESC-50 and UrbanSound8K give Freesound's numbers."""
    match = _FREESOUND.fullmatch(sound.recording)
    own = match[1] if match else sound.recording
    return own or listed_recording(sound.path) or sound.path.name


def _check_folders(name: str, labels: Sequence[str]) -> None:
    """Refuse a folder that is called as a label is."""
    for path in audio_below(name):
        for folder in path.parents[: len(path.parts) - len(Path(name).parts)]:
            if folder.resolve().name in labels:
                raise DatasetError(
                    f"'{folder}' is called as a label of the data set is: its sounds are no "
                    "negatives; name other folders"
                )
