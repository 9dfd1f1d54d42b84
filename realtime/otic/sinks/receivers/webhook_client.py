"""Events as signed HTTP requests to a web server."""

from __future__ import annotations

import base64
import binascii
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
from otic.errors import ParameterError
from otic.sinks.delivery.notification import DeliveryError, Notification, RefusedError
from otic.sinks.receivers.webhook import Section
from otic.system.network import client_context, explain

_MAX_BODY_BYTES = 65536  # of an answer
_BODY_SECONDS = 1.0  # how long an answer's body may take once its status is known
_MAX_RETRY_AFTER_SECONDS = 300.0
# Wrong address or secret: someone will correct that, and no event may be lost until then.
_TO_BE_CORRECTED = {401, 403, 404, 405, 407}
_TRY_LATER = {408, 425, 429}
_ENCODED = "whsec_"
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


class WebhookReceiver:
    """Posts each notification to a web server; 2xx means that it took it.

    Each notification is a connection of its own. Redirects are not followed. Not thread safe.

    Parameters
    ----------
    settings : Section

    Raises
    ------
    ParameterError
        If the address, the secret's file or the certificates' file is not usable.
    """

    name = "webhook"

    def __init__(self, settings: Section) -> None:
        url = _checked(settings.url)
        self._url = url.geturl()
        # All that messages show of the address: its path and query may hold a token.
        self._where = f"{url.scheme}://{url.netloc}"
        self._key = _key(read_secret(settings.secret, settings.secret_file, "webhook.secret"))
        self._timeout = settings.timeout_seconds
        self._tls = _tls(settings.ca_file) if url.scheme == "https" else None
        self._not_before = 0.0  # time.monotonic()

    def open(self) -> None:
        pass  # there is no connection between notifications

    def deliver(self, notification: Notification) -> None:
        wait = self._not_before - time.monotonic()
        if wait > 0.0:
            raise DeliveryError(f"{self._where} asked to wait another {wait:.0f} s")
        with _Deadline(self._timeout) as deadline:
            try:
                response = _opener(deadline, self._tls).open(self._request(notification))
                if response is None:
                    raise OSError("no way to speak to the proxy that the environment names")
                if deadline.is_over:
                    raise TimeoutError  # an answer that was cut off looks like a short one
            except Exception as error:
                if deadline.is_over:
                    raise DeliveryError(
                        f"{self._where}: no answer within {self._timeout:g} s"
                    ) from error
                https = self._tls is not None
                what, remedy = explain(error, "webhook.url", "webhook.ca_file", https)
                raise DeliveryError(f"{self._where}: {what}: {remedy}") from error
            if response.length != 0:
                deadline.shorten(_BODY_SECONDS)
                with contextlib.suppress(OSError, http.client.HTTPException), response:
                    response.read(_MAX_BODY_BYTES)  # a server may not like to be cut off
        self._judge(response.status, response.headers["Retry-After"], notification)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _request(self, notification: Notification) -> urllib.request.Request:
        body = notification.to_json().encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"otic/{__version__}",
            "webhook-id": quote(notification.id, safe="/:", errors="replace").replace(".", "%2E"),
            "webhook-timestamp": str(int(time.time())),
        }
        if self._key:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
            digest = hmac.new(self._key, signed, hashlib.sha256).digest()
            headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
        return urllib.request.Request(self._url, data=body, headers=headers, method="POST")

    def _judge(self, status: int, retry_after: str | None, notification: Notification) -> None:
        if 200 <= status < 300:
            return
        # The standard's phrase: the server's own, and its body, may repeat our address.
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "?"
        what = f"{self._where} answered {status} {phrase}"
        if 300 <= status < 400:
            raise DeliveryError(f"{what}, and redirects are not followed: correct webhook.url")
        if status in _TO_BE_CORRECTED:
            raise DeliveryError(f"{what}: correct webhook.url, webhook.secret or the server")
        if 400 <= status < 500 and status not in _TRY_LATER:
            raise RefusedError(f"{what} to {notification.id}")
        pause = _retry_after(retry_after)
        self._not_before = time.monotonic() + pause
        raise DeliveryError(what + (f", and asked to wait {pause:.0f} s" if pause else ""))


class _Deadline:
    """Shuts the connection when the time is over.

    No timeout of a socket limits a server that answers with a byte a second. A name server
    that does not answer is waited for all the same.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._seconds = seconds
        self._at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def __enter__(self) -> _Deadline:
        self._timer = self._started()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def shorten(self, seconds: float) -> None:
        """Let it be over after ``seconds``, where that is sooner."""
        self._timer.cancel()
        self._at = min(self._at, time.monotonic() + seconds)
        self._timer = self._started()

    def connect(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """Connect to the first address of a host that answers, each of them in half the time."""
        last: OSError = TimeoutError()
        for *_kind, found in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            left = self._at - time.monotonic()
            if left <= 0.0:
                break
            try:
                connected = socket.create_connection((str(found[0]), int(found[1])), left / 2)
            except OSError as error:
                last = error
                continue
            connected.settimeout(None)
            with self._lock:
                self._connection = connected.dup()  # TLS takes the socket itself away
            if self.is_over:
                self._end()
            return connected
        raise last

    def _started(self) -> threading.Timer:
        timer = threading.Timer(max(0.0, self._at - time.monotonic()), self._end)
        timer.daemon = True
        timer.start()
        return timer

    def _end(self) -> None:
        self.is_over = True
        with self._lock, contextlib.suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)


class _Handler(urllib.request.AbstractHTTPHandler):
    """Opens connections with a deadline."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, deadline: _Deadline, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._deadline = deadline
        self._tls = tls

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection(http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection(http.client.HTTPSConnection, context=self._tls), req)

    def _connection(self, kind: Any, **more: Any) -> Any:
        def make(host: str, /, **options: Any) -> Any:
            connection = kind(host, **options, **more)
            connection._create_connection = self._deadline.connect
            return connection

        return make


def _opener(deadline: _Deadline, tls: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Proxies of the environment, http and https: no redirects, nothing else."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(_Handler(deadline, tls))
    return opener


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
        what = (isinstance(error, OSError) and error.strerror) or error
        raise ParameterError(
            f"webhook.ca_file {ca_file!r}: {what}: name a file of PEM certificates"
        ) from error


def _retry_after(value: str | None) -> float:
    """Return the seconds of either form of the header; 0 if there is none that can be read."""
    text = value or ""
    try:
        if text.isdecimal():
            seconds = float(text[:20])
        else:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_SECONDS)


def _key(secret: str) -> bytes:
    """Return the key of a secret: of ``whsec_…`` what it encodes, else the text itself.

    The source is https://www.standardwebhooks.com, whose headers these are.
    """
    text = secret.removeprefix(_ENCODED)
    if text == secret:
        return secret.encode("utf-8", "surrogateescape")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ParameterError(
            f"webhook.secret begins with {_ENCODED}, and what follows is not base64: copy it whole"
        )
    return key
