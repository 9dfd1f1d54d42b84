"""uvicorn as a part of another program: no signals, no log, and not many connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from otic.system.log import say

MOST_CONNECTIONS = 128
"""So that nobody can take the file descriptors that recording and logging need."""
REQUEST_SECONDS = 10.0
"""From a connection's beginning to the end of its first request, however it drips."""

_PING_SECONDS = 20.0
_MOST_MESSAGE_BYTES = 16384  # that a page sends

Abort = Callable[[Any], None]
"""Ends the connection of an ASGI ``client``, with what waits to be sent."""


class PageServer(uvicorn.Server):
    """Serves one application on a socket that is bound already.

    Parameters
    ----------
    make_app : callable
        Makes the ASGI application; it is given what ends a connection at once.
    """

    def __init__(self, make_app: Callable[[Abort], Any]) -> None:
        logger = logging.getLogger("uvicorn.error")
        logger.handlers, logger.propagate = [_Said(logging.ERROR)], False
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
        """End a WebSocket; a close in order would wait for a client that does not read."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Socket) and connection.client == client:
                connection.transport.abort()


def _say_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody caught, on one line."""
    error = context.get("exception")
    say(f"the page: {context['message']}" + (f": {error!r}" if error is not None else ""))


class _Http(H11Protocol):
    """As uvicorn's; connections beyond a limit, and those that ask nothing, are ended."""

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
    """As uvicorn's; what only looks like a WebSocket's beginning is ended.

    Without an answer uvicorn would keep it for ever, and fail at it in the end.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated:  # the first data are the whole request
            self.transport.abort()

    def shutdown(self) -> None:
        if self.handshake_complete:
            super().shutdown()
        else:
            self.transport.abort()


class _Said(logging.Handler):
    """Failures within uvicorn and the application, on one line."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        what = record.getMessage() if error is None else f"{type(error).__name__}: {error}"
        say(f"the page: {what}")
