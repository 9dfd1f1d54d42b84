"""Serves a page of metrics to Prometheus."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from otic.errors import RuntimeMissingError, SinkError
from otic.sinks.metrics_page import Collector, page_of
from otic.system.network import host_and_port, listening_socket

_FRESH_SECONDS = 0.2  # many scrapes at once get one page
_CONNECTION_SECONDS = 5.0  # from its beginning to its end, however it drips
_MOST_CONNECTIONS = 32
_LOOK_SECONDS = 0.2  # whether to stop
_STOP_SECONDS = 0.3
_NAP_SECONDS = 0.05
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MetricsServer:
    """Answers ``GET /metrics`` in threads of its own; nobody waits for who asks.

    Thread safety: :meth:`close` may be called by any thread. What the collector calls is
    called by the server's threads, one at a time, at most five times a second however many ask.

    Parameters
    ----------
    listen : str
        ``[HOST:]PORT``; without a host only this machine is answered. An IPv6 address
        is in brackets: ``[::1]:9400``. Port 0 is any that is free.
    collector : Collector
        Knows what is on the page.

    Raises
    ------
    ParameterError
        If ``listen`` is not such an address.
    RuntimeMissingError
        If prometheus_client is not installed.
    SinkError
        If the port is in use, or the address is not this machine's.
    """

    def __init__(self, listen: str, collector: Collector) -> None:
        host, port = host_and_port(listen, "metrics.listen")
        try:
            make = page_of(collector)
        except ImportError as error:
            raise RuntimeMissingError(
                "metrics need prometheus_client: pip install 'otic[metrics]'"
            ) from error
        try:
            bound = listening_socket(host, port)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not an address of this machine"
            raise SinkError(
                f"can't serve metrics on {listen}: {reason}: "
                "set metrics.listen to a port that is free, and a host that is this machine's"
            ) from error
        self._server = _Server(bound, _Page(make))
        self.address: tuple[str, int] = bound.getsockname()[:2]
        """Host and port that are listened on."""
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="otic metrics", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ask it to stop. Does not wait."""
        self._ending.set()

    def close(self) -> None:
        """Stop listening; answers under way are left to themselves."""
        self.finish()
        self._thread.join(_STOP_SECONDS)

    def _serve(self) -> None:
        with self._server:
            while not self._ending.is_set():
                self._server.handle_request()


class _Page:
    """The page, which one thread at a time makes; for a moment it serves all who ask."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._text = b""
        self._stale_at = 0.0

    def __call__(self) -> bytes:
        with self._lock:
            if time.monotonic() >= self._stale_at:
                self._text = self._make()
                self._stale_at = time.monotonic() + _FRESH_SECONDS
            return self._text


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "otic"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.split("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, explain="The page is /metrics.")
            return
        try:
            text = self.server.page()
        except Exception:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR)
            raise
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _CONTENT_TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    """A thread for each connection, up to a limit and for a time."""

    block_on_close = False
    timeout = _LOOK_SECONDS  # of handle_request

    def __init__(self, bound: socket.socket, page: _Page) -> None:
        super().__init__(bound.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.socket.setblocking(False)  # who called may be gone before we answer
        self.page = page
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_NAP_SECONDS)  # no file descriptor is left, say: don't ask at once again
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        limit = threading.Timer(_CONNECTION_SECONDS, _shut, [request])
        limit.daemon = True
        try:
            limit.start()
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a failure here is the client's


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
