"""Which panel is where, at any size of the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from otic.dashboard.canvas import Rect

_WIDE, _MEDIUM = 108, 72  # columns, from which two panels lie side by side
_GUTTER = 3
_RULE = 1
_LEAST_EVENTS = 2


@dataclass(frozen=True)
class Layout:
    """Where each panel is; None where there is no room for it.

    A panel's area includes its heading, where ``headings`` is true.
    """

    title: Rect
    banner: Rect | None = None
    level: Rect | None = None
    sources: Rect | None = None
    picture: Rect | None = None
    scores: Rect | None = None
    events: Rect | None = None
    wave: Rect | None = None
    health: Rect | None = None
    footer: Rect | None = None
    headings: bool = True

    def areas(self) -> list[Rect]:
        """All that there are."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return [value for value in values if isinstance(value, Rect)]


def arrange(width: int, height: int, n_labels: int, n_sources: int, banner: bool) -> Layout:
    """Areas that lie within ``width`` × ``height`` and never overlap.

    Parameters
    ----------
    n_labels : int
        So many classes there are; there may be fewer rows for them.
    n_sources : int
        Streams that run; two or more have a line each.
    banner : bool
        Whether audio was lost: that has a line of its own.
    """
    margin = 1 if width >= 60 else 0
    inner = width - 2 * margin
    found: dict[str, Rect] = {"title": Rect(0, margin, 1, inner)}
    top, bottom = 1, height
    if height >= 12:
        bottom -= 1
        found["footer"] = Rect(bottom, margin, 1, inner)
    if height >= 3:
        bottom -= 1
        found["health"] = Rect(bottom, margin, 1, inner)
    if banner and height >= 4:
        found["banner"] = Rect(top, 0, 1, width)
        top += 1
    if height >= 7:
        found["level"] = Rect(top, margin, 1, inner)
        top += 1
    if n_sources > 1 and height >= 9:
        lines = min(n_sources, max(1, height // 6))
        found["sources"] = Rect(top, margin, lines, inner)
        top += lines
    body = Rect(top, margin, max(0, bottom - top), inner)
    found |= _body(body, n_labels)
    return Layout(**found, headings=body.height >= 12)


def _body(body: Rect, n_labels: int) -> dict[str, Rect]:
    if body.height <= 0:
        return {}
    if body.width + 2 >= _WIDE and body.height >= 16:
        return _side_by_side(body, n_labels)
    if body.width + 2 >= _MEDIUM and body.height >= 14:
        return _picture_on_top(body, n_labels)
    return _stacked(body, n_labels)


def _side_by_side(body: Rect, n_labels: int) -> dict[str, Rect]:
    """The spectrogram and the waveform on the left, scores and events on the right."""
    right_width = min(max(round(body.width * 0.4), 44), 84)
    left, right = _columns(body, body.width - right_width - _GUTTER)
    wave = min(max(body.height // 6, 4), 9)
    scores = min(n_labels + _RULE, max(6, round(body.height * 0.5)))
    return {
        "picture": left.rows(0, body.height - wave),
        "wave": left.rows(body.height - wave),
        "scores": right.rows(0, scores),
        "events": right.rows(scores),
    }


def _picture_on_top(body: Rect, n_labels: int) -> dict[str, Rect]:
    """The spectrogram over the whole width, below it scores and events side by side."""
    lower = max(min(n_labels + _RULE, 11, body.height - 6), round(body.height * 0.45))
    left, right = _columns(body.rows(body.height - lower), body.width // 2 - 1)
    found = {"picture": body.rows(0, body.height - lower)}
    scores = min(n_labels + _RULE, lower)
    if lower - scores >= 4:
        return found | {"scores": left.rows(0, scores), "wave": left.rows(scores), "events": right}
    found["scores"] = left
    if lower < 10:
        return found | {"events": right}
    wave = 4 + (lower - 10) // 4
    return found | {"events": right.rows(0, lower - wave), "wave": right.rows(lower - wave)}


def _stacked(body: Rect, n_labels: int) -> dict[str, Rect]:
    """One below the other."""
    if body.height < 8:
        return {"scores": body}
    if body.height < 12:
        return {"picture": body.rows(0, 4), "scores": body.rows(4)}
    wave = 4 if body.height >= 30 else 0
    picture = round((body.height - wave) * 0.35)
    least_events = max(_LEAST_EVENTS + _RULE, round((body.height - wave) * 0.22))
    scores = min(n_labels + _RULE, body.height - wave - picture - least_events)
    events = body.height - wave - picture - scores
    found = {
        "picture": body.rows(0, picture),
        "scores": body.rows(picture, scores),
        "events": body.rows(picture + scores, events),
    }
    return found | ({"wave": body.rows(picture + scores + events)} if wave else {})


def _columns(area: Rect, left_width: int) -> tuple[Rect, Rect]:
    """Two side by side, with a gutter."""
    right = area.column + left_width + _GUTTER
    return (
        Rect(area.row, area.column, area.height, left_width),
        Rect(area.row, right, area.height, area.width - left_width - _GUTTER),
    )
