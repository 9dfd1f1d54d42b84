"""Writes the synthetic sounds that both sides replay.

    python tests/aarch64/sounds.py FOLDER

One at the model's rate, and one in stereo at twice the rate, so that the channels are mixed and
soxr resamples.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

from otic.audio.soundscape import synthesise

SECONDS = 30


def main(folder: Path) -> None:
    mono, _ = synthesise(22050)
    soundfile.write(folder / "mono-22050.wav", mono[: 22050 * SECONDS], 22050, subtype="PCM_16")
    left, right = (synthesise(44100, seed)[0][: 44100 * SECONDS] for seed in (1, 2))
    stereo = np.stack([left, right], axis=1)
    soundfile.write(folder / "stereo-44100.wav", stereo, 44100, subtype="PCM_24")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
