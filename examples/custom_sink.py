"""A sink of your own: how often and how long each sound was heard.

    python examples/custom_sink.py [AUDIO_FILE]

A sink takes what the runner tells of its streams; `realtime/otic/sinks/` has otic's own. It may not
wait for anybody: one that talks to a network does so in a thread behind a queue.
"""

import sys
from collections import Counter, defaultdict

from otic import ArraySource, Event, FileSource, Item, Runner, Source, Stop, load_bundle
from otic.audio.soundscape import synthesise
from otic.types import StreamEnd, StreamStart

BLOCK = 512  # samples a read


class Tally:
    """Adds up the events of each label."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)

    def start(self, stream: StreamStart) -> None:
        print(f"{stream.source}: {stream.model} listens for {len(stream.labels)} sounds")

    def write(self, stream: StreamStart, item: Item) -> None:
        if isinstance(item, Event) and item.state == "off":
            assert item.offset is not None  # an "off" has one
            self.times[item.label] += 1
            self.seconds[item.label] += item.offset - item.onset

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        print(f"{stream.source}: {end.seconds:.1f} s, {end.lost} samples lost")

    def close(self) -> None:
        for label, times in sorted(self.times.items()):
            print(f"{label:<15} {times} times, {self.seconds[label]:4.1f} s")


def main(path: str | None = None) -> None:
    bundle = load_bundle("esc10-stream")
    sr = bundle.features.sr
    source: Source = (
        FileSource(path, sr, BLOCK)
        if path
        else ArraySource("soundscape", synthesise(sr)[0], sr, BLOCK)
    )
    tally = Tally()
    runner = Runner(bundle)
    # As fast as it goes; speed=1.0 is as if live. Several sources may run at once.
    runner.run([(source, runner.monitor(source))], [tally], Stop(), speed=None)
    source.close()
    tally.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
