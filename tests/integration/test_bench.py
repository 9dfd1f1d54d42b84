"""`otic bench` measures what it says, and reads a Raspberry Pi's health."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from otic.cli.bench import report
from otic.config.values import DEFAULT_MODEL
from otic.diagnostics.bench import describe
from otic.system.machine import Board, conditions, health
from tests.support.helpers import otic

pytestmark = pytest.mark.xdist_group("bench")  # its fixtures take half a minute each time


@pytest.fixture(scope="module")
def figures() -> Any:
    done = otic("bench", "--json", timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_a_hop(figures: Any) -> None:
    assert [row["hops_a_call"] for row in figures["push"]] == [1, 8, 64]
    for row in figures["push"]:
        call = row["call_us"]
        assert 0.0 < call["p50"] <= call["p99"] <= call["p999"] <= call["max"]
        assert row["deadline_us"] == pytest.approx(row["hops_a_call"] * 441 / 22050 * 1e6, abs=0.1)
        assert row["hop_us"] < row["deadline_us"] / 100
    one, _, many = figures["push"]
    assert many["hop_us"] < one["hop_us"]  # the cost of a call is shared
    stages = figures["stages_us"]
    assert list(stages) == ["spectrum", "mel", "log", "all", "rest"]
    parts = sum(stages[name] for name in ("spectrum", "mel", "log", "rest"))
    assert parts == pytest.approx(stages["all"], abs=1e-3)
    assert min(stages["spectrum"], stages["mel"], stages["log"]) > 0.0


def test_an_inference_a_stream_and_a_start(figures: Any) -> None:
    assert figures["inference"]["features_us"]["p50"] > 0.0
    assert figures["inference"]["model_us"]["p50"] > 0.0
    assert figures["decision"]["decision_us"]["p50"] > 0.0
    assert 0.0 < figures["decision"]["share"] < 0.5
    pipeline = figures["pipeline"]
    assert pipeline["real_time_factor"] > 10.0
    # One is rounded down, the other to three digits.
    assert pipeline["streams_a_core"] == pytest.approx(
        pipeline["real_time_factor"], rel=0.01, abs=1
    )
    start = figures["start"]
    assert 0.0 < start["warm_seconds"] < start["cold_seconds"]
    assert 30.0 < start["peak_megabytes"] < start["cold_peak_megabytes"] < 500.0
    assert figures["machine"]["versions"].keys() == {"otic", "python", "numpy", "numba"}


def test_the_table(figures: Any) -> None:
    figures["health"] = {
        "before": {"temperature_celsius": 41.0, "throttling": []},
        "after": {"temperature_celsius": 63.4, "throttling": ["under-voltage since start"]},
    }
    text = "\n".join(report(figures))
    for words in (
        f"{DEFAULT_MODEL}: n_fft 1024",
        "1 hop a call",
        "64 hops a call",
        "an inference",
        "× real time",
        "MB at most",
        "41 °C before, 63 °C after",
        "throttling        under-voltage since start",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 120
    figures["health"]["after"] = {"temperature_celsius": None, "throttling": None}
    assert "°C" not in "\n".join(report(figures))


def test_an_unknown_model_is_refused_at_once() -> None:
    done = otic("bench", "--model", "nope")
    assert done.returncode == 1
    assert b"unknown model 'nope'" in done.stderr


def made_up(microseconds: float) -> dict[str, Any]:
    """Figures as a machine that is slow or fast gives them."""
    call = {"p50": 1.0, "p99": microseconds, "p999": microseconds, "max": 10.0 * microseconds}
    row = {
        "hops_a_call": 64,
        "hop_us": 1.0,
        "call_us": call,
        "deadline_us": 1.0,
        "late_calls": 5000,
    }
    start = ("warm_seconds", "cold_seconds", "peak_megabytes", "cold_peak_megabytes")
    return {
        "model": "m",
        "features": dict.fromkeys(("n_fft", "hop_length", "n_mels", "n_mfcc", "sr"), 1),
        "machine": {**describe(Board()), "board": None},
        "push": [row],
        "stages_us": {"spectrum": 1.0},
        "inference": {"features_us": call, "model_us": call},
        "decision": {"decision_us": call, "share": 0.1},
        "pipeline": {"real_time_factor": 1.0, "streams_a_core": 1},
        "start": dict.fromkeys(start, 1.0),
        "health": dict.fromkeys(("before", "after"), health(Board(root=Path("/nowhere")))),
    }


@pytest.mark.parametrize("microseconds", [0.5, 123_456.789, 1_234_567_890.0])
def test_columns_never_collide(microseconds: float) -> None:
    lines = report(made_up(microseconds))
    (push,) = (line for line in lines if "hops a call" in line)
    assert push.split()[4:] == [
        *("1.00", "1.00", f"{microseconds:.2f}", f"{microseconds:.2f}"),
        *(f"{10.0 * microseconds:.2f}", "1", "5000"),
    ]
    heading = lines[lines.index(push) - 1]
    assert len(heading) == len(push)  # right-aligned under their headings


def test_throttling_bits() -> None:
    assert conditions(0) == ([], [])
    assert conditions(0x50005) == (["under-voltage", "throttled"], [])
    assert conditions(0x80002) == (["frequency capped"], ["soft temperature limit"])


def test_a_pi_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n",
        "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    board = Board(root=tmp_path)
    assert health(board) == {
        "temperature_celsius": 48.312,
        "throttling": ["under-voltage since start", "throttled since start"],
    }
    assert describe(board)["board"] == "Raspberry Pi Zero 2 W Rev 1.0"
    (tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    program = tmp_path / "vcgencmd"
    program.write_text("#!/bin/sh\necho throttled=0x1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert health(board)["throttling"] == ["under-voltage"]
    program.write_text("#!/bin/sh\necho VCHI initialization failed\n")
    assert health(board)["throttling"] is None
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("hot\n")
    assert health(board)["temperature_celsius"] is None
    program.unlink()
    assert health(board)["throttling"] is None
