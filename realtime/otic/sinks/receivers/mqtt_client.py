"""One connection to an MQTT broker, driven by its caller's thread."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from otic.config.secrets import read_secret
from otic.errors import ParameterError, RuntimeMissingError
from otic.sinks.delivery.notification import DeliveryError, RefusedError
from otic.system.network import client_context, explain

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties

    from otic.sinks.receivers.mqtt import Section

_KEEP_ALIVE_SECONDS = 30
_LOOP_SECONDS = 0.5
_MOST_RECEIVED = 10_000
_LONGEST_RECEIVED = 1 << 20  # bytes; a description of 500 sounds for Home Assistant takes 0.2 MB
_MOST_RECEIVED_BYTES = 16 << 20
_LONGEST_PACKET = 2 * _LONGEST_RECEIVED
_MOST_ANSWERS = 20_000  # that wait for a broker that reads nothing
_QOS = 1
_NEVER = (0x90, 0x99)  # reason codes: topic name invalid, payload format invalid
_BAD_LOGIN = (0x86, 0x87)  # bad user name or password, not authorized
_UNSUPPORTED_VERSION = 0x84


def require_paho() -> None:
    """Raise RuntimeMissingError unless paho-mqtt 2 is there."""
    try:
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: F401  (since 2.0)
    except ImportError as error:
        raise RuntimeMissingError(
            "MQTT needs paho-mqtt 2: install it with pip install 'otic[mqtt]'"
        ) from error


def _limits() -> Properties:
    """Return the limits that a broker of MQTT 5 keeps to."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    limits.MaximumPacketSize = _LONGEST_PACKET
    return limits


def _guarded_client(refuse: Callable[[str], None], *arguments: Any, **options: Any) -> Client:
    """Make a client that ends the connection before a broker takes the memory.

    paho reads packets of up to 256 MB, and keeps a message of QoS 2 until the broker releases it.
    """
    from paho.mqtt.client import Client

    class Guarded(Client):
        def _sock_recv(self, bufsize: int) -> bytes:
            packet = self._in_packet
            what = ""
            if packet["have_remaining"] and packet["remaining_length"] > _LONGEST_PACKET:
                what = f"a packet of {packet['remaining_length']} bytes"
            elif packet["command"] >> 4 == 3 and (packet["command"] >> 1 & 3) > _QOS:
                what = "a message of a higher quality of service than was subscribed"
            elif len(self._out_packet) > _MOST_ANSWERS:
                what = f"more than {_MOST_ANSWERS} packets, and took no answer"
            if what:
                refuse(what)
                raise ConnectionError(what)
            return super()._sock_recv(bufsize)

    return Guarded(*arguments, **options)


