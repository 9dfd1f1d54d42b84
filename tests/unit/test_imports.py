"""The import rules of the design: who may import whom, and what start-up may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otic.features.kernels import jit
from tests.conftest import ROOT

HEAVY = {"numba", "scipy", "librosa", "tensorflow", "keras", "sklearn", "matplotlib"}


def modules() -> dict[str, Path]:
    found = {}
    for root in ("realtime", "training", "models"):
        for path in (ROOT / root).glob("*/**/*.py"):
            name = ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """Every module that is imported anywhere in the file, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def test_the_rooms_keep_their_order() -> None:
    """The contracts of ``pyproject.toml``, which ``make lint`` checks, too."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert "0 broken" in done.stdout, done.stdout + done.stderr


def test_a_change_of_any_part_of_a_kernel_compiles_again() -> None:
    """Kernels, and the modules with their constants, are among the sources that name the cache."""
    room = ROOT / "realtime/otic/features/kernels"
    sources = {(room / name).resolve() for name in jit.SOURCES}
    kernels = {path for path in room.glob("*.py") if "jit import" in path.read_text("utf-8")}
    assert sources > kernels
    for path in kernels:
        used = {modules()[i] for i in imports(path) if i in modules() and i != "otic"}
        assert used <= sources, path


def test_the_live_path_imports_nothing_heavy() -> None:
    for name, path in modules().items():
        if name.split(".")[0] == "otic":
            tops = {i.split(".")[0] for i in imports(path)}
            assert not tops & (HEAVY - {"numba"} | {"otic_training"}), name


PURE = ("otic.types", "otic.pipeline", "otic.features", "otic.detection")
IMPURE_ON_PURPOSE = "otic.features.kernels.jit"  # it keeps compiled code on disk


def test_the_core_has_no_thread_clock_file_or_terminal() -> None:
    outside = {"threading", "time", "datetime", "io", "os", "pathlib", "sys", "rich", "signal"}
    core = {n: p for n, p in modules().items() if n.startswith(PURE) and n != IMPURE_ON_PURPOSE}
    assert len(core) > 15
    for name, path in core.items():
        assert not {i.split(".")[0] for i in imports(path)} & outside, name


def test_the_root_holds_six_files() -> None:
    names = sorted(path.name for path in (ROOT / "realtime/otic").glob("*.py"))
    main = ["__init__.py", "__main__.py", "errors.py", "pipeline.py", "session.py", "types.py"]
    assert names == main


@pytest.mark.parametrize(
    "code",
    ["import otic", "from otic.cli.main import main", "import otic; otic.OticError"],
)
def test_import_is_light(code: str) -> None:
    loaded = f"{code}; import sys; print(' '.join(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", loaded], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout.split()
    assert not HEAVY & set(out)
    assert "numpy" not in out


def test_help_answers_at_once() -> None:
    """Within 3 times `python -c pass` plus 0.1 s."""

    def seconds(*arguments: str) -> float:
        begin = time.perf_counter()
        command = [sys.executable, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return time.perf_counter() - begin

    both = [(seconds("-c", "pass"), seconds("-m", "otic", "--help")) for _ in range(5)]
    bare, helped = map(min, zip(*both, strict=True))
    assert helped <= 3 * bare + 0.1


def test_a_live_command_does_not_load_scipy() -> None:
    """Neither itself nor through numba, which would where it is installed."""
    code = (
        "import sys; from otic.cli.main import main; main(['warmup']);"
        "print(*(name for name in sys.modules if name.split('.')[0] == 'scipy'))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert out.splitlines()[-1] == ""


def test_the_options_of_training_need_no_numpy() -> None:
    """``otic train --help`` lists presets and trackers at once."""
    modules = ", ".join(
        f"otic_training.cli.{name}"
        for name in ("train", "crossval", "evaluate", "tune", "search", "explore", "download")
    )
    check = f"import sys, {modules}; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
