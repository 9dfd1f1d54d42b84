"""The dialogue of ``otic teach``: the room, then examples, from a microphone, at a terminal."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import textwrap
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from otic.audio.microphone import Microphone
from otic.config.values import MICROPHONE_BLOCK
from otic.dashboard.canvas import cells, clean
from otic.dashboard.keys import KeyReader
from otic.dashboard.plots import braille, still_picture
from otic.dashboard.theme import ASCII, Theme
from otic.errors import DeviceError
from otic.features.frame_ring import FrameRing
from otic.features.params import FeatureParams
from otic.features.spectrogram import Spectrogram
from otic.streaming.control import Stop, stop_on_signals
from otic.streaming.monitor import dbfs
from otic.system.clock import clock
from otic.system.log import held_messages
from otic.types import Chunk, Lost, label_text
from otic_training.teaching.clips import faults
from otic_training.teaching.cutting import (
    CLIPPED,
    ENDLESS,
    LONGEST_SECONDS,
    THE_ROOM,
    TOO_QUIET,
    Example,
    ExampleCutter,
    Room,
)
from otic_training.teaching.recorded import Recordings
from otic_training.teaching.teach import FEWEST

F32 = NDArray[np.float32]

LEAST_ROOM_SECONDS = 3.0
"""The shortest recording of a room from which anything can be told."""
FEW = 5
"""Examples below which it is said that more are better."""
_SETTLE_SECONDS = 0.5  # the key itself is heard, too
_TAKEN_SECONDS = 3.0
_TURN_SECONDS = 0.1
_METER_DB, _METER_CELLS = 40.0, 8
_NARROWEST, _WIDEST = 20, 100
_WAVE_ROWS, _PICTURE_ROWS = 2, 6
_ADVICE = {
    TOO_QUIET: "hardly louder than the room: go nearer, or make it louder",
    CLIPPED: "too loud for the microphone: go farther away, or turn it down",
    THE_ROOM: "nothing stands out",
    ENDLESS: f"cut off after {LONGEST_SECONDS:.0f} s; if the room has become louder, press r",
}
_BAD = {TOO_QUIET, CLIPPED, THE_ROOM}


class Screen(Protocol):
    """Shows the dialogue to a person."""

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line; it may be indented."""

    def command(self, text: str) -> None:
        """Print a command, so that it can be copied."""

    def status(self, text: str, answers: Mapping[str, str]) -> None:
        """Show what is going on, and what each key does meanwhile."""

    def ask(self, answers: Mapping[str, str]) -> None:
        """Show what each key does."""

    def show(self, y: NDArray[np.int16], p: FeatureParams) -> None:
        """Draw samples."""


class Keys(Protocol):
    """Gives a person's answers."""

    fd: int

    def keys(self) -> list[str]:
        """Return the keys that were pressed since the last call."""

    def wait_for(self, keys: Sequence[str]) -> str:
        """Wait for one of these keys; others do nothing."""


