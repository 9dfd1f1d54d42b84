"""Licences of single recordings: which allow any use, and what ESC-50's LICENSE says of each clip.

ESC-50 as a whole is CC BY-NC. Its clips are recordings of Freesound, each under a licence of its
own: CC0, CC BY, CC Sampling+ or CC BY-NC. The file ``LICENSE`` has a line for each clip.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from otic_training.data.dataset import Clip

LICENCE_FILES = ("LICENSE", "LICENSE-clips.md")
"""Files of a data set in ESC-50's layout that may have a line for each clip."""

FREESOUND = "https://freesound.org/s/{}/"

_SHORT = {
    "CC0": "CC0-1.0",
    "CC-BY": "CC-BY-3.0",
    "CC-BY-NC": "CC-BY-NC-3.0",
    "CC-Sampling+": "CC-Sampling+-1.0",
}
_ANY_USE = re.compile(
    r"(cc0|public-domain|cc-by|apache|bsd|mit)(-\d(\.\d)*|-[234]-clause)?", re.IGNORECASE
)
_LINE = re.compile(
    r"^- \**\[\d+-(?P<recording>\d+)-[^\]]+\].* by \*?(?P<author>.+?)\*? "
    r"\(?\[(?P<licence>CC[^\]]*)\]",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Terms:
    """Licence and author of a recording of Freesound."""

    licence: str
    author: str


def for_any_use(licence: str) -> bool:
    """Tell if a model for any use may learn from a recording under this licence.

    The rule: CC0, the public domain, CC BY, Apache-2.0, BSD and MIT, in any version; nothing
    else. CC BY-NC forbids trade, CC Sampling+ advertising; what is not known may forbid more.
    """
    return _ANY_USE.fullmatch(re.sub(r"[\s_]+", "-", licence.strip())) is not None


def licence_counts(clips: Iterable[Clip]) -> dict[str, int]:
    """Count clips by licence, sorted; without those whose licence is not known."""
    return dict(sorted(Counter(clip.licence for clip in clips if clip.licence).items()))


def clip_terms(root: Path) -> dict[str, Terms]:
    """Read the licence of each recording of a data set in ESC-50's layout, by Freesound's number.

    Empty where no file states any. Freesound's licences of that time are version 3.0, and 1.0
    for CC0 and Sampling+.
    """
    for name in LICENCE_FILES:
        try:
            text = (root / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = {
            m["recording"]: Terms(_SHORT.get(m["licence"], m["licence"]), m["author"])
            for m in _LINE.finditer(text)
        }
        if found:
            return found
    return {}
