"""Live streams on this machine: RTSP from GStreamer, RTP and WAV by HTTP from threads."""

from __future__ import annotations

import http.server
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np

from otic.audio.capture import HEADER
from otic.audio.microphone import NetworkMicrophone
from otic.audio.stream_capture import StreamCapture
from otic.types import Lost
from tests.support import debian
from tests.support.helpers import F32

_SYSTEM_PYTHON = "/usr/bin/python3"
_GSTREAMER = ["gir1.2-gst-rtsp-server-1.0", "python3-gi", "gstreamer1.0-plugins-good"]
_IMPORT = "import gi; gi.require_version('GstRtspServer', '1.0')"
TENTH = 0.1


def install_ffmpeg() -> None:
    """Install ffmpeg where it is missing and that is allowed."""
    debian.install(["ffmpeg"], lambda: [] if which("ffmpeg") else ["ffmpeg"])


def install_rtsp() -> None:
    """Install the RTSP server, too."""
    install_ffmpeg()

    def missing() -> list[str]:
        done = subprocess.run([_SYSTEM_PYTHON, "-c", _IMPORT], capture_output=True, check=False)
        return _GSTREAMER if done.returncode else []

    debian.install(_GSTREAMER, missing, "--no-install-recommends")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspServer:
    """A server that can be killed and started again, with ``rtsp://127.0.0.1:PORT/sound``."""

    def __init__(self, file: Path | str, *login: str) -> None:
        self.port = free_port()
        self._arguments = [str(self.port), str(file), *login]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Return when it listens."""
        script = Path(__file__).with_name("rtsp_server.py")
        self._process = subprocess.Popen(
            [_SYSTEM_PYTHON, str(script), *self._arguments], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """Cut it off, as where its power fails."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()


def pcm(y: F32) -> bytes:
    return (y * 32767).astype("<i2").tobytes()


def endless_header(sr: int) -> bytes:
    """Return the header of a WAV file, mono, whose end nobody knows."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, sr, 2 * sr, 2, 16)
    forever = struct.pack("<I", 0xFFFFFFFF)
    return b"RIFF" + forever + b"WAVEfmt " + form + b"data" + forever


def play(y: F32, sr: int, write: Callable[[bytes], object], go_on: Callable[[], bool]) -> None:
    """Write a sound over and over, a tenth of a second each tenth of a second."""
    begin, n, size = time.monotonic(), 0, round(TENTH * sr)
    while go_on():
        time.sleep(max(0.0, begin + n * TENTH - time.monotonic()))
        write(pcm(np.take(y, range(n * size, (n + 1) * size), mode="wrap")))
        n += 1


@contextmanager
def in_a_thread(work: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Run ``work(go_on)`` until the block ends; a reader that is gone ends it sooner."""
    over = threading.Event()

    def run() -> None:
        with suppress(OSError):
            work(lambda: not over.is_set())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def written_to(path: Path, y: F32, sr: int) -> Any:
    """Write a sound into a file or a FIFO as it sounds."""

    def work(go_on: Callable[[], bool]) -> None:
        with path.open("ab", buffering=0) as file:
            if not path.is_file():
                file.write(endless_header(sr))
            play(y, sr, file.write, go_on)

    return in_a_thread(work)


class RtpSender:
    """Sends 16-bit RTP packets of 10 ms at 44.1 kHz to a port; ``muted`` ones do not arrive."""

    SR, SIZE = 44_100, 441

    def __init__(self, y: F32) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self.muted = False
        self.muted_seconds = 0.0
        self._y = y

    def running(self) -> Any:
        return in_a_thread(self._send)

    def _send(self, go_on: Callable[[], bool]) -> None:
        begin, n = time.monotonic(), 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while go_on():
                time.sleep(max(0.0, begin + n / 100 - time.monotonic()))
                at = n * self.SIZE
                y = np.take(self._y, range(at, at + self.SIZE), mode="wrap")
                header = struct.pack(">BBHII", 0x80, 11, n & 0xFFFF, at & 0xFFFFFFFF, 1)
                if self.muted:
                    self.muted_seconds += 0.01
                else:
                    sound = (y * 32767).astype(">i2").tobytes()
                    out.sendto(header + sound, ("127.0.0.1", self.port))
                n += 1


