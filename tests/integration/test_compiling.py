"""Where compiled kernels are kept: found again, wherever otic is installed and may write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from otic.features.kernels import jit as compiling
from otic.features.kernels.log_mel import make_push
from tests.conftest import ROOT
from tests.support.helpers import one_line, otic

# Says whether the kernel came from disk, and where it is kept.
LOAD = """
from otic.features.kernels import jit as compiling
from otic.probe import probe
hits = sum(probe.stats.cache_hits.values())
print(hits, compiling._state.folder, compiling.cache_problem(), sep="|")
"""
# A kernel that is compiled in no time.
PROBE = """
from otic.features.kernels.jit import entry

@entry("probe", "int64(int64)")
def probe(n):
    return n + 1
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
        ROOT / "realtime" / "otic", copy / "otic", ignore=shutil.ignore_patterns("__pycache__")
    )
    (copy / "otic" / "probe.py").write_text(PROBE)
    return copy


def block(folder: Path) -> None:
    """Nobody, not even root, can write into a folder whose place a file has."""
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file")


def test_a_kernel_takes_its_own_types_only() -> None:
    push: Any = make_push(256)
    for wrong in ([0.0], np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2]):
        with pytest.raises(TypeError):
            push(wrong, np.zeros(4, np.int64))
    assert len(push.signatures) == 1


def test_beside_the_package_by_default(package: Path) -> None:
    first = Loaded(package, {})
    assert not first.from_disk
    assert first.folder.parent == package / "otic/features/kernels/__pycache__"
    assert first.problem is None
    second = Loaded(package, {})
    assert second.from_disk
    # Another time of change, as an image that was packed has, is no change,
    os.utime(package / "otic" / "probe.py", (1e9, 1e9))
    assert Loaded(package, {}).from_disk
    # but one in a file that the kernel calls into is.
    with (package / "otic/features/kernels/fft.py").open("a") as source:
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
    block(package / "otic/features/kernels/__pycache__")
    for expected in (False, True):
        loaded = Loaded(package, {"HOME": str(tmp_path / "home")})
        assert loaded.folder.parent == tmp_path / "home" / ".cache" / "otic"
        assert loaded.from_disk == expected
    loaded = Loaded(package, {"HOME": "/nowhere", "XDG_CACHE_HOME": str(tmp_path / "xdg")})
    assert loaded.folder.parent == tmp_path / "xdg" / "otic"


def test_nowhere_to_write_is_one_line_and_works(package: Path, tmp_path: Path) -> None:
    """As under systemd with ProtectSystem=strict and no CacheDirectory=."""
    block(package / "otic/features/kernels/__pycache__")
    loaded = Loaded(package, {"TMPDIR": str(tmp_path)})
    assert loaded.problem is not None
    assert "NUMBA_CACHE_DIR" in loaded.problem
    assert "otic warmup" in loaded.problem
    assert not loaded.from_disk
    assert not loaded.folder.exists(), "the temporary folder is left behind"


def test_a_command_says_so_on_one_line(package: Path, tmp_path: Path) -> None:
    block(package / "otic/features/kernels/__pycache__")
    shutil.copytree(ROOT / "models" / "otic_models", package / "otic_models")
    done = subprocess.run(
        [sys.executable, "-m", "otic", "demo", "--speed", "max"],
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


def test_each_kernel_has_files_of_its_own(package: Path) -> None:
    """Numba does not lock an index that two starts write into."""
    folder = Loaded(package, {}).folder
    assert [p.name.split("-")[0] for p in folder.glob("*/*.nbi")] == ["probe.probe"]


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_damaged_code_is_made_anew(package: Path, ending: str) -> None:
    folder = Loaded(package, {}).folder
    (file,) = folder.glob(f"*/*{ending}")
    file.write_bytes(b"")  # as after a power cut
    loaded = Loaded(package, {})
    assert not loaded.from_disk
    assert loaded.problem is None
    assert Loaded(package, {}).from_disk


def test_code_of_former_sources_goes(package: Path) -> None:
    former = package / "otic/features/kernels/__pycache__" / "otic-kernels-00000000"
    former.mkdir(parents=True)
    loaded = Loaded(package, {})
    assert not former.exists()
    assert loaded.folder.exists()


def state(monkeypatch: pytest.MonkeyPatch, writable: list[Path]) -> compiling._State:
    """What a start would choose where only some folders can be written."""

    def can_write(folder: Path) -> bool:
        allowed = any(place in folder.parents for place in writable)
        if allowed:
            folder.mkdir(parents=True, exist_ok=True)
        return allowed

    monkeypatch.setattr(compiling, "_can_write", can_write)
    return compiling._State()


def fill(folder: Path | None) -> Path:
    assert folder is not None
    (folder / "realtime_1").mkdir(parents=True)
    (folder / "realtime_1" / "push.nbi").write_text("compiled")
    return folder


def test_a_read_only_image_keeps_what_was_compiled_when_it_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, home = tmp_path / "image", tmp_path / "home"
    monkeypatch.setattr(compiling, "_candidates", lambda: [image, home])
    built = fill(state(monkeypatch, [image]).folder)
    assert built.parent == image
    for path in (built / "realtime_1" / "push.nbi", built / "realtime_1", built):
        path.chmod(path.stat().st_mode & 0o555)  # as in Nix and many containers

    chosen = state(monkeypatch, [home])
    assert chosen.folder is not None
    assert chosen.folder.parent == home
    copied = chosen.folder / "realtime_1" / "push.nbi"
    assert copied.read_text() == "compiled"
    for path in (copied, copied.parent, chosen.folder):
        assert path.stat().st_mode & 0o200, "its permissions were copied too"
    assert chosen.problem is None

    # What is there is not overwritten: it may be newer, and another start may be reading it.
    copied.write_text("newer")
    assert state(monkeypatch, [home]).folder == chosen.folder
    assert copied.read_text() == "newer"

    # Nothing can be written but the temporary folder: the copy serves from there.
    nowhere = state(monkeypatch, [])
    assert nowhere.temporary
    assert nowhere.folder is not None
    assert (nowhere.folder / "realtime_1" / "push.nbi").read_text() == "compiled"
    assert nowhere.problem is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "image"]


