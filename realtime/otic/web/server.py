"""Serves the page: who may see it, and the thread in which everything of it happens."""

from __future__ import annotations

import secrets
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

from otic.config.secrets import read_secret
from otic.config.settings import Settings, WebSettings
from otic.errors import ParameterError, RuntimeMissingError, SinkError
from otic.system.addresses import (
    host_and_port,
    is_loopback,
    listening_socket,
    reachable_host,
    url_host,
)
from otic.system.log import say

if TYPE_CHECKING:
    from otic.streaming.session_view import SessionView

_STOP_SECONDS = 1.0
_MOST_UNSENT_BYTES = 131072  # of each connection, in the kernel
_LEAST_TOKEN_CHARACTERS = 12
_TOKEN_BYTES = 16


class WebServer:
    """Answers who wants to look at the running streams, in a daemon thread of its own.

    The thread takes what it shows from the desk's memories; the loop that hears the audio does
    nothing for it. While no page is open it sleeps.

    Thread safety: :meth:`close` may be called by any thread.

    Parameters
    ----------
    settings : Settings
        ``web.listen`` must be set.
    desk : SessionView

    Raises
    ------
    ParameterError
        If ``web.listen`` is no address, or the token is too short or can't be read or typed.
    RuntimeMissingError
        If starlette, uvicorn or websockets is not installed.
    SinkError
        If the port is in use, or the address is not this machine's.
    """

    def __init__(self, settings: Settings, desk: SessionView) -> None:
        listen = settings.web.listen
        if listen is None:
            raise ParameterError("web.listen is not set: give it a port, like 8080")
        host, port = host_and_port(listen, "web.listen")
        token = _own_token(settings.web)
        try:
            from otic.web.app import make_app
            from otic.web.protocols import PageServer
        except ImportError as error:
            raise RuntimeMissingError(
                "the page needs starlette, uvicorn and websockets: pip install 'otic[web]'"
            ) from error
        try:
            bound = listening_socket(host, port)
            # Else the kernel would keep megabytes for a page that does not read.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_UNSENT_BYTES)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not an address of this machine"
            raise SinkError(
                f"can't serve the page on {listen}: {reason}: "
                "set web.listen to a port that is free, and a host that is this machine's"
            ) from error
        address, self.port = bound.getsockname()[:2]
        # One that was set is known to who set it, and need not be in a log.
        made = not token and not is_loopback(address)
        if made:
            token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.url = f"http://{url_host(reachable_host(bound))}:{self.port}/" + (
            f"?token={quote(token)}" if made else ""
        )
        """What to open; with the token, where one was made."""
        self._server = PageServer(lambda abort: make_app(settings, desk, host, token, abort))
        self._thread = threading.Thread(
            target=self._serve, args=(bound,), name="otic page", daemon=True
        )
        self._thread.start()

    def _serve(self, bound: socket.socket) -> None:
        """The thread: whatever becomes of the page, the audio goes on."""
        try:
            self._server.run([bound])
        except (Exception, SystemExit) as error:
            say(
                f"the page has ended, all else goes on: {type(error).__name__}: {error}: "
                "start otic again to have it back"
            )

    def close(self) -> None:
        """Stop listening and tell the pages; they try again and again to come back."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(_STOP_SECONDS)


def _own_token(settings: WebSettings) -> str:
    """The token that was set; empty where none was."""
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
