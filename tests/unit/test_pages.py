"""Report pages are whole, self-contained and escaped."""

from __future__ import annotations

import base64
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from otic import OticError
from otic_training.reports.page import Page, drawing, report_folder

VOID = {"meta", "img", "link", "br"}


class Checker(HTMLParser):
    """Every tag is closed in turn; collects tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def full_page() -> Page:
    page = Page("<What> & why")
    page.heading("A <b> heading")
    page.paragraph("text & <script>alert(1)</script>")
    page.note("mind")
    page.table((), [("fact", "3 apples")])
    page.table(("name", "n", "why"), [("5-a.wav", 3, "no"), ("<x>", "1.2 s", "–")])
    page.table(("name", "fold 1", "fold 2"), [("a", 8, 4), ("b", 0, 2)], shaded=True)
    with drawing(4.0, 1.0) as figure:
        figure.subplots().plot([0, 1], [1, 0])
        page.picture(figure, 'a "line"', "falls")
    return page


def test_a_page_is_self_contained_and_escaped() -> None:
    html = full_page().html()
    found = Checker(html)
    tags = [tag for tag, _ in found.tags]
    assert not {"script", "link", "iframe", "object"} & set(tags)
    assert not re.search(r"(src|href)=.?(http|//|file)", html)
    assert "url(" not in html
    assert "prefers-color-scheme: dark" in html
    assert "text & <script>alert(1)</script>" in found.texts
    assert found.texts.count("<What> & why") == 2
    image = next(attributes for tag, attributes in found.tags if tag == "img")
    assert image["alt"] == 'a "line"'
    assert (image["width"], image["height"]) == ("440", "110")
    png = base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG")
    assert "falls" in found.texts


def test_numbers_are_set_right_and_shaded() -> None:
    html = full_page().html()
    assert '<th scope="row">5-a.wav</th><td class="number">3</td><td>no</td>' in html
    assert '<th scope="row">&lt;x&gt;</th><td class="number">1.2 s</td><td>–</td>' in html
    assert '<td class="heat" style="--share: 0.75">8</td>' in html
    assert '<td class="heat" style="--share: 0.00">0</td>' in html


def test_the_same_page_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        full_page().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_pictures_need_no_pyplot_and_leave_settings_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    full_page()
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(OticError, match=r"can't write '.*index.html': Is a directory"):
        Page("x").write(tmp_path / "index.html")
    with pytest.raises(OticError, match="No such file"):
        Page("x").write(tmp_path / "none" / "index.html")
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    page = Page(os.fsdecode(b"caf\xe9"))
    page.write(tmp_path / "x.html")
    assert "caf?" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_report_folders(tmp_path: Path) -> None:
    assert report_folder(str(tmp_path / "a" / "b")).is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OticError, match=r"can't make the folder '.*file': File exists"):
        report_folder(str(tmp_path / "file"))
