"""``otic bench``: what otic costs on this machine, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import logging
from typing import Any

from otic.cli.arguments import Parser, add_json_option
from otic.config.values import DEFAULT_MODEL

_log = logging.getLogger(__name__)


def add_bench_options(parser: Parser) -> None:
    """Add the options of ``otic bench``."""
    parser.epilog = "example: otic bench --json"
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help="bundled model or .tflite file (default %(default)s)",
    )
    add_json_option(parser)


def bench(args: argparse.Namespace) -> int:
    """Measure for half a minute and print the figures."""
    from otic.diagnostics.bench import measure
    from otic.features.kernels.jit import cache_problem
    from otic.model.sandbox import load_checked_bundle

    bundle = load_checked_bundle(args.model)
    _log.info("measuring for half a minute or more: leave the machine alone")
    figures = measure(bundle, args.model)
    if problem := cache_problem():
        _log.warning(problem)
    if args.json:
        print(json.dumps(figures, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report(figures)))
    return 0


def report(figures: dict[str, Any]) -> list[str]:
    """The figures of :func:`otic.diagnostics.bench.measure`, as lines of a table."""
    machine, p = figures["machine"], figures["features"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    start, pipeline = figures["start"], figures["pipeline"]
    inference, decision = figures["inference"], figures["decision"]
    percentiles = ["p50", "p99", "p99.9", "max"]
    push = [["front end", "µs a hop", "µs a call: p50", *percentiles[1:], "deadline", "late"]]
    push += [_push_cells(row) for row in figures["push"]]
    timed = [["an inference", "µs: p50", *percentiles[1:]]]
    timed += [
        _timed_cells("features", inference["features_us"]),
        _timed_cells("model", inference["model_us"]),
        _timed_cells("decision", decision["decision_us"]),
    ]
    stages = ", ".join(f"{name} {us:.2f}" for name, us in figures["stages_us"].items())
    return [
        f"{figures['model']}: n_fft {p['n_fft']}, hop_length {p['hop_length']}, "
        f"n_mels {p['n_mels']}, n_mfcc {p['n_mfcc']} at {p['sr']} Hz",
        f"{machine['board'] or machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']} ({machine['numba_target']}); {versions}",
        "",
        *_aligned(push),
        "  (timing a single call adds 0.05 µs)",
        f"stages, µs        {stages}",
        "",
        *_aligned(timed),
        f"  (the decision takes {decision['share']:.1%} of the pipeline's time)",
        "",
        f"pipeline          {pipeline['real_time_factor']:.0f} × real time in blocks of 1024: one "
        f"core that does nothing else carries {pipeline['streams_a_core']} streams",
        f"start             {start['warm_seconds']:.2f} s to the first scores; "
        f"{start['cold_seconds']:.1f} s the first time, while kernels are compiled",
        f"memory            {start['peak_megabytes']:.0f} MB at most; "
        f"{start['cold_peak_megabytes']:.0f} MB the first time",
        *_health_lines(figures["health"]),
    ]


def _push_cells(row: dict[str, Any]) -> list[str]:
    name = f"  {row['hops_a_call']} hop{'s' if row['hops_a_call'] > 1 else ''} a call"
    calls = (f"{value:.2f}" for value in row["call_us"].values())
    deadline = f"{row['deadline_us']:.0f}"
    return [name, f"{row['hop_us']:.2f}", *calls, deadline, str(row["late_calls"])]


def _timed_cells(name: str, percentiles: dict[str, float]) -> list[str]:
    return [f"  {name}", *(f"{value:.2f}" for value in percentiles.values())]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines: names to the left, numbers to the right, two spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def _health_lines(health: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    before, after = health["before"], health["after"]
    if after["temperature_celsius"] is not None:
        lines.append(
            f"temperature       {before['temperature_celsius']:.0f} °C before, "
            f"{after['temperature_celsius']:.0f} °C after"
        )
    if after["throttling"] is not None:
        lines.append(f"throttling        {', '.join(after['throttling']) or 'none'}")
    return lines