def test_not_even_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> str:
        raise OSError("read-only")

    monkeypatch.setattr(compiling, "_candidates", list)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    nowhere = state(monkeypatch, [])
    assert nowhere.folder is None
    assert nowhere.problem is not None
    monkeypatch.setattr(compiling, "_state", nowhere)

    @compiling.entry("double", "int64(int64)")
    def double(n):  # type: ignore[no-untyped-def]
        return 2 * n

    assert double(21) == 42


def test_a_disk_that_fills_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel works, and a line says what is wrong."""

    def full(function: object, signature: str) -> None:
        raise OSError(28, "No space left on device")

    chosen = state(monkeypatch, [])
    chosen.folder, chosen.problem = tmp_path / "full", None
    monkeypatch.setattr(compiling, "_state", chosen)
    monkeypatch.setattr(compiling, "_compile_cached", full)

    @compiling.entry("triple", "int64(int64)")
    def triple(n):  # type: ignore[no-untyped-def]
        return 3 * n

    assert triple(14) == 42
    problem = compiling.cache_problem()
    assert problem is not None
    assert "No space left on device" in problem


def test_numba_that_must_not_compile_is_one_line() -> None:
    done = otic("demo", "--speed", "max", env={"NUMBA_DISABLE_JIT": "1"})
    assert done.returncode == 1
    assert "NUMBA_DISABLE_JIT is set" in one_line(done.stderr)


def test_numbas_own_setting_is_left_alone() -> None:
    before = numba.config.CACHE_DIR

    def make(i: int) -> None:
        @compiling.entry(f"made_{i}", "int64(int64)")
        def made(n):  # type: ignore[no-untyped-def]
            return n + i

        assert made(1) == 1 + i

    threads = [threading.Thread(target=make, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == numba.config.CACHE_DIR


def test_no_two_kernels_may_share_a_name() -> None:
    def twice() -> None:
        pass

    compiling.inner(1, 2)(twice)
    compiling.inner(1, 3)(twice)
    with pytest.raises(ValueError, match="there is a kernel twice_1_2 in tests"):
        compiling.inner(1, 2)(twice)


COMPILE = (
    "import sys; from otic.features.kernels.log_mel import make_push; make_push(int(sys.argv[1]))"
)
BOTH = """
import numpy as np
from dataclasses import replace
from otic import Frontend
from otic.features.reference import reference_features
from tests.support.helpers import SMALL, noise

for n_fft in (256, 512):
    params = replace(SMALL, n_fft=n_fft)
    frontend, y = Frontend(params), noise(params.window_samples)
    frontend.push(y)
    print(np.abs(frontend.features() - reference_features(y, params)).max())
"""


def test_kernels_compiled_in_different_processes_do_not_mix(tmp_path: Path) -> None:
    """Numba numbers functions anew in each process: unless names differ, the linker mixes them.

    Names hold numba's fast-math flags too, in the order of a set of strings: in one run of
    many, two processes agree in it. The fixed hash seed makes them agree.
    """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONHASHSEED": "0"}
    for arguments in (["-c", COMPILE, "256"], ["-c", COMPILE, "512"], ["-c", BOTH]):
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env=environment,
        )
    errors = [float(line) for line in done.stdout.splitlines()]
    assert len(errors) == 2
    assert max(errors) < 5e-4
