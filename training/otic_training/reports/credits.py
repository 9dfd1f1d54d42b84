"""Credits: whose recordings a model learned from, by licence; and its teacher.

``python -m otic_training.reports.credits CREDITS.md DATASET… --negatives FOLDER…`` writes them for
several models. The same recordings give the same text.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from otic_training.data.dataset import Clip
from otic_training.data.layouts import load_dataset
from otic_training.data.licences import FREESOUND
from otic_training.data.negatives import negative_clips
from otic_training.reports.card import write_text

TEACHER = """## The teacher

The base of a streaming model learned what EfficientAT's mn04 says of sounds. None of its weights
are in a model. F. Schmid, K. Koutini, G. Widmer, "Efficient Large-Scale Audio Tagging via
Transformer-to-CNN Knowledge Distillation", ICASSP 2023; <https://github.com/fschmid56/EfficientAT>,
MIT License, Copyright (c) 2022 Florian Schmid.
"""

_HEAD = f"""# Credits

Recordings that a model of otic learned from; its card names the data sets. No recording is in a
model. For training they were cut, mixed with others, and changed in level, speed and tone.
`fsN` is {FREESOUND.format("N")}.
"""
_PAGES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-NC-3.0": "https://creativecommons.org/licenses/by-nc/3.0/",
    "CC-Sampling+-1.0": "https://creativecommons.org/licenses/sampling+/1.0/",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "BSD-3-Clause": "https://opensource.org/license/bsd-3-clause",
    "MIT": "https://opensource.org/license/mit",
}
_OWES_NOTHING = re.compile(r"CC0|public.domain", re.IGNORECASE)
_ON_FREESOUND = re.compile(r"freesound\.org/(?:s|sounds|people/[^/]+/sounds)/(\d+)")


def credits_text(clips: Iterable[Clip], teacher: bool = False) -> str:
    """Say in Markdown whose recordings these are, grouped by licence.

    Where a licence asks for credit, each author's recordings are named; of what is free of that
    the authors. Recordings whose licence is not known are counted.
    """
    by_licence: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_licence[clip.licence].append(clip)
    parts = [_HEAD]
    for licence in sorted(by_licence, key=lambda name: (not name, name.casefold())):
        found = by_licence[licence]
        count = f"{len(found)} clip{'s' if len(found) > 1 else ''}"
        if not licence:
            parts.append(f"## Licence not stated\n\n{count}.\n")
            continue
        page = _PAGES.get(licence, "")
        parts.append(f"## {licence}\n\n{count}{f', <{page}>' if page else ''}.\n\n{_who(found)}\n")
    if teacher:
        parts.append(TEACHER)
    return "\n".join(parts)


def write_credits(card: str, clips: Sequence[Clip], teacher: bool = False) -> str:
    """Write credits beside a card; returns their file's name, empty where no licence is known.

    Raises
    ------
    OticError
        If they can't be written.
    """
    if not any(clip.licence for clip in clips):
        return ""
    place = Path(card)
    place = place.with_name(f"{place.stem}-credits{place.suffix}")
    write_text(str(place), credits_text(clips, teacher))
    return place.name


def _who(clips: Sequence[Clip]) -> str:
    """Name the authors, and their recordings where credit is owed."""
    works: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        works[_author(clip)].add(_work(clip))
    authors = sorted(works, key=lambda name: (name.casefold(), name))
    if _OWES_NOTHING.match(clips[0].licence):
        return f"{', '.join(authors)}."
    listed = {name: ", ".join(sorted(works[name], key=_by_number)) for name in authors}
    return "\n".join(f"* {name}: {listed[name]}" for name in authors)


def _author(clip: Clip) -> str:
    """Name the author; tables that were made from web pages may have a link's text instead."""
    name = unquote(clip.author)
    return "author not stated" if not name or "](" in name else _plain(name)


def _work(clip: Clip) -> str:
    """Name a recording: by its number on Freesound, else where it is from, else its file."""
    match = _ON_FREESOUND.search(clip.source)
    return f"fs{match[1]}" if match else _plain(clip.source) or clip.path.name


def _by_number(work: str) -> tuple[int, str]:
    return (int(work[2:]) if work[2:].isdecimal() else 0, work)


def _plain(text: str) -> str:
    """Text without what Markdown would take for its own."""
    return re.sub(r"([\\\[\]*_`<>])", r"\\\1", " ".join(text.split()))


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="the file to write")
    parser.add_argument("dataset", nargs="+", help="data sets that a model learns from")
    parser.add_argument("--negatives", nargs="+", default=[], help="folders with a clips.csv")
    parser.add_argument("--teacher", action="store_true", help="add the base's teacher")
    a = parser.parse_args()
    datasets = [load_dataset(name) for name in a.dataset]
    learned = [clip for dataset in datasets for clip in dataset.learned(dataset.folds)]
    write_text(a.out, credits_text([*learned, *negative_clips(a.negatives, ())], a.teacher))


if __name__ == "__main__":
    main()
