"""How well models hear: event F1, false alarms an hour, unknown sounds, delays, side by side.

DATA is a folder with ``esc10`` (ESC-10 in ESC-50's layout), ``urbansound8k`` (folds 1 and 2),
``free`` and ``alarms`` (recordings with a ``clips.csv`` each). Fold models are
``NAME-foldN.tflite``, as ``otic crossval --models`` writes them: each is tested on its fold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from otic.errors import OticError
from otic_training.experiment import load_tensorflow
from otic_training.reports.hearing import hearing_figures, hearing_lines
from otic_training.scoring.hearing import (
    dataset_of,
    hear,
    hear_unknown,
    hearers_of,
    unknown_clips,
)


def main() -> int:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="bundles, or names")
    parser.add_argument("--fetched", metavar="DIR", help="what alarms/fetch.sh DIR has made")
    parser.add_argument(
        "--unknown-heads",
        metavar="BASE",
        help="train two heads on this base, each against ten of the unknown classes, and test it "
        "on the other ten; some minutes",
    )
    parser.add_argument("--negatives", nargs="+", help="for those heads (default: DATA/free)")
    parser.add_argument(
        "--budget", type=float, default=10.0, help="of those heads, as otic train's"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    try:
        if a.unknown_heads:
            named = unknown_heads(a.data, a.unknown_heads, a.negatives, a.budget, a.processes)
            print(f"clips of unknown classes named, by heads without them: {named:.2f}")
        if a.models:
            labels = dataset_of(a.data).labels
            heard = hear(a.data, hearers_of(a.models), a.fetched, a.processes)
            figures = {name: hearing_figures(found, labels) for name, found in heard.items()}
            lines = hearing_lines(figures, labels)
            print(json.dumps(figures, indent=2) if a.json else "\n".join(lines))
    except OticError as error:
        print(f"hearing: {error}", file=sys.stderr)
        return 1
    return 0


def unknown_heads(
    data: Path, base: str, negatives: Sequence[str] | None, budget_per_hour: float, processes: int
) -> float:
    """Fit two heads, each against half of the unknown classes, and test it on the other half.

    The base must not have heard those clips: ``otic_training.base.distil --clean``.

    Returns
    -------
    float
        Share of the clips that are named as one of the labels.

    Raises
    ------
    OticError
        If data or base can't be read.
    """
    load_tensorflow()

    from otic_training.data.cache import default_store
    from otic_training.fitting.stream import StreamRecipe
    from otic_training.fitting.stream_folds import HeadMaterial, open_bases

    dataset = dataset_of(data)
    material = HeadMaterial.read(dataset, open_bases([base]), negatives or [str(data / "free")])
    classes = sorted({clip.label for clip in unknown_clips(data / "free")})
    named = list[bool]()
    for half in (classes[::2], classes[1::2]):
        clips = unknown_clips(data / "free", half)
        path = {clip.path for clip in clips}
        part = replace(
            material,
            others=tuple(pair for pair in material.others if pair[0].path not in path),
            quiet=tuple(clip for clip in material.quiet if clip.path not in path),
        )
        with tempfile.TemporaryDirectory() as folder:
            model = str(Path(folder) / "head.tflite")
            part.fit(model, (), 0, budget_per_hour, default_store(), StreamRecipe())
            named += hear_unknown(data, model, clips, dataset.labels, processes)
    return sum(named) / len(named)


if __name__ == "__main__":
    sys.exit(main())
