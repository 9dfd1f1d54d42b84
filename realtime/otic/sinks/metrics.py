"""Serves a page of metrics to Prometheus."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from otic.errors import RuntimeMissingError, SinkError
from otic.sinks.metrics_page import Collector, page_of
from otic.system.addresses import host_and_port

_FRESH_SECONDS = 0.2  # many scrapes at once get one page
_CONNECTION_SECONDS = 5.0  # from its beginning to its end, however it drips
_LOOK_SECONDS = 0.5  # for connections that take longer
_MOST_CONNECTIONS = 32
_STOP_SECONDS = 0.2
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
        host, port = parse_listen(listen)
        try:
            make = page_of(collector)
        except ImportError as error:
            raise RuntimeMissingError(
                "metrics need prometheus_client: pip install 'otic[metrics]'"
            ) from error
        self._server = _server(listen, host, port, _Page(make))
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        """Host and port that are listened on."""
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="otic metrics", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ask it to stop. Does not wait."""
        if self._wake_writer >= 0:
            os.close(self._wake_writer)
            self._wake_writer = -1

    def close(self) -> None:
        """Stop listening; answers under way are left to themselves."""
        self.finish()
        self._thread.join(_STOP_SECONDS)

    def _serve(self) -> None:
        """Take connections until the pipe is closed; asleep in between."""
        with self._server, selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while True:
                ready = selector.select(_LOOK_SECONDS if self._server.end_overdue() else None)
                if any(key.fileobj is not self._server for key, _ in ready):
                    break
                if ready:
                    self._server.handle_request()
        os.close(self._wake_reader)


def parse_listen(listen: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``.

    Raises
    ------
    ParameterError
    """
    return host_and_port(listen, "metrics.listen")


class _Page:
    """The page, made anew where it is older than a moment; one thread makes it at a time."""

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


class _Server(ThreadingTCPServer):
    """A thread for each connection, up to a limit; a failure there is the client's."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = _MOST_CONNECTIONS
    timeout = 0.0  # of handle_request, which is called where somebody waits

    def __init__(self, family: int, address: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._lock = threading.Lock()  # for the next
        self._overdue_at: dict[socket.socket, float] = {}  # time.monotonic()
        super().__init__(address, handler)
        self.socket.setblocking(False)  # who called may be gone before we answer

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:
            time.sleep(_NAP_SECONDS)  # no file descriptor is left, say: don't ask at once again
            raise

    def end_overdue(self) -> bool:
        """End the connections that took too long; whether there are others."""
        now = time.monotonic()
        with self._lock:  # so that none is closed, and its number another's, meanwhile
            for connection in [c for c, at in self._overdue_at.items() if now >= at]:
                del self._overdue_at[connection]
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            return bool(self._overdue_at)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._overdue_at[request] = time.monotonic() + _CONNECTION_SECONDS
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was started
            self._free.release()
            raise

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._overdue_at.pop(request, None)
        super().shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


def _server(listen: str, host: str, port: int, page: _Page) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CONNECTION_SECONDS
        server_version = "otic"
        sys_version = ""

        def do_GET(self) -> None:
            if self.path.split("?")[0] != "/metrics":
                self.send_error(HTTPStatus.NOT_FOUND, explain="The page is /metrics.")
                return
            try:
                text = page()
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

    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        family, _, _, _, address = found[0]
        return _Server(family, address, Handler)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not an address of this machine"
        raise SinkError(
            f"can't serve metrics on {listen}: {reason}: "
            "set metrics.listen to a port that is free, and a host that is this machine's"
        ) from error
