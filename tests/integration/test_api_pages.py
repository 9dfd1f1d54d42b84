"""The pages that `make docs` makes: complete, and no link leads nowhere."""

from __future__ import annotations

import html
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import otic
from tests.conftest import ROOT

BUILD = ROOT / "docs" / "site" / "build.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, BUILD, folder], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def text_of(page: Path) -> str:
    """What a person reads, without the sources that can be unfolded."""
    markup = page.read_text(encoding="utf-8")
    markup = re.sub(r'<div class="pdoc-code.*?</div>', "", markup, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub("<[^>]+>", "", markup)))


def test_everything_public_is_there(site: Path) -> None:
    page = (site / "otic.html").read_text(encoding="utf-8")
    for name in set(otic.__all__) - {"__version__"}:
        assert f'id="{name}"' in page, name
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= {
        path.stem for path in site.glob("*.html")
    }


def test_docstrings_are_rendered(site: Path) -> None:
    page = (site / "otic.html").read_text(encoding="utf-8")
    assert "<strong>hop_length</strong> (int):" in page
    text = text_of(site / "otic/features/frontend.html")
    assert "def features(self) -> numpy.typing.NDArray[numpy.float32]:" in text
    for path in site.glob("otic/**/*.html"):
        left = re.findall(r"(?<!`):(?:class|func|meth|mod|attr|data):\S+", text_of(path))
        assert not left, f"{path.name}: {left}"


def test_the_first_page_leads_to_all(site: Path) -> None:
    links = set(re.findall(r'href="([^"#]+)"', (site / "index.html").read_text(encoding="utf-8")))
    pages = {str(path.relative_to(site)) for path in site.glob("**/*.html")}
    assert pages - links <= {"index.html"}


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="here"></h1><a href="#here"></a><a href="b.html"></a><a href="a.html#gone"></a>'
        '<img src="https://elsewhere/x.png"/><a href="https://elsewhere"></a>'
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; import build;"
        "print(*build.broken_links(Path(sys.argv[2])), sep='\\n')"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, BUILD.parent, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.splitlines() == [
        "a.html loads https://elsewhere/x.png",
        "a.html links to b.html, which is not there",
        "a.html links to a.html#gone, which is not there",
    ]


def is_there(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    module, rest = name, ""
    while module and importlib.util.find_spec(module.split(".")[0]):
        try:
            found: object = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}".rstrip(".")
            continue
        for part in filter(None, rest.split(".")):
            if part in getattr(found, "__annotations__", {}):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_names_in_docstrings_are_names_of_something() -> None:
    for path in (ROOT / "realtime").glob("**/*.py"):
        parts = path.relative_to(ROOT / "realtime").with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        for named in re.findall(r":[a-z]+:`~?([\w.]+)`", path.read_text(encoding="utf-8")):
            module = importlib.import_module(name)
            classes = [c for c, value in vars(module).items() if isinstance(value, type)]
            places = ["", f"{name}.", *(f"{name}.{c}." for c in classes)]
            assert any(is_there(place + named) for place in places), f"{name}: {named}"