class HttpServer(http.server.ThreadingHTTPServer):
    """Serves a sound as an endless WAV at ``/live``, by password at ``/secret``, cut at will."""

    daemon_threads = True

    def __init__(self, y: F32, sr: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.y, self.sr = y, sr
        self.authorization: str | None = None  # of the last request
        self.up = True

    def cut(self) -> None:
        """End all connections, and refuse new ones until ``up`` is set."""
        self.up = False

    def __enter__(self) -> HttpServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.up = False
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HttpServer

    def do_GET(self) -> None:
        self.server.authorization = self.headers["Authorization"]
        if self.path == "/secret" and self.server.authorization is None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="yard"')
            self.end_headers()
        elif self.path == "/file.wav":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(endless_header(self.server.sr) + pcm(self.server.y))
        elif self.path == "/text":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"no sound at all\n" * 1000)
        elif self.path not in ("/live", "/secret"):
            self.send_error(404)
        elif not self.server.up:
            self.send_error(503)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(endless_header(self.server.sr))
            play(self.server.y, self.server.sr, self.wfile.write, lambda: self.server.up)

    def log_message(self, *_: object) -> None:
        pass


class Captured:
    """What a capture gives, in this process, while it is read."""

    def __init__(self, url: str) -> None:
        self.capture = StreamCapture(url, 0.1)
        self.blocks: list[F32] = []
        self.lost: list[int] = []

    def __enter__(self) -> Captured:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture._process.kill()

    def read(self, until: Callable[[], bool]) -> None:
        """Read until it is so, for a minute at most."""
        end = time.monotonic() + 60.0
        while not until():
            assert time.monotonic() < end
            while data := self.capture.read():
                lost, _, _, _, frames = HEADER.unpack_from(data)
                y = np.frombuffer(data[HEADER.size :], np.float32)
                self.blocks.append(y.reshape(frames, self.capture.channels)[:, 0])
                self.lost += [lost] if lost else []
            time.sleep(0.02)

    @property
    def y(self) -> F32:
        return np.concatenate([np.zeros(0, np.float32), *self.blocks])

    @property
    def seconds(self) -> float:
        """Length of the sound that was heard."""
        return len(self.y) / self.capture.rate


class Heard:
    """What a network microphone gives, through its process, while it is listened to."""

    def __init__(self, url: str, sr: int = 22_050, **options: Any) -> None:
        self.source = NetworkMicrophone(url, sr, 2048, **options)
        self.sr = sr
        self.chunks: list[F32 | Lost] = []
        self._stream = self.source.chunks()
        self._begin = 0.0

    def __enter__(self) -> Heard:
        self.source.await_opening()
        self._begin = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def listen(self, until: Callable[[], bool]) -> None:
        """Listen until it is so, for two minutes at most."""
        end = time.monotonic() + 120.0
        while not until():
            assert time.monotonic() < end
            for chunk in self._stream:
                if chunk is None:
                    break
                self.chunks.append(chunk)
            time.sleep(0.02)

    def for_seconds(self, seconds: float) -> Callable[[], bool]:
        """Return what is true after so much time."""
        end = time.monotonic() + seconds
        return lambda: time.monotonic() >= end

    def is_in_step(self) -> bool:
        """Tell whether sound and losses are as long as the time since it was opened."""
        together = sum(c.samples if isinstance(c, Lost) else len(c) for c in self.chunks) / self.sr
        return abs(time.monotonic() - self._begin - together) < 0.4

    @property
    def lost_seconds(self) -> float:
        return sum(c.samples for c in self.chunks if isinstance(c, Lost)) / self.sr

    @property
    def state(self) -> str:
        return self.source.health().state
