"""The import rules of the design: who may import whom, and what start-up may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from realtime import compiling
from tests.conftest import ROOT

# Bottom to top; a module imports only modules above it in this list.
ORDER = [
    "realtime.version",
    "realtime.errors",
    "realtime.clock",
    "realtime.tls",
    "realtime.notify",
    "realtime.messages",
    "realtime.arguments",
    "realtime.backoff",
    "realtime.stopping",
    "realtime.settings",
    "realtime.configuration",
    "realtime.secrets_file",
    "realtime.addresses",
    "realtime.params",
    "realtime.decision",
    "realtime.filters",
    "realtime.reference",
    "realtime.compiling",
    "realtime.simd",
    "realtime.fft",
    "realtime.kernels",
    "realtime.statistics",
    "realtime.ringbuffer",
    "realtime.frames",
    "realtime.history",
    "realtime.waveform",
    "realtime.centered",
    "realtime.frontend",
    "realtime.golden",
    "realtime.attached",
    "realtime.interface",
    "realtime.groups",
    "realtime.bundle",
    "realtime.tensors",
    "realtime.child",
    "realtime.classifier",
    "realtime.trial",
    "realtime.onsets",
    "realtime.events",
    "realtime.unknown",
    "realtime.pipeline",
    "realtime.control",
    "realtime.spectrogram",
    "realtime.picture",
    "realtime.verification",
    "realtime.packing",
    "realtime.packing.flatbuffer",
    "realtime.packing.model_file",
    "realtime.packing.metadata",
    "realtime.packing.features",
    "realtime.packing.files",
    "realtime.packing.bundling",
    "realtime.packing.proof",
    "realtime.packing.command",
    "realtime.conversion",
    "realtime.sources",
    "realtime.loading",
    "realtime.pcm",
    "realtime.devices",
    "realtime.capture",
    "realtime.capture_process",
    "realtime.microphone",
    "realtime.inputs",
    "realtime.monitor",
    "realtime.health",
    "realtime.sinks",
    "realtime.sinks.contract",
    "realtime.sinks.text",
    "realtime.sinks.log_file",
    "realtime.sinks.jsonl",
    "realtime.sinks.recent_audio",
    "realtime.sinks.memory",
    "realtime.sinks.clip_folder",
    "realtime.sinks.clip_writer",
    "realtime.sinks.clips",
    "realtime.review",
    "realtime.review.mark",
    "realtime.review.sound",
    "realtime.review.folder",
    "realtime.review.recordings",
    "realtime.review.examples",
    "realtime.review.export",
    "realtime.review.commands",
    "realtime.sinks.notices",
    "realtime.sinks.receiver",
    "realtime.sinks.webhook",
    "realtime.sinks.command",
    "realtime.sinks.csv_file",
    "realtime.sinks.sqlite_file",
    "realtime.sinks.homeassistant",
    "realtime.sinks.mqtt_link",
    "realtime.sinks.mqtt",
    "realtime.sinks.spool_store",
    "realtime.sinks.spool_journal",
    "realtime.sinks.backlog",
    "realtime.sinks.spool",
    "realtime.sinks.courier",
    "realtime.sinks.outbox",
    "realtime.sinks.metrics_page",
    "realtime.sinks.metrics",
    "realtime.outputs",
    "realtime.replay_record",
    "realtime.replay_section",
    "realtime.replay_report",
    "realtime.desk",
    "realtime.web",
    "realtime.web.audience",
    "realtime.web.told",
    "realtime.web.feed",
    "realtime.web.clips",
    "realtime.web.history",
    "realtime.web.marks",
    "realtime.web.guard",
    "realtime.web.protocols",
    "realtime.web.app",
    "realtime.web.server",
    "realtime.dashboard",
    "realtime.dashboard.words",
    "realtime.dashboard.canvas",
    "realtime.dashboard.layout",
    "realtime.dashboard.theme",
    "realtime.dashboard.screen",
    "realtime.dashboard.looking",
    "realtime.dashboard.moment",
    "realtime.dashboard.ranking",
    "realtime.dashboard.picture_panel",
    "realtime.dashboard.wave_panel",
    "realtime.dashboard.tables",
    "realtime.dashboard.panels",
    "realtime.dashboard.frame",
    "realtime.dashboard.still",
    "realtime.dashboard.keys",
    "realtime.dashboard.hands",
    "realtime.dashboard.terminal",
    "realtime.dashboard.live",
    "realtime.streams",
    "realtime.runner",
    "realtime.soundscape",
    "realtime.plan",
    "realtime.session",
    "realtime.live_commands",
    "realtime.demo",
    "realtime.board",
    "realtime.systemd",
    "realtime.service",
    "realtime.doctor_checks",
    "realtime.doctor_audio",
    "realtime.doctor_receivers",
    "realtime.doctor",
    "realtime.show_commands",
    "realtime.check_commands",
    "realtime.stages",
    "realtime.measuring",
    "realtime.machine",
    "realtime.bench",
    "realtime.live_options",
    "realtime.sensor_options",
    "realtime.pack_options",
    "realtime.review_options",
    "realtime.training_options",
    "realtime.cli",
    "realtime.__main__",
    "realtime",
    "models",
    "training",
    "training.datasets",
    "training.layouts",
    "training.progress",
    "training.fetching",
    "training.downloads",
    "training.pages",
    "training.windows",
    "training.explore",
    "training.others",
    "training.background",
    "training.surroundings",
    "training.teacher",
    "training.augmentation",
    "training.networks",
    "training.presets",
    "training.store",
    "training.grafting",
    "training.transfer",
    "training.requests",
    "training.preparation",
    "training.fitting",
    "training.calibration",
    "training.metrics",
    "training.tflite",
    "training.validation",
    "training.cost",
    "training.export",
    "training.provenance",
    "training.card",
    "training.reports",
    "training.tracking",
    "training.protocols",
    "training.commands",
    "training.crossval",
    "training.noises",
    "training.mixer",
    "training.listening",
    "training.detections",
    "training.timelines",
    "training.streaming",
    "training.evaluation",
    "training.thresholds",
    "training.tuning",
    "training.search",
    "training.article",
]
HEAVY = {"numba", "scipy", "librosa", "tensorflow", "keras", "sklearn", "matplotlib"}


def modules() -> dict[str, Path]:
    found = {}
    for package in ("realtime", "training", "models"):
        for path in (ROOT / package).glob("**/*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
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


def test_every_module_has_its_place() -> None:
    assert sorted(modules()) == sorted(ORDER)


def test_modules_import_only_what_is_below_them() -> None:
    for name, path in modules().items():
        if name == "realtime":  # names its modules for their lazy loading
            continue
        above = {other for other in ORDER[ORDER.index(name) :] if other != "realtime"}
        wrong = imports(path) & (above - {name})
        assert not wrong, f"{name} imports {sorted(wrong)}"


def test_numba_has_its_room() -> None:
    """Two modules import it; kernels are compiled through the first, and so are in its list."""
    users = {n for n, p in modules().items() if any(i.split(".")[0] == "numba" for i in imports(p))}
    assert users == {"realtime.compiling", "realtime.simd"}
    kernels = {n for n, p in modules().items() if imports(p) & {"realtime.compiling.inner"}}
    sources = {f"realtime.{name.removesuffix('.py')}" for name in compiling.SOURCES}
    assert sources >= users | kernels
    # All that a kernel is made of, constants too: a change in it must compile anew.
    for name in kernels:
        used = {i for i in imports(modules()[name]) if i in modules()} - {"realtime"}
        assert used <= sources, name


def test_the_live_path_imports_nothing_heavy() -> None:
    for name, path in modules().items():
        if name.startswith("realtime"):
            tops = {i.split(".")[0] for i in imports(path)}
            assert not tops & (HEAVY - {"numba"} | {"training"}), name


def test_the_core_has_no_thread_clock_file_or_terminal() -> None:
    core = [
        "params",
        "decision",
        "onsets",
        "unknown",
        "filters",
        "simd",
        "fft",
        "kernels",
        "statistics",
        "frames",
        "centered",
    ]
    core += ["frontend", "events", "pipeline", "conversion", "reference", "golden", "verification"]
    outside = {"threading", "time", "datetime", "io", "os", "pathlib", "sys", "rich", "signal"}
    for name in core:
        tops = {i.split(".")[0] for i in imports(modules()[f"realtime.{name}"])}
        assert not tops & outside, name


def test_files_have_one_subject() -> None:
    long = {n: c for n, p in modules().items() if (c := len(p.read_text().splitlines())) > 320}
    assert not long


@pytest.mark.parametrize(
    "code",
    ["import realtime", "from realtime.cli import main", "import realtime; realtime.OticError"],
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

    both = [(seconds("-c", "pass"), seconds("-m", "realtime", "--help")) for _ in range(5)]
    bare, helped = map(min, zip(*both, strict=True))
    assert helped <= 3 * bare + 0.1


def test_a_live_command_does_not_load_scipy() -> None:
    """Neither itself nor through numba, which would where it is installed."""
    code = (
        "import sys; from realtime.cli import main; main(['warmup']);"
        "print(*(name for name in sys.modules if name.split('.')[0] == 'scipy'))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert out.splitlines()[-1] == ""
