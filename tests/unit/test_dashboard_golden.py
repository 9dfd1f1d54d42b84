"""The dashboard's pictures, compared with those that a person has checked.

``make golden`` rewrites them after an intended change; ``cat tests/golden/dashboard-80x24.ansi``
in a terminal shows one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile

from otic.audio.soundscape import synthesise
from otic.dashboard.canvas import Piece, painted
from otic.dashboard.layout import Frame
from otic.dashboard.theme import MANY, NONE, SIXTEEN, TRUE_COLOUR, Theme
from otic.dashboard.view_state import ViewState
from otic.types import Chunk, Lost
from tests.conftest import ROOT
from tests.support.helpers import one_line, otic
from tests.support.session_views import ManyScores, Running, many_labels

GOLDEN = ROOT / "tests" / "golden"
SR = 22050
SCAPE = synthesise(SR)[0]
_CELL = re.compile(r"((?:\x1b\[[0-9;]*m)*)([^\x1b])")
# Another processor rounds its sums differently: a digit, a step of a colour or of a bar.
_ALIKE = [set("0123456789"), set(" ▁▂▃▄▅▆▇█"), set("━╸─┼╋╉"), set("▀▄ "), set(" ░▒▓█")]
_MOST_DIFFERENT = 0.02

CASES = {
    "80x24": (80, 24, TRUE_COLOUR, "one"),
    "120x40": (120, 40, TRUE_COLOUR, "one"),
    "200x60": (200, 60, MANY, "one"),
    "60x20": (60, 20, TRUE_COLOUR, "one"),
    "40x30": (40, 30, MANY, "one"),
    "no-color": (80, 24, NONE, "lossy"),
    "16-colours": (80, 24, SIXTEEN, "lossy"),
    "losses": (100, 30, TRUE_COLOUR, "lossy"),
    "521-labels": (120, 40, MANY, "many"),
}


@pytest.fixture(scope="module")
def runnings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Running]:
    folder = tmp_path_factory.mktemp("session")
    lossy: dict[str, Sequence[Chunk]] = {
        "front door": [SCAPE[: 11 * SR], Lost(SR // 2), SCAPE[11 * SR : 14 * SR]],
        "cellar": [SCAPE[7 * SR : 20 * SR]],
    }
    many = many_labels()
    return {
        "one": Running(folder, {"soundscape.wav": [SCAPE[: 27 * SR]]}),
        "lossy": Running(folder, lossy),
        "many": Running(
            folder, {"soundscape.wav": [SCAPE[: 20 * SR]]}, many, ManyScores(len(many.labels))
        ),
    }


def ansi(pieces: list[Piece], rows: int, theme: Theme) -> str:
    """A frame as lines that a terminal shows in colour."""
    lines = []
    for row in range(rows):
        line, column = "", 0
        for piece in sorted((p for p in pieces if p.row == row), key=lambda p: p.column):
            line += " " * (piece.column - column) + painted(piece, theme)
            column = piece.column + piece.width
        lines.append(line)
    return "\n".join(lines) + "\n"


def alike(got: tuple[str, str], expected: tuple[str, str]) -> bool:
    """Whether two cells could be the same picture on two machines."""
    one, other = got[1], expected[1]
    braille = all(0x2800 <= ord(c) < 0x2900 for c in (one, other))
    return one == other or braille or any(one in s and other in s for s in _ALIKE)


@pytest.mark.parametrize("name", CASES)
def test_a_frame_is_the_golden_one(
    name: str, runnings: dict[str, Running], request: pytest.FixtureRequest
) -> None:
    columns, rows, depth, which = CASES[name]
    theme = Theme(depth)
    frame = Frame(runnings[which].session_view, ViewState(), theme, timing=False)
    got = ansi(frame.pieces(columns, rows), rows, theme)
    path = GOLDEN / f"dashboard-{name}.ansi"
    if request.config.getoption("--update-golden"):
        path.write_text(got, encoding="utf-8")
    cells, golden = (_CELL.findall(t) for t in (got, path.read_text(encoding="utf-8")))
    assert len(cells) == len(golden), f"another size or text: see {path}"
    strange = [(a, b) for a, b in zip(cells, golden, strict=True) if not alike(a, b)]
    assert not strange, f"another text: see {path}"
    different = sum(a != b for a, b in zip(cells, golden, strict=True))
    assert different <= _MOST_DIFFERENT * len(golden), f"other colours: see {path}"


def test_a_screenshot_is_the_golden_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    soundfile.write(tmp_path / "soundscape.wav", SCAPE[: 30 * SR], SR, subtype="PCM_24")
    pictures = []
    for name in ("a.svg", "b.svg"):
        done = otic(
            *("replay", tmp_path / "soundscape.wav", "--screenshot", tmp_path / name),
            *("--at", "27", "--size", "80x24"),
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        pictures.append((tmp_path / name).read_text(encoding="utf-8"))
    assert pictures[0] == pictures[1]
    assert "http" not in pictures[0].replace("http://www.w3.org/2000/svg", "")
    assert "DejaVu" in pictures[0]
    assert pictures[0].count("<image ") == 1
    path = GOLDEN / "dashboard-80x24.svg"
    if request.config.getoption("--update-golden"):
        path.write_text(pictures[0], encoding="utf-8")
    got, golden = (_without_figures(t) for t in (pictures[0], path.read_text(encoding="utf-8")))
    assert got == golden
    assert "crying&#000;baby" in golden


def _without_figures(svg: str) -> str:
    """What is the same on all machines: no pixels, no bars, and each digit of the text a 0."""
    svg = re.sub(r"base64,[^\"]*", "", svg)
    texts = re.findall(r">([^<>\n]*)</text>", svg)
    texts = [re.sub(r"\d", "0", re.sub("[━╸─┼╋╉▁▂▃▄▅▆▇█\u2800-\u28ff]+", "", t)) for t in texts]
    return "\n".join(text for text in texts if text.strip())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--screenshot", "x.svg"], "--at SECONDS"),
        (["--at", "3"], "add --screenshot"),
        (["--screenshot", "x.png", "--at", "3"], "must end in .svg"),
        (["--screenshot", "x.svg", "--at", "100"], "--at 100: the stream ends at 2.00 s"),
        (["--screenshot", "x.svg", "--at", "0"], "above 0"),
        (["--screenshot", "x.svg", "--at", "1", "--size", "80"], "COLUMNSxROWS"),
        (["--screenshot", "x.svg", "--at", "1", "--size", "5x5"], "20x5"),
        (["--screenshot", "no/x.svg", "--at", "1"], "can't write 'no/x.svg'"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, options: list[str], words: str) -> None:
    soundfile.write(tmp_path / "a.wav", SCAPE[: 2 * SR], SR)
    done = otic("replay", "a.wav", *options, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode in (1, 2)
    assert words in one_line(done.stderr)
    assert not list(tmp_path.glob("**/*.svg*"))
