"""Where compiled kernels are kept: found again, wherever otic is installed and may write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime import compiling
from realtime.kernels import make_push
from tests.conftest import ROOT

# Says whether the kernel came from disk, and where it is kept.
LOAD = """
from realtime import compiling, kernels
push = kernels.make_push(256)
print(sum(push.stats.cache_hits.values()), compiling.CACHE_FOLDER, compiling.CACHE_PROBLEM, sep="|")
"""


class Loaded:
    """What a new process says of its cache."""

    def __init__(self, package: Path, environment: dict[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "VIRTUAL_ENV")}
        done = subprocess.run(
            [sys.executable, "-c", LOAD],
            capture_output=True,
            text=True,
            check=True,
            cwd=package,
            env={**kept, "PYTHONPATH": str(package), **environment},
        )
        hits, folder, problem = done.stdout.strip().split("|")
        self.from_disk = int(hits) > 0
        self.folder = Path(folder)
        self.problem = None if problem == "None" else problem


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package without compiled kernels, to be spoilt."""
    copy = tmp_path / "installed"
    shutil.copytree(
        ROOT / "realtime", copy / "realtime", ignore=shutil.ignore_patterns("__pycache__")
    )
    return copy


def block(folder: Path) -> None:
    """Nobody, not even root, can write into a folder whose place a file has."""
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file")


def test_a_kernel_takes_its_own_types_only() -> None:
    push = make_push(256)
    for wrong in ([0.0], np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2]):
        with pytest.raises(TypeError):
            push(wrong, np.zeros(4, np.int64))
    assert len(push.signatures) == 1


def test_beside_the_package_by_default(package: Path) -> None:
    first = Loaded(package, {})
    assert not first.from_disk
    assert first.folder.parent == package / "realtime" / "__pycache__"
    assert first.problem is None
    second = Loaded(package, {})
    assert second.from_disk
    # A kernel's files are its own: a change in a file that it calls into is noticed.
    with (package / "realtime" / "fft.py").open("a") as source:
        source.write("\n# changed\n")
    assert not Loaded(package, {}).from_disk


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "CACHE_DIRECTORY"])
def test_where_the_environment_says(package: Path, tmp_path: Path, variable: str) -> None:
    """CACHE_DIRECTORY is systemd's, for a unit with CacheDirectory= and DynamicUser=."""
    wanted = tmp_path / "wanted"
    for expected in (False, True):
        loaded = Loaded(package, {variable: str(wanted)})
        assert loaded.folder.parent == wanted
        assert loaded.from_disk == expected


def test_in_the_users_folder_where_the_package_can_not_be_written(
    package: Path, tmp_path: Path
) -> None:
    block(package / "realtime" / "__pycache__")
    for expected in (False, True):
        loaded = Loaded(package, {"HOME": str(tmp_path / "home")})
        assert loaded.folder.parent == tmp_path / "home" / ".cache" / "otic"
        assert loaded.from_disk == expected
    loaded = Loaded(package, {"HOME": "/nowhere", "XDG_CACHE_HOME": str(tmp_path / "xdg")})
    assert loaded.folder.parent == tmp_path / "xdg" / "otic"


def test_nowhere_to_write_is_one_line_and_works(package: Path, tmp_path: Path) -> None:
    """As under systemd with ProtectSystem=strict and no CacheDirectory=."""
    block(package / "realtime" / "__pycache__")
    loaded = Loaded(package, {"TMPDIR": str(tmp_path)})
    assert loaded.problem is not None
    assert "NUMBA_CACHE_DIR" in loaded.problem
    assert "otic warmup" in loaded.problem
    assert not loaded.from_disk
    assert not loaded.folder.exists(), "the temporary folder is left behind"


def test_a_command_says_so_on_one_line(package: Path, tmp_path: Path) -> None:
    block(package / "realtime" / "__pycache__")
    shutil.copytree(ROOT / "models", package / "models")
    done = subprocess.run(
        [sys.executable, "-m", "realtime", "demo", "--speed", "max"],
        capture_output=True,
        text=True,
        check=True,
        cwd=package,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("otic: ")]
    assert len(said) == 1
    assert "compiled kernels can be written" in said[0]
    assert "6 of 6" in done.stdout


def test_a_read_only_image_keeps_what_was_compiled_when_it_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, home = tmp_path / "image", tmp_path / "home"
    monkeypatch.setattr(compiling, "_candidates", lambda: [image, home])
    built, _ = compiling._choose_folder()
    assert built is not None
    assert built.parent == image
    (built / "realtime_1").mkdir()
    (built / "realtime_1" / "push.nbi").write_text("compiled")

    def can_write(folder: Path) -> bool:
        return image not in folder.parents and (folder.mkdir(parents=True) or True)

    monkeypatch.setattr(compiling, "_can_write", can_write)
    chosen, problem = compiling._choose_folder()
    assert chosen is not None
    assert chosen.parent == home
    assert (chosen / "realtime_1" / "push.nbi").read_text() == "compiled"
    assert problem is None

    # Nothing can be written but the temporary folder: the copy serves from there.
    monkeypatch.setattr(compiling, "_can_write", lambda folder: False)
    chosen, problem = compiling._choose_folder()
    assert chosen is not None
    assert (chosen / "realtime_1" / "push.nbi").read_text() == "compiled"
    assert problem is None


def test_not_even_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> str:
        raise OSError("read-only")

    monkeypatch.setattr(compiling, "_can_write", lambda folder: False)
    monkeypatch.setattr(compiling, "_candidates", list)
    monkeypatch.setattr(compiling.tempfile, "mkdtemp", refuse)
    chosen, problem = compiling._choose_folder()
    assert chosen is None
    assert problem is not None
    monkeypatch.setattr(compiling, "CACHE_FOLDER", None)

    @compiling.entry("int64(int64)")
    def double(n):  # type: ignore[no-untyped-def]
        return 2 * n

    assert double(21) == 42
