"""Measure and make the model ``everyday`` on any bases, in one go.

``python -m otic_training.everyday labels.csv TESTED BASE everyday.tflite --beside yamnet.tflite``:
a head on TESTED, a base that has not heard what is held out, gives the figures; a head on BASE,
of all recordings and of the labels that are good enough, is written. What does not depend on the
base is kept in the store. The figures are written beside the model, as JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from otic.system.log import start_logging
from otic_training.everyday import figures, head


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(prog="otic_training.everyday", description=__doc__)
    parser.add_argument("labels", type=Path, help="labels.csv, of otic_training.everyday.labelling")
    parser.add_argument("tested", help="a base that has not heard the recordings held out")
    parser.add_argument("base", help="the base of what is written")
    parser.add_argument("out", type=Path, help="the bundle to write")
    parser.add_argument(
        "--beside", nargs="+", default=[], help="packed models to measure beside it"
    )
    parser.add_argument("--scenes", type=int, default=figures.SCENES, help="test scenes")
    parser.add_argument("--budget", type=float, default=head.BUDGET, help="false alarms an hour")
    start_logging()
    a = parser.parse_args()
    tested, found = (a.out.with_suffix(end) for end in (".tested.tflite", ".json"))
    head.make(a.labels, a.tested, tested, a.budget, held_out=True)
    figures.compare(a.labels, [str(tested), *a.beside], a.scenes, a.budget, found)
    head.make(a.labels, a.base, a.out, a.budget, figures=found)


if __name__ == "__main__":
    main()
