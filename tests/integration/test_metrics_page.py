"""The page for Prometheus: scraped for real, and read with Prometheus' own parser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from otic import __version__
from otic.errors import ParameterError, RuntimeMissingError, SinkError
from otic.sinks import metrics
from otic.sinks.clip_writer import ClipStatus
from otic.sinks.delivery.worker import DeliveryStatus
from otic.sinks.metrics import MetricsServer
from otic.sinks.metrics_page import Collector
from otic.system.network import host_and_port
from otic.types import StreamStatus
from tests.conftest import ROOT

LISTENING = StreamStatus(
    seconds=12.5,
    level_dbfs=-42.0,
    peak_dbfs=-30.0,
    clipped=False,
    scores={"dog": 0.75, "rain": 0.25},
    active=frozenset(),
    events=(),
    n_scores=40,
    real_time_factor=100.0,
    inference_p50_ms=0.5,
    inference_p99_ms=2.0,
    queue_fill=0.125,
    lost_samples=441,
    lost_seconds=0.02,
    lost_at=None,
    skipped_samples=0,
    state="listening",
    overruns=2,
    reopenings=1,
    event_counts={"dog": 3, "unknown": 1},
)
DELIVERING = DeliveryStatus("mqtt", True, 7, 1, 2, 4, 5, None)

NOTHING = Collector(dict, list, "esc10")


@contextmanager
def serving(
    health: Callable[[], Mapping[str, StreamStatus]] = lambda: {"mic": LISTENING},
    workers: Callable[[], list[DeliveryStatus]] = lambda: [DELIVERING],
    listen: str = "0",
) -> Iterator[MetricsServer]:
    server = MetricsServer(listen, Collector(health, workers, "esc10"))
    try:
        yield server
    finally:
        server.close()


def get(server: MetricsServer, path: str = "/metrics") -> bytes:
    host, port = server.address
    host = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=20.0) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: bytes = answer.read()
        return text


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(server: MetricsServer) -> tuple[Samples, dict[str, str]]:
    samples, types = {}, {}
    for family in text_string_to_metric_families(get(server).decode()):
        types[family.name] = family.type
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples, types


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def test_a_scrape() -> None:
    health = {"mic": LISTENING, 'yard "2"\n': replace(LISTENING, state="waiting", overruns=0)}
    with serving(lambda: health) as server:
        samples, types = scrape(server)
    for name, expected in {
        "otic_up": 1.0,
        "otic_audio_seconds_total": 12.5,
        "otic_lost_samples_total": 441.0,
        "otic_overruns_total": 2.0,
        "otic_reopenings_total": 1.0,
        "otic_level_dbfs": -42.0,
        "otic_queue_fill_ratio": 0.125,
        "otic_inferences_total": 40.0,
    }.items():
        assert value(samples, name, source="mic") == expected, name
    assert value(samples, "otic_inference_seconds", source="mic", quantile="0.5") == 0.0005
    assert value(samples, "otic_inference_seconds", source="mic", quantile="0.99") == 0.002
    assert value(samples, "otic_score", source="mic", label="dog") == 0.75
    assert value(samples, "otic_events_total", source="mic", label="dog") == 3.0
    assert value(samples, "otic_events_total", source="mic", label="rain") == 0.0
    assert value(samples, "otic_events_total", source="mic", label="unknown") == 1.0
    for state in ("listening", "waiting", "silent"):
        expected = float(state == "waiting")
        found = value(samples, "otic_source_state", source='yard "2"', state=state)
        assert found == expected
    assert value(samples, "otic_up", source='yard "2"') == 0.0
    for name, expected in {
        "otic_receiver_connected": 1.0,
        "otic_receiver_delivered_total": 7.0,
        "otic_receiver_refused_total": 1.0,
        "otic_receiver_dropped_total": 2.0,
        "otic_receiver_retries_total": 5.0,
        "otic_receiver_waiting": 4.0,
    }.items():
        assert value(samples, name, receiver="mqtt") == expected, name
    assert value(samples, "otic_build_info", version=__version__, model="esc10") == 1.0
    assert value(samples, "process_cpu_seconds_total") > 0.0
    assert value(samples, "process_resident_memory_bytes") > 1e6
    # Prometheus' conventions: counters end in _total, which the parser takes off.
    for name, kind in types.items():
        counts = (f"{name}_total", frozenset()) in samples or any(
            n == f"{name}_total" for n, _ in samples
        )
        assert (kind == "counter") == counts, name


def test_names_that_are_not_utf_8_and_nothing_to_show() -> None:
    odd = {os.fsdecode(b"stra\xdfe"): replace(LISTENING, scores={"\ud800": 1.0})}
    with serving(lambda: odd, list) as server:
        samples, _ = scrape(server)
    assert value(samples, "otic_up", source="stra�e") == 1.0
    with serving(dict, list) as server:
        samples, _ = scrape(server)
    assert not any(name == "otic_up" for name, _ in samples)


def test_figures_are_of_the_moment() -> None:
    seconds = 0.0
    with serving(lambda: {"mic": replace(LISTENING, seconds=seconds)}) as server:
        assert value(scrape(server)[0], "otic_audio_seconds_total", source="mic") == 0.0
        seconds = 5.0
        time.sleep(0.3)
        assert value(scrape(server)[0], "otic_audio_seconds_total", source="mic") == 5.0


def test_recordings_and_the_log() -> None:
    status = ClipStatus(written=5, deleted=2, dropped=1, failed=3)
    collector = Collector(dict, list, "esc10", lambda: status, lambda: 7)
    server = MetricsServer("0", collector)
    samples, types = scrape(server)
    server.close()
    for result, expected in {"written": 5.0, "dropped": 1.0, "failed": 3.0, "deleted": 2.0}.items():
        assert value(samples, "otic_recordings_total", result=result) == expected
    assert value(samples, "otic_log_lines_dropped_total") == 7.0
    assert types["otic_recordings"] == types["otic_log_lines_dropped"] == "counter"


def test_clients_that_drip_keep_nobody_out_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_CONNECTION_SECONDS", 1.0)
    with serving() as server:
        clients = [socket.create_connection(server.address) for _ in range(32)]
        for client in clients:
            client.sendall(b"GET /metrics HTTP/1.0\r\n")
        deadline = time.monotonic() + 20.0
        while True:
            for client in clients:
                with suppress(OSError):
                    client.sendall(b"X: y\r\n")
            try:
                assert b"otic_up" in get(server)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        for client in clients:
            client.close()


def test_twenty_at_once_cost_as_much_as_one() -> None:
    asked = 0

    def health() -> Mapping[str, StreamStatus]:
        nonlocal asked
        asked += 1
        return {"mic": LISTENING}

    with serving(health) as server, ThreadPoolExecutor(20) as pool:
        begin = time.monotonic()
        pages = list(pool.map(lambda _: get(server), range(20)))
        took = time.monotonic() - begin
    assert all(b'otic_up{source="mic"} 1.0' in page for page in pages)
    assert asked <= 1 + took / 0.2


def test_clients_that_stall_are_limited_and_others_are_answered() -> None:
    others = set(threading.enumerate())

    def n_answering() -> int:
        new = set(threading.enumerate()) - others
        return sum("process_request_thread" in thread.name for thread in new)

    with serving() as server:
        stalled = [socket.create_connection(server.address) for _ in range(20)]
        for client in stalled[:10]:
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert b"otic_up" in get(server)
        many = [socket.create_connection(server.address) for _ in range(40)]
        deadline = time.monotonic() + 10.0
        while True:
            if n_answering() > 32:
                time.sleep(0.5)  # one that has answered may not have ended yet
                assert n_answering() <= 32
            if n_answering() == 32:
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for client in (*stalled, *many):
            client.close()
        deadline = time.monotonic() + 10.0
        while True:  # whoever goes makes room
            try:
                assert b"otic_up" in get(server)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_only_this_machine_is_answered_unless_asked() -> None:
    with serving() as server:
        assert server.address[0] == "127.0.0.1"
    with serving(listen="0.0.0.0:0") as server:
        assert server.address[0] == "0.0.0.0"


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with serving(listen="[::1]:0") as server:
        assert b"otic_up" in get(server)


def test_other_paths_and_failures(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> Mapping[str, StreamStatus]:
        raise ValueError("no")

    with serving(broken) as server:
        for path, code in (("/", 404), ("/metrics", 500)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                get(server, path)
            assert caught.value.code == code
            caught.value.close()
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.address[1]}/metrics", data=b"x", method="POST"
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20.0)
        assert caught.value.code == 501
        caught.value.close()
    assert capfd.readouterr() == ("", "")


def n_open_files() -> int:
    """0 where that can't be counted."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else 0


