"""Classify a stream that comes in blocks of any length, from a generator.

    python examples/blocks.py [AUDIO_FILE]

The blocks here have random lengths, some of them 0: how a stream is cut changes nothing.
"""

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from otic import Event, Item, Pipeline, load_audio, load_bundle
from otic.audio.soundscape import synthesise


def blocks(y: NDArray[np.float32], longest: int = 5000) -> Iterator[NDArray[np.float32]]:
    """Stands for whatever gives you samples: a driver, a decoder, a network."""
    rng = np.random.default_rng()
    start = 0
    while start < len(y):
        n = int(rng.integers(0, longest, endpoint=True))
        yield y[start : start + n]
        start += n


def report(items: list[Item]) -> list[Item]:
    """What a program does with what was heard."""
    for item in items:
        if isinstance(item, Event):
            print(f"{item.time:6.2f} s  {item.label} {item.state}")
    return items


def main(path: str | None = None) -> None:
    bundle = load_bundle("esc10-stream")
    sr = bundle.features.sr
    y = load_audio(path, sr) if path else synthesise(sr)[0]

    pipe = Pipeline(bundle)
    heard = []
    for block in blocks(y):
        heard += report(pipe.process(block))  # what this block completed, often nothing
    heard += report(pipe.flush())  # whatever is still on goes off

    pipe.reset()  # the same again, in one piece
    same = heard == pipe.process(y) + pipe.flush()
    print(f"{len(heard)} items; the same as in one piece, to the last bit: {same}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
