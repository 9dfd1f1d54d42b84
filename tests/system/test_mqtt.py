"""The MQTT receiver, with a real broker."""

from __future__ import annotations

import gc
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from otic.errors import OticError, RuntimeMissingError, SinkError
from otic.sinks.delivery.notification import DeliveryError, Notification, Sensor
from otic.sinks.receivers.homeassistant import Topics, discovery_topic
from otic.sinks.receivers.mqtt import Section as MqttSection
from otic.sinks.receivers.mqtt_client import MqttLink
from otic.sinks.receivers.mqtt_receiver import MqttReceiver
from tests.conftest import ROOT
from tests.support import debian, mosquitto
from tests.support.mosquitto import PASSWORD, Broker, Listener

pytestmark = pytest.mark.slow

pytest.importorskip("paho.mqtt.enums")


@dataclass(frozen=True)
class Health:
    seconds: float = 12.5
    level_dbfs: float = -43.21
    lost_samples: int = 7
    state: str = "listening"
    overruns: int = 1
    reopenings: int = 2


SENSOR = "porch"
LABELS = ("dog_bark", "car horn")
DOG = "otic/porch/mic/dog_bark"
HORN = "otic/porch/mic/car_horn"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    with debian.needed():
        mosquitto.install()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto.running(tmp_path) as broker:
        yield broker


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mosquitto.make_certificates(tmp_path_factory.mktemp("tls") / "right")


def settings(port: int, **changes: object) -> MqttSection:
    given = {"host": "127.0.0.1", "port": port, "timeout_seconds": 5.0, **changes}
    return MqttSection(**given)  # type: ignore[arg-type]


def receiver(
    port: int, labels: tuple[str, ...] = LABELS, sensor: str = SENSOR, **changes: object
) -> MqttReceiver:
    about = Sensor(sensor, ("mic",), labels, lambda: {"mic": Health()})  # type: ignore[dict-item]
    return MqttReceiver(settings(port, **changes), about)


@contextmanager
def opened(port: int, **changes: object) -> Iterator[MqttReceiver]:
    made = receiver(port, **changes)  # type: ignore[arg-type]
    try:
        made.open()
        yield made
    finally:
        made.close()


def notification(
    state: str = "on", label: str = "dog_bark", number: int = 1, source: str = "mic"
) -> Notification:
    at = "2026-01-01T12:00:00.000Z"
    if state == "on":
        return Notification(str(number), state, SENSOR, source, label, 1.0, 2.0, at, at, score=0.9)
    return Notification(
        str(number), state, SENSOR, source, label, 1.0, 5.0, at, at, 4.0, at, peak=0.97
    )


def fails(action: Callable[[], None]) -> str:
    """The line with which it fails, which is one and has no password."""
    with pytest.raises(DeliveryError) as failure:
        action()
    error: BaseException | None = failure.value
    while error is not None:
        assert PASSWORD not in str(error)
        assert PASSWORD not in repr(error)
        error = error.__cause__ or error.__context__
    assert "\n" not in str(failure.value)
    return str(failure.value)


def test_an_event_arrives_with_what_belongs_to_it(broker: Broker) -> None:
    with Listener(broker.port) as listener, opened(broker.port) as made:
        made.deliver(notification("on"))
        listener.wait_for(f"{DOG}/state", "ON")
        listener.wait_for("otic/porch/mic/state", "ON")
        assert listener.wait_for("otic/porch/mic/last") == notification("on").to_json()
        made.deliver(notification("off"))
        listener.wait_for(f"{DOG}/state", "OFF")
        listener.wait_for("otic/porch/mic/state", "OFF")
        events = [heard for heard in listener.heard if heard.topic == "otic/porch/mic/event"]
        assert [heard.payload for heard in events] == [
            notification("on").to_json(),
            notification("off").to_json(),
        ]
        assert all(heard.qos == 1 and not heard.retained for heard in events)
        assert json.loads(listener.wait_for(f"{DOG}/attributes")) == {
            "event": "1",
            "onset_at": "2026-01-01T12:00:00.000Z",
            "offset_at": "2026-01-01T12:00:00.000Z",
            "at": "2026-01-01T12:00:00.000Z",
            "peak": 0.97,
        }
        assert json.loads(listener.wait_for("otic/porch/mic/health")) == {
            "state": "listening",
            "seconds": 12.5,
            "level_dbfs": -43.2,
            "lost_samples": 7,
            "overruns": 1,
            "reopenings": 2,
        }