def test_it_stops_at_once_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_STOP_SECONDS", 60.0)
    files = n_open_files()
    server = MetricsServer("0", NOTHING)
    get(server)
    stalled = socket.create_connection(server.address)
    begin = time.monotonic()
    server.close()
    assert (
        time.monotonic() - begin < 0.8 * metrics._CONNECTION_SECONDS
    )  # nor are clients waited for
    server.close()  # again does nothing
    assert not [t for t in threading.enumerate() if t.name == "otic metrics"]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(server.address)
    assert n_open_files() <= files + 2  # both ends of the one that stalls
    stalled.close()


def test_a_busy_port() -> None:
    with serving() as server:
        port = server.address[1]
        with pytest.raises(SinkError, match=rf"can't serve metrics on {port}: Address already"):
            MetricsServer(str(port), NOTHING)


@pytest.mark.parametrize("listen", ["203.0.113.1:9400", "[::x]:1"])
def test_an_address_of_somebody_else(listen: str) -> None:
    with pytest.raises(SinkError, match="can't serve metrics on") as caught:
        MetricsServer(listen, NOTHING)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("9400", ("127.0.0.1", 9400)),
        ("0.0.0.0:9400", ("0.0.0.0", 9400)),
        ("[::1]:9400", ("::1", 9400)),
        ("[::]:0", ("::", 0)),
        ("localhost:65535", ("localhost", 65535)),
        (" pi.local:1 ", ("pi.local", 1)),
    ],
)
def test_addresses(listen: str, expected: tuple[str, int]) -> None:
    assert host_and_port(listen, "metrics.listen") == expected


@pytest.mark.parametrize(
    "listen", ["", ":9400", "65536", "::1:9400", "host", "host:", "-1", "1.5", "a b:1", "9400\n1"]
)
def test_what_is_no_address(listen: str) -> None:
    with pytest.raises(ParameterError, match=r"metrics\.listen=.* must be PORT or HOST:PORT"):
        host_and_port(listen, "metrics.listen")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'otic\[metrics\]'"):
        MetricsServer("0", NOTHING)


def test_importing_the_module_is_light() -> None:
    code = "import sys, otic.sinks.metrics; print('prometheus_client' in sys.modules)"
    done: Any = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
