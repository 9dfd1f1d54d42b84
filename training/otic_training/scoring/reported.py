"""Whether clips are reported: each is played into a quiet room, through the live pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic.model.bundle import Bundle
from otic.pipeline import Pipeline
from otic.types import Event
from otic_training.cli.progress import progress
from otic_training.data.backgrounds import level
from otic_training.data.dataset import Clip
from otic_training.data.windows import read_clip

_BEFORE_SECONDS, _AFTER_SECONDS = 3.0, 2.0
_ROOM_DB = -40.0  # below the clip


@dataclass(frozen=True)
class Reported:
    """Clips of a label, how many of them were reported, and how many events of others came."""

    label: str
    clips: int
    reported: int
    others: int


def reported(models: Iterable[tuple[Bundle, Sequence[Clip]]]) -> tuple[Reported, ...]:
    """Play clips to models that have not learned from them; figures by label.

    A clip is reported where an event of its label begins. Clips that can't be read are left out.

    Parameters
    ----------
    models : iterable of (Bundle, sequence of Clip)
        A model, and the clips that it may be tried on.
    """
    found: dict[str, list[int]] = {}
    for model, clips in models:
        pipeline = Pipeline(model)
        with progress("live", len(clips)) as advance:
            for clip in clips:
                advance(1)
                try:
                    y = read_clip(clip, model.features.sr)
                except OticError:
                    continue
                pipeline.reset()
                items = [*pipeline.process(_in_a_room(y, model.features.sr)), *pipeline.flush()]
                on = {i.label for i in items if isinstance(i, Event) and i.state == "on"}
                figures = found.setdefault(clip.label, [0, 0, 0])
                figures[0] += 1
                figures[1] += clip.label in on
                figures[2] += len(on - {clip.label})
    return tuple(Reported(label, *figures) for label, figures in sorted(found.items()))


def table(found: Sequence[Reported]) -> list[str]:
    """Lines of a table, and of all labels together."""
    width = max(map(len, ["label", *(each.label for each in found)]))
    return [
        f"{'label':<{width}}  clips  reported  other labels",
        *(
            f"{each.label:<{width}}  {each.clips:5}  {each.reported:8}  {each.others:12}"
            for each in found
        ),
    ]


def _in_a_room(y: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
    before, after = round(_BEFORE_SECONDS * sr), round(_AFTER_SECONDS * sr)
    room = np.random.default_rng(0).standard_normal(before + len(y) + after).astype(np.float32)
    room *= np.float32(level(y) * 10.0 ** (_ROOM_DB / 20.0))
    room[before : before + len(y)] += y
    return room
