"""Music, machines and signals made here: tunes made up at random, and what plays them.

A tune has a tempo, a scale, a few chords that come again, and some of melody, chords, bass and
drums. FluidSynth plays it with a sound font whose licence allows any use.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from otic_training.data.making import F32, SR, Take, render_with

Rng = np.random.Generator
Key = Callable[[int], int]
"""The MIDI key of a degree of the scale."""
Beats = list[tuple[float, float, int]]
"""Beginning and length in beats, and the key, of notes."""

FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
"""The sound font, where Debian has it; MIT."""

FAMILIES = (
    "piano chime organ guitar bass strings ensemble brass reed pipe lead pad effects ethnic "
    "percussive"
)
"""General MIDI's families of eight programs; sound effects (a helicopter, a sea) are not used."""

_TICKS = 96
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), (0, 3, 5, 7, 10),
           (0, 2, 3, 5, 7, 9, 10), (0, 1, 4, 5, 7, 8, 10), (0, 2, 4, 6, 8, 10))  # fmt: skip
_PROGRAMS = 119  # the last of those that are no effects, and one
_DRUMS = 9
_DRUM_KITS = (0, 8, 16, 24, 25, 32, 40, 48)


def played(program: str, font: Path, seed: int, number: int, rng: Rng) -> Take:
    """Plan a tune, cut into clips of 5 to 20 s."""
    seconds = tuple(rng.uniform(5.0, 20.0, int(rng.integers(3, 7))).tolist())
    midi, families = tune(sum(seconds), rng)

    def render(folder: Path) -> F32:
        notes, out = folder / "tune.mid", folder / "out.wav"
        notes.write_bytes(midi)
        quietly = ["-n", "-i", "-q", "-o", "synth.dynamic-sample-loading=1", "-g", "0.4"]
        as_wav = ["-r", "44100", "-T", "wav", "-F", str(out)]
        return render_with(["fluidsynth", *quietly, *as_wav, str(font), str(notes)], out)

    return Take(
        f"{number:05d}-{families[0]}",
        "music",
        f"tune-{seed}-{number}",
        program,
        "Frank Wen and others (FluidR3_GM)",
        "MIT",
        ";".join(f"{family}:1.00" for family in families),
        seconds,
        render,
    )


def built(seed: int, number: int, rng: Rng) -> Take:
    """Plan a clip of a machine, which needs no program."""
    from otic_training.data.synthetic import machine  # scipy, which --help does not wait for

    y, what = machine(SR, rng.uniform(5.0, 20.0), rng)
    recording = f"machine-{seed}-{number}"
    return Take(f"{number:05d}-{what}", what, recording, "otic", "otic", "CC0-1.0", "",
                (len(y) / SR,), lambda _: y)  # fmt: skip


def signalled(seed: int, number: int, rng: Rng) -> Take:
    """Plan a clip of a signal, which needs no program."""
    from otic_training.data.signals import SIGNALS, signal_of

    what = tuple(SIGNALS)[number % len(SIGNALS)]
    y = signal_of(what, SR, rng)
    recording = f"signal-{seed}-{number}"
    return Take(f"{number:05d}-{what}", what, recording, "otic", "otic", "CC0-1.0", "",
                (len(y) / SR,), lambda _: y)  # fmt: skip


