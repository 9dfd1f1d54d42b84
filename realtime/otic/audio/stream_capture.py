"""A live stream as a capture: ffmpeg fetches and decodes it, a thread fills the ring.

ffmpeg is given the address on its standard input, as a list of the concat demuxer's, so that no
process list shows it. Its filter ashowinfo prints the time and length of each piece of sound, so
what the network lost is a loss here, too.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.audio.capture import LOOK_SECONDS, Capture
from otic.config.stream_url import PROTOCOLS, is_playlist, path_of, scheme_of, stream_name
from otic.errors import DeviceError
from otic.system.ffmpeg import NoFfmpegError, ffmpeg_command

_READ_BYTES = 2**18
_PROBE_MICROSECONDS = "1000000"  # that ffmpeg may take to find out what it hears
_SLOT_SECONDS = 0.25  # over which the speed of arrival is looked at
_LIVE_SPEED = 1.5  # multiple of real time; what comes faster was recorded before
_TOLERANCE_SECONDS = 0.1  # by which a stream's times may be off
_DRIFT = 1e-3  # by which a stream's clock may differ from its samples'
_SLACK_SECONDS = 0.25  # by which a loss may be longer than the clock has seen
_EARLY_SECONDS, _PLAYLIST_EARLY_SECONDS = 1.0, 15.0  # HLS comes a segment at a time
_MOST_COMPLAINTS = 20
_FRAME = re.compile(rb"\] n:\d+ pts:(-?\d+|NOPTS) .*channels:(\d+) .*rate:(\d+) nb_samples:(\d+) ")
_COMPLAINT = re.compile(r"\[(?:warning|error|fatal)\] ")
_NO_SOUND = "matches no streams"
_ENDED = "it is a recording, no live stream: save it as a file and use 'otic replay'"
# What ffmpeg's messages mean. They are not repeated: they have the whole address in them.
_REASONS = (
    (
        r"(error|failed:|returned) 40[13]",
        "it refuses user and password: write them into the URL, rtsp://user:password@host/path",
    ),
    (r"(error|failed:|returned) 404", "it has no such stream: is the path in the URL right?"),
    (r"(error|failed:|returned) 5", "its server has failed: does its own page play it?"),
    (
        r"[Cc]onnection refused",
        "nothing listens on this port: is it on, and is the port in the URL right?",
    ),
    (r"resolve hostname", "nobody knows this name: is the host in the URL right?"),
    (r"timed out|unreachable|No route", "it does not answer: is it on, and in this network?"),
    (r"No such file", "there is no such file: is the path right?"),
    (r"Permission denied", "you may not read it (permission denied)"),
    (_NO_SOUND, "it has no sound: is the camera's microphone switched on?"),
    (r"not on whitelist", "it leads to a protocol that is not allowed: give the URL it leads to"),
)


def list_of(url: str, audio_only: bool) -> bytes:
    """Return the list for ffmpeg's concat demuxer: the address, and options for what reads it.

    Options that the reader of an address does not know are ignored.
    """
    scheme = scheme_of(url)
    options = {"analyzeduration": _PROBE_MICROSECONDS}
    options["ignore_length"] = "1"  # in the header of a WAV that grows
    if scheme in ("rtsp", "rtsps"):
        options["rtsp_flags"] = "prefer_tcp"
        if audio_only:
            options["allowed_media_types"] = "audio"
    elif scheme == "udp":
        options["overrun_nonfatal"] = "1"
    elif scheme == "file":
        path = Path(path_of(url)).expanduser().absolute()
        url = f"file:{path}"
        if path.is_file():  # and no FIFO, which ends with its writer
            options["follow"] = "1"
    quoted = url.replace("'", r"'\''")
    lines = [f"file '{quoted}'", *(f"option {name} {value}" for name, value in options.items())]
    return "\n".join(["ffconcat version 1.0", *lines, ""]).encode()


def stream_command(url: str) -> list[str]:
    """Return the command that writes a stream's sound to standard output, as float32.

    Raises
    ------
    NoFfmpegError
        If ffmpeg is not installed.
    """
    source = f"-analyzeduration {_PROBE_MICROSECONDS} -f concat -safe 0 -i pipe:0"
    sound = "-map 0:a:0 -vn -sn -dn -af ashowinfo -c:a pcm_f32le -f f32le -flush_packets 1 pipe:1"
    protocols = ("pipe", *PROTOCOLS[scheme_of(url)])
    return ffmpeg_command(protocols, "-loglevel", "level+info", *source.split(), *sound.split())


class FrameLog:
    r"""What ffmpeg says of the sound it writes: format, losses, and what went wrong; pure.

    A loss is a jump of the stream's own times. Small ones are added up, as times may be
    inexact; a slow drift does not count.

    Examples
    --------
    >>> log = FrameLog()
    >>> for pts in (0, 160, 8320):
    ...     log.add(b"[x] n:0 pts:%d fmt:s16 channels:1 rate:8000 nb_samples:160 \n" % pts)
    >>> log.rate, log.channels, list(log.losses)
    (8000, 1, [(320, 8000)])
    """

    def __init__(self) -> None:
        self.rate = self.channels = 0
        """Format of the sound that ffmpeg writes; 0 until it begins."""
        self.losses: deque[tuple[int, int]] = deque()
        """Frames written before each loss, and its length in frames."""
        self.complaints: deque[str] = deque(maxlen=_MOST_COMPLAINTS)
        self._rest = b""
        self._written = 0.0  # frames
        self._next_pts: int | None = None
        self._pts_rate = 0
        self._ahead = 0.0  # seconds by which the stream's times are ahead of its samples

    def add(self, messages: bytes) -> None:
        """Take what ffmpeg printed, cut anywhere."""
        *lines, self._rest = (self._rest + messages).split(b"\n")
        for line in lines:
            if match := _FRAME.search(line):
                pts, channels, rate, samples = match.groups()
                self._frame(
                    None if pts == b"NOPTS" else int(pts), int(channels), int(rate), int(samples)
                )
            elif _COMPLAINT.search(text := line.decode("utf-8", "replace")):
                self.complaints.append(text)

    def _frame(self, pts: int | None, channels: int, rate: int, samples: int) -> None:
        if not self.rate:
            self.rate, self.channels = rate, channels
        if pts is not None and self._next_pts is not None and rate == self._pts_rate:
            self._ahead += (pts - self._next_pts) / rate
        if self._ahead > _TOLERANCE_SECONDS:
            self.losses.append((round(self._written), round(self._ahead * self.rate)))
        if abs(self._ahead) > _TOLERANCE_SECONDS:
            self._ahead = 0.0
        drift = _DRIFT * samples / rate
        self._ahead -= max(-drift, min(self._ahead, drift))
        self._written += samples * self.rate / rate  # of another rate: ffmpeg keeps the first
        self._next_pts = None if pts is None else pts + samples
        self._pts_rate = rate


class Pace:
    """Holds a stream against the clock, which it neither outruns nor trails for good; pure.

    Parameters
    ----------
    early_seconds : float
        How far it may be ahead.

    Examples
    --------
    >>> pace = Pace(early_seconds=1.0)
    >>> pace.passed(3.0)
    >>> pace.take(lost=60.0, seconds=0.5)  # it says that a minute is lost
    3.25
    >>> pace.take(lost=0.0, seconds=2.0) is None  # recorded before
    True
    """

    def __init__(self, early_seconds: float) -> None:
        self._early = early_seconds
        self._late = 0.0  # seconds of the clock without sound or loss so far, less a drift

    def passed(self, seconds: float) -> None:
        """Say that so much time has passed."""
        drift = _DRIFT * seconds
        self._late += seconds - max(-drift, min(self._late, drift))

    def take(self, lost: float, seconds: float) -> float | None:
        """Take a piece of sound; returns what was lost before it, None to drop the piece.

        A stream's times may be nonsense: no loss is longer than the clock leaves room for.
        """
        lost = min(lost, max(0.0, self._late) + _SLACK_SECONDS)
        late = self._late - lost - seconds
        if late < -self._early:
            return None
        self._late = late
        return lost


class StreamCapture(Capture):
    """A live stream that is being heard.

    What comes faster than it can have been made is dropped first: a server hands over its buffer,
    a file what is in it already.

    Parameters
    ----------
    url : str
        See :func:`otic.config.stream_url.check_url`.
    block_seconds : float
        Not used: blocks come as the network brings them.
    channel : int, optional
        Have at least so many channels, the first is 1.

    Raises
    ------
    DeviceError
        If it can't be heard. The message has no part of the address that may be secret.
    """

    def __init__(self, url: str, block_seconds: float, channel: int | None = None) -> None:
        self._url = url
        try:
            self._open(audio_only=True)
        except _UnknownReasonError:
            if scheme_of(url) not in ("rtsp", "rtsps"):
                raise
            self._open(audio_only=False)  # some cameras send sound only with their picture
        if channel is not None and channel > self._log.channels:
            self._close()
            raise DeviceError(
                f"--channel {channel} is outside 1 to {self._log.channels}, its channels"
            )
        super().__init__(stream_name(url), (), self._log.rate, self._log.channels, block_seconds)
        self._pace = Pace(_PLAYLIST_EARLY_SECONDS if is_playlist(url) else _EARLY_SECONDS)
        self._thread = threading.Thread(target=self._fill, name="stream", daemon=True)
        self._thread.start()

    @property
    def active(self) -> bool:
        """False once the stream has ended."""
        return self._thread.is_alive()

    def _open(self, audio_only: bool) -> None:
        """Start ffmpeg, and return when its sound is live."""
        try:
            command = stream_command(self._url)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except NoFfmpegError as error:
            raise DeviceError(str(error)) from None
        except OSError as error:
            raise DeviceError(f"ffmpeg can't be started ({error.strerror})") from error
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._out, self._messages = process.stdout, process.stderr
        for pipe in (self._out, self._messages):
            os.set_blocking(pipe.fileno(), False)
        self._log = FrameLog()
        self._pending = b""  # less than a frame
        self._position = 0  # frames that ffmpeg wrote so far
        try:
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(list_of(self._url, audio_only))
            self._await_live()
        except BaseException:
            self._close()
            raise

    def _await_live(self) -> None:
        """Drop what is there already.

        Raises
        ------
        DeviceError
            If the stream ends before it is live.
        """
        began: float | None = None
        seconds = 0.0  # of sound since then
        while True:
            data = self._receive(_SLOT_SECONDS)
            if data is None:
                raise self._failure()
            if not self._log.rate:
                continue
            for _, samples in self._pieces(data):
                seconds += len(samples) / self._log.rate
            now = time.monotonic()
            began = now if began is None else began
            if now - began >= _SLOT_SECONDS:
                if seconds <= _LIVE_SPEED * (now - began):
                    return
                began, seconds = now, 0.0

    def _failure(self) -> DeviceError:
        """Tell why ffmpeg ended, in words that have nothing of the address."""
        if self._log.rate:
            return DeviceError(_ENDED)
        said = "\n".join(self._log.complaints)
        for pattern, reason in _REASONS:
            if re.search(pattern, said):
                return DeviceError(reason)
        return _UnknownReasonError("ffmpeg hears nothing there: 'ffmpeg -i URL' tells more")

    def _fill(self) -> None:
        """Fill the ring until the stream ends."""
        dropped = False
        with suppress(OSError):
            while (data := self._receive(LOOK_SECONDS)) is not None:
                if data:
                    before, self._came = self._came, time.monotonic()
                    self._pace.passed(self._came - before)
                for lost, samples in self._pieces(data):
                    taken = self._pace.take(lost / self.rate, len(samples) / self.rate)
                    if taken is None:
                        dropped = True
                        continue
                    self._write(samples, max(round(taken * self.rate), int(dropped)))
                    dropped = False
        self._arrived.set()
        self._close()

    def _receive(self, seconds: float) -> bytes | None:
        """Sound that is there or comes in time, and the messages about it; None at the end."""
        ready = select.select([self._out, self._messages], [], [], seconds)[0]
        data = self._out.read(_READ_BYTES) if self._out in ready else None
        # Behind the sound: what is said of a piece is written before the piece.
        while said := self._messages.read(_READ_BYTES):
            self._log.add(said)
        return None if data == b"" else data or b""

    def _pieces(self, data: bytes) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Cut sound at losses: the frames lost before each piece, and float32 [n, channels]."""
        channels = self._log.channels
        data = self._pending + data
        whole = len(data) // (4 * channels) * (4 * channels)
        self._pending = data[whole:]
        samples = np.frombuffer(data[:whole], np.float32).reshape(-1, channels)
        while len(samples):
            lost = 0
            while self._log.losses and self._log.losses[0][0] <= self._position:
                lost += self._log.losses.popleft()[1]
            end = len(samples)
            if self._log.losses:
                end = min(end, self._log.losses[0][0] - self._position)
            yield lost, samples[:end]
            self._position += end
            samples = samples[end:]

    def _close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._messages.close()


class _UnknownReasonError(DeviceError):
    """ffmpeg said nothing of what is known."""
