"""Which marked events can be trained on, as what, and of which recording."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from otic.detection.unknown import UNKNOWN
from otic.errors import SinkError
from otic.review.mark import RIGHT, Mark
from otic.review.recordings import recordings, stretch
from otic.review.sound import length_of


@dataclass(frozen=True)
class Example:
    """A marked event that there is sound of.

    Attributes
    ----------
    mark : Mark
    label : str or None
        What it is an example of; None: of no label.
    sr, n_samples : int
        Rate and length of its clip.
    first, last : int
        First and one past the last sample of the event in its clip.
    recording : str
        Those that share it share sound or a situation.
    """

    mark: Mark
    label: str | None
    sr: int
    n_samples: int
    first: int
    last: int
    recording: str = ""

    @property
    def span(self) -> tuple[str, float, float]:
        """A clock, and when by that it began and ended, in seconds.

        Live streams share the wall clock; every file has one of its own.
        """
        assert self.mark.clip_start is not None
        start = self.mark.clip_start + self.first / self.sr
        end = start + (self.last - self.first) / self.sr
        if not self.mark.live:
            return self.mark.recording, start, end
        ahead = stretch(self.mark).wall_clock_seconds(0.0)
        return "", ahead + start, ahead + end


def label_of(mark: Mark) -> str | None:
    """What a marked event is an example of; None: of no label.

    Right events are of their label, wrong ones of their true label where it is known. Wrong
    ones without it are of none, and so are sounds that were rightly said to be unknown.

    Raises
    ------
    LookupError
        If nobody knows: it was said to be an unknown sound, and is not.
    """
    if mark.verdict == RIGHT:
        return None if mark.label == UNKNOWN else mark.label
    if mark.true_label is None and mark.label == UNKNOWN:
        raise LookupError
    return None if mark.true_label == UNKNOWN else mark.true_label


def examples(marks: Sequence[Mark], audio: Path) -> tuple[list[Example], Counter[str]]:
    """What can be trained on; and how many marks can't, by the reason.

    Parameters
    ----------
    marks : sequence of Mark
        One an event.
    audio : Path
        The folder of their clips.
    """
    found: list[Example] = []
    left_out: Counter[str] = Counter()
    for mark in marks:
        if mark.clip is None or mark.clip_start is None:
            left_out["without sound"] += 1
            continue
        try:
            label = label_of(mark)
            sr, n_samples = length_of(audio / mark.clip)
        except LookupError:
            left_out["unknown sounds, marked wrong without a true label"] += 1
            continue
        except SinkError:
            left_out["whose sound is missing or can't be read"] += 1
            continue
        end = n_samples if mark.offset is None else round((mark.offset - mark.clip_start) * sr)
        first = max(0, round((mark.onset - mark.clip_start) * sr))
        last = min(n_samples, end)
        if last < first or first == n_samples:  # of no length it may be: it has a place
            left_out["whose sound is not of the event"] += 1
            continue
        found.append(Example(mark, label, sr, n_samples, first, last))
    names = recordings([stretch(each.mark, each.n_samples / each.sr) for each in found])
    found = [replace(each, recording=name) for each, name in zip(found, names, strict=True)]
    return _without_contradictions(found, left_out), left_out


def _without_contradictions(found: list[Example], left_out: Counter[str]) -> list[Example]:
    """Each sound once as an example of a label; none of no label that has one."""
    once = {(each.mark.recording, each.label, each.span): each for each in found}
    if len(once) < len(found):
        left_out["of the same sound and label as another"] += len(found) - len(once)
    labelled: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in once.values():
        if each.label is not None:
            clock, start, end = each.span
            labelled[clock].append((start, end))
    kept = []
    for each in once.values():
        clock, start, end = each.span
        if each.label is None and any(s < end and start < e for s, e in labelled[clock]):
            left_out["of no label, during an event that has one"] += 1
        else:
            kept.append(each)
    return kept
