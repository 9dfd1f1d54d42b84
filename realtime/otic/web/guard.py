"""Who may see the page: a token, and no other page's scripts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
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
"""Of every answer: nothing from elsewhere is loaded, and nobody else shows this."""

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN = frozenset({"/page.css", "/icon.svg"})  # what the page that asks for the token needs
_COOKIE_DAYS = 180
_PENALTY_SECONDS = 0.5
_MOST_FORM_BYTES = 4096
_FORM_SECONDS = 5.0
_UNKEPT = {"Cache-Control": "no-store"}


class Guard:
    """Lets pass who may; the rest is refused before the application sees it.

    Without a token only this machine is answered, and a name that is not its own is refused:
    another page could have its own name mean 127.0.0.1 (DNS rebinding). With a token a name is
    no matter, for a cookie belongs to one. What opens a WebSocket or changes something must
    come from this page itself. Who does not know the token has one request to a connection:
    else a stranger could hold as many as there may be.

    Parameters
    ----------
    app : ASGIApp
    token : str
        Empty for none.
    host : str
        That ``web.listen`` names; a right one, too.
    login : bytes
        The page that asks for the token.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, login: bytes) -> None:
        self._app = app
        self._token = token
        self._hosts = _HERE | {host.lower()}
        self._login = login
        # Not the token itself: who sees the cookie can't give the address to others.
        self._cookie = hmac.new(token.encode(), b"otic page", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        known = not self._token or self._knows(headers)
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
        """What to answer in the application's place; None where it may answer."""
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and not _of_this_page(headers):
            return PlainTextResponse("this is not the page's own request\n", 403)
        if not self._token:
            if _host_name(headers.get("host", "")) in self._hosts:
                return None
            return PlainTextResponse(
                "the page is only for this machine: open it by the address that otic told, "
                "or set a token\n",
                403,
            )
        if known:
            # Whoever brings the token again is here already; the address bar shall not keep it.
            return RedirectResponse("./", 303, _UNKEPT) if _brings_token(scope) else None
        if scope["path"] in _OPEN:
            return None
        if scope["type"] == "websocket":
            return PlainTextResponse("", 401)
        return await self._answer_stranger(scope, headers, receive)

    async def _answer_stranger(
        self, scope: Scope, headers: Mapping[str, str], receive: Receive
    ) -> Response:
        """Let who brings the token in, and ask the others for it."""
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
        # Without a referrer, browsers would not say either which page a form is from.
        own = {**_UNKEPT, "Referrer-Policy": "same-origin"}
        return Response(self._login, 401, own, "text/html")

    def _admit(self, headers: Mapping[str, str]) -> Response:
        # So that the address bar, and with it the history, has no token.
        answer = RedirectResponse("./", 303, _UNKEPT)
        answer.set_cookie(
            _cookie_name(headers),
            self._cookie,
            max_age=_COOKIE_DAYS * 86400,
            httponly=True,
            samesite="lax",  # "strict" would ask again whoever follows a link to the page
            secure=headers.get("x-forwarded-proto") == "https",
        )
        return answer

    def _knows(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # A header's bytes are given as Latin-1, whatever they were.
        sent = given.strip().encode("latin-1").decode(errors="replace")
        if scheme.lower() == "bearer" and _same(sent, self._token):
            return True
        # Not http.cookies: that reads none where another program of this host has an odd one.
        cookies = cookie_parser(headers.get("cookie", ""))
        return _same(cookies.get(_cookie_name(headers), ""), self._cookie)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _brings_token(scope: Scope) -> bool:
    """Whether it is the login form, or the address that was told at the start."""
    if scope["path"] != "/":
        return False
    return scope.get("method") == "POST" or "token" in _fields(scope["query_string"])


def _fields(form: bytes) -> dict[str, list[str]]:
    return parse_qs(form.decode("latin-1"))


def _cookie_name(headers: Mapping[str, str]) -> str:
    """One for each port: browsers send a host's cookies to all of its ports."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"otic_{port}" if port.isdigit() else "otic"


def _host_name(host: str) -> str:
    """A Host header's name or address, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _of_this_page(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that a page from here asks; others can't have it say so."""
    try:
        origin = urlsplit(headers.get("origin", ""))
    except ValueError:
        return False
    host = headers.get("host", "")
    return origin.scheme in ("http", "https") and bool(host) and origin.netloc == host


async def _body(receive: Receive) -> bytes:
    """A form that was sent; no more of it than a token needs."""
    body = b""
    async with asyncio.timeout(_FORM_SECONDS):
        while len(body) <= _MOST_FORM_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
    return body[:_MOST_FORM_BYTES]
