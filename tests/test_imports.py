"""The import rules of the design: who may import whom, and what start-up may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otic.features.kernels import jit as compiling
from tests.conftest import ROOT

# Bottom to top; a module imports only modules above it in this list.
ORDER = [
    "otic.errors",
    "otic.system.clock",
    "otic.system.network",
    "otic.system.sd_notify",
    "otic.system.log",
    "otic.config.values",
    "otic.system.backoff",
    "otic.streaming.stop",
    "otic.config.settings",
    "otic.config.load",
    "otic.config.secrets",
    "otic.system.addresses",
    "otic.features.params",
    "otic.detection.thresholds",
    "otic.features.tables",
    "otic.features.reference",
    "otic.features.kernels.jit",
    "otic.features.kernels.simd",
    "otic.features.kernels.fft",
    "otic.features.kernels.log_mel",
    "otic.features.kernels.mfcc_statistics",
    "otic.audio.ring_buffer",
    "otic.features.frame_ring",
    "otic.features.history",
    "otic.features.waveform",
    "otic.features.centered",
    "otic.features.frontend",
    "otic.model.golden",
    "otic.model.archive",
    "otic.model.interface",
    "otic.model.groups",
    "otic.model.bundle",
    "otic.model.tensors",
    "otic.system.subprocesses",
    "otic.model.classifier",
    "otic.model.sandbox",
    "otic.detection.onset",
    "otic.detection.detector",
    "otic.detection.unknown",
    "otic.pipeline",
    "otic.streaming.control",
    "otic.features.spectrogram",
    "otic.features.picture",
    "otic.diagnostics.verify",
    "otic.packing",
    "otic.packing.flatbuffer",
    "otic.packing.tflite_file",
    "otic.packing.metadata",
    "otic.packing.features",
    "otic.packing.files",
    "otic.packing.bundling",
    "otic.packing.proof",
    "otic.cli.pack",
    "otic.audio.converter",
    "otic.audio.sources",
    "otic.audio.loading",
    "otic.audio.pcm",
    "otic.audio.devices",
    "otic.audio.capture_worker",
    "otic.audio.capture_process",
    "otic.audio.microphone",
    "otic.audio.open",
    "otic.streaming.monitor",
    "otic.streaming.health",
    "otic.sinks",
    "otic.sinks.contract",
    "otic.sinks.text",
    "otic.sinks.append_file",
    "otic.sinks.jsonl",
    "otic.audio.recent_audio",
    "otic.streaming.recent",
    "otic.sinks.clip_folder",
    "otic.sinks.clip_writer",
    "otic.sinks.clips",
    "otic.review",
    "otic.review.mark",
    "otic.review.sound",
    "otic.review.folder",
    "otic.review.recordings",
    "otic.review.examples",
    "otic.review.export",
    "otic.cli.review",
    "otic.sinks.delivery.notification",
    "otic.sinks.delivery.receiver",
    "otic.sinks.receivers.webhook",
    "otic.sinks.receivers.command",
    "otic.sinks.receivers.csv",
    "otic.sinks.receivers.sqlite",
    "otic.sinks.receivers.homeassistant",
    "otic.sinks.receivers.mqtt_client",
    "otic.sinks.receivers.mqtt",
    "otic.sinks.delivery.spool_store",
    "otic.sinks.delivery.spool_journal",
    "otic.sinks.delivery.backlog",
    "otic.sinks.delivery.spool",
    "otic.sinks.delivery.worker",
    "otic.sinks.delivery.outbox",
    "otic.sinks.metrics_page",
    "otic.sinks.metrics",
    "otic.sinks.open",
    "otic.sinks.report_record",
    "otic.sinks.report_section",
    "otic.sinks.html_report",
    "otic.streaming.session_view",
    "otic.web",
    "otic.web.audience",
    "otic.web.told",
    "otic.web.feed",
    "otic.web.clips",
    "otic.web.history",
    "otic.web.marks",
    "otic.web.guard",
    "otic.web.protocols",
    "otic.web.app",
    "otic.web.server",
    "otic.dashboard",
    "otic.dashboard.words",
    "otic.dashboard.canvas",
    "otic.dashboard.layout",
    "otic.dashboard.theme",
    "otic.dashboard.screen",
    "otic.dashboard.looking",
    "otic.dashboard.moment",
    "otic.dashboard.ranking",
    "otic.dashboard.picture_panel",
    "otic.dashboard.wave_panel",
    "otic.dashboard.tables",
    "otic.dashboard.panels",
    "otic.dashboard.frame",
    "otic.dashboard.still",
    "otic.dashboard.keys",
    "otic.dashboard.hands",
    "otic.dashboard.terminal",
    "otic.dashboard.live",
    "otic.streaming.stream",
    "otic.streaming.runner",
    "otic.audio.soundscape",
    "otic.cli.plan",
    "otic.session",
    "otic.cli.live",
    "otic.cli.demo",
    "otic.system.machine",
    "otic.system.systemd",
    "otic.service",
    "otic.diagnostics.machine_checks",
    "otic.diagnostics.audio_checks",
    "otic.diagnostics.receiver_checks",
    "otic.diagnostics.doctor",
    "otic.cli.models",
    "otic.cli.verify",
    "otic.diagnostics.stages",
    "otic.diagnostics.measuring",
    "otic.diagnostics.machine",
    "otic.diagnostics.bench",
    "otic.cli.live_options",
    "otic.cli.sensor_options",
    "otic.cli.pack_options",
    "otic.cli.review_options",
    "otic.cli.training_options",
    "otic.cli.main",
    "otic.__main__",
    "otic",
    "otic_models",
    "otic_training",
    "otic_training.data.dataset",
    "otic_training.data.layouts",
    "otic_training.cli.progress",
    "otic_training.data.fetching",
    "otic_training.data.download",
    "otic_training.reports.page",
    "otic_training.data.windows",
    "otic_training.cli.explore",
    "otic_training.data.negatives",
    "otic_training.data.background",
    "otic_training.data.surroundings",
    "otic_training.networks.teacher",
    "otic_training.data.augmentation",
    "otic_training.networks.layers",
    "otic_training.networks.presets",
    "otic_training.data.cache",
    "otic_training.networks.tflite_surgery",
    "otic_training.networks.base_model",
    "otic_training.fitting.requests",
    "otic_training.fitting.prepare",
    "otic_training.fitting.fit",
    "otic_training.fitting.calibrate",
    "otic_training.scoring.metrics",
    "otic_training.networks.tflite",
    "otic_training.fitting.validate",
    "otic_training.reports.cost",
    "otic_training.fitting.export",
    "otic_training.fitting.provenance",
    "otic_training.reports.card",
    "otic_training.reports.report",
    "otic_training.reports.tracker",
    "otic_training.scoring.protocols",
    "otic_training.cli.train",
    "otic_training.cli.crossval",
    "otic_training.data.noises",
    "otic_training.data.soundscapes",
    "otic_training.scoring.predictions",
    "otic_training.scoring.detections",
    "otic_training.reports.timelines",
    "otic_training.scoring.streaming",
    "otic_training.cli.evaluate",
    "otic_training.scoring.thresholds",
    "otic_training.cli.tune",
    "otic_training.cli.search",
    "otic_training.article",
]
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


def test_every_module_has_its_place() -> None:
    assert sorted(modules()) == sorted(ORDER)


def test_modules_import_only_what_is_below_them() -> None:
    for name, path in modules().items():
        if name == "otic":  # names its modules for their lazy loading
            continue
        above = {other for other in ORDER[ORDER.index(name) :] if other != "otic"}
        wrong = imports(path) & (above - {name})
        assert not wrong, f"{name} imports {sorted(wrong)}"


def test_numba_has_its_room() -> None:
    """Two modules import it; kernels are compiled through the first, and so are in its list."""
    users = {n for n, p in modules().items() if any(i.split(".")[0] == "numba" for i in imports(p))}
    assert users == {"otic.features.kernels.jit", "otic.features.kernels.simd"}
    kernels = {n for n, p in modules().items() if imports(p) & {"otic.features.kernels.jit.inner"}}
    sources = {f"otic.{name.removesuffix('.py')}" for name in compiling.SOURCES}
    assert sources >= users | kernels
    # All that a kernel is made of, constants too: a change in it must compile anew.
    for name in kernels:
        used = {i for i in imports(modules()[name]) if i in modules()} - {"otic"}
        assert used <= sources, name


def test_the_live_path_imports_nothing_heavy() -> None:
    for name, path in modules().items():
        if name.split(".")[0] == "otic":
            tops = {i.split(".")[0] for i in imports(path)}
            assert not tops & (HEAVY - {"numba"} | {"otic_training"}), name


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
        tops = {i.split(".")[0] for i in imports(modules()[f"otic.{name}"])}
        assert not tops & outside, name


def test_files_have_one_subject() -> None:
    long = {n: c for n, p in modules().items() if (c := len(p.read_text().splitlines())) > 320}
    assert not long


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
