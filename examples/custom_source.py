"""A source of your own: numbered packets, some of which never arrive.

    python examples/custom_source.py [AUDIO_FILE]

What is missing is said, not hidden: it becomes a gap in the log, and whatever was on goes off.
"""

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from otic import JsonlSink, Runner, Stop, load_audio, load_bundle
from otic.audio.soundscape import synthesise
from otic.types import Chunk, Lost, SourceHealth

PACKET_SAMPLES = 1024


class Radio:
    """Packets of mono samples at the model's rate; each 200th of them is missed.

    `otic.types.Source` says what each member means.
    """

    name = "radio"
    live = False  # True for what does not wait for us

    def __init__(self, y: NDArray[np.float32]) -> None:
        self._packets = [y[i : i + PACKET_SAMPLES] for i in range(0, len(y), PACKET_SAMPLES)]

    def chunks(self) -> Iterator[Chunk | None]:
        for number, packet in enumerate(self._packets):
            yield Lost(len(packet)) if number % 200 == 199 else packet

    def fileno(self) -> int | None:
        return None  # a socket's, if there is one to wait for

    def health(self) -> SourceHealth:
        return SourceHealth()

    def warnings(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


def main(path: str | None = None) -> None:
    bundle = load_bundle("esc10-stream")
    sr = bundle.features.sr
    source = Radio(load_audio(path, sr) if path else synthesise(sr)[0])
    log = JsonlSink("-", frozenset({"events"}))  # events and gaps, to standard output
    runner = Runner(bundle)
    runner.run([(source, runner.monitor(source))], [log], Stop(), speed=None)
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
