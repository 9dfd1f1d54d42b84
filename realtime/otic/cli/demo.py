"""``otic demo``: a synthetic soundscape, classified as if it were live."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from otic.cli.arguments import Parser
from otic.cli.live import add_live_options, add_speed_option, block_size, log_settings

if TYPE_CHECKING:
    from otic.audio.soundscape import PlannedSound
    from otic.types import Event, Item, StreamEnd, StreamStart


def add_demo_options(parser: Parser) -> None:
    """Add the options of ``otic demo``."""
    parser.epilog = "example: otic demo --speed max"
    add_live_options(parser)
    add_speed_option(parser)


def demo(args: argparse.Namespace) -> int:
    """Classify the soundscape; prints each synthesised sound beside the events found."""
    from otic.audio.soundscape import synthesise
    from otic.audio.sources import ArraySource
    from otic.model.sandbox import load_checked_bundle
    from otic.session import Plan, run_plan

    bundle = load_checked_bundle(args.model)
    sr = bundle.features.sr
    y, plan = synthesise(sr)
    found = _FinishedEvents()
    status = run_plan(
        Plan(
            log_settings(args),
            bundle,
            [lambda: ArraySource("demo", y, sr, block_size(args))],
            ["demo"],
            [found],
            args.speed,
            dashboard=not args.no_dashboard,
        )
    )
    stream = sys.stderr if args.jsonl_path == "-" else sys.stdout
    played = [sound for sound in plan if sound.offset_seconds <= found.seconds]
    print("\n".join(_table(played, found.events)), file=stream)
    return status


class _FinishedEvents:
    """A sink that keeps the events that have ended."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seconds = 0.0

    def start(self, stream: StreamStart) -> None:
        pass

    def write(self, stream: StreamStart, item: Item) -> None:
        from otic.types import Event

        if isinstance(item, Event) and item.state == "off":
            self.events.append(item)

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        self.seconds = end.seconds

    def close(self) -> None:
        pass


def _table(plan: list[PlannedSound], events: list[Event]) -> list[str]:
    """Each synthesised sound beside the events during it."""
    from otic.system.clock import clock
    from otic.types import label_text

    lines = [f"{'synthesised':<33} recognised"]
    right = 0
    for sound in plan:
        found = sorted(
            ((_overlap(sound, e), e) for e in events), key=lambda pair: pair[0], reverse=True
        )
        names = [e.label for overlap, e in found if overlap > 0.0]
        ok = names[:1] == [sound.label]
        right += ok
        span = f"{clock(sound.onset_seconds)} … {clock(sound.offset_seconds)}"
        listed = ", ".join(map(label_text, dict.fromkeys(names))) or "nothing"
        lines.append(f"{span}  {label_text(sound.label):<15} {'✓' if ok else '✗'} {listed}")
    lines.append(f"{right} of {len(plan)} sounds were recognised")
    return lines


def _overlap(sound: PlannedSound, event: Event) -> float:
    assert event.offset is not None
    return min(sound.offset_seconds, event.offset) - max(sound.onset_seconds, event.onset)