def test_states_and_status_are_retained_and_a_clean_close_is_told(broker: Broker) -> None:
    others = set(threading.enumerate())
    with opened(broker.port) as made:
        assert not set(threading.enumerate()) - others
        made.deliver(notification("on"))
        kept = mosquitto.retained(broker.port)
        assert kept["otic/porch/status"] == "online"
        assert kept[f"{DOG}/state"] == "ON"
        assert kept[f"{HORN}/state"] == "OFF"
        assert json.loads(kept[f"{DOG}/attributes"])["score"] == 0.9
        assert "otic/porch/mic/event" not in kept
    assert mosquitto.retained(broker.port)["otic/porch/status"] == "offline"
    assert not set(threading.enumerate()) - others


def test_what_was_left_on_by_a_dead_process_is_off_after_a_restart(broker: Broker) -> None:
    first = receiver(broker.port)
    first.open()
    first.deliver(notification("on"))
    with opened(broker.port), Listener(broker.port) as listener:  # takes over
        listener.wait_for(f"{DOG}/state", "OFF")
        listener.wait_for("otic/porch/status", "online")
        line = fails(first.idle)
        assert "another sensor has its client id otic-porch" in line
        first.close()
        listener.catch_up()
        assert listener.of("otic/porch/status")[-1] == "online"  # not the first one's will


def test_sounds_that_are_no_more_are_deleted_from_the_broker(broker: Broker) -> None:
    with opened(broker.port, labels=("dog_bark", "gun_shot")) as made:
        made.deliver(notification("on", "gun_shot"))
    assert mosquitto.retained(broker.port)["otic/porch/mic/gun_shot/state"] == "ON"
    with Listener(broker.port) as other:
        other.publish("otic/garden/mic/gun_shot/state", "ON", retain=True)
    with opened(broker.port) as made:
        made.idle()
        kept = mosquitto.retained(broker.port)
    assert not [topic for topic in kept if topic.startswith("otic/porch/mic/gun_shot")]
    assert kept["otic/garden/mic/gun_shot/state"] == "ON"


def test_a_notice_of_an_unknown_sound_or_source_is_only_an_event(broker: Broker) -> None:
    with opened(broker.port) as made:
        with Listener(broker.port) as listener:
            made.deliver(notification("on", "whale"))
            made.deliver(notification("on", source="gone"))
            listener.wait_for("otic/porch/mic/event")
            listener.wait_for("otic/porch/gone/event")
        kept = mosquitto.retained(broker.port)
    assert not [topic for topic in kept if "whale" in topic or "gone" in topic]


def test_discovery_is_retained_and_told_again_when_home_assistant_starts(broker: Broker) -> None:
    topic = discovery_topic("homeassistant", SENSOR)
    with opened(broker.port) as made:
        config = json.loads(mosquitto.retained(broker.port)[topic])
        assert "mic.sound.dog_bark" in config["components"]
        with Listener(broker.port) as listener:
            listener.wait_for(topic)
            before = len(listener.of(topic)), len(listener.of("otic/porch/mic/health"))
            listener.publish("homeassistant/status", "online")
            listener.catch_up()  # it lies at the sensor's door
            made.idle()
            listener.catch_up()
            assert len(listener.of(topic)) == before[0] + 1
            assert len(listener.of("otic/porch/mic/health")) == before[1] + 1
            assert json.loads(listener.of(topic)[-1]) == config


def test_without_discovery_nothing_is_told_to_home_assistant(broker: Broker) -> None:
    with opened(broker.port, discovery=False):
        kept = mosquitto.retained(broker.port)
    assert not [topic for topic in kept if topic.startswith("homeassistant")]


