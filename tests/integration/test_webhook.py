"""Events as HTTP requests, against real servers that behave badly."""

from __future__ import annotations

import contextlib
import email.utils
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from otic.config.secrets import read_secret
from otic.errors import ParameterError
from otic.sinks.delivery.notification import DeliveryError, Notification, Receiver, RefusedError
from otic.sinks.delivery.queue import DeliveryQueue
from otic.sinks.delivery.worker import DeliveryWorker
from otic.sinks.receivers.webhook import Section as WebhookSection
from otic.sinks.receivers.webhook_client import WebhookReceiver
from tests.conftest import ROOT

NOTICE = Notification(
    event="3f2a-17",
    state="off",
    sensor="yard",
    source="mic",
    label="Glasbruch – laut",
    onset=1.25,
    time=4.75,
    onset_at="2026-01-01T12:00:01.250Z",
    at="2026-01-01T12:00:04.750Z",
    offset=4.5,
    offset_at="2026-01-01T12:00:04.500Z",
    peak=0.97,
)
SLACK = 8.0  # seconds by which a slow machine may be late

Handler = http.server.BaseHTTPRequestHandler


class Hook(http.server.ThreadingHTTPServer):
    """A web server that keeps what it is sent and answers as told."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _HookHandler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answer: Callable[[Handler], None] = answering(204)
        self.done = threading.Event()  # ends what stalls
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/T0KEN?key=T0KEN"

    def end(self) -> None:
        self.done.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that went away


class _HookHandler(Handler):
    server: Hook

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers, body))
        self.server.answer(self)

    def do_CONNECT(self) -> None:  # noqa: N802
        """As a proxy: pass everything on, in both directions."""
        self.server.requests.append((self.path, {}, b""))
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=pass_on, args=(there, self.connection), daemon=True)
            back.start()
            pass_on(self.connection, there)
            back.join(5.0)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def answering(status: int, **headers: str) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(status, "T0KEN")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if status != 204:
            handler.wfile.write(b"the address was /hook/T0KEN")

    return answer


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.end()


def receiver(url: str, **settings: Any) -> WebhookReceiver:
    made: Receiver = WebhookReceiver(
        WebhookSection(url=url, **{"timeout_seconds": 10.0, **settings})
    )
    made.open()
    assert isinstance(made, WebhookReceiver)
    return made


def failure(made: WebhookReceiver, notification: Notification = NOTICE) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        made.deliver(notification)
    made.close()
    text = str(raised.value)
    assert "T0KEN" not in text
    assert "\n" not in text
    return raised.value


def no_thread_is_left() -> bool:
    until = time.monotonic() + SLACK
    while any(isinstance(thread, threading.Timer) for thread in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_a_notice_is_posted_as_json(hook: Hook) -> None:
    receiver(hook.url).deliver(NOTICE)
    [(path, headers, body)] = hook.requests
    assert path == "/hook/T0KEN?key=T0KEN"
    assert json.loads(body) == NOTICE.to_dict()
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("otic/")
    assert headers["webhook-id"] == "3f2a-17/off"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60.0
    assert "webhook-signature" not in headers
    assert no_thread_is_left()


SECRETS = [
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("whsec_c2NobMO8c3NlbA", b"schl\xc3\xbcssel"),  # its padding was not copied
    ("schlüssel", "schlüssel".encode()),
]


@pytest.mark.parametrize(("secret", "key"), SECRETS)
def test_another_library_verifies_the_signature(hook: Hook, secret: str, key: str | bytes) -> None:
    receiver(hook.url, secret=secret).deliver(NOTICE)
    [(_, headers, body)] = hook.requests
    assert Webhook(key).verify(body, headers) == NOTICE.to_dict()
    for strange in (Webhook(b"another"), Webhook("whsec_" + "A" * 32)):
        with pytest.raises(WebhookVerificationError):
            strange.verify(body, headers)
    for changed in ({"webhook-id": "3f2a-17/on"}, {"webhook-timestamp": str(int(time.time()) + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, headers | changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body + b" ", headers)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_über", "whsec_a b"])
def test_a_secret_that_was_not_copied_whole(secret: str) -> None:
    with pytest.raises(ParameterError, match="what follows is not base64: copy it whole") as caught:
        receiver("http://127.0.0.1:9/", secret=secret)
    assert secret[6:] not in str(caught.value) or secret == "whsec_"


def test_the_signature_verifies_as_the_documentation_says(hook: Hook) -> None:
    example: dict[str, Any] = {"__name__": "example"}
    [code] = [c for c in python_examples() if "def verify" in c]
    exec(compile(code, "docs/receivers.md", "exec"), example)
    verify = example["verify"]
    for secret, _ in SECRETS:
        hook.requests.clear()
        receiver(hook.url, secret=secret).deliver(NOTICE)
        [(_, headers, body)] = hook.requests
        stamp, signature = headers["webhook-timestamp"], headers["webhook-signature"]
        assert verify(secret, headers, body)
        assert verify(secret, headers | {"webhook-signature": f"v1,eA== {signature}"}, body)
        assert not verify("another", headers, body)
        assert not verify(secret, headers, body + b" ")
        for changed in (
            {"webhook-timestamp": str(int(stamp) + 1)},
            {"webhook-timestamp": "soon"},
            {"webhook-signature": ""},
            {"webhook-id": "3f2a-17/on"},
        ):
            assert not verify(secret, headers | changed, body)
        assert not verify(secret, headers, body, now=time.time() + 3600.0)


def test_the_documented_server_takes_what_otic_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    example: dict[str, Any] = {"__name__": "example"}
    [code] = [c for c in python_examples() if "def verify" in c]
    exec(compile(code, "docs/receivers.md", "exec"), example)
    example["Hook"].log_message = lambda *_: None
    server = http.server.HTTPServer(("127.0.0.1", 0), example["Hook"])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        good = receiver(url, secret="s3cret")
        good.deliver(NOTICE)
        good.deliver(NOTICE)  # a double is answered in the same way
        assert len(example["seen"]) == 1
        assert type(failure(receiver(url, secret="guess"))) is DeliveryError
        assert type(failure(receiver(url))) is DeliveryError
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def python_examples() -> list[str]:
    page = (ROOT / "docs" / "receivers.md").read_text(encoding="utf-8")
    return [part.split("```")[0] for part in page.split("```python\n")[1:]]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_taken(hook: Hook, status: int) -> None:
    hook.answer = answering(status)
    receiver(hook.url).deliver(NOTICE)


@pytest.mark.parametrize(
    "status", [302, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504, 599]
)
def test_what_may_be_mended_is_tried_again(hook: Hook, status: int) -> None:
    hook.answer = answering(status, Location=f"http://127.0.0.1:{hook.port}/elsewhere")
    error = failure(receiver(hook.url))
    assert type(error) is DeliveryError
    assert str(status) in str(error)
    assert len(hook.requests) == 1  # no redirect is followed


@pytest.mark.parametrize("status", [400, 409, 410, 413, 415, 422, 499])
def test_what_the_server_will_never_take_is_refused(hook: Hook, status: int) -> None:
    hook.answer = answering(status)
    error = failure(receiver(hook.url))
    assert type(error) is RefusedError
    assert "3f2a-17/off" in str(error)


def test_a_server_that_asks_for_time_gets_it(hook: Hook) -> None:
    hook.answer = answering(429, Retry_After="1")
    made = receiver(hook.url)
    assert "wait 1 s" in str(failure(made))
    hook.answer = answering(200)
    assert "wait" in str(failure(made))
    assert len(hook.requests) == 1
    time.sleep(1.05)
    made.deliver(NOTICE)
    assert len(hook.requests) == 2


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("86400", "300"),
        ("9" * 400, "300"),
        (email.utils.formatdate(4e9, usegmt=True), "300"),
        (email.utils.formatdate(1e9, usegmt=True), None),
        ("tomorrow", None),
        ("-5", None),
        ("0", None),
    ],
)
def test_how_long_it_may_ask_for(hook: Hook, value: str, seconds: str | None) -> None:
    hook.answer = answering(503, Retry_After=value)
    made = receiver(hook.url)
    text = str(failure(made))
    assert (f"wait {seconds} s" in text) if seconds else ("wait" not in text)


def stalling(handler: Handler) -> None:
    assert isinstance(handler.server, Hook)
    handler.server.done.wait(60.0)


def dribbling(before: bytes) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        assert isinstance(handler.server, Hook)
        handler.wfile.write(before)
        while not handler.server.done.wait(0.05):
            handler.wfile.write(b"a")
            handler.wfile.flush()

    return answer


@pytest.mark.parametrize(
    "answer",
    [stalling, dribbling(b""), dribbling(b"HTTP/1.1 200 O"), dribbling(b"HTTP/1.1 200 OK\r\nX: ")],
    ids=["stalls", "dribbles from the start", "dribbles the status", "dribbles the headers"],
)
def test_a_slow_server_is_given_up_in_time(hook: Hook, answer: Callable[[Handler], None]) -> None:
    hook.answer = answer
    made = receiver(hook.url, timeout_seconds=0.6)
    begin = time.monotonic()
    error = failure(made)
    assert 0.5 < time.monotonic() - begin < 0.6 + SLACK
    assert type(error) is DeliveryError
    assert "no answer within 0.6 s" in str(error)
    assert no_thread_is_left()
    hook.answer = answering(200)
    made._timeout = 10.0
    made.deliver(NOTICE)


def test_a_slow_server_with_tls_leaves_no_thread(secure_hook: Hook, certificates: Path) -> None:
    secure_hook.answer = stalling
    url = f"https://127.0.0.1:{secure_hook.port}/T0KEN"
    made = receiver(url, timeout_seconds=3.0, ca_file=str(certificates / "ca.pem"))
    assert "no answer within 3 s" in str(failure(made))
    assert no_thread_is_left()


@pytest.mark.parametrize("kind", ["dribbles", "endless"])
def test_a_body_without_end_changes_nothing(hook: Hook, kind: str) -> None:
    def endless(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:  # until the connection is closed
            handler.wfile.write(b"a" * 65536)

    hook.answer = endless if kind == "endless" else dribbling(b"HTTP/1.1 200 OK\r\n\r\n")
    made = receiver(hook.url)
    begin = time.monotonic()
    made.deliver(NOTICE)
    assert time.monotonic() - begin < 1.0 + SLACK
    assert no_thread_is_left()


def closing(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def babbling(handler: Handler) -> None:
    handler.wfile.write(b"\x1b[2J\xff\x00 what?\r\n\r\n")


@pytest.mark.parametrize("answer", [closing, babbling])
def test_a_broken_answer_is_tried_again(hook: Hook, answer: Callable[[Handler], None]) -> None:
    hook.answer = answer
    error = failure(receiver(hook.url))
    assert type(error) is DeliveryError
    assert str(error).isprintable()


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        error = failure(receiver(f"http://127.0.0.1:{taken.getsockname()[1]}/T0KEN"))
    assert type(error) is DeliveryError
    assert "nothing listens on this port" in str(error)


def test_a_dead_name_server_holds_up_only_its_worker(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    look_up = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        answers.wait(60.0)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    queue = DeliveryQueue(None, ["webhook"], 10)
    made = receiver(hook.url, timeout_seconds=0.3)
    worker = DeliveryWorker(made, queue)
    worker.start()
    for _ in range(3):
        queue.append(NOTICE)
        time.sleep(0.2)
    assert not worker.stop(0.3)
    assert queue.waiting("webhook") == 3
    answers.set()
    assert worker.join(SLACK)
    assert "no answer within 0.3 s" in str(worker.status().last_error)
    assert no_thread_is_left()
    assert not hook.requests  # what was given up is not sent any more
    made._timeout = 10.0
    made.deliver(NOTICE)
    assert len(hook.requests) == 1


def test_a_host_of_many_dead_addresses_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up = socket.getaddrinfo

    def many(host: str, *args: Any, **options: Any) -> Any:
        found = look_up("127.0.0.1" if host == "many.example" else host, *args, **options)
        return found * 20 if host == "many.example" else found

    def dead(address: tuple[str, int], timeout: float) -> socket.socket:
        time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "getaddrinfo", many)
    monkeypatch.setattr(socket, "create_connection", dead)
    begin = time.monotonic()
    assert "no answer" in str(failure(receiver("http://many.example/", timeout_seconds=0.5)))
    assert time.monotonic() - begin < 0.5 + SLACK


def test_proxies_of_the_environment_are_used(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{hook.port}")
    receiver("http://events.invalid/here").deliver(NOTICE)
    assert [path for path, _, _ in hook.requests] == ["http://events.invalid/here"]


def test_text_that_is_not_unicode_is_told_nevertheless(hook: Hook) -> None:
    odd = Notification(**{**NOTICE.__dict__, "source": "a\udcff", "event": "é\r\nX-Evil: 1"})
    receiver(hook.url).deliver(odd)
    [(_, headers, body)] = hook.requests
    assert json.loads(body)["source"] == "a\ufffd"
    assert "x-evil" not in headers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, and a server's certificate for 127.0.0.1 only."""
    folder = tmp_path_factory.mktemp("tls")

    def make(name: str, *options: str) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        names = ("-subj", f"/CN=otic test {name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        arguments = ("openssl", "req", "-x509", *key, *names, "-days", "2", *options)
        subprocess.run(arguments, cwd=folder, check=True, capture_output=True)

    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    usage = "keyUsage=critical,keyCertSign,cRLSign"  # Python 3.13 insists on it
    make("ca", "-addext", usage)
    make("other", "-addext", usage)
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE")
    make("server", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    return folder


@pytest.fixture
def secure_hook(certificates: Path) -> Iterator[Hook]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    server = Hook(tls)
    yield server
    server.end()


def test_tls_is_verified(secure_hook: Hook, certificates: Path) -> None:
    url = f"https://127.0.0.1:{secure_hook.port}/T0KEN"
    ca_file = str(certificates / "ca.pem")
    receiver(url, ca_file=ca_file).deliver(NOTICE)
    assert len(secure_hook.requests) == 1
    for wrong in (
        receiver(url),
        receiver(url, ca_file=str(certificates / "other.pem")),
        receiver(url.replace("127.0.0.1", "localhost"), ca_file=ca_file),
        receiver(url.replace("https", "http")),
    ):
        error = failure(wrong)
        assert type(error) is DeliveryError
        if "https" in str(error):
            assert "not trusted" in str(error)
            assert "webhook.ca_file" in str(error)
    assert len(secure_hook.requests) == 1


def test_tls_is_verified_through_a_proxy(
    hook: Hook, secure_hook: Hook, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{hook.port}")
    url = f"https://127.0.0.1:{secure_hook.port}/T0KEN"
    receiver(url, ca_file=str(certificates / "ca.pem")).deliver(NOTICE)
    assert "not trusted" in str(failure(receiver(url)))
    assert [path for path, _, _ in hook.requests] == [f"127.0.0.1:{secure_hook.port}"] * 2
    assert len(secure_hook.requests) == 1


def test_a_stalled_handshake_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        made = receiver(f"https://127.0.0.1:{silent.getsockname()[1]}/", timeout_seconds=0.6)
        begin = time.monotonic()
        assert type(failure(made)) is DeliveryError
        assert time.monotonic() - begin < 0.6 + SLACK
    assert no_thread_is_left()


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://[::1/",
        "http://user:hunter2@example.org/",
        "http://user@example.org/",
        "http://exa mple.org/",
        "http://example.org/a\r\nX: 1",
        "http://bücher.example/",
        "http://a%2fhunter2/",
    ],
)
def test_an_address_that_is_none_is_said_at_once(url: str | None) -> None:
    with pytest.raises(ParameterError, match=r"^webhook\.url ") as raised:
        WebhookReceiver(WebhookSection(url=url))
    assert "hunter2" not in str(raised.value)


def test_an_address_may_be_of_either_kind() -> None:
    for url in ("http://[::1]:8080/x", "https://example.org", "HTTPS://EXAMPLE.org:8443/a?b=c"):
        WebhookReceiver(WebhookSection(url=url))


def test_certificates_that_are_none_are_said_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for path in (bad, tmp_path / "missing.pem"):
        with pytest.raises(ParameterError, match=r"webhook\.ca_file"):
            WebhookReceiver(WebhookSection(url="https://example.org/", ca_file=str(path)))


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" s3cret \r\n")
    assert read_secret(None, None, "webhook.secret") == ""
    assert read_secret("env", str(file), "webhook.secret") == "env"
    assert read_secret(None, str(file), "webhook.secret") == " s3cret "
    for content, complaint in (
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cret\xff", "UTF-8"),
        (b"s3cret" * 20000, "longer"),
    ):
        file.write_bytes(content)
        with pytest.raises(ParameterError, match=complaint) as raised:
            read_secret(None, str(file), "webhook.secret")
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert "webhook.secret_file" in str(raised.value)
        assert repr(str(file)) in str(raised.value)
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ParameterError, match=r"webhook\.secret_file"):
            read_secret(None, str(path), "webhook.secret")
    with pytest.raises(ParameterError, match="OTIC_WEBHOOK_SECRET"):
        read_secret("", None, "webhook.secret")
