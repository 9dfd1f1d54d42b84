"""Make the sketches that come with otic, and the credits of what they are made of.

``python -m otic_training.teaching.make_sketches ../shared/data/free models/otic_models`` writes
both files; a base with another front end needs them made again.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from otic.features.params import FeatureParams
from otic_training.base import features
from otic_training.data.backgrounds import level
from otic_training.data.dataset import Clip
from otic_training.data.sound_tables import ListedSound, sounds_of
from otic_training.data.windows import active_part, read_clip
from otic_training.teaching.sketches import FILE, Sketch, log_mel, sketches_bytes

_SECONDS = 3.0  # of a recording, at most
_COLUMNS = ("recording", "source", "author", "licence")
_SHARES = {
    "speech": 0.22,
    "music": 0.14,
    "household": 0.16,
    "machine": 0.1,
    "animal": 0.07,
    "environment": 0.07,
    "traffic": 0.06,
    "voice": 0.06,
    "electronic": 0.04,
    "weather": 0.03,
    "crowd": 0.02,
    "instrument": 0.02,
    "room": 0.01,
}
"""Share of the seconds that each kind has."""


def choose(folder: Path, p: FeatureParams, seconds: float, seed: int = 0) -> list[Sketch]:
    """Sketch recordings of a folder with a ``clips.csv``: as many kinds and recordings as can be.

    Clips of ESC-50 are left out, so that they can test what was taught.

    Raises
    ------
    OticError
        If the table or a recording can't be read.
    """
    rng = np.random.default_rng(seed)
    listed = defaultdict[str, list[ListedSound]](list)
    for sound in sounds_of([str(folder)], _COLUMNS):
        if not sound.of_esc50:
            listed[sound.kind].append(sound)
    found = list[Sketch]()
    for kind, share in _SHARES.items():
        seen: dict[str, int] = defaultdict(int)
        order = []
        for i in rng.permutation(len(listed[kind])):
            sound = listed[kind][i]  # a second clip of a recording after the first of all others
            order.append((seen[sound.recording], sound))
            seen[sound.recording] += 1
        left = share * seconds
        for _, sound in sorted(order, key=lambda pair: pair[0]):
            if left <= 0.0:
                break
            clip = Clip(sound.path, "", 0, sound.recording)
            y = read_clip(clip, p.sr)
            begin, end = active_part(y, p.sr)
            y = y[begin:end]
            n = round(_SECONDS * p.sr)
            start = int(rng.integers(max(1, len(y) - n + 1)))
            y = y[start : start + n]
            if len(y) < p.sr // 3 or level(y) < 1e-5:
                continue
            db = log_mel(y / np.float32(level(y)), p)
            found.append(Sketch(db, kind, sound.label, sound.recording))
            left -= len(y) / p.sr
    return found


def main() -> None:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="recordings with a clips.csv")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--seconds", type=float, default=1000.0)
    a = parser.parse_args()
    p = features.params(1)
    sketches = choose(a.folder, p, a.seconds)
    content = sketches_bytes(sketches, p)
    (a.out / FILE).write_bytes(content)
    used = {s.recording for s in sketches}
    owed = sorted(
        {
            f"{sound.recording}: {sound.author}, {sound.source}, {sound.licence}"
            for sound in sounds_of([str(a.folder)], _COLUMNS)
            if sound.recording in used
        }
    )
    (a.out / FILE).with_suffix(".txt").write_text("\n".join(owed) + "\n")
    print(f"{len(sketches)} sketches, {len(content) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