def test_a_dropped_sound_is_removed_from_home_assistant(broker: Broker) -> None:
    topic = discovery_topic("homeassistant", SENSOR)
    with opened(broker.port, labels=("dog_bark", "gun_shot")):
        pass
    with Listener(broker.port) as listener:
        with opened(broker.port):
            listener.wait_for("otic/porch/status", "online")
        listener.wait_for("otic/porch/status", "offline")
        told = [json.loads(text)["components"] for text in listener.of(topic)]
    removals = [
        each for each in told if each.get("mic.sound.gun_shot") == {"platform": "binary_sensor"}
    ]
    assert len(removals) == 1
    kept = json.loads(mosquitto.retained(broker.port)[topic])["components"]
    assert "mic.sound.gun_shot" not in kept
    assert kept == told[-1]
    with Listener(broker.port) as listener:
        with opened(broker.port):
            listener.wait_for("otic/porch/status", "online")
        listener.wait_for("otic/porch/status", "offline")
        assert all(json.loads(text)["components"] == kept for text in listener.of(topic))


def test_rubbish_at_the_discovery_topic_does_no_harm(broker: Broker) -> None:
    topic = discovery_topic("homeassistant", SENSOR)
    with Listener(broker.port) as listener:
        listener.publish(topic, "}{", retain=True)
        with opened(broker.port) as made:
            made.idle()
            made.deliver(notification())
    assert json.loads(mosquitto.retained(broker.port)[topic])["device"]["name"] == SENSOR


