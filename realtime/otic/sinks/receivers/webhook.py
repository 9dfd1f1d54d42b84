"""Events as signed HTTP requests to a web server."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import hmac
import http
import http.client
import re
import socket
import ssl
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from otic import __version__
from otic.config.secrets import read_secret
from otic.config.settings import WebhookSettings
from otic.errors import ParameterError
from otic.sinks.delivery.notification import DeliveryError, Notification, RefusedError
from otic.system.network import client_context

_MAX_BODY_BYTES = 65536  # of an answer
_BODY_SECONDS = 1.0  # how long an answer's body may take once its status is known
_MAX_RETRY_AFTER_SECONDS = 300.0
# Wrong address or secret: someone will mend that, and events must not be lost until then.
_TO_BE_MENDED = {401, 403, 404, 405, 407}
_TRY_LATER = {408, 425, 429}
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


class WebhookReceiver:
    """Posts each notification to a web server; 2xx means that it took it.

    Each notification is a connection of its own. Redirects are not followed. Not thread safe; while
    a notification is delivered, one thread more runs.

    Parameters
    ----------
    settings : WebhookSettings

    Raises
    ------
    ParameterError
        If the address, the secret's file or the certificates' file is not usable.
    """

    name = "webhook"

    def __init__(self, settings: WebhookSettings) -> None:
        url = _checked(settings.url)
        self._url = url.geturl()
        # All that messages tell of the address: its path and query may hold a token.
        self._where = f"{url.scheme}://{url.netloc}"
        secret = read_secret(settings.secret, settings.secret_file, "webhook.secret")
        self._secret = secret.encode("utf-8", "surrogateescape")
        self._timeout = settings.timeout_seconds
        self._tls = _tls(settings.ca_file) if url.scheme == "https" else None
        self._post: _Post | None = None
        self._not_before = 0.0  # time.monotonic()

    def open(self) -> None:
        pass  # there is no connection between notifications

    def deliver(self, notification: Notification) -> None:
        deadline = time.monotonic() + self._timeout
        wait = self._not_before - time.monotonic()
        if wait > 0.0:
            raise DeliveryError(f"{self._where} asked to wait another {wait:.0f} s")
        # A thread that was given up may still wait for a name server: never have two.
        if self._post is not None and not self._post.join(self._timeout):
            raise DeliveryError(f"{self._where}: still looking for the host")
        post = _Post(self._request(notification), self._tls, self._timeout)
        self._post = post
        post.start()
        answered = post.wait(deadline - time.monotonic())
        if answered and post.error is None:
            post.join(min(_BODY_SECONDS, deadline - time.monotonic()))
        post.give_up()
        if not answered:
            raise DeliveryError(f"{self._where}: no answer within {self._timeout:g} s")
        if post.error is not None:
            raise DeliveryError(f"{self._where}: {_explained(post.error)}") from post.error
        self._judge(post, notification)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        if self._post is not None:
            self._post.give_up()
            self._post.join(0.1)

    def _request(self, notification: Notification) -> urllib.request.Request:
        body = notification.to_json().encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"otic/{__version__}",
            "X-Otic-Id": quote(notification.id, safe="/:", errors="replace"),
        }
        if self._secret:
            timestamp = str(int(time.time()))
            signed = timestamp.encode() + b"." + body
            digest = hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
            headers["X-Otic-Timestamp"] = timestamp
            headers["X-Otic-Signature"] = f"sha256={digest}"
        return urllib.request.Request(self._url, data=body, headers=headers, method="POST")

    def _judge(self, post: _Post, notification: Notification) -> None:
        status = post.status
        if 200 <= status < 300:
            return
        # The standard's phrase: the server's own, and its body, may repeat our address.
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "?"
        what = f"{self._where} answered {status} {phrase}"
        if 300 <= status < 400:
            raise DeliveryError(f"{what}, and redirects are not followed: mend webhook.url")
        if status in _TO_BE_MENDED:
            raise DeliveryError(f"{what}: mend webhook.url, webhook.secret or the server")
        if 400 <= status < 500 and status not in _TRY_LATER:
            raise RefusedError(f"{what} to {notification.id}")
        pause = _retry_after(post.retry_after)
        self._not_before = time.monotonic() + pause
        raise DeliveryError(what + (f", and asked to wait {pause:.0f} s" if pause else ""))


class _Post:
    """One request, in a thread of its own.

    So nothing holds up the caller for longer than it wants, neither a name server that does
    not answer nor a web server that answers with a byte a second: no timeout of a socket
    limits these. ``status`` and ``retry_after``, or ``error``, are there after :meth:`wait`.
    """

    def __init__(
        self, request: urllib.request.Request, tls: ssl.SSLContext | None, seconds: float
    ) -> None:
        self.status = 0
        self.retry_after: str | None = None
        self.error: Exception | None = None
        self._request = request
        self._tls = tls
        self._seconds = seconds
        self._answered = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="otic-webhook-post", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread to be had
            self.error = error
            self._answered.set()

    def wait(self, seconds: float) -> bool:
        return self._answered.wait(max(0.0, seconds))

    def join(self, seconds: float) -> bool:
        """Whether the thread has ended, after at most so long."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """Let the thread end: at once, or where it looks for the host, after that."""
        with self._lock:
            self._given_up = True
            if self._socket is not None:
                _shut(self._socket)

    def connected(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._socket = connection.sock
            if self._given_up:
                raise TimeoutError

    def _run(self) -> None:
        try:
            # Proxies of the environment, http and https: no redirects, nothing else.
            opener = urllib.request.OpenerDirector()
            opener.add_handler(urllib.request.ProxyHandler())
            opener.add_handler(_Handler(self, self._tls))
            response = opener.open(self._request, timeout=self._seconds)
            if response is None:
                raise OSError("no way to speak to the proxy that the environment names")
        except Exception as error:  # the worker decides, and must not die of any of them
            self.error = error
            self._answered.set()
            return
        with contextlib.suppress(OSError, http.client.HTTPException), response:
            self.status = response.status
            self.retry_after = response.headers["Retry-After"]
            self._answered.set()
            response.read(_MAX_BODY_BYTES)  # a server may not like to be cut off


class _Plain(http.client.HTTPConnection):
    """Tells its :class:`_Post` of its socket."""

    post: _Post

    def connect(self) -> None:
        seconds = self.timeout or 0.0
        # Half: where a host's first address is dead, its second one is reached in time.
        self.timeout = seconds / 2.0
        super().connect()
        self.sock.settimeout(None)  # who waits gives it up; a limit of its own would race with that
        self.post.connected(self)


class _Secure(_Plain, http.client.HTTPSConnection):
    """The same with TLS."""


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens the connections of a :class:`_Post`."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, post: _Post, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._post = post
        self._tls = tls

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._plain, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._secure, req)

    def _plain(self, host: str, /, **options: Any) -> _Plain:
        connection = _Plain(host, **options)
        connection.post = self._post
        return connection

    def _secure(self, host: str, /, **options: Any) -> _Secure:
        connection = _Secure(host, context=self._tls, **options)
        connection.post = self._post
        return connection


def _shut(connected: socket.socket) -> None:
    """End what another thread reads from the socket (SSLSocket's own would break in on it)."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _checked(url: str | None) -> SplitResult:
    remedy = "give one like https://example.org/events"
    if not url:
        raise ParameterError(f"webhook.url is not set: {remedy}")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "")
        if not valid or parts.port == 0 or not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError
    except ValueError:  # "from None", and no value: the address may hold a token
        raise ParameterError(
            f"webhook.url is no http:// or https:// address in plain ASCII: {remedy}"
        ) from None
    if "@" in parts.netloc:
        raise ParameterError(
            "webhook.url holds a user or a password, which would be seen: "
            "leave them out, and set webhook.secret_file to sign instead"
        )
    return parts


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        return client_context(ca_file)
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"webhook.ca_file {ca_file!r}: {_explained(error)}: name a file of PEM certificates"
        ) from error


def _explained(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):  # urllib wraps what happened
        return _explained(reason)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}: see webhook.ca_file"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    shown = "".join(c if c.isprintable() else " " for c in text)[:200]
    return shown or type(error).__name__


def _retry_after(value: str | None) -> float:
    """Seconds, of either form of the header; 0 where there is none that can be read."""
    text = value or ""
    try:
        if text.isdecimal():
            seconds = float(text[:20])
        else:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_SECONDS)
