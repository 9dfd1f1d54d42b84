"""The page's server: its address and token, and uvicorn within another program."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from otic.config.secrets import read_secret
from otic.config.settings import Settings, WebSettings
from otic.errors import ParameterError, RuntimeMissingError, SinkError
from otic.streaming.session_view import SessionView
from otic.system.log import OncePerMinute
from otic.system.network import (
    host_and_port,
    is_loopback,
    listening_socket,
    reachable_host,
    url_host,
)

_log = logging.getLogger(__name__)
# Where no file descriptor is left, asyncio reports each connection that it can't take.
_log.addFilter(OncePerMinute())

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    from otic.web.app import make_app
except ImportError as error:
    raise RuntimeMissingError(
        "the page needs starlette, uvicorn and websockets: pip install 'otic[web]'"
    ) from error

MOST_CONNECTIONS = 128
"""Leaves enough file descriptors for recording and logging."""
REQUEST_SECONDS = 10.0
"""The time for a connection's first request, however slowly it drips in."""

_PING_SECONDS = 20.0
_MOST_MESSAGE_BYTES = 16384  # the longest message of a page

Abort = Callable[[Any], None]
"""Ends the connection of an ASGI ``client`` and drops what waits to be sent."""

_STOP_SECONDS = 1.0
_MOST_UNSENT_BYTES = 131072  # per connection, in the kernel
_LEAST_TOKEN_CHARACTERS = 12
_TOKEN_BYTES = 16


class PageThread:
    """Serves pages in a daemon thread of its own.

    Thread safety: any thread may call :meth:`close`.

    Parameters
    ----------
    web : WebSettings
        ``listen`` must be set.
    make_app : callable
        Makes the ASGI application from the host that ``listen`` names, the token (empty for
        none), and a function that ends a connection at once.

    Raises
    ------
    ParameterError
        If ``web.listen`` is not an address, or the token is too short or can't be read or typed.
    SinkError
        If the port is in use, or the address is not this machine's.
    """

    def __init__(self, web: WebSettings, make_app: Callable[[str, str, Abort], Any]) -> None:
        listen = web.listen
        if listen is None:
            raise ParameterError("web.listen is not set: give it a port, like 8080")
        host, port = host_and_port(listen, "web.listen")
        token = _own_token(web)
        try:
            bound = listening_socket(host, port)
            # Otherwise the kernel would keep megabytes for a page that does not read.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_UNSENT_BYTES)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not an address of this machine"
            raise SinkError(
                f"can't serve the page on {listen}: {reason}: "
                "set web.listen to a free port and an address of this machine"
            ) from error
        address, self.port = bound.getsockname()[:2]
        # A token that was set is known to its owner and stays out of the log.
        made = not token and not is_loopback(address)
        if made:
            token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.url = f"http://{url_host(reachable_host(bound))}:{self.port}/" + (
            f"?token={quote(token)}" if made else ""
        )
        """The address to open; it includes the token if one was generated."""
        self._server = PageServer(lambda abort: make_app(host, token, abort))
        self._thread = threading.Thread(
            target=self._serve, args=(bound,), name="otic page", daemon=True
        )
        self._thread.start()

    def _serve(self, bound: socket.socket) -> None:
        """Run the server; whatever happens to the page, the audio goes on."""
        try:
            self._server.run([bound])
        except (Exception, SystemExit) as error:
            _log.warning(
                f"the page has failed, all else goes on: {type(error).__name__}: {error}: "
                "restart otic to get it back"
            )

    def close(self) -> None:
        """Stop listening and disconnect the pages; they keep trying to reconnect."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(_STOP_SECONDS)


class WebServer(PageThread):
    """Serves the page of a session.

    The thread reads what the session has in memory, so it costs the audio loop nothing. It sleeps
    while no page is open.

    Parameters
    ----------
    settings : Settings
        ``web.listen`` must be set.
    session_view : SessionView

    Raises
    ------
    ParameterError, SinkError
        As :class:`PageThread` does.
    """

    def __init__(self, settings: Settings, session_view: SessionView) -> None:
        super().__init__(
            settings.web,
            lambda host, token, abort: make_app(settings, session_view, host, token, abort),
        )


def _own_token(settings: WebSettings) -> str:
    """Return the token that was set; empty without one."""
    token = read_secret(settings.token, settings.token_file, "web.token")
    if token and len(token) < _LEAST_TOKEN_CHARACTERS:
        raise ParameterError(
            f"web.token has {len(token)} characters, it needs at least "
            f"{_LEAST_TOKEN_CHARACTERS}: make one with 'openssl rand -hex 16'"
        )
    if token != token.strip() or not token.isprintable():
        raise ParameterError(
            "web.token must be one line that can be typed, without spaces at its ends: make one "
            "with 'openssl rand -hex 16'"
        )
    return token


class PageServer(uvicorn.Server):
    """Serves one application on a bound socket.

    Parameters
    ----------
    make_app : callable
        Makes the ASGI application from a function that ends a connection at once.
    """

    def __init__(self, make_app: Callable[[Abort], Any]) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.handlers, logger.propagate = [_ErrorLog(logging.ERROR)], False
        super().__init__(
            uvicorn.Config(
                make_app(self.abort),
                loop="asyncio",
                http=_Http,
                ws=_Socket,
                ws_max_size=_MOST_MESSAGE_BYTES,
                ws_ping_interval=_PING_SECONDS,
                ws_ping_timeout=_PING_SECONDS,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=_MOST_MESSAGE_BYTES,
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_say_failure)
        await super().serve(sockets)

    def abort(self, client: Any) -> None:
        """End a WebSocket at once: an orderly close would wait for a client that does not read."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Socket) and connection.client == client:
                connection.transport.abort()


def _say_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an exception that nothing caught, on one line."""
    error = context.get("exception")
    _log.warning(f"the page: {context['message']}" + (f": {error!r}" if error is not None else ""))


class _Http(H11Protocol):
    """uvicorn's HTTP connection, ended if there are too many or if it requests nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(REQUEST_SECONDS, self._end_if_silent)

    def _end_if_silent(self) -> None:
        upgraded = self not in self.connections  # or closed
        if not upgraded and self.cycle is None:
            self.transport.abort()


class _Socket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, ended if its first request is not a handshake.

    uvicorn would leave such a connection open for ever and fail at its end.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # the first data hold the whole request
            self.transport.abort()

    def shutdown(self) -> None:
        if self.handshake_complete:
            super().shutdown()
        else:
            self.transport.abort()


class _ErrorLog(logging.Handler):
    """Logs failures within uvicorn and the application, on one line."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        what = record.getMessage() if error is None else f"{type(error).__name__}: {error}"
        _log.warning(f"the page: {what}")