def tune(seconds: float, rng: Rng) -> tuple[bytes, list[str]]:
    """Make up a MIDI file that is longer than this, and the families of its instruments."""
    tempo = rng.uniform(55, 175)
    bars = int(seconds * tempo / 240) + 2
    scale = _SCALES[int(rng.integers(len(_SCALES)))]
    chords = rng.integers(0, len(scale), int(rng.choice((2, 4, 4, 8))))
    root = int(rng.integers(48, 60))

    def key(degree: int) -> int:
        return root + 12 * (degree // len(scale)) + scale[degree % len(scale)]

    shares = ((_melody, 0.75), (_chords, 0.55), (_bass, 0.5), (_drums, 0.45))
    parts = [part for part, share in shares if rng.random() < share] or [_melody]
    events, families = list[tuple[int, bytes]](), list[str]()
    for channel, part in enumerate(parts):
        if part is _drums:
            channel, program = _DRUMS, int(rng.choice(_DRUM_KITS))
            families.append("drums")
        else:
            program = int(rng.integers(*((32, 40) if part is _bass else (0, _PROGRAMS))))
            families.append(FAMILIES.split()[program // 8])
        events.append((0, bytes((0xC0 | channel, program))))
        loud = rng.uniform(60, 110)
        for begin, length, pitch in part(bars, chords.tolist(), key, rng):
            start = max(1, round((begin + rng.normal(0, 0.01)) * _TICKS))
            velocity = int(np.clip(loud + rng.normal(0, 10), 20, 127))
            events.append((start, bytes((0x90 | channel, pitch, velocity))))
            stop = start + max(6, round(length * _TICKS))
            events.append((stop, bytes((0x80 | channel, pitch, 0))))
    return _midi(tempo, events), list(dict.fromkeys(families))


def _melody(bars: int, chords: list[int], key: Key, rng: Rng) -> Beats:
    """A motif of two bars that begins on each chord, and is changed now and then."""
    steps, lengths = rng.integers(-2, 3, 32), rng.choice((0.25, 0.5, 0.5, 1.0, 1.5), 32)
    rest, legato = rng.uniform(0.0, 0.3), rng.uniform(0.4, 1.1)
    notes = Beats()
    for bar in range(0, bars, 2):
        if rng.random() < 0.3:
            steps = rng.permutation(steps)
        beat, degree = 0.0, chords[bar // 2 % len(chords)] + 7
        for step, length in zip(steps.tolist(), lengths.tolist(), strict=True):
            degree = int(np.clip(degree + step, 0, 18))
            if beat < 8.0 and rng.random() >= rest:
                notes.append((4 * bar + beat, length * legato, min(key(degree), 108)))
            beat += length
    return notes


def _chords(bars: int, chords: list[int], key: Key, rng: Rng) -> Beats:
    """Three or four notes, held, struck on each beat, or one after the other."""
    size, style = int(rng.integers(3, 5)), int(rng.integers(3))
    notes = Beats()
    for bar in range(bars):
        degrees = [chords[bar % len(chords)] + 2 * i for i in range(size)]
        if style == 2:
            notes += [(4 * bar + i / 2, 0.5, key(degrees[i % size])) for i in range(8)]
        else:
            every = (4, 1)[style]
            notes += [(4 * bar + beat, 0.9 * every, key(degree))
                      for beat in range(0, 4, every) for degree in degrees]  # fmt: skip
    return notes


def _bass(bars: int, chords: list[int], key: Key, rng: Rng) -> Beats:
    """A pattern of roots, fifths and octaves."""
    pattern = rng.choice((0, 0, 0, 4, 7), 8)
    sounds = rng.random(8) < rng.uniform(0.3, 1.0)
    sounds[0] = True
    return [
        (4 * bar + i / 2, 0.5, key(chords[bar % len(chords)] + int(pattern[i])) - 24)
        for bar in range(bars)
        for i in range(8)
        if sounds[i]
    ]


def _drums(bars: int, _chords: list[int], _key: Key, rng: Rng) -> Beats:
    """A bar of sixteenths for some drums and cymbals, with a bar of its own now and then."""
    drums = [36, 38, 42, *rng.choice(np.arange(37, 82), int(rng.integers(0, 4))).tolist()]
    shares = np.array([0.3, 0.2, 0.6, 0.2, 0.2, 0.1])[: len(drums), None]
    usual = rng.random((len(drums), 16)) < shares
    notes = Beats()
    for bar in range(bars):
        now = usual if rng.random() < 0.85 else rng.random((len(drums), 16)) < shares
        notes += [(4 * bar + int(i) / 4, 0.2, drums[d]) for d, i in np.argwhere(now).tolist()]
    return notes


def _midi(tempo: float, events: list[tuple[int, bytes]]) -> bytes:
    """A file with one track, of events at times in ticks."""
    track, now = b"\x00\xff\x51\x03" + round(60e6 / tempo).to_bytes(3, "big"), 0
    for at, event in sorted(events):
        track += _number(at - now) + event
        now = at
    track += b"\x00\xff\x2f\x00"
    head = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, _TICKS, b"MTrk", len(track))
    return head + track


def _number(n: int) -> bytes:
    """A number of MIDI: seven bits a byte, all but the last marked."""
    more = _number(n >> 7)[:-1] + bytes((0x80 | (n >> 7) & 0x7F,)) if n >> 7 else b""
    return more + bytes((n & 0x7F,))
