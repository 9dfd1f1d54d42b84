"""Microphones as sources: read a capture process, watch it, and begin it again."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from otic.audio.arrivals import WINDOW_SECONDS, Arrivals
from otic.audio.capture_process import CapturedBlock, CaptureProcess
from otic.audio.converter import Converter
from otic.audio.sources import unusable_warning
from otic.config.stream_url import is_playlist, shown_url, stream_name
from otic.errors import DeviceError
from otic.system.backoff import Backoff
from otic.types import Chunk, Lost, SourceHealth

_log = logging.getLogger(__name__)

_OPEN_SECONDS = 15.0  # a sound server that hangs would take for ever
_STALL_SECONDS = 5.0
_STREAM_STALL_SECONDS, _PLAYLIST_STALL_SECONDS = 10.0, 30.0  # HLS comes a segment at a time
_LOSS_SECONDS = 0.5  # how often a loss that goes on is told of
_OPENING_SECONDS = 1.0  # that a device may take to open, before that is a loss
_STEADY_SECONDS = 2.0  # a device that delivers for so long is there again
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 0.25, 10.0
_LONGEST_SILENCE_SECONDS = 600.0
_GARBAGE_SHARE = 0.1  # of a block


class Microphone:
    """A live input device that is waited for, watched, and opened again.

    A device that stops delivering, vanishes, or delivers nothing but exact zeros where
    there was sound before, is closed and opened again, sooner at first and then ever
    later; what was missed meanwhile is a loss of the length that the clock tells. It is
    opened from the constructor on; a device that must be there is seen by
    :meth:`await_opening`, any other is waited for while the stream runs.

    Parameters
    ----------
    wanted : str or None
        See :func:`otic.audio.devices.find_device`.
    sr : int
        The model's rate in Hz.
    block : int
        Samples a block, at the model's rate.
    channel : int, optional
        Take this channel, the first is 1. Else one channel is opened, or, where the
        device refuses that, all, and their mean is taken.
    name : str, optional
        What to call it (default: the device's name).
    silent_seconds : float
        How long a run of exact zeros makes a device that was heard before suspect; 0: never.

    Raises
    ------
    DeviceError
        If the process that holds the device can't be started.
    """

    live = True
    _slow_opening = (
        f"the sound system does not open it within {_OPEN_SECONDS:.0f} s: "
        "is the sound server stuck?"
    )
    _garbage_remedy = "unplug it and plug it in again, or try another driver"

    def __init__(
        self,
        wanted: str | None,
        sr: int,
        block: int,
        channel: int | None = None,
        *,
        name: str | None = None,
        silent_seconds: float = 30.0,
    ) -> None:
        self._wanted = wanted
        self._sr = sr
        self._block_seconds = block / sr
        self._channel = channel
        self._stall_seconds = max(_STALL_SECONDS, 4 * self._block_seconds)
        self._silent_seconds = silent_seconds
        self._silence_limit = silent_seconds
        self._retry = Backoff(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        self._process: CaptureProcess | None = None
        self._begun = 0.0  # when the process was started
        self._opened: dict[str, Any] | None = None  # what it said of its device
        self._converter = Converter(sr, 1, sr)
        self._heard_until: float | None = None  # by the clock, when the last sample came
        self._arrivals = Arrivals()  # since the device was opened
        self._counted_from: float | None = None  # by the clock, where the latest gap ends
        self._surplus = 0.0  # seconds by which gaps so far were too long: the next is shorter
        self._asked_since = self._last_look = 0.0
        self._steady = 0.0  # seconds heard since the device was opened
        self._zeros = 0.0  # seconds of exact zeros that it ends with
        self._garbage = False  # whether that was said since the device was opened
        self._sounded = False  # whether there ever was anything else
        self._trouble = ""  # what was last said of it, until it is over
        self._overruns_before = self._overruns = 0
        self._ring_fill = 0.0
        self._unusable = 0
        self._openings = 0
        self._lost_seconds = 0.0
        self._state = "waiting"
        self.name = name or wanted or "default input"
        self._named = name is not None
        self._start()

    def await_opening(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Return when the device is open, and its name is known; or when ``give_up`` says so.

        Raises
        ------
        DeviceError
            If there is no such device, or it can't be opened.
        """
        try:
            while self._opened is None and not give_up():
                self._look_for_opening()
                time.sleep(0.01)
        except BaseException:
            self.close()
            raise
        if self._opened is not None and not self._named:
            self.name = self._opened["name"]

    def chunks(self) -> Iterator[Chunk | None]:
        self._asked_since = self._last_look = time.monotonic()
        while True:
            try:
                if self._process is None and self._retry.due:
                    self._start()
                if self._process is not None and self._opened is None:
                    self._look_for_opening()
                if self._opened is not None:
                    yield from self._hear()
            except DeviceError as error:
                yield from self._give_up(error)
            if self._opened is None:
                yield from self._missed_so_far(time.monotonic())
            yield None

    def fileno(self) -> int | None:
        return None if self._process is None else self._process.fileno()

    def health(self) -> SourceHealth:
        reopenings = max(0, self._openings - 1)
        overruns = self._overruns_before + self._overruns
        return SourceHealth(self._state, self._ring_fill, overruns, reopenings)

    def warnings(self) -> list[str]:
        lines = unusable_warning(self.name, self._unusable + self._converter.unusable)
        if line := self._converter.mix_warning(self.name):
            lines.append(line)
        if self._lost_seconds:
            health = self.health()
            lines.append(
                f"{self.name}: {self._lost_seconds:.2f} s were lost: {health.overruns} overruns, "
                f"opened again {health.reopenings} times"
            )
        return lines

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _start(self) -> None:
        self._process = CaptureProcess(
            **self._wanted_options(), block_seconds=self._block_seconds, channel=self._channel
        )
        self._begun = time.monotonic()
        self._opened = None

    def _wanted_options(self) -> dict[str, Any]:
        """Return what tells the capture process what to capture."""
        return {"wanted": self._wanted, "sr": self._sr}

    def _look_for_opening(self) -> None:
        assert self._process is not None
        self._opened = self._process.opened()
        if self._opened is None:
            if time.monotonic() - self._begun > _OPEN_SECONDS:
                raise DeviceError(self._slow_opening)
            return
        if self._wanted is not None and self._wanted.isdecimal():
            # The next time another device may have this index, and this one another card.
            stays = [*self._opened["ids"], re.sub(r" \(hw:.*\)$", "", self._opened["name"])]
            self._wanted = stays[0]
        self._openings += 1
        self._unusable += self._converter.unusable
        self._converter = Converter(
            self._opened["rate"], self._opened["channels"], self._sr, self._channel
        )
        self._steady = self._zeros = 0.0
        self._arrivals, self._counted_from = Arrivals(), None
        self._garbage = False
        self._last_look = self._begun = time.monotonic()

    def _hear(self) -> Iterator[Chunk]:
        """What has come since the last look.

        Raises
        ------
        DeviceError
            If nothing came for too long, or nothing will, or nothing but zeros.
        """
        assert self._process is not None
        assert self._opened is not None
        blocks = self._process.read(self._opened["channels"])
        now = time.monotonic()
        if now - self._last_look > self._stall_seconds / 2:  # we were stopped ourselves
            self._begun = now
        self._last_look = now
        if blocks:
            yield from self._missed(blocks[0])
            for block in blocks:
                yield from self._take(block)
            self._heard_until, self._begun = self._arrivals.heard_until, now
        if self._process.ended and not blocks:
            raise DeviceError("it is gone")
        if now - self._begun > self._stall_seconds:
            raise DeviceError(f"it delivers nothing since {self._stall_seconds:.0f} s")
        if self._silent_seconds and self._zeros > self._silence_limit:
            self._fall_silent()

    def _missed_so_far(self, now: float) -> Iterator[Chunk]:
        """While there is no device: what is not heard."""
        if self._heard_until is None and now - self._asked_since > _OPENING_SECONDS:
            self._heard_until = self._asked_since
        # Now and then only: there is nothing to do meanwhile, and the runner may sleep.
        if self._heard_until is not None and now - self._heard_until > _LOSS_SECONDS:
            missed = round((now - self._heard_until) * self._sr)
            self._heard_until += missed / self._sr
            self._lost_seconds += missed / self._sr
            yield Lost(missed)

    def _missed(self, first: CapturedBlock) -> Iterator[Chunk]:
        """With the first block of a device: the rest of what was not heard before it."""
        assert self._opened is not None
        if self._steady == 0.0 and self._heard_until is not None:
            frames = len(first.samples) + first.lost
            self._counted_from = first.ends_at - frames / self._opened["rate"]
            missed = self._counted_from - self._heard_until - self._surplus
            samples = max(1, round(missed * self._sr))
            self._surplus = max(0.0, samples / self._sr - missed)
            self._lost_seconds += max(0.0, missed)
            yield Lost(samples)
        if self._trouble:
            _log.info(f"{self.name}: heard again")
            self._trouble = ""

    def _take(self, block: CapturedBlock) -> Iterator[Chunk]:
        assert self._opened is not None
        rate = self._opened["rate"]
        self._lost_seconds += block.lost / rate
        self._overruns, self._ring_fill = block.overruns, block.ring_fill
        yield from self._converter.lose(block.lost)
        unusable = self._converter.unusable
        yield from self._converter.push(block.samples)
        self._look_for_garbage(self._converter.unusable - unusable, len(block.samples))
        seconds = len(block.samples) / rate
        self._arrivals.add(block.ends_at, seconds + block.lost / rate)
        self._shorten_next_gap()
        self._steady += seconds
        if self._steady > _STEADY_SECONDS:
            self._retry.worked()
        if block.samples.any():
            self._sounded, self._zeros = True, 0.0
            self._silence_limit = self._silent_seconds
            self._state = "listening"
        else:
            self._zeros += seconds
            if self._state == "waiting":
                self._state = "listening"

    def _shorten_next_gap(self) -> None:
        """Note how much too long the latest gap was, once earlier arrivals show it.

        The first block of a device that was just opened is often late by a tenth of a second:
        without this, the stream would be ahead of the clock by so much more with each outage.
        """
        if self._counted_from is not None and self._arrivals.seconds <= WINDOW_SECONDS:
            late = max(0.0, self._counted_from - self._arrivals.least_lateness)
            self._surplus += late
            self._counted_from -= late

    def _look_for_garbage(self, unusable: int, samples: int) -> None:
        """Say once that a device delivers numbers that are no sound."""
        if unusable > _GARBAGE_SHARE * samples and not self._garbage:
            self._garbage = True
            _log.warning(
                f"{self.name}: this is not audio: {unusable} of {samples} samples are NaN, "
                "infinite or far too large: "
                f"they are counted as lost: {self._garbage_remedy}"
            )

    def _fall_silent(self) -> None:
        """Exact zeros: a muted microphone, a silent file in place of one, or a broken one."""
        problem = f"it delivers exact zeros since {self._zeros:.0f} s: is it muted or broken?"
        self._silence_limit = min(2.0 * self._silence_limit, _LONGEST_SILENCE_SECONDS)
        self._zeros = 0.0
        if self._sounded:
            raise DeviceError(problem)
        if self._state != "silent":
            _log.warning(f"{self.name}: {problem}")
        self._state = "silent"

    def _give_up(self, error: DeviceError) -> Iterator[Chunk]:
        """Close the device; it is opened again after a while."""
        self.close()
        if self._opened is not None:
            yield from self._converter.flush()
        self._opened = None
        self._overruns_before += self._overruns
        self._overruns = 0
        self._state = "waiting"
        self._retry.failed()
        if self._heard_until is None:  # it was to be heard since then
            self._heard_until = self._asked_since
        if str(error) != self._trouble:  # not at every try
            _log.warning(f"{self.name}: {error}: waiting for it")
            self._trouble = str(error)


class NetworkMicrophone(Microphone):
    """A live stream, a FIFO or a growing file; waited for, watched and opened again as a device.

    Parameters
    ----------
    url : str
        See :func:`otic.config.stream_url.check_url`.
    sr, block, channel, name, silent_seconds
        As a :class:`Microphone` has them; the name is by default the host's or the file's.

    Raises
    ------
    DeviceError
        If the process that holds the stream can't be started.
    """

    _slow_opening = f"no sound comes within {_OPEN_SECONDS:.0f} s: is it on, and in this network?"
    _garbage_remedy = "play it with another program: is it noise there, too?"

    def __init__(
        self,
        url: str,
        sr: int,
        block: int,
        channel: int | None = None,
        *,
        name: str | None = None,
        silent_seconds: float = 30.0,
    ) -> None:
        self._url = url
        shown = name or stream_name(url)
        super().__init__(None, sr, block, channel, name=shown, silent_seconds=silent_seconds)
        usual = _PLAYLIST_STALL_SECONDS if is_playlist(url) else _STREAM_STALL_SECONDS
        self._stall_seconds = max(usual, self._stall_seconds)

    def await_opening(self, give_up: Callable[[], bool] = lambda: False) -> None:
        try:
            super().await_opening(give_up)
        except DeviceError as error:
            raise DeviceError(f"{shown_url(self._url)}: {error}") from error

    def _wanted_options(self) -> dict[str, Any]:
        return {"url": self._url}