def test_health_is_told_while_idle_and_while_busy(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otic.sinks.receivers.mqtt_receiver.HEALTH_SECONDS", 0.04)
    with Listener(broker.port) as listener, opened(broker.port) as made:
        for _ in range(8):
            made.idle()
            time.sleep(0.05)  # the next is due
        listener.catch_up()
        idle = len(listener.of("otic/porch/mic/health"))
        assert idle >= 3
        for _ in range(8):
            made.deliver(notification())
            time.sleep(0.05)
        listener.catch_up()
        assert len(listener.of("otic/porch/mic/health")) >= idle + 3


def test_a_broker_that_comes_later(tmp_path: Path) -> None:
    broker = Broker(tmp_path, mosquitto.free_port())
    made = receiver(broker.port)
    assert "nothing listens on this port" in fails(made.open)
    made.close()
    assert "not connected" in fails(lambda: made.deliver(notification()))
    broker.start()
    try:
        made.open()
        made.deliver(notification())
        made.close()
    finally:
        broker.kill()


def test_a_broker_that_is_killed_and_comes_back(broker: Broker) -> None:
    made = receiver(broker.port)
    made.open()
    made.deliver(notification("on"))
    broker.kill()
    fails(lambda: made.deliver(notification("off")))
    made.close()
    assert "nothing listens on this port" in fails(made.open)
    made.close()
    broker.start()
    made.open()  # it has forgotten everything
    with Listener(broker.port) as listener:
        listener.wait_for(f"{HORN}/state", "OFF")
        listener.wait_for("otic/porch/status", "online")
        listener.wait_for(discovery_topic("homeassistant", SENSOR))
        made.deliver(notification("off"))
        listener.catch_up()
        assert listener.of(f"{DOG}/state")[-1] == "OFF"
        assert listener.of("otic/porch/mic/event") == [notification("off").to_json()]
    made.close()


def test_delivering_is_quick(broker: Broker) -> None:
    """Without TCP_NODELAY each takes 80 ms, on any machine: Nagle waits for delayed ACKs."""
    seconds = []
    with opened(broker.port) as made:
        for _ in range(20):
            begin = time.monotonic()
            made.deliver(notification())
            seconds.append(time.monotonic() - begin)
    assert min(seconds[5:]) < 0.03  # the least: other work of the machine does not count


def test_idle_notifications_a_dead_broker(broker: Broker) -> None:
    with opened(broker.port) as made:
        made.idle()
        broker.kill()
        assert "broke" in fails(made.idle)


def test_a_broker_that_says_why_it_ends_the_connection() -> None:
    """As newer ones than Debian's do: MQTT 5's CONNACK, then DISCONNECT with a reason."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"\x20\x03\x00\x00\x00")
                connection.recv(4096)
                connection.sendall(b"\xe0\x01\x8e")
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        made = receiver(server.getsockname()[1])
        assert "ended the connection: Session taken over" in fails(made.open)
        made.close()
        thread.join(10)


def varint(n: int) -> bytes:
    """A length as MQTT has it."""
    out = bytearray()
    while True:
        n, digit = divmod(n, 128)
        out.append(digit | 128 * (n > 0))
        if not n:
            return bytes(out)


def packets(kind: str) -> Iterator[bytes]:
    """What a false broker sends, without end."""
    topic = b"\x00\x04otic"
    if kind == "a huge packet":
        yield b"\x30" + varint(250 << 20) + topic + b"\x00"
        while True:
            yield bytes(65536)
    if kind == "a long packet":
        yield b"\x32" + varint(3 << 20) + topic + b"\x00\x01\x00"
        while True:
            yield bytes(65536)
    number = 0
    while True:
        number = number % 65535 + 1
        mid = number.to_bytes(2, "big")
        if kind == "QoS 2":
            yield b"\x34" + varint(9 + 30_000) + topic + mid + b"\x00" + bytes(30_000)
        elif kind == "QoS 3":
            yield b"\x36" + varint(9) + topic + mid + b"\x00"
        elif kind == "QoS 1":  # and it never reads the answers
            yield (b"\x32" + varint(9) + topic + mid + b"\x00") * 1000
        else:  # to be answered, too
            yield b"\xc0\x00" * 1000


@pytest.mark.parametrize(
    "kind", ["a huge packet", "a long packet", "QoS 2", "QoS 3", "QoS 1", "questions"]
)
def test_a_false_broker_takes_no_memory(kind: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(4096)
                connection.sendall(b"\x20\x03\x00\x00\x00")
                for packet in packets(kind):
                    connection.sendall(packet)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        made = receiver(server.getsockname()[1], timeout_seconds=60.0)
        line = fails(made.open)
        assert "sent a packet of" in line or "quality" in line or "took no answer" in line
        assert "the connection is ended" in line
        begin = time.monotonic()
        made.close()
        assert time.monotonic() - begin < 3.0
        thread.join(10)
        assert not thread.is_alive()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 80_000  # KiB


def test_a_sound_that_is_known_to_be_on_stays_so_over_a_reconnection(broker: Broker) -> None:
    made = receiver(broker.port)
    made.open()
    made.deliver(notification("on"))
    broker.kill()
    made.close()
    broker.start()
    made.open()
    assert mosquitto.retained(broker.port)[f"{DOG}/state"] == "ON"
    made.close()


def test_a_stalled_broker_holds_nobody_up(broker: Broker) -> None:
    made = receiver(broker.port, timeout_seconds=2.0)
    made.open()
    broker.stall()
    try:
        for action in (lambda: made.deliver(notification()), made.open):
            begin = time.monotonic()
            line = fails(action)
            assert time.monotonic() - begin < 8.0
            assert "within mqtt.timeout_seconds" in line
            begin = time.monotonic()
            made.close()
            assert time.monotonic() - begin < 6.0
    finally:
        broker.go_on()
    made.open()
    made.deliver(notification())
    broker.stall()
    begin = time.monotonic()
    made.close()  # while it still believes that all is well
    assert time.monotonic() - begin < 6.0
    broker.go_on()


def open_files() -> int:
    gc.collect()  # what other tests left
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_nothing_is_left_behind(broker: Broker) -> None:
    made = receiver(broker.port)
    unreachable = receiver(mosquitto.free_port())
    for attempt in range(20):
        made.open()
        made.deliver(notification())
        made.close()
        fails(unreachable.open)
        unreachable.close()
        if attempt == 4:
            before, threads = open_files(), set(threading.enumerate())
    assert open_files() <= before
    assert not set(threading.enumerate()) - threads


@pytest.mark.parametrize("tls", [False, True])
def test_somebody_who_accepts_and_says_nothing(tls: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = receiver(server.getsockname()[1], timeout_seconds=0.5, tls=tls)
        begin = time.monotonic()
        assert "within mqtt.timeout_seconds" in fails(made.open)
        assert time.monotonic() - begin < 8.0
        made.close()


def test_a_broker_of_mqtt_3_only() -> None:
    """Answers as the standards ask: version 5 is refused, 3.1.1 is welcome."""
    levels: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in (b"\x20\x02\x00\x01", b"\x20\x02\x00\x00"):
                connection, _ = server.accept()
                with connection:
                    levels.append(connection.recv(4096)[8])
                    connection.sendall(answer)
                    if answer[-1] == 0:
                        connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        made = receiver(server.getsockname()[1])
        fails(made.open)  # that one never acknowledges
        made.close()
        thread.join(10)
    assert levels == [5, 4]


def test_who_may_come_in(tmp_path: Path) -> None:
    lines = mosquitto.password_lines(tmp_path, "otic")
    file = tmp_path / "secret"
    with mosquitto.running(tmp_path, *lines) as broker:
        assert "refused an anonymous user" in fails(receiver(broker.port).open)
        assert "refused user 'otic'" in fails(receiver(broker.port, username="otic").open)
        wrong = receiver(broker.port, username="otic", password=PASSWORD + "!")
        line = fails(wrong.open)
        assert "OTIC_MQTT_PASSWORD" in line
        with opened(broker.port, username="otic", password=PASSWORD) as made:
            made.deliver(notification())
        rotated = receiver(broker.port, username="otic", password_file=str(file))
        assert "mqtt.password_file" in fails(rotated.open)
        file.write_text("")
        assert "is empty: write the secret into it" in fails(rotated.open)
        file.write_bytes(PASSWORD.encode("latin-1"))
        assert "not UTF-8" in fails(rotated.open)
        file.write_text(PASSWORD + "!")
        fails(rotated.open)
        file.write_text(PASSWORD + "\n")
        rotated.open()
        rotated.close()


def test_what_is_too_large_is_not_kept() -> None:
    link = MqttLink(settings(1883), "otic", "will", "offline")

    def come(n_bytes: int) -> None:
        message = SimpleNamespace(topic="t", payload=bytes(n_bytes), retain=True)
        link._on_message(None, None, message)

    for n_bytes in (10, 2 << 20, *[1 << 20] * 30):
        come(n_bytes)
    received = link.received()
    assert len(received[0][1]) == 10
    assert 10 < len(received) <= 17
    come(10)
    assert len(link.received()) == 1


def test_a_topic_that_is_not_allowed_is_told_not_lost(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite otic/porch/#\ntopic deny otic/porch/mic/event\n")
    with mosquitto.running(tmp_path, "allow_anonymous true", f"acl_file {rules}") as broker:
        line = fails(receiver(broker.port).open)
        assert "homeassistant/device/otic_porch/config: Not authorized" in line
        with opened(broker.port, discovery=False) as made:
            assert "otic/porch/mic/event: Not authorized" in fails(
                lambda: made.deliver(notification())
            )


def test_tls(tmp_path: Path, certificates: Path) -> None:
    other = mosquitto.make_certificates(tmp_path / "other", "DNS:elsewhere.example")
    ours, theirs = str(certificates / "ca.crt"), str(other / "ca.crt")
    with mosquitto.running(tmp_path, tls=certificates) as broker:
        for host in ("localhost", "127.0.0.1"):
            with opened(broker.port, host=host, tls=True, ca_file=ours) as made:
                made.deliver(notification())
                made.idle()
        line = fails(receiver(broker.port, tls=True, ca_file=theirs).open)
        assert "certificate" in line
        assert "is not trusted" in line
        assert "is not trusted" in fails(receiver(broker.port, tls=True).open)  # system's
        assert "does it want TLS" in fails(receiver(broker.port).open)
        missing = receiver(broker.port, tls=True, ca_file=str(tmp_path / "none.crt"))
        assert "none.crt can't be used: No such file" in fails(missing.open)
        (tmp_path / "empty.crt").write_text("")
        assert "PEM" in fails(
            receiver(broker.port, tls=True, ca_file=str(tmp_path / "empty.crt")).open
        )
    (tmp_path / "second").mkdir()
    with mosquitto.running(tmp_path / "second", tls=other) as broker:
        line = fails(receiver(broker.port, tls=True, ca_file=theirs).open)
        assert "is not trusted" in line
        assert "127.0.0.1" in line


def test_tls_with_a_broker_that_has_none(broker: Broker) -> None:
    line = fails(receiver(broker.port, tls=True, timeout_seconds=1.0).open)
    assert "is its port one for TLS? See mqtt.host" in line or "within" in line


def test_an_unknown_host() -> None:
    assert "mqtt.host" in fails(receiver(1, host="no-such-host.invalid").open)
    assert "mqtt.host" in fails(receiver(1, host="a" * 70 + ".example").open)


def test_the_last_will_of_a_killed_process(broker: Broker) -> None:
    program = (
        "import sys, time\n"
        "from tests.system.test_mqtt import receiver\n"
        "receiver(int(sys.argv[1])).open()\n"
        "print('open', flush=True)\n"
        "time.sleep(60)\n"
    )
    with Listener(broker.port) as listener:
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(broker.port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        listener.wait_for("otic/porch/status", "online")
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        listener.wait_for("otic/porch/status", "offline")
    assert mosquitto.retained(broker.port)["otic/porch/status"] == "offline"


def test_odd_names(broker: Broker) -> None:
    sensor, label = "Küche/+ #1", "犬の鳴き声 💥"
    topics = Topics("home/otic", sensor)
    changes: dict[str, object] = {"sensor": sensor, "labels": (label, "a b", "a/b", "a_b")}
    with (
        Listener(broker.port) as listener,
        opened(broker.port, topic="home/otic", **changes) as made,
    ):
        made.deliver(notification("on", label))
        listener.wait_for(topics.state("mic", label), "ON")
        for other in ("a b", "a/b", "a_b"):
            listener.wait_for(topics.state("mic", other), "OFF")
        assert json.loads(listener.wait_for(topics.event("mic")))["label"] == label
        config = json.loads(listener.wait_for(discovery_topic("homeassistant", sensor)))
        assert config["device"]["name"] == sensor


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"host": None}, "mqtt.host"),
        ({"topic": "home/+"}, "mqtt.topic"),
        ({"topic": ""}, "mqtt.topic"),
        ({"topic": "/otic"}, "mqtt.topic"),
        ({"topic": "$SYS/otic"}, "mqtt.topic"),
        ({"discovery_prefix": "home#"}, "mqtt.discovery_prefix"),
        ({"topic": "otic\x1b[2J"}, "mqtt.topic"),
        ({"topic": "otic\nx"}, "mqtt.topic"),
        ({"ca_file": "ca.crt"}, "mqtt.tls"),
        ({"password": PASSWORD}, "mqtt.username"),
        ({"password_file": "secret"}, "mqtt.username"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, object], named: str) -> None:
    with pytest.raises(SinkError, match=named) as failure:
        receiver(1883, **changes)  # type: ignore[arg-type]
    assert PASSWORD not in str(failure.value)


def test_without_paho_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.enums", None)
    with pytest.raises(RuntimeMissingError, match=r"pip install 'otic\[mqtt\]'") as failure:
        receiver(1883)
    assert isinstance(failure.value, OticError)


def test_the_default_ports() -> None:
    assert "localhost.invalid:1883:" in fails(receiver(0, host="localhost.invalid").open)
    assert "localhost.invalid:8883:" in fails(receiver(0, host="localhost.invalid", tls=True).open)
