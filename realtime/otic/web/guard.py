"""Access to the page: a token, and no scripts of other pages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer: no outside content is loaded, and no other site embeds the page."""

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN = frozenset({"/page.css", "/icon.svg"})  # needed by the login page
# Nothing more lenient: urlsplit() reads "[::1].evil" and "evil@localhost" as names of this machine.
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*))(?::[0-9]*)?")
_COOKIE_DAYS = 180
_PENALTY_SECONDS = 0.5
_MOST_FORM_BYTES = 4096
_FORM_SECONDS = 5.0
_UNKEPT = {"Cache-Control": "no-store"}


class Guard:
    """Lets permitted requests through and refuses all others before the application.

    Without a token only this machine is answered, and an unknown host name is refused: another
    site could make its name resolve to 127.0.0.1 (DNS rebinding). With a token the name does not
    matter, because a cookie belongs to one name. A WebSocket or a change must come from this page
    itself. A client that does not know the token has one request per connection, so that a
    stranger can't hold all connections.

    Parameters
    ----------
    app : ASGIApp
    token : str
        Empty for none.
    host : str
        The host that ``web.listen`` names; accepted as well.
    login : bytes
        The page that asks for the token.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, login: bytes) -> None:
        self._app = app
        self._token = token
        self._hosts = _HERE | {host.lower()}
        self._login = login
        # A digest instead of the token: a stolen cookie does not reveal the token.
        self._cookie = hmac.new(token.encode(), b"otic page", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        credentials = self._credentials(headers) if self._token else [True]
        known = any(credentials)
        if credentials and not known:  # whatever is asked for: any answer would tell
            await asyncio.sleep(_PENALTY_SECONDS)
        refusal = await self._refusal(scope, headers, receive, known)
        if scope["type"] == "websocket":
            if refusal is not None:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                if not known:
                    answered["Connection"] = "close"
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _refusal(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive, known: bool
    ) -> Response | None:
        """Return the answer to a request that is refused; None if the application may answer."""
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and not _of_this_page(headers):
            return PlainTextResponse("this is not the page's own request\n", 403)
        if not self._token:
            if _host_name(headers.get("host", "")) in self._hosts:
                return None
            return PlainTextResponse(
                "the page is only for this machine: open it at the address that otic printed, "
                "or set a token\n",
                403,
            )
        if known:
            # This client is known already; redirect it to remove the token from the address bar.
            return RedirectResponse("./", 303, _UNKEPT) if _brings_token(scope) else None
        if scope["path"] in _OPEN:
            return None
        if scope["type"] == "websocket":
            return PlainTextResponse("", 401)
        return await self._answer_stranger(scope, headers, receive)

    async def _answer_stranger(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive
    ) -> Response:
        """Admit a client that sends the token; ask others for it."""
        if scope["path"] != "/":
            return PlainTextResponse("the token is missing or wrong: open the page again\n", 401)
        fields = scope["query_string"]
        if scope["method"] == "POST":
            try:
                fields = await _body(receive)
            except TimeoutError:
                fields = b""
        given = _fields(fields).get("token", [])
        if given and _same(given[0].strip(), self._token):
            return self._admit(headers)
        if given:
            await asyncio.sleep(_PENALTY_SECONDS)
        # Without a referrer, browsers would also hide which page a form comes from.
        own = {**_UNKEPT, "Referrer-Policy": "same-origin"}
        return Response(self._login, 401, own, "text/html")

    def _admit(self, headers: Mapping[str, str]) -> Response:
        # A redirect keeps the token out of the address bar and the history.
        answer = RedirectResponse("./", 303, _UNKEPT)
        answer.set_cookie(
            _cookie_name(headers),
            self._cookie,
            max_age=_COOKIE_DAYS * 86400,
            httponly=True,
            samesite="lax",  # "strict" would ask again after following a link to the page
            secure=headers.get("x-forwarded-proto") == "https",
        )
        return answer

    def _credentials(self, headers: Mapping[str, str]) -> list[bool]:
        """Return whether each credential in the headers is right; empty without any."""
        found = []
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            # Header bytes arrive decoded as Latin-1, whatever they are.
            sent = given.strip().encode("latin-1").decode(errors="replace")
            found.append(_same(sent, self._token))
        # Not http.cookies: it gives up on all cookies if another program set an odd one.
        cookie = cookie_parser(headers.get("cookie", "")).get(_cookie_name(headers))
        if cookie is not None:
            found.append(_same(cookie, self._cookie))
        return found


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _brings_token(scope: Scope) -> bool:
    """Return whether the request is the login form or the address printed at the start."""
    if scope["path"] != "/":
        return False
    return scope.get("method") == "POST" or "token" in _fields(scope["query_string"])


def _fields(form: bytes) -> dict[str, list[str]]:
    return parse_qs(form.decode("latin-1"))


def _cookie_name(headers: Mapping[str, str]) -> str:
    """Return a cookie name for the port: browsers send cookies to all ports of a host."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"otic_{port}" if port.isdigit() else "otic"


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, without the port; empty if it is malformed."""
    found = _HOST.fullmatch(host)
    return "" if found is None else (found[1] or found[2]).lower()


def _of_this_page(headers: Mapping[str, str]) -> bool:
    """Return whether the request comes from this page, as only the browser can say."""
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    host = headers.get("host", "")
    return origin.scheme in ("http", "https") and bool(host) and origin.netloc == host


async def _body(receive: Receive) -> bytes:
    """Read a form, at most as much of it as a token needs."""
    body = b""
    async with asyncio.timeout(_FORM_SECONDS):
        while len(body) <= _MOST_FORM_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
    return body[:_MOST_FORM_BYTES]