class MqttLink:
    """Connects, publishes with QoS 1, and waits for acknowledgements, never too long.

    MQTT 5 is spoken, since an older broker drops without a word what the user may not
    publish; MQTT 3.1.1 with a broker that knows no other.

    Thread safety: one thread at a time; none is started.

    Parameters
    ----------
    settings : Section
    client_id : str
        What the broker knows this client by: a new one ends the old one's connection.
    will_topic, will : str
        What the broker publishes, retained, once this client is lost.
    """

    def __init__(self, settings: Section, client_id: str, will_topic: str, will: str) -> None:
        self._settings = settings
        self._host = settings.host or ""
        self._port = settings.port or (8883 if settings.tls else 1883)
        self._broker = f"MQTT broker {self._host}:{self._port}"
        self._client_id = client_id
        self._will_topic, self._will = will_topic, will
        self._mqtt5 = True
        self._client: Client | None = None
        self._begin()

    def _begin(self) -> None:
        self._connected = False
        self._broken = False
        self._ended = ""  # why the broker refused or ended the connection
        self._refused_code = 0
        self._rejected: tuple[str, int, str] | None = None  # topic, reason code, reason
        self._unacknowledged: dict[int, str] = {}  # topics by message id
        self._received: deque[tuple[str, bytes, bool]] = deque(maxlen=_MOST_RECEIVED)
        self._received_left = _MOST_RECEIVED_BYTES

    @property
    def usable(self) -> bool:
        """True while there is a connection that has not failed."""
        return self._connected and not self._broken

    def connect(self, deadline: float) -> None:
        """Connect by ``deadline`` (of ``time.monotonic()``, as all of them).

        Raises
        ------
        DeliveryError
        """
        self._connect_once(deadline)
        if self._refused_code == _UNSUPPORTED_VERSION and self._mqtt5:
            self._mqtt5 = False
            self._connect_once(deadline)
        if not self._connected:
            raise DeliveryError(self._why())

    def subscribe(self, topic: str) -> None:
        """Ask for what is retained at ``topic`` and what comes; :meth:`received` gives it."""
        self._open_client().subscribe(topic, qos=_QOS)

    def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        """Send; :meth:`settle` waits until the broker has it.

        Raises
        ------
        DeliveryError
        """
        # A file name may hold bytes that are no text, which no broker takes.
        encoded = payload.encode("utf-8", "replace")
        info = self._open_client().publish(topic, encoded, qos=1, retain=retain)
        if info.rc != 0:
            raise self._failure(self._why())
        self._unacknowledged[info.mid] = topic

    def settle(self, deadline: float) -> None:
        """Wait until the broker has acknowledged everything.

        Raises
        ------
        DeliveryError
            If it has not by ``deadline``, or does not allow it, or the connection broke.
        RefusedError
            If it never will.
        """
        while self._unacknowledged:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise self._failure(
                    f"the {self._broker} did not acknowledge within mqtt.timeout_seconds "
                    f"({self._settings.timeout_seconds:g} s)"
                )
            self._loop(min(left, _LOOP_SECONDS))
        if self._rejected is not None:
            topic, code, reason = self._rejected
            self._rejected = None
            line = f"the {self._broker} did not take what was published to {topic}: {reason}"
            if code in _NEVER:
                raise RefusedError(line)
            raise DeliveryError(f"{line}; allow it there, or see mqtt.topic and mqtt.discovery")

    def serve(self, seconds: float) -> None:
        """Take what the broker sends during ``seconds`` and keep the connection alive.

        Raises
        ------
        DeliveryError
            If the connection broke.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0.0:
            self._loop(left)

    def received(self) -> list[tuple[str, bytes, bool]]:
        """Topic, payload and whether it was retained, of what came since the last call."""
        messages = list(self._received)
        self._received.clear()
        self._received_left = _MOST_RECEIVED_BYTES
        return messages

    def disconnect(self) -> None:
        """Say goodbye: the broker does not publish the last will."""
        self._open_client().disconnect()

    def drop(self) -> None:
        """Close the connection without a word. Raises nothing."""
        client, self._client = self._client, None
        self._begin()
        if client is None:
            return
        # They refer to this object: without them nothing keeps the client and its sockets.
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = None
        connection = client.socket()
        if connection is not None:
            connection.close()

    def _connect_once(self, deadline: float) -> None:
        self.drop()
        self._client = client = self._new_client()
        try:
            client.connect(
                self._host,
                self._port,
                keepalive=_KEEP_ALIVE_SECONDS,
                properties=_limits() if self._mqtt5 else None,
            )
        except (OSError, ValueError) as error:
            raise self._failure(self._unreachable(error)) from error
        connection = client.socket()
        if isinstance(connection, socket.socket):
            # Else the second of several small messages waits 40 ms for TCP's delayed ACK.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not (self._connected or self._ended):
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise self._failure(self._unreachable(TimeoutError()))
            if client.loop(min(left, _LOOP_SECONDS)) != 0 and not self._ended:
                hint = "" if self._settings.tls else "; does it want TLS (mqtt.tls)?"
                raise self._failure(f"the {self._broker} hung up{hint}")

    def _new_client(self) -> Client:
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        settings = self._settings
        client = _guarded_client(
            self._refuse,
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self._mqtt5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        # It is the limit of connecting and of TLS's handshake, which come one after the other.
        client.connect_timeout = settings.timeout_seconds / 2
        client.will_set(self._will_topic, self._will, qos=1, retain=True)
        if settings.username is not None:
            client.username_pw_set(settings.username, self._password())
        if settings.tls:
            client.tls_set_context(self._tls())
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _refuse(self, what: str) -> None:
        """Note why the connection ends: such a broker is broken, or means harm."""
        self._ended = f"the {self._broker} sent {what}: the connection is ended"

    def _password(self) -> str | None:
        settings = self._settings
        try:
            return read_secret(settings.password, settings.password_file, "mqtt.password") or None
        except ParameterError as error:
            raise DeliveryError(str(error)) from None

    def _tls(self) -> ssl.SSLContext:
        try:
            return client_context(self._settings.ca_file)
        except (OSError, ValueError) as error:
            raise DeliveryError(
                f"mqtt.ca_file {self._settings.ca_file} can't be used: "
                f"{getattr(error, 'strerror', None) or error}; it takes certificates in PEM format"
            ) from error

    def _open_client(self) -> Client:
        if self._client is None or not self.usable:
            raise DeliveryError(self._ended or f"not connected to the {self._broker}")
        return self._client

    def _loop(self, seconds: float) -> None:
        if self._open_client().loop(seconds) != 0:
            raise self._failure(self._why())

    def _failure(self, line: str) -> DeliveryError:
        self._broken = True
        return DeliveryError(line)

    def _why(self) -> str:
        return self._ended or (
            f"the connection to the {self._broker} broke; "
            f"if that goes on, another sensor has its client id {self._client_id}"
        )

    def _unreachable(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            seconds = f"{self._settings.timeout_seconds:g}"
            return f"the {self._broker} did not answer within mqtt.timeout_seconds ({seconds} s)"
        tls = self._settings.tls
        what, remedy = explain(error, "mqtt.host and mqtt.port", "mqtt.ca_file", tls)
        return f"{self._broker}: {what}: {remedy}"

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        self._connected = not reason.is_failure
        if self._connected:
            return
        self._refused_code = reason.value
        user = self._settings.username
        who = f"user {user!r}" if user is not None else "an anonymous user"
        self._ended = f"the {self._broker} refused {who}: {reason}"
        if reason.value in _BAD_LOGIN:
            self._ended += "; correct mqtt.username and its password (OTIC_MQTT_PASSWORD)"

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, *_: Any) -> None:
        if not self._ended and flags.is_disconnect_packet_from_server:
            self._ended = f"the {self._broker} ended the connection: {reason}"

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, *_: Any) -> None:
        topic = self._unacknowledged.pop(mid, "")
        if reason.is_failure and self._rejected is None:
            self._rejected = (topic, reason.value, str(reason))

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        # Anybody at the broker may have sent it: what is too much is not for us.
        if len(message.payload) > min(_LONGEST_RECEIVED, self._received_left):
            return
        self._received_left -= len(message.payload)
        self._received.append((message.topic, message.payload, message.retain))
