"""Build the site: the Python API from its docstrings, and the pages in `docs/`.

    python docs/site/build.py build/site

It needs pdoc, asks nothing of the network, and fails on warnings and on links that lead nowhere.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote

import numpy.typing
import pdoc
import pdoc.render
from pdoc.render_helpers import to_html

import otic

_Scalar = TypeVar("_Scalar")


class NDArray(Generic[_Scalar]):
    """In place of NumPy's, which pages would spell out over several lines."""


class ArrayLike:
    """In place of NumPy's."""


for shown in (NDArray, ArrayLike):  # before the modules that use them are imported
    shown.__module__ = "numpy.typing"
    setattr(numpy.typing, shown.__name__, shown)

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
MODULES = (
    "otic",
    "otic.features.params",
    "otic.features.frontend",
    "otic.features.tables",
    "otic.model.bundle",
    "otic.model.classifier",
    "otic.detection.thresholds",
    "otic.detection.onset",
    "otic.detection.detector",
    "otic.detection.unknown",
    "otic.pipeline",
    "otic.audio.converter",
    "otic.audio.sources",
    "otic.audio.pcm",
    "otic.audio.microphone",
    "otic.audio.loading",
    "otic.audio.ring_buffer",
    "otic.streaming.runner",
    "otic.streaming.monitor",
    "otic.streaming.control",
    "otic.types",
    "otic.sinks.jsonl",
    "otic.sinks.delivery.worker",
    "otic.features.spectrogram",
    "otic.audio.soundscape",
    "otic.errors",
)


def build(site: Path) -> list[str]:
    """Write all pages into ``site``; what is wrong with them, a line each."""
    for name in otic.__all__:
        vars(otic)[name] = getattr(otic, name)  # pdoc does not look behind PEP 562
    pdoc.render.configure(docformat="numpy", template_directory=Path(__file__).parent)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        pdoc.pdoc(*MODULES, output_directory=site)
    pages = sorted(DOCS.glob("*.md"))
    for page in pages:
        _write_page(site / f"{page.stem}.html", page.read_text(encoding="utf-8"))
    _write_page(site / "index.html", _index(pages))
    return [str(warning.message) for warning in warned] + broken_links(site)


def _index(pages: list[Path]) -> str:
    titles = {page.name: _title(page.read_text(encoding="utf-8")) for page in pages}
    lines = ["# otic", "", "## Pages", ""]
    lines += [f"- [{title}]({name})" for name, title in titles.items()]
    lines += ["", "## Python", ""]
    for name in MODULES:
        summary = (importlib.import_module(name).__doc__ or "").strip().splitlines()[0]
        lines.append(f"- [`{name}`](../realtime/{name.replace('.', '/')}.py): {summary}")
    return "\n".join(lines)


def _write_page(path: Path, markdown: str) -> None:
    text = to_html(re.sub(r"(!?)\[([^]]*)\]\(([^)\s]+)\)", _link(path.parent), markdown))
    contents = getattr(text, "toc_html", "")  # markdown2 returns more than a str
    template = pdoc.render.env.get_template("page.html.jinja2")
    page = template.render(title=_title(markdown), text=text, contents=contents)
    path.write_text(page, encoding="utf-8")


def _title(markdown: str) -> str:
    return markdown.splitlines()[0].removeprefix("# ")


def _link(site: Path) -> Callable[[re.Match[str]], str]:
    """What makes a link within the repository one within the site, or takes it away."""

    def replaced(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        file, _, anchor = target.partition("#")
        if re.match("[a-z]+:", target) or not file:
            return match[0]
        if image:
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).write_bytes((DOCS / file).read_bytes())
            return match[0]
        module = file.removeprefix("../realtime/").removesuffix(".py").replace("/", ".")
        if module in MODULES:
            return f"[{text}]({module.replace('.', '/')}.html)"
        if file.endswith(".md") and (DOCS / file).parent == DOCS:
            return f"[{text}]({file.removesuffix('.md')}.html{'#' + anchor if anchor else ''})"
        return text  # of the repository, not of the site

    return replaced


class _Links(HTMLParser):
    """Where a page's links lead, what it loads, and the anchors that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if "src" in values:
            self.loaded.append(values["src"])
        if "href" in values:
            (self.links if tag == "a" else self.loaded).append(values["href"])


def broken_links(site: Path) -> list[str]:
    """Links to no page or anchor of the site, and what it would load from elsewhere."""
    pages = {}
    for path in site.glob("**/*.html"):
        pages[path] = _Links()
        pages[path].feed(path.read_text(encoding="utf-8"))
    problems = []
    for path, page in pages.items():
        where = path.relative_to(site)
        problems += [
            f"{where} loads {target}"
            for target in page.loaded
            if not target.startswith("data:") and not (path.parent / target).is_file()
        ]
        for target in page.links:
            if re.match("[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            linked = (path.parent / file).resolve() if file else path
            if linked not in pages or (anchor and unquote(anchor) not in pages[linked].anchors):
                problems.append(f"{where} links to {target}, which is not there")
    return problems


def main(folder: str) -> int:
    """Build, and say what is wrong."""
    site = Path(folder).resolve()
    problems = build(site)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(list(site.glob('**/*.html')))} pages, {len(problems)} problems: {site}/index.html")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
