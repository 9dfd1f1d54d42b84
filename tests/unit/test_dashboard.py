"""One frame of the dashboard: what it shows, at any size, and what is written of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.cells import cell_len

from otic.audio.soundscape import synthesise
from otic.dashboard.canvas import (
    Canvas,
    PictureRow,
    Piece,
    Rect,
    Screen,
    cells,
    clean,
    duration,
    fit,
)
from otic.dashboard.layout import Frame, arrange
from otic.dashboard.panels import draw_sources
from otic.dashboard.plots import still_picture
from otic.dashboard.svg import lines as segments_of
from otic.dashboard.theme import DEPTHS, NONE, TRUE_COLOUR, Theme
from otic.dashboard.view_state import ViewState
from otic.features.spectrogram import Spectrogram
from otic.streaming.monitor import judge
from otic.system.clock import clock
from otic.types import Lost
from tests.support.helpers import SMALL, noise
from tests.support.session_views import ManyScores, Running, many_labels
from tests.support.terminal import screen_of

SR = 22050
SCAPE = synthesise(SR)[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Running:
    """Twelve seconds in: rain has been, and the clock ticks."""
    folder = tmp_path_factory.mktemp("session")
    return Running(folder, {"a garden.wav": [SCAPE[: 12 * SR]]})


def data(
    running: Running, columns: int, rows: int, view_state: ViewState | None = None
) -> list[str]:
    return plain(frame(running, columns, rows, view_state), columns, rows)


def frame(
    running: Running, columns: int, rows: int, view_state: ViewState | None = None
) -> list[Piece]:
    theme = Theme(TRUE_COLOUR)
    return Frame(running.session_view, view_state or ViewState(), theme, timing=False).pieces(
        columns, rows
    )


def plain(pieces: list[Piece], columns: int, rows: int) -> list[str]:
    drawn = segments_of(pieces, columns, rows, Theme(TRUE_COLOUR))
    return ["".join(segment.text for segment in line) for line in drawn]


def test_what_it_shows(running: Running) -> None:
    text = data(running, 80, 24)
    assert text[0].split() == ["otic", "a", "garden.wav", "→", "esc10-mfcc-mlp", "0:12.0"]
    assert text[1].split()[0] == "level"
    assert text[1].rstrip().endswith(" dB")
    rows = {line[2:16].strip(): line[:40] for line in text[12:22]}
    # A row a class, in the model's order.
    assert list(rows) == [label.replace("_", " ") for label in running.bundle.labels]
    assert "━" in rows["clock tick"]
    assert all(set("┼╋╉") & set(row) for row in rows.values())  # the threshold
    assert "│" not in "".join(rows.values())  # which would cut a bar in two
    assert text[11][:40].split() == ["scores", "─" * 18, "score", "15", "s"]
    events = [line[42:] for line in text[12:16]]
    assert events[0].split()[:4] == ["●", "0:09.1", "clock", "tick"]
    assert events[0].split()[5:7] == ["s", "…"]
    assert events[2].split() == ["0:02.8", "rain", "3.2", "s", "0.88"]
    assert "all well" in text[-2]
    assert "q quit" in text[-1]
    assert text[-1].rstrip().endswith("? help")


@settings(max_examples=120)
@given(st.integers(1, 260), st.integers(1, 90), st.booleans(), st.sampled_from(DEPTHS))
def test_at_any_size_nothing_overlaps_or_sticks_out(
    running: Running, columns: int, rows: int, helped: bool, depth: str
) -> None:
    view_state = ViewState(help=helped, label="rain", message=("x" * 300, "bad", 1e12))
    theme = Theme(depth)
    pieces = Frame(running.session_view, view_state, theme).pieces(columns, rows)
    taken = np.zeros((rows, columns), int)
    for piece in pieces:
        assert 0 <= piece.row < rows
        assert piece.column >= 0
        assert piece.column + piece.width <= columns
        taken[piece.row, piece.column : piece.column + piece.width] += 1
        if isinstance(piece.content, PictureRow):
            assert piece.content.array.shape == (2, piece.width)
        else:
            assert sum(cells(text) for text, _ in piece.content) == piece.width
    if columns < 20 or rows < 5:
        return  # smaller than what is promised: nothing sticks out, that is all
    assert taken.max() == 1
    text = "\n".join(screen_of(Screen(theme).update(pieces, columns, rows), rows, columns))
    assert "0:12.0" in text  # the clock is there at any size


@settings(max_examples=300)
@given(
    st.integers(20, 260), st.integers(5, 90), st.integers(1, 600), st.integers(1, 9), st.booleans()
)
def test_areas_never_overlap(
    columns: int, rows: int, n_labels: int, n_sources: int, banner: bool
) -> None:
    taken = np.zeros((rows, columns), int)
    layout = arrange(columns, rows, n_labels, n_sources, banner)
    for area in layout.areas():
        assert area.width > 0
        assert area.column + area.width <= columns
        assert area.row + area.height <= rows
        taken[area.row : area.row + area.height, area.column : area.column + area.width] += 1
    assert taken.max() == 1
    assert layout.scores is not None or rows < 6


def test_lost_audio_can_not_be_missed(tmp_path: Path) -> None:
    running = Running(tmp_path, {"mic": [SCAPE[: 4 * SR], Lost(4410), SCAPE[4 * SR : 6 * SR]]})
    for columns, rows in ((200, 60), (80, 24), (40, 30), (24, 6)):
        pieces = frame(running, columns, rows)
        banner = next(p for p in pieces if p.row == 1)
        assert isinstance(banner.content, tuple)
        assert banner.width == columns
        assert banner.content[0][1] == "alarm"
        assert "LOST" in banner.content[0][0]
        assert "0.20 s" in banner.content[0][0]
        assert "LOST" in data(running, columns, rows, ViewState(help=True))[1]
    text = data(running, 80, 24)
    assert "4,410 samples (0.20 s), last at 0:04.2" in text[1]
    assert any("LOST 4,410 samples" in line for line in text[12:])  # in the list, too
    assert "4,410 samples lost" in text[-2]
    theme = Theme(TRUE_COLOUR)
    red = [pixels == theme.lost for pixels in picture_of(running)]
    columns_lost = np.all(np.concatenate(red), axis=0)
    assert 1 <= columns_lost.sum() <= 3  # a red stripe from top to bottom
    assert not np.concatenate(red)[:, ~columns_lost].any()


def picture_of(running: Running) -> list[NDArray[np.uint8]]:
    return [p.content.array for p in frame(running, 80, 24) if isinstance(p.content, PictureRow)]


def test_a_pause_is_no_loss(tmp_path: Path) -> None:
    running = Running(tmp_path, {"mic": [SCAPE[: 4 * SR]]})
    running.control.paused = True
    assert "PAUSED" in data(running, 80, 24)[0]
    stream = running.streams["mic"]
    stream.next_chunk = SCAPE[: 2 * SR]
    stream.skip()
    running.control.paused = False
    running.feed("mic", [SCAPE[4 * SR : 6 * SR]])
    text = data(running, 80, 24)
    assert not any("LOST" in line for line in text)
    assert any("paused for 2.0 s" in line for line in text)
    assert "all well" in text[-2]


def test_several_sources_have_a_line_each(tmp_path: Path) -> None:
    running = Running(
        tmp_path, {"porch": [SCAPE[: 4 * SR]], "garage": [SCAPE[: 3 * SR], Lost(44100)]}
    )
    text = data(running, 80, 24)
    assert text[2].startswith(" ▸ porch")
    assert text[3].startswith("   garage")
    assert "LOST 2.00 s" in text[3]
    text = data(running, 80, 24, ViewState(source="garage"))
    assert text[0].startswith(" otic  garage")
    assert "LOST AUDIO" in text[1]
    assert text[4].startswith(" ▸ garage")
    views = running.session_view.views()
    gone = replace(views[1].snapshot(), state="waiting")
    canvas = Canvas(80, 2)
    draw_sources(canvas, Rect(0, 0, 2, 80), [("garage", gone, judge(gone))], 0)
    assert "missing" in plain(canvas.pieces, 80, 2)[0]  # worse than what was lost before


def test_the_next_file_is_looked_at_from_its_beginning(tmp_path: Path) -> None:
    running = Running(tmp_path, {"a.wav": [SCAPE[: 12 * SR]]})
    view_state = ViewState(frozen_at=5.0, event=1, label="rain")
    drawn = Frame(running.session_view, view_state, Theme(TRUE_COLOUR))
    drawn.pieces(80, 24)
    assert (view_state.frozen_at, view_state.event) == (5.0, 1)
    following = Running(tmp_path, {"b.wav": [SCAPE[: 2 * SR]]})
    running.session_view.show([view.monitor for view in following.session_view.views()])
    drawn.pieces(80, 24)
    assert (view_state.frozen_at, view_state.event, view_state.label) == (None, None, "rain")


def test_frozen_it_shows_what_was(running: Running) -> None:
    text = data(running, 80, 24, ViewState(frozen_at=5.0))
    assert "FROZEN −7 s" in text[0]
    assert text[0].rstrip().endswith("0:05.0")
    events = [line[42:].split() for line in text[12:16]]
    assert events[0][:3] == ["●", "0:02.8", "rain"]  # it was on then
    assert not events[2]
    rows = {line[2:16].strip(): line for line in text[12:22]}
    assert "━━" in rows["rain"]
    assert text[10].rstrip().endswith("0:05.0")
    assert "-120" not in text[1]
    drawn = frame(running, 80, 24, ViewState(frozen_at=5.0))
    picture = [p.content.array for p in drawn if isinstance(p.content, PictureRow)]
    assert np.concatenate(picture)[:, -10:].min() > 0
    # What is older than the picture is dark, not an error.
    assert "0:00.0" in data(running, 80, 24, ViewState(frozen_at=0.0))[0]


def test_many_classes_show_the_greatest(tmp_path: Path) -> None:
    bundle = many_labels()
    running = Running(tmp_path, {"mic": [noise(SR * 6)]}, bundle, ManyScores(len(bundle.labels)))
    text = data(running, 80, 24)
    heading = next(line for line in text if "scores" in line)
    assert "top 10 of 524" in heading
    rows = [line[2:12].strip() for line in text[12:22]]
    assert rows[:3] == ["Animal", "Music", "Vehicle"]
    scores = running.session_view.views()[0].snapshot().scores
    best = max((label for label in bundle.model_labels), key=lambda label: scores[label])
    assert best in rows


def test_only_what_has_changed_is_written(running: Running) -> None:
    theme, view_state = Theme(TRUE_COLOUR), ViewState()
    frame = Frame(running.session_view, view_state, theme, timing=False)
    screen = Screen(theme)
    first = screen.update(frame.pieces(120, 40), 120, 40)
    assert first.startswith("\x1b[?2026h")
    assert first.endswith("\x1b[?2026l")
    assert "\x1b[2J" in first
    assert screen.update(frame.pieces(120, 40), 120, 40) == ""
    view_state.label = "dog"
    second = screen.update(frame.pieces(120, 40), 120, 40)
    assert 0 < len(second) < 150  # one name
    assert "\x1b[2J" not in second
    assert "\x1b[2J" in screen.update(frame.pieces(100, 40), 100, 40)  # another size
    screen.forget()
    assert "\x1b[2J" in screen.update(frame.pieces(100, 40), 100, 40)


def test_the_incremental_screen_is_the_whole_one(tmp_path: Path) -> None:
    running = Running(tmp_path, {"mic": []})
    theme = Theme(TRUE_COLOUR)
    frame = Frame(running.session_view, ViewState(), theme, timing=False)
    screen = Screen(theme)
    written = ""
    for at in range(0, 6 * SR, SR // 3):
        running.feed("mic", [SCAPE[at : at + SR // 3]])
        written += screen.update(frame.pieces(100, 30), 100, 30)
    fresh = Screen(theme).update(frame.pieces(100, 30), 100, 30)
    assert screen_of(written, 30, 100) == screen_of(fresh, 30, 100)


@pytest.mark.parametrize("depth", DEPTHS)
def test_no_colours_where_none_are_wanted(running: Running, depth: str) -> None:
    theme = Theme(depth, unicode=depth != NONE)
    text = Screen(theme).update(
        Frame(running.session_view, ViewState(), theme).pieces(80, 24), 80, 24
    )
    colours = bool(re.search(r"\x1b\[(1;)?([349][0-7]|10[0-7]|[34]8;[25])[;m]", text))
    assert colours == (depth != NONE)
    assert ("38;2;" in text) == (depth == TRUE_COLOUR)
    assert text.isascii() == (depth == NONE)
    if depth == NONE:  # even without colours a bar differs from its track
        assert "==" in text
        assert "--" in text


@pytest.mark.parametrize(
    "name",
    ["\x1b[2Jmean\x07", "マイク入力 居間 " * 9, "‮left", "a\nb", "é" * 200, "\udcff", "👨‍👩‍👧"],
)
def test_names_can_do_no_harm(tmp_path: Path, name: str) -> None:
    running = Running(tmp_path, {name: [], "other": []})
    for columns in (20, 41, 80, 130):
        for piece in frame(running, columns, 24):
            if isinstance(piece.content, PictureRow):
                continue
            text = "".join(t for t, _ in piece.content)
            assert text.isprintable()
            assert cell_len(text) == piece.width


def test_words() -> None:
    assert [fit("rain", n) for n in (0, 1, 3, 4, 6)] == ["", "…", "ra…", "rain", "rain  "]
    assert fit("マイク", 4) == "マ …"
    assert clean("a\x1bb\u200b") == "a�b�"
    assert clock(12.34) == "0:12.3"
    assert clock(0.9999999999) == "0:01.0"
    assert clock(3723.45, 0) == "1:02:03"
    assert [duration(s) for s in (4.25, 59.96, 599.0, 600.0, 36_000.0)] == [
        "4.2 s",
        "60 s",
        "599 s",
        "10 min",
        "10 h",
    ]


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_whole_recording_fits_its_place(depth: str) -> None:
    """Short or long, its spectrogram takes so many cells, and a tone is where it belongs."""
    theme = Theme(depth)
    hz = 1000.0
    for seconds in (0.2, 12.0):
        t = np.arange(round(seconds * SMALL.sr)) / SMALL.sr
        spectrogram = Spectrogram(SMALL)
        spectrogram.push((0.5 * np.sin(2 * np.pi * hz * t)).astype(np.float32))
        drawn = still_picture(spectrogram.levels(), 40, 6, SMALL, theme)
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in drawn]
        assert [len(line) for line in plain] == [40] * 6
        labelled = [row for row, line in enumerate(plain) if line.strip().startswith("1k")]
        if depth == NONE:
            assert [row for row, line in enumerate(plain) if "█" in line] == labelled
    assert still_picture(np.zeros((SMALL.n_mels, 0), np.uint8), 40, 6, SMALL, theme) == []
