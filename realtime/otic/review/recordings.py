"""Which marked events are of one recording, so that none of it is in two folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from otic.review.mark import Mark

PAUSE_SECONDS = 600.0
"""Live events that are further apart than this are of different recordings."""


@dataclass(frozen=True)
class Stretch:
    """A marked event with all sound that there is of it, in seconds of its stream."""

    mark: Mark
    start: float
    stop: float

    def wall_clock_seconds(self, seconds: float) -> float:
        """When a second of the stream was, in seconds; live events only."""
        return datetime.fromisoformat(self.mark.onset_at).timestamp() + seconds - self.mark.onset


def stretch(mark: Mark, clip_seconds: float = 0.0) -> Stretch:
    """The event and its clip, whichever reaches further on each side."""
    starts = [mark.onset]
    stops = [mark.onset if mark.offset is None else mark.offset]
    if mark.clip_start is not None:
        starts.append(mark.clip_start)
        stops.append(mark.clip_start + clip_seconds)
    return Stretch(mark, min(starts), max(stops))


def recordings(stretches: Sequence[Stretch]) -> list[str]:
    """The recording of each: a name that tells those that share sound or a situation.

    * All events of one file are of one recording.
    * A live stream, which may run for days, is cut at its pauses: two events are of one
      recording where no more than ten minutes lie between the end of one and the start of the
      other, or where others between them are a chain of such steps.
    * So are live events of different streams, by the wall clock: two microphones hear the same
      dog, and a stream that is begun again goes on in the same situation.

    Events that overlap in time are therefore always of one recording. The names do not depend
    on the order.
    """
    parent = list(range(len(stretches)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        parent[root(i)] = root(j)

    streams: dict[str, list[int]] = defaultdict(list)
    for i, each in enumerate(stretches):
        streams[each.mark.recording].append(i)
    for of_stream in streams.values():
        from_file = [i for i in of_stream if not stretches[i].mark.live]
        for i in from_file[1:]:
            join(from_file[0], i)
        live = [i for i in of_stream if stretches[i].mark.live]
        _chain(live, lambda i: (stretches[i].start, stretches[i].stop), join)
    _chain(
        [i for i, each in enumerate(stretches) if each.mark.live],
        lambda i: (
            stretches[i].wall_clock_seconds(stretches[i].start),
            stretches[i].wall_clock_seconds(stretches[i].stop),
        ),
        join,
    )
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(stretches)):
        members[root(i)].append(i)
    names: dict[int, str] = {}
    taken: set[str] = set()
    for first, of_recording in sorted(
        (min(_order(stretches[i]) for i in group), group) for group in members.values()
    ):
        name = _name(first)
        while name in taken:  # a stream that is called like another with its time
            name += "'"
        taken.add(name)
        names.update(dict.fromkeys(of_recording, name))
    return [names[i] for i in range(len(stretches))]


_Order = tuple[bool, str, float]


def _order(each: Stretch) -> _Order:
    return (each.mark.live, each.mark.recording, each.start)


def _name(first: _Order) -> str:
    """Of a recording by its first event: a file's own, or a live stream's with the second."""
    live, recording, start = first
    return f"{recording}+{start:.3f}s" if live else recording


def _chain(
    indices: Iterable[int],
    span: Callable[[int], tuple[float, float]],
    join: Callable[[int, int], None],
) -> None:
    """Join those between which there is no long pause."""
    last, end = -1, 0.0
    for (start, stop), i in sorted((span(i), i) for i in indices):
        if last >= 0 and start - end <= PAUSE_SECONDS:
            join(last, i)
            end = max(end, stop)
        else:
            end = stop
        last = i