class TerminalScreen:
    """Lines on standard error, and one line below them that changes."""

    def __init__(self) -> None:
        self._theme = Theme.for_console(Console(stderr=True))
        self._drawn_at = 0.0

    @property
    def width(self) -> int:
        """Cells of a line."""
        return min(max(shutil.get_terminal_size().columns - 1, _NARROWEST), _WIDEST)

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line, or as many as the text needs; it may be indented."""
        text = clean(text)
        indent = " " * (len(text) - len(text.lstrip()))
        lines = textwrap.wrap(
            text,
            self.width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines or [""]:
            self._write(f"\r\x1b[K{self._theme.paint(line, style)}\n")

    def command(self, text: str) -> None:
        """Print a command on one line, however long, so that it can be copied."""
        self._write(f"\r\x1b[K  {self._theme.paint(clean(text), 'key')}\n")

    def status(self, text: str, answers: Mapping[str, str]) -> None:
        """Show a line in place of the one before; ten times a second at most."""
        now = time.monotonic()
        if now - self._drawn_at >= _TURN_SECONDS:
            self._drawn_at = now
            self._prompt(f"{text}  {_keys(answers, '  ')}")

    def ask(self, answers: Mapping[str, str]) -> None:
        """Show what each key does, in place of the line before."""
        self._prompt(_keys(answers, "   "))

    def _prompt(self, text: str) -> None:
        text = clean(f"   {text}")
        while cells(text) > self.width:
            text = text[:-1]
        self._write(f"\r\x1b[K{text}")

    def show(self, y: NDArray[np.int16], p: FeatureParams) -> None:
        """Draw the waveform and the spectrogram of samples."""
        samples = y.astype(np.float32) / np.float32(32768.0)
        margin = " " * 5
        loudest = max(float(np.abs(samples).max()), 1e-6)
        for line in braille(samples / loudest, self.width - len(margin), _WAVE_ROWS):
            self._write(f"{margin}{self._theme.paint(line, 'wave')}\n")
        picture = Spectrogram(p)
        picture.push(samples)
        for line in still_picture(picture.levels(), self.width, _PICTURE_ROWS, p, self._theme):
            self._write(line + "\n")

    def _write(self, text: str) -> None:
        text = text if self._theme.unicode else text.translate(ASCII)
        encoding = sys.stderr.encoding or "utf-8"
        print(
            text.encode(encoding, "replace").decode(encoding), end="", file=sys.stderr, flush=True
        )


def _keys(answers: Mapping[str, str], between: str) -> str:
    names = {"enter": "Enter"}
    return between.join(f"{names.get(key, key)}: {text}" for key, text in answers.items())


class Keyboard:
    """Single keys from standard input, a terminal, while this is entered."""

    def __init__(self) -> None:
        self.fd = sys.stdin.fileno()
        self._reader = KeyReader()

    def keys(self) -> list[str]:
        """Return the keys that were pressed since the last call.

        Raises
        ------
        KeyboardInterrupt
            If the terminal is gone.
        """
        if not select.select([self.fd], [], [], 0.0)[0]:
            return []
        data = os.read(self.fd, 1024)
        if not data:
            raise KeyboardInterrupt
        return [key.lower() for key in self._reader.feed(data)]

    def wait_for(self, keys: Sequence[str]) -> str:
        """Wait for one of these keys; others do nothing."""
        while True:
            select.select([self.fd], [], [])
            for key in self.keys():
                if key in keys:
                    return key

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self.fd)
        tty.setcbreak(self.fd)
        # A shell that took the terminal with Ctrl-Z gives it back as it was before.
        self._resumed = signal.signal(signal.SIGCONT, lambda *_: tty.setcbreak(self.fd))
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCONT, self._resumed)
        with suppress(termios.error):
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)


@contextmanager
def opened(
    device: str | None, channel: int | None, p: FeatureParams, screen: Screen, keys: Keys
) -> Iterator[Ear]:
    """Open the microphone; a signal to stop becomes a :class:`KeyboardInterrupt`.

    Raises
    ------
    DeviceError
        If there is no such device, or it can't be opened.
    """
    # Before signals are handled: this may compile, which nothing can stop in an orderly way.
    FrameRing(p, 1).push(np.zeros(p.n_fft, np.float32))
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        source = Microphone(device, p.sr, MICROPHONE_BLOCK, channel)
        stack.callback(source.close)
        source.await_opening(lambda: stop.requested)
        messages = stack.enter_context(held_messages())

        def tell() -> bool:
            told = bool(messages)
            while messages:
                screen.say(messages.popleft(), "warning")
            return told

        yield Ear(source, p.sr, keys, stop, tell)


class Ear:
    """A microphone and a person's answers, whichever comes first.

    Not thread safe.

    Parameters
    ----------
    source : Microphone
        Open.
    sr : int
        Samples per second.
    keys : Keys
    stop : Stop
    tell : callable
        Called at each turn, to print what is to be said of the microphone; True if it did.
    """

    def __init__(
        self,
        source: Microphone,
        sr: int,
        keys: Keys,
        stop: Stop,
        tell: Callable[[], bool],
    ) -> None:
        self.name = source.name
        self.level_dbfs = -np.inf
        self._source = source
        self._chunks = source.chunks()
        self._sr = sr
        self._keys = keys
        self._stop = stop
        self._tell = tell
        self._to_drop = 0
        self.told = False
        """True if something was printed in the last turn."""

    @property
    def settling(self) -> bool:
        """True while nothing is heard because a key was pressed."""
        return self._to_drop > 0

    def turn(self) -> tuple[list[Chunk], list[str]]:
        """Wait a tenth of a second at most; return the sound and the keys that came.

        Raises
        ------
        KeyboardInterrupt
            If a signal asks to stop.
        """
        fds = [self._keys.fd, self._source.fileno(), self._stop.wakeup]
        ready = select.select([fd for fd in fds if fd is not None], [], [], _TURN_SECONDS)[0]
        if self._stop.requested:
            raise KeyboardInterrupt
        if (wakeup := self._stop.wakeup) is not None and wakeup in ready:
            os.read(wakeup, 64)  # a signal that does not stop the dialogue
        came = takewhile(lambda chunk: chunk is not None, self._chunks)
        chunks = [kept for chunk in came if chunk is not None for kept in self._after_key(chunk)]
        self.told = self._tell()
        for chunk in chunks:
            if not isinstance(chunk, Lost) and len(chunk):
                self.level_dbfs = dbfs(float(np.sqrt(np.mean(chunk[-self._sr // 10 :] ** 2))))
        return chunks, self._keys.keys()

    def settle(self) -> None:
        """Leave out the next half second: a key that is pressed is heard, too."""
        self._to_drop = round(_SETTLE_SECONDS * self._sr)

    def _after_key(self, chunk: Chunk) -> Iterator[Chunk]:
        if isinstance(chunk, Lost):
            self._to_drop = max(0, self._to_drop - chunk.samples)
            yield chunk
            return
        n = min(self._to_drop, len(chunk))
        self._to_drop -= n
        if n < len(chunk):
            yield chunk[n:]


class Dialogue:
    """Leads a person through recording a room and examples.

    What is kept is on the disk at once, so that an exception loses nothing.

    Parameters
    ----------
    ear : Ear
    screen : Screen
    recordings : Recordings
    p : FeatureParams
        Front end of the base.
    """

    def __init__(self, ear: Ear, screen: Screen, recordings: Recordings, p: FeatureParams) -> None:
        self._ear = ear
        self._screen = screen
        self._recordings = recordings
        self._p = p
        self._label = label_text(recordings.label)

    def record(self, room_seconds: float, n_examples: int) -> None:
        """Record the room, then up to so many examples.

        Raises
        ------
        KeyboardInterrupt
            If the person stops.
        SinkError
            If a recording can't be kept.
        DeviceError
            If the microphone delivers nothing but zeros.
        """
        self._screen.say()
        self._screen.say(f"1. The room, for {room_seconds:.0f} s", "heading")
        self._screen.say(
            f"   All that sounds here but '{self._label}': talk, walk, run the tap, play music."
        )
        self._ask({"enter": "begin"})
        cutter = self._hear_room(room_seconds)
        self._screen.say()
        self._screen.say(f"2. '{self._label}', {n_examples} times", "heading")
        self._screen.say(
            "   Make it as it will be heard: near and far, loud and soft. It is cut by itself."
        )
        kept = 0
        while kept < n_examples:
            heard = self._next_example(cutter, kept + 1, n_examples)
            if isinstance(heard, str):
                if heard == "r":
                    cutter = self._hear_room(min(room_seconds, 10.0))
                elif self._recordings.n_examples >= FEWEST:
                    break
                else:
                    self._screen.say(
                        f"   {FEWEST} examples at least are needed, {FEW} to 10 are better: "
                        f"{self._recordings.n_examples} so far",
                        "warning",
                    )
                continue
            answer = self._judge(heard, kept + 1)
            if answer == "keep":
                self._recordings.keep_example(heard.y)
                kept += 1
            elif answer == "r":
                cutter = self._hear_room(min(room_seconds, 10.0))
            self._screen.say(f"   kept: {kept}" if answer == "keep" else "   not kept", "dim")
            cutter.restart()

    def _hear_room(self, seconds: float) -> ExampleCutter:
        """Record the room and keep it; what was heard is kept if the person stops, too."""
        wanted, least = round(seconds * self._p.sr), round(LEAST_ROOM_SECONDS * self._p.sr)
        least = min(least, wanted)
        heard: list[F32] = []
        n = 0
        self._ear.settle()
        try:
            while n < wanted:
                chunks, keys = self._ear.turn()
                heard += [chunk for chunk in chunks if not isinstance(chunk, Lost)]
                n = sum(map(len, heard))
                if "enter" in keys and n >= least:
                    break
                left = clock(max(0.0, seconds - n / self._p.sr), 0)
                self._screen.status(
                    f"recording the room, {left} left  {self._level()}", {"enter": "enough"}
                )
        finally:
            sounded = any(chunk.any() for chunk in heard)
            if n >= least and sounded:
                self._recordings.keep_room(heard)
        if not sounded:
            raise DeviceError(
                f"{self._ear.name}: it delivers exact zeros: is it muted? Unmute it, or name "
                "another with --device ('otic devices' lists them)"
            )
        y = np.concatenate(heard)
        room = Room.of(y, self._p)
        self._screen.say(
            f"   The room: {len(y) / self._p.sr:.0f} s at {room.level_dbfs:.0f} dBFS; what stands "
            f"out by {room.threshold_db:.0f} dB is an example"
        )
        if faults(y)[0]:
            self._screen.say("   The room is clipped: turn the microphone down.", "warning")
        self._ear.settle()
        return ExampleCutter(self._p, room)

    def _next_example(self, cutter: ExampleCutter, number: int, n_examples: int) -> Example | str:
        """Wait for an example, or for a key: ``f`` to finish, ``r`` for the room."""
        while True:
            chunks, keys = self._ear.turn()
            for chunk in chunks:
                if not isinstance(chunk, Lost):
                    if found := cutter.push(chunk):
                        return found[0]
                elif cutter.lose(chunk.samples):
                    self._screen.say("   some of it was lost: make the sound again", "warning")
            for key in keys:
                if key in ("f", "r"):
                    return key
                if key == "enter" and (taken := cutter.latest(_TAKEN_SECONDS)) is not None:
                    return taken
            state = "make the sound"
            if self._ear.settling:
                state = "one moment …  "
            elif cutter.hears:
                state = "hearing it …  "
            self._screen.status(
                f"{number}/{n_examples}: {state}  {self._level()} {self._meter(cutter.above_db)}",
                {"enter": f"take {_TAKEN_SECONDS:.0f} s", "f": "finish", "r": "room"},
            )

    def _judge(self, example: Example, number: int) -> str:
        """Show an example and ask: ``keep``, ``again``, or ``r`` for the room."""
        seconds = len(example.y) / self._p.sr
        above = f"{example.above_db:.0f} dB above the room"
        self._screen.say(
            f"── {number}: {seconds:.1f} s, peak {example.peak_dbfs:.0f} dBFS, {above}", "heading"
        )
        self._screen.show(example.y, self._p)
        for remark in example.remarks:
            self._screen.say(f"   {remark}: {_ADVICE[remark]}", "warning")
        answers = {"enter": "keep", "a": "again", "r": "the room again"}
        if _BAD & set(example.remarks):
            answers = {"enter": "again", "k": "keep it all the same", "r": "the room again"}
        key = self._ask(answers)
        return "r" if key == "r" else answers[key].split()[0]

    def _ask(self, answers: Mapping[str, str]) -> str:
        """Wait for one of these keys; what sounds meanwhile is left out."""
        self._screen.ask(answers)
        while True:
            for key in self._ear.turn()[1]:
                if key in answers:
                    self._ear.settle()
                    return key
            if self._ear.told:
                self._screen.ask(answers)

    def _level(self) -> str:
        level = self._ear.level_dbfs
        return f"{max(-99.0, level):4.0f} dB"

    @staticmethod
    def _meter(above_db: float) -> str:
        full = round(_METER_CELLS * min(max(above_db, 0.0), _METER_DB) / _METER_DB)
        return "█" * full + "░" * (_METER_CELLS - full)
