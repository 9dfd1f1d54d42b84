"""A broker that is killed and stalled, and somebody who hears all that it takes."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.soak.deliveries import Delivery
from tests.support.mosquitto import Broker, Listener, free_port


class Ear(Listener):
    """Hears every notification that the broker takes; connects again by itself."""

    def __init__(self, port: int) -> None:
        self.notifications: list[Delivery] = []
        super().__init__(port)
        self._client.on_disconnect = self._on_disconnect

    @property
    def hears(self) -> bool:
        return self._subscribed.is_set()

    def _on_disconnect(self, *_: Any) -> None:
        self._subscribed.clear()

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        if message.topic.endswith("/event"):
            self.notifications.append(Delivery(json.loads(message.payload), time.time()))


class Gate:
    """The way to a broker that is open only while an ear hears.

    Else what the broker takes in the moment after its restart would be heard by nobody, and
    look as if it had been lost before.
    """

    def __init__(self, target: int, ear: Ear) -> None:
        self._target, self._ear = target, ear
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                here, _ = self._socket.accept()
            except OSError:
                return
            try:
                if not self._ear.hears:
                    raise OSError("nobody would hear it")
                there = socket.create_connection(("127.0.0.1", self._target), 5.0)
                there.settimeout(None)
            except OSError:
                here.close()
                continue
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def new_broker(folder: Path) -> Broker:
    """Started."""
    broker = Broker(folder, free_port())
    broker.start()
    return broker
