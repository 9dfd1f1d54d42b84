"""The wheel, installed where nothing else is, does the main job outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import otic
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TFLITE_RUNTIME = ["tflite-runtime==2.14.0", "numpy<2", "numba", "rich", "soundfile", "soxr"]


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks or would track."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    names = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", folder, source)
    (built,) = folder.glob("otic-*.whl")
    return built


def clean_environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def environment_with(folder: Path, *requirements: str | Path) -> Path:
    """A new virtual environment; gives its ``bin``."""
    run(sys.executable, "-m", "venv", folder, env=clean_environment())
    pip = folder / "bin" / "pip"
    run(pip, "install", "--quiet", *requirements, env=clean_environment())
    return folder / "bin"


def test_it_holds_the_packages_and_the_models(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (n for n in names if n.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    for name in ("otic/cli/main.py", "otic/py.typed", "otic_training/networks/presets.py"):
        assert name in names
    assert {
        "otic/sinks/html_report.html",
        "otic/sinks/report.css",
        "otic/cli/otic.service.in",
    } <= names
    for root in ("realtime", "training", "models"):
        for path in (ROOT / root).glob("*/**/*.py"):
            assert str(path.relative_to(ROOT / root)) in names
    for path in (ROOT / "models").glob("*/*.tflite"):
        assert f"otic_models/{path.name}" in names
        assert f"otic_models/{path.stem}.md" in names
    assert "otic_models/CREDITS.md" in names
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"otic", "otic_training", "otic_models"}, "all that it puts into site-packages"
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert "Provides-Extra: train" in text
    assert "Provides-Extra: tflite-runtime" in text


def test_the_demo_runs_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    bin_folder = environment_with(
        tmp_path / "venv", "--require-hashes", "-r", ROOT / "constraints" / "base.txt"
    )
    env = clean_environment()
    run(bin_folder / "pip", "install", "--quiet", "--no-deps", wheel, env=env)
    run(bin_folder / "pip", "check", env=env)
    done = run(bin_folder / "otic", "demo", "--speed", "max", cwd=tmp_path, env=env)
    assert sum("✓" in line for line in done.stdout.splitlines()) >= 4
    where = run(
        bin_folder / "python",
        *("-c", "import otic, otic_models; print(otic.__file__, otic_models.__file__)"),
        cwd=tmp_path,
        env=env,
    ).stdout
    assert all(str(tmp_path / "venv") in path for path in where.split())
    train = subprocess.run(
        [bin_folder / "otic", "train", "data", "--preset", "mfcc-mlp", "--out", "m.tflite"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
        check=False,
    )
    assert train.returncode == 1
    assert train.stderr.startswith("otic: training needs tensorflow")
    unit = run(bin_folder / "otic", "service", "install", "--print", cwd=tmp_path, env=env).stdout
    (start,) = (line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert str(bin_folder) in start
    assert "-m otic run --config /etc/otic.toml" in start
    options = (("--mqtt-host", "mqtt"), ("--metrics-listen", "metrics"), ("--web", "web"))
    for option, extra in options:
        value = "localhost" if extra == "mqtt" else "0"
        listen = subprocess.run(
            [bin_folder / "otic", "run", "--duration", "1", option, value],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**env, "HOME": str(tmp_path)},
            check=False,
        )
        assert listen.returncode == 1
        assert f"pip install 'otic[{extra}]'" in listen.stderr
        assert len(listen.stderr.splitlines()) == 1


def test_it_works_beside_packages_of_its_former_names(wheel: Path, tmp_path: Path) -> None:
    """PyPI has a ``realtime``, and people have folders called ``models``."""
    bin_folder = environment_with(tmp_path / "venv", "realtime")
    env = clean_environment()
    constraints = ROOT / "constraints" / "base.txt"
    run(bin_folder / "pip", "install", "--quiet", "--require-hashes", "-r", constraints, env=env)
    run(bin_folder / "pip", "install", "--quiet", "--no-deps", wheel, env=env)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    script = (
        "from otic import Pipeline, load_bundle; "
        "print(Pipeline(load_bundle('esc10-mfcc-mlp')).sample)"
    )
    (tmp_path / "script.py").write_text(f"import models, realtime\n{script}\n")
    version = run(bin_folder / "otic", "--version", cwd=tmp_path, env=env).stdout
    assert version == f"otic {otic.__version__}\n"
    assert run(bin_folder / "python", "script.py", cwd=tmp_path, env=env).stdout == "0\n"


def test_an_editable_installation_is_seen_by_type_checkers_and_pytest(tmp_path: Path) -> None:
    """In a file outside the checkout; import hooks, as setuptools makes them, are not followed."""
    bin_folder = environment_with(tmp_path / "venv", "mypy", "pyright[nodejs]", "pytest", "numpy")
    env = clean_environment()
    pip = (bin_folder / "pip", "install", "--quiet", "--no-deps")
    run(*pip, "hatchling", "pathspec", "pluggy", "packaging", "trove-classifiers", env=env)
    run(*pip, "--no-build-isolation", "-e", ROOT, env=env)
    (tmp_path / "pyproject.toml").touch()
    user = tmp_path / "test_user.py"
    user.write_text(
        "import otic\n"
        "from otic import FeatureParams\n"
        "from otic.types import Event\n\n\n"
        "def test_a_type() -> None:\n"
        "    event: Event = Event('on', 'dog', 1.0, 2.0)\n"
        "    assert event.label == 'dog' and otic.__version__ and FeatureParams is not None\n"
    )
    python = bin_folder / "python"
    run(python, "-m", "mypy", "--follow-imports=silent", user, cwd=tmp_path, env=env)
    where = ("--pythonpath", python, user)
    assert "0 errors" in run(bin_folder / "pyright", *where, cwd=tmp_path, env=env).stdout
    assert "1 passed" in run(python, "-m", "pytest", user, cwd=tmp_path, env=env).stdout
    user.write_text("from otic.errors import NoSuchName\n")
    wrong = subprocess.run([python, "-m", "mypy", user], cwd=tmp_path, env=env, capture_output=True)
    assert b"NoSuchName" in wrong.stdout


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheels from 3.12 on")
def test_the_demo_runs_on_tflite_runtime(wheel: Path, tmp_path: Path) -> None:
    """The bundled model, on LiteRT's predecessor alone, with numpy below 2."""
    bin_folder = environment_with(tmp_path / "venv", *TFLITE_RUNTIME)
    env = clean_environment()
    run(bin_folder / "pip", "install", "--quiet", "--no-deps", wheel, env=env)
    done = run(bin_folder / "otic", "demo", "--speed", "max", cwd=tmp_path, env=env)
    assert sum("✓" in line for line in done.stdout.splitlines()) >= 4
    chosen = {**env, "OTIC_RUNTIME": "tflite-runtime"}
    logs = [
        run(
            *(bin_folder / "otic", "demo", "--speed", "max", "--jsonl", "-", "--log", "events"),
            cwd=tmp_path,
            env=e,
        ).stdout
        for e in (env, chosen)
    ]
    assert logs[0] == logs[1]
    # With numpy 2 it says what to do.
    run(bin_folder / "pip", "install", "--quiet", "numpy>=2,<2.5", env=env)
    done_badly = subprocess.run(
        [bin_folder / "otic", "demo", "--speed", "max"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
        check=False,
    )
    assert done_badly.returncode == 1
    assert "works with numpy below 2 only" in done_badly.stderr
