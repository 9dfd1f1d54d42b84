"""``otic verify`` and ``otic warmup``."""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict

from otic.cli.arguments import MODEL_HELP, Parser, add_json_option
from otic.config.values import DEFAULT_MODEL

_log = logging.getLogger(__name__)

_MARKS = {True: "ok  ", False: "FAIL", None: "none"}


def add_verify_options(parser: Parser) -> None:
    """Add the options of ``otic verify``."""
    parser.epilog = f"example: otic verify {DEFAULT_MODEL} --audio street.wav"
    parser.add_argument(
        "model",
        nargs="?",
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help=f"{MODEL_HELP} (default %(default)s)",
    )
    parser.add_argument(
        "--audio",
        metavar="FILE",
        help="check with the first ten minutes of this file (default: a synthetic soundscape)",
    )
    add_json_option(parser)


def verify(args: argparse.Namespace) -> int:
    """Check that this machine computes correct results; exit code 1 where it does not."""
    from otic.diagnostics.verify import audio_for, verify_bundle
    from otic.features.kernels.jit import cache_problem
    from otic.model.sandbox import load_checked_bundle

    bundle = load_checked_bundle(args.model)
    y, name = audio_for(bundle, args.audio)
    proofs = verify_bundle(bundle, y)
    passed = all(proof.passed is not False for proof in proofs)
    if problem := cache_problem():
        _log.warning(problem)
    if args.json:
        outcome = {"model": bundle.name, "audio": name, "passed": passed}
        print(json.dumps({**outcome, "checks": [asdict(proof) for proof in proofs]}, indent=2))
        return 0 if passed else 1
    print(f"{bundle.name} on {name}, {len(y) / bundle.features.sr:.1f} s")
    for proof in proofs:
        print(f"{_MARKS[proof.passed]}  {proof.name:<18} {proof.text}")
    if not passed:
        _log.warning(
            "this machine, or this model file, gives wrong results: do not rely on it; if another "
            "model fails too, please report it"
        )
    return 0 if passed else 1


def add_warmup_options(parser: Parser) -> None:
    """Add the options of ``otic warmup``."""
    parser.epilog = "example: otic warmup"
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="compile for this model (default: for all bundled ones)",
    )


def warmup(args: argparse.Namespace) -> int:
    """Compile the kernels that the models need, so that no later start has to."""
    from otic.features.kernels.jit import cache_folder, cache_problem
    from otic.features.level import LOWEST_RATE, LevelMeter
    from otic.model.bundle import bundled_names, load_bundle
    from otic.model.classifier import Classifier
    from otic.pipeline import open_frontend

    names = [args.model] if args.model else bundled_names()
    begin = time.perf_counter()
    for name in names:
        bundle = load_bundle(name)
        open_frontend(bundle)
        if bundle.features.sr >= LOWEST_RATE:
            LevelMeter(bundle.features.sr)
        Classifier(bundle)
    seconds = time.perf_counter() - begin
    if problem := cache_problem():
        _log.warning(problem)
        return 1
    print(f"ready: {', '.join(names)} ({seconds:.1f} s); compiled kernels are in")
    print(cache_folder() or "a read-only folder")
    return 0
