"""From what a person asked for to the sources that are opened."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from realtime.errors import ConfigurationError
from realtime.messages import say
from realtime.microphone import Microphone
from realtime.settings import InputSettings, Settings
from realtime.sources import FileSource, PcmSource, Source

_STDIN = 0

OpenSource = Callable[[], Source]


def input_settings(args: argparse.Namespace) -> tuple[InputSettings, ...] | None:
    """What ``--device``, ``--input-name`` and ``--channel`` say; None where there is none.

    Each may be given once for each microphone, in the same order; a single ``--channel``
    is everybody's.

    Raises
    ------
    ConfigurationError
        If their numbers do not fit.
    """
    devices, names, channels = args.device or [], args.input_name or [], args.channel or []
    count = max(len(devices), 1)
    if not (devices or names or channels):
        return None
    if len(channels) == 1:
        channels = channels * count
    for option, given in (("--input-name", names), ("--channel", channels)):
        if given and len(given) != count:
            raise ConfigurationError(
                f"{option} is given {len(given)} times for {count} --device: give one for each"
            )
    return tuple(
        InputSettings(_get(devices, i), _get(names, i), _get(channels, i)) for i in range(count)
    )


def _get(values: Sequence[Any], index: int) -> Any:
    return values[index] if values else None


def microphones(settings: Settings, sr: int, wait: bool) -> list[OpenSource]:
    """What opens each microphone; ``wait`` for those that are not there yet."""

    def opener(chosen: InputSettings) -> OpenSource:
        return lambda: Microphone(
            chosen.device,
            sr,
            settings.block,
            chosen.channel,
            name=chosen.name,
            wait=wait,
            silent_seconds=settings.silent_seconds,
            say=say,
        )

    return [opener(chosen) for chosen in settings.inputs]


def recordings(args: argparse.Namespace, sr: int, block: int) -> list[OpenSource]:
    """What opens each file, or standard input."""

    def opener(name: str) -> OpenSource:
        if name == "-":
            return lambda: PcmSource(_STDIN, args.rate, args.channels, sr, block)
        return lambda: FileSource(name, sr, block)

    return [opener(name) for name in args.files]


def open_all(openers: Sequence[OpenSource]) -> list[Source]:
    """Open them all, or none; names that occur twice get a number.

    Raises
    ------
    SourceError
        The first that can't be opened.
    """
    sources: list[Source] = []
    try:
        for open_source in openers:
            sources.append(open_source())  # noqa: PERF401 - those before a failure are closed
    except BaseException:
        for source in sources:
            source.close()
        raise
    taken: set[str] = set()
    for source in sources:
        number, name = 2, source.name
        while source.name in taken:
            source.name = f"{name} {number}"
            number += 1
        taken.add(source.name)
    return sources
