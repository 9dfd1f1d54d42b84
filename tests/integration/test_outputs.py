from __future__ import annotations

import http.server
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otic.config.settings import (
    ClipsSettings,
    JsonlSettings,
    MetricsSettings,
    Settings,
    SpoolSettings,
)
from otic.model.bundle import Bundle, load_bundle
from otic.sinks import clip_writer
from otic.sinks.open import open_outputs
from otic.sinks.receivers.csv import Section as CsvSection
from otic.sinks.receivers.webhook import Section as WebhookSection
from otic.types import AudioSink, Event, Sink, StreamStart

START = StreamStart("0.1.0", "m", "00", "mic", 22050, 2.0, 0.25, ("dog",))
ON = Event("on", "dog", onset=0.5, time=1.0, score=0.9)
DEAD = {"webhook": WebhookSection(url="http://127.0.0.1:9/")}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("esc10-mfcc-mlp")


@contextmanager
def hook(wait: threading.Event) -> Iterator[str]:
    """A web server that does not answer before it may."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            wait.wait(30.0)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    wait.set()
    server.shutdown()
    server.server_close()


def hear(sinks: list[Sink]) -> None:
    for sink in sinks:
        sink.start(START)
        if isinstance(sink, AudioSink):
            sink.on_chunk(START, np.zeros(44100, np.float32))
        sink.write(START, ON)


def outputs(settings: Settings, bundle: Bundle, patience: float = 0.3, **more: Any) -> Any:
    return open_outputs(settings, bundle, ["mic"], dict, False, False, lambda: patience, **more)


def test_all_that_hangs_ends_at_the_same_time(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(clip_writer, "write_sound", lambda *args: release.wait(30.0))
    with hook(release) as url:
        settings = Settings(
            receivers={"webhook": WebhookSection(url=url)},
            clips=ClipsSettings(directory=str(tmp_path / "clips")),
            metrics=MetricsSettings(listen="0"),
            jsonl=JsonlSettings(path=str(tmp_path / "log.jsonl")),
            spool=SpoolSettings(directory=str(tmp_path)),
        )
        with outputs(settings, bundle, patience=4.0) as opened:
            hear(opened.sinks)
            time.sleep(0.2)
            begin = time.monotonic()
        assert time.monotonic() - begin < 4.0 + 3.5  # one after the other it would be 8 s
        assert opened.undelivered() == 1


def test_a_replay_has_a_spool_of_its_own(tmp_path: Path, bundle: Bundle, said: list[str]) -> None:
    spool = SpoolSettings(directory=str(tmp_path))
    with outputs(Settings(receivers=DEAD, spool=spool), bundle, patience=0.0) as opened:
        hear(opened.sinks)
    assert opened.undelivered() == 1
    assert any("webhook: 1 events were not delivered, they wait in" in line for line in said)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    csv = {"csv": CsvSection(path=str(tmp_path / "events.csv"))}
    with outputs(Settings(receivers=csv, spool=spool), bundle, 20.0, kept=False) as opened:
        hear(opened.sinks)
    assert opened.undelivered() == 0
    assert {path: path.read_bytes() for path in before} == before
    with outputs(Settings(receivers=DEAD), bundle, 0.2, kept=False) as opened:
        hear(opened.sinks)
    assert opened.undelivered() == 1
    assert "webhook: 1 events were not delivered" in said
    # A sensor that does not name the receiver any more says what that costs.
    with outputs(Settings(receivers=csv, spool=spool), bundle, 20.0):
        pass
    assert "webhook is no longer configured: 1 events that waited for it are dropped" in said


def test_the_metrics_know_of_recordings_and_of_the_log(tmp_path: Path, bundle: Bundle) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = Settings(
        clips=ClipsSettings(directory=str(tmp_path / "clips")),
        metrics=MetricsSettings(listen=str(port)),
        jsonl=JsonlSettings(path=str(tmp_path / "log.jsonl")),
    )
    for n_runs in (1, 2):
        with outputs(settings, bundle, permanent=True) as opened:
            hear(opened.sinks)
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20.0).read()
        assert b'otic_recordings_total{result="failed"} 0.0' in page
        assert b"otic_log_lines_dropped_total 0.0" in page
        assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2 * n_runs  # appended to
