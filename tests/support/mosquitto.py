"""A real MQTT broker: Debian's mosquitto on a free loopback port."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support import debian

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
PASSWORD = "hunter2 & Grüße"


def install() -> None:
    """Install it, where it is missing and that is allowed."""
    debian.install(["mosquitto"], _missing, "--no-install-recommends")


def _missing() -> list[str]:
    return [] if _program() else ["mosquitto"]


def _program() -> str | None:
    return shutil.which("mosquitto", path=_PATH)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Broker:
    """One broker that can be stopped, stalled and started again on the same port."""

    folder: Path
    port: int
    lines: tuple[str, ...] = ("allow_anonymous true",)
    tls: Path | None = None
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = [f"listener {self.port} 127.0.0.1", "persistence false", "log_dest stderr"]
        if os.geteuid() == 0:
            config.append("user root")  # else it could not read the test's folder
        if self.tls is not None:
            config += [f"certfile {self.tls}/server.crt", f"keyfile {self.tls}/server.key"]
        path = self.folder / "mosquitto.conf"
        path.write_text("\n".join([*config, *self.lines, ""]))
        program = _program()
        assert program is not None
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", str(path)], stdout=log, stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError((self.folder / "mosquitto.log").read_text()[-1000:])

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stall(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def running(folder: Path, *lines: str, tls: Path | None = None) -> Iterator[Broker]:
    """Run a broker; anonymous clients may connect unless ``lines`` of configuration are given."""
    broker = Broker(folder, free_port(), lines or Broker.lines, tls)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def password_lines(folder: Path, user: str) -> tuple[str, ...]:
    """Configuration that lets in ``user`` with :data:`PASSWORD` only."""
    path = folder / "passwords"
    command = shutil.which("mosquitto_passwd", path=_PATH)
    assert command is not None
    path.touch(mode=0o600)
    subprocess.run([command, "-b", str(path), user, PASSWORD], check=True, capture_output=True)
    return "allow_anonymous false", f"password_file {path}"


def make_certificates(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Path:
    """An authority, ``ca.crt``, and a server that it vouches for, ``server.crt`` and ``.key``."""
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=otic test CA"]
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    _openssl(folder, "req", "-x509", *key, *authority, "-days", "2", *usage)
    request = ["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=broker"]
    _openssl(folder, "req", "-new", *key, *request)
    (folder / "server.ext").write_text(
        f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n"
        "authorityKeyIdentifier=keyid\nkeyUsage=critical,digitalSignature\n"
    )
    signer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    files = ["-in", "server.csr", "-out", "server.crt", "-extfile", "server.ext"]
    _openssl(folder, "x509", "-req", *signer, *files)
    return folder


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@dataclass(frozen=True)
class Heard:
    topic: str
    payload: str
    retained: bool
    qos: int


class Listener:
    """Someone else at the broker, who hears everything."""

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard: list[Heard] = []
        self._marks = 0
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Listener:
        self._client.loop_start()
        assert self._subscribed.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Any, *_: Any) -> None:
        client.subscribe("#", qos=1)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        text = message.payload.decode()
        self.heard.append(Heard(message.topic, text, message.retain, message.qos))

    def of(self, topic: str) -> list[str]:
        """What came at ``topic``, oldest first."""
        return [heard.payload for heard in self.heard if heard.topic == topic]

    def wait_for(self, topic: str, payload: str | None = None, seconds: float = 10.0) -> str:
        """The latest at ``topic``, once there is one and it is ``payload``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            came = self.of(topic)
            if came and payload in (None, came[-1]):
                return came[-1]
            time.sleep(0.02)
        raise AssertionError(f"{topic}: {payload!r} is not the last of {self.of(topic)}")

    def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def catch_up(self) -> None:
        """Hear all that the broker has acknowledged to anyone by now: it hands on in order."""
        self._marks += 1
        self.publish("that/was/all", str(self._marks))
        self.wait_for("that/was/all", str(self._marks))


def retained(port: int) -> dict[str, str]:
    """What the broker keeps, by topic."""
    with Listener(port) as listener:
        listener.catch_up()
        return {heard.topic: heard.payload for heard in listener.heard if heard.retained}
