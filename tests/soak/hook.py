"""A web server that takes notifications, or answers 500, stalls, drops."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.soak.deliveries import Delivery

SECRET = "soak-secret"
_LONGEST_STALL_SECONDS = 60.0


@dataclass
class Hook:
    """What it was told; ``mode`` says what to do with a post: ok, 500, stall or drop."""

    mode: Callable[[], str]

    def __post_init__(self) -> None:
        self.taken: list[Delivery] = []
        self.unsigned: list[str] = []
        self.refused = 0  # posts that got no good answer
        self._lock = threading.Lock()
        self._released = threading.Event()
        hook = self

        class Handler(_Handler):
            def do_POST(self) -> None:
                hook._take(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/soak"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def release(self) -> None:
        """End all stalls."""
        self._released.set()
        self._released = threading.Event()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        came = time.time()
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        mode = self.mode()
        if mode == "ok":
            notification = json.loads(body)
            if not _is_signed(handler, body):
                self.unsigned.append(notification["id"])
            handler.send_response(204)
            # Before the answer is written: somebody who is killed then has delivered.
            with self._lock:
                self.taken.append(Delivery(notification, came))
            handler.end_headers()
            return
        self.refused += 1
        if mode == "500":
            handler.send_response(500)
            handler.end_headers()
        elif mode == "stall":
            self._released.wait(_LONGEST_STALL_SECONDS)
        handler.close_connection = True


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that were killed


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _is_signed(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> bool:
    stamp = [handler.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp")]
    digest = hmac.new(SECRET.encode(), f"{'.'.join(stamp)}.".encode() + body, hashlib.sha256)
    wanted = "v1," + base64.b64encode(digest.digest()).decode()
    return hmac.compare_digest(handler.headers.get("webhook-signature", ""), wanted)
