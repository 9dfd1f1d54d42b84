"""What models make of soundscapes when each fold is held out in turn; prints a table.

Needs the models that ``otic crossval --models DIR`` keeps, and UrbanSound8K for background::

    python -m tests.benchmarks.events ESC-10 UrbanSound8K folds/logmel-cnn folds/tiny

Background for the soundscapes is UrbanSound8K's air conditioners and engines of fold 2. False
alarms are counted in those, its children and street music of fold 2, made noises and music, and
espeak-ng's speech where that is installed. Its drills, shots, jackhammers and sirens of fold 2 are
the unknown sounds. Models that were trained against other sounds saw fold 1 only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from otic_training.data.soundscapes import noises

SR = 22050
_AIR, _ENGINE, _CHILDREN, _MUSIC = 0, 5, 2, 9
_UNKNOWN = (4, 6, 7, 8)
_TEXT = (
    "The next train to the coast leaves from platform nine. Please mind the gap. "
    "Could you pass me the salt and tell me what happened at the office today? "
)


def main() -> None:
    """Run every fold of every model and print the means."""
    dataset, urban, *folders = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        made = _made(Path(folder))
        for name in folders:
            models = sorted(Path(name).glob("*-fold?.tflite"))
            outcomes = [_evaluated(model, dataset, Path(urban), made) for model in models]
            print(_row(Path(name).name, outcomes), flush=True)


def _evaluated(model: Path, dataset: str, urban: Path, made: list[str]) -> dict[str, Any]:
    fold = model.stem[-1]
    command = [
        *(sys.executable, "-m", "otic", "evaluate", str(model), dataset, "--folds", fold),
        *("--streaming", "--json", "--background", *_of(urban, _AIR, _ENGINE)),
        *("--alarms", *_of(urban, _CHILDREN, _MUSIC), *made, "--unknown", *_of(urban, *_UNKNOWN)),
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def _of(urban: Path, *classes: int) -> list[str]:
    """Files of fold 2 of these classes; of recordings that are also in fold 1, none."""
    audio = urban / "audio"
    seen = {p.name.partition("-")[0] for p in (audio / "fold1").glob("*.flac")}
    files = sorted(p for p in (audio / "fold2").glob("*.flac"))
    parts = [(p, p.name.split("-")) for p in files]
    return [
        str(p) for p, (source, kind, *_) in parts if int(kind) in classes and source not in seen
    ]


def _made(folder: Path) -> list[str]:
    """Noises, music-like tones and, with espeak-ng, speech."""
    rng = np.random.default_rng(11)
    sounds = {f"noise-{i}": y for i, y in enumerate(noises(SR, 120.0, rng))}
    t = np.arange(SR * 2) / SR
    chords = []
    for root in rng.choice([220.0, 262.0, 294.0, 330.0, 392.0], 60):
        notes = [np.sin(2 * np.pi * root * ratio * t) for ratio in (1.0, 1.25, 1.5, 2.0)]
        chords.append(np.sum(notes, axis=0) * np.exp(-1.5 * t) * 0.05)
    sounds["music"] = np.concatenate(chords).astype(np.float32)
    paths = []
    for name, y in sounds.items():
        soundfile.write(folder / f"{name}.wav", y, SR)
        paths.append(str(folder / f"{name}.wav"))
    if shutil.which("espeak-ng"):
        path = folder / "speech.wav"
        subprocess.run(["espeak-ng", "-w", path, _TEXT * 12], check=True)
        paths.append(str(path))
    else:
        print("espeak-ng is not installed: no speech", file=sys.stderr)
    return paths


def _row(name: str, outcomes: list[dict[str, Any]]) -> str:
    def mean(values: list[float], scale: float = 100.0) -> str:
        return f"{scale * np.mean(values):.1f} ± {scale * np.std(values):.1f}"

    quiet = [o[key] for o in outcomes for key in ("background", "alarms")]
    hours = sum(o["hours"] for o in quiet)
    alarms = sum(o["false_alarms"] for o in quiet)
    by_label: dict[str, int] = {}
    for counted in quiet:
        for label, n in counted["by_label"].items():
            by_label[label] = by_label.get(label, 0) + n
    delay = [o["delay_seconds"]["p50"] for o in outcomes if o["delay_seconds"]]
    return "\n".join(
        [
            f"{name}, {len(outcomes)} folds, mean ± sd:",
            f"  event F1, 1 s: {mean([o['events']['1.0']['f1'] for o in outcomes])} %",
            f"  event F1, 0.5 s: {mean([o['events']['0.5']['f1'] for o in outcomes])} %",
            f"  the same, from 10 dB: {mean([o['snr_10_db_and_more']['f1'] for o in outcomes])} %",
            f"  naive rule, 1 s: {mean([o['naive']['f1'] for o in outcomes])} %",
            f"  segment F1: {mean([o['segments']['f1'] for o in outcomes])} %",
            f"  PSDS: {mean([o['psds'] for o in outcomes], 1.0)}",
            f"  median delay: {mean(delay, 1.0)} s" if delay else "  nothing found",
            f"  false alarms: {alarms} in {hours:.1f} h, {alarms / hours:.1f} an hour: {by_label}",
            f"  unknown rejected: {mean([o['unknown']['rejected'] for o in outcomes])} %, "
            f"reported as known: {mean([o['unknown']['reported'] for o in outcomes])} %",
        ]
    )


if __name__ == "__main__":
    main()
