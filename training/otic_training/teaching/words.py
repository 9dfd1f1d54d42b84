"""What is said of a taught model: a table, what is wrong with clips, and what to record more of."""

from __future__ import annotations

from otic_training.teaching.assess import GOOD_RECALL, WEAK_RECALL, LabelFigures
from otic_training.teaching.teach import Taught

_ENOUGH = 8
_WIDE = 0.45


def table(taught: Taught) -> list[str]:
    """Figures of each label as lines of a table."""
    found = taught.assessment
    width = max(len("label"), *(len(each.label) for each in found.labels))
    lines = [f"{'label':<{width}}  clips  found  (95 %)     alarms/h  threshold  taken for"]
    for each in found.labels:
        others = ", ".join(f"{name} {n}" for name, n in each.taken_for) or "-"
        lines.append(
            f"{each.label:<{width}}  {each.clips:5}  {each.recall:4.0%}  "
            f"({each.low:.0%} to {each.high:.0%})".ljust(width + 33)
            + f"{each.alarms_per_hour:8.1f}  {_threshold(each):>9}  {others}"
        )
    return lines


def _threshold(each: LabelFigures) -> str:
    return "never" if each.threshold >= 1.0 else f"{each.threshold:.3f}"


def summary(taught: Taught) -> list[str]:
    """What the figures mean, in words."""
    found = taught.assessment
    sounds = taught.sounds
    own = f", {taught.room_seconds / 60.0:.1f} min of them yours" if taught.room_seconds else ""
    return [
        f"{len(sounds)} clips, each tested by a head that did not learn from its recording "
        f"({found.folds} tests), mixed into scenes 5 to 25 dB above their background",
        f"clips named right: {found.accuracy:.0%}; events that were right: {found.precision:.0%}; "
        f"alarms counted on {60.0 * found.quiet_hours:.0f} min of other sounds{own}",
    ]


def remarks(taught: Taught) -> list[str]:
    """What looks wrong with clips, and what is not good enough yet."""
    sounds, found = taught.sounds, taught.assessment
    lines = [f"left out: {reason}" for reason in taught.unread]
    lines += _doubles(taught)
    for n, label in found.suspects:
        lines.append(f"'{_name(sounds[n].clip)}' sounds like '{label}': is it in the right folder?")
    for sound in sounds:
        lines += [f"'{_name(sound.clip)}' is {remark}" for remark in sound.remarks]
    for each in found.labels:
        lines += _advice(each)
    if not taught.room_seconds:
        lines.append(
            "no recording of the place itself was given: record some minutes of it without these "
            "sounds into a folder '_background' for fewer false alarms"
        )
    return lines


def _doubles(taught: Taught) -> list[str]:
    """Name each clip that is there again once, with the first of its kind."""
    sounds, lines, named = taught.sounds, list[str](), set[int]()
    for i, j in sorted(taught.doubles):
        a, b = sounds[i].clip, sounds[j].clip
        if j not in named:
            named.add(j)
            lines.append(
                f"'{_name(b)}' seems to be '{_name(a)}' again: they count as one recording"
            )
        if a.label != b.label:
            lines.append(f"... but one is in '{a.label}' and the other in '{b.label}'")
    return lines


def _advice(each: LabelFigures) -> list[str]:
    name = f"'{each.label}'"
    if each.threshold >= 1.0:
        return [
            f"{name} will not be reported: other sounds are too much like it; record more of it "
            "(other distances, other rooms), and put what it is confused with into '_other'"
        ]
    lines = []
    if each.recall < WEAK_RECALL:
        lines.append(f"{name} is not good enough: about {1.0 - each.recall:.0%} will be missed")
    elif each.recall < GOOD_RECALL:
        lines.append(f"{name} is fair: about {1.0 - each.recall:.0%} will be missed")
    if lines and each.taken_for:
        other = each.taken_for[0][0]
        lines.append(f"record more of {name} and of '{other}': they are taken for each other")
    elif lines or each.recordings < _ENOUGH or each.high - each.low > _WIDE:
        more = max(_ENOUGH - each.recordings, 5)
        lines.append(
            f"record {more} more of {name}, nearer and farther, loud and soft: {each.recordings} "
            "recordings tell little"
            if each.recordings < _ENOUGH
            else f"record more of {name}, nearer and farther, loud and soft"
        )
    return lines


def is_good(taught: Taught) -> bool:
    """Tell if every label is found more often than not."""
    return all(each.recall >= WEAK_RECALL for each in taught.assessment.labels)


def _name(clip: object) -> str:
    path = clip.path  # type: ignore[attr-defined]
    return f"{path.parent.name}/{path.name}"
