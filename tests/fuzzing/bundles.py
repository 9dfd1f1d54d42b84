"""Damaged bundles through the reader: ``python -m tests.fuzzing.bundles 10000000``.

Coverage-guided by atheris. A zip's checksums stop most of what is done to its bytes, so
a quarter of the mutations are atheris' own, and the rest take the file apart, damage one
part (a JSON value, the labels, the directory, the model) and put it together with sums
that are right. The last line says how many inputs got how far.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzzing.damage import Watch

_HANG_SECONDS = 5  # then libFuzzer ends a Python loop; less is a finding by MAX_SECONDS
_PLAIN = 0.25  # share of atheris' own mutations


def main() -> None:
    """Fuzz until so many inputs were read, or one is a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inputs", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzzing"), help="for findings")
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    try:
        import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        sys.exit("atheris is needed: pip install atheris")
    with atheris.instrument_imports(include=["otic", "zipfile", "json"]):
        from tests.fuzzing import bundle_target

    watch = Watch(args.inputs, bundle_target.MAX_SECONDS)
    ends: Counter[str] = Counter()

    def one_input(data: bytes) -> None:
        watch.begin()
        ends[bundle_target.check(data)] += 1
        watch.end()
        if watch.done == args.inputs:
            _finish(watch, ends)

    def mutation(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < _PLAIN:
            return bytes(atheris.Mutate(data, max_size))
        return bundle_target.mutate(data, rng)[:max_size]

    with tempfile.TemporaryDirectory() as corpus:
        for i, seed in enumerate(bundle_target.seeds()):
            Path(corpus, str(i)).write_bytes(seed)
        options = {
            "seed": args.seed,
            "max_len": bundle_target.MAX_BYTES,
            "timeout": _HANG_SECONDS,
            "artifact_prefix": f"{args.keep}/",
            "len_control": 0,
            "mutate_depth": 2,  # mutations one upon another: of more, little is left to read
            "reduce_inputs": 0,  # a line for each would fill the log
        }
        # No -runs: the count here is of inputs that were read, and it ends the process.
        command = [sys.argv[0], corpus, *(f"-{name}={value}" for name, value in options.items())]
        atheris.Setup(command, one_input, custom_mutator=mutation)
        atheris.Fuzz()


def _finish(watch: Watch, ends: Counter[str]) -> None:
    status = 0
    try:
        print(watch.report())
    except AssertionError as growth:
        print(f"FINDING: {growth}")
        status = 1
    print("ended as:", ", ".join(f"{how} {n}" for how, n in ends.most_common()), flush=True)
    os._exit(status)  # libFuzzer does not give control back


if __name__ == "__main__":
    main()
