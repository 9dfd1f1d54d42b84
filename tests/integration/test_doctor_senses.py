"""The doctor's look at microphones, brokers and web servers: real ones of this machine."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from otic.config.settings import InputSettings
from otic.diagnostics import audio_checks as doctor_audio
from otic.errors import DeviceError
from otic.sinks.receivers.webhook import server_check
from otic.system.findings import FAIL, OK, WARN, Finding, extra_check, secret_check
from otic.system.network import connection_check
from tests.integration.test_doctor import board, sane

RATE = 8000


def sound(seconds: float = 3.0, level: float = 0.01) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return (level * rng.standard_normal(int(RATE * seconds))).astype(np.float32)


def gated() -> NDArray[np.float32]:
    y = sound()
    y[RATE : 2 * RATE] = 0.0
    return y


@pytest.mark.parametrize(
    ("y", "lost", "result", "words"),
    [
        (sound(), 0, OK, "-40 dBFS"),
        (np.zeros(3 * RATE, np.float32), 0, FAIL, "only zeros"),
        (np.zeros(0, np.float32), 0, FAIL, "delivers no samples"),
        (sound(level=1e-5), 0, WARN, "too quiet"),
        (np.clip(sound(level=1.0), -1, 1), 0, WARN, "clipped"),
        (sound() + np.float32(0.1), 0, WARN, "offset +0.10"),
        (sound(), 512, WARN, "512 samples lost"),
        (gated(), 0, WARN, "stretches of zeros"),
    ],
)
def test_the_level(y: NDArray[np.float32], lost: int, result: str, words: str) -> None:
    recording = doctor_audio.Recording("mic", RATE, y, lost)
    found = doctor_audio.level_check(InputSettings("mic"), lambda _: recording)
    sane(found)
    assert found.result == result
    assert words in found.found


def test_zeros_before_a_device_has_settled_are_none() -> None:
    y = sound()
    y[: RATE // 3] = 0.0
    assert doctor_audio.judge("level", doctor_audio.Recording("mic", RATE, y)).result == OK


def no_device(*_: object) -> doctor_audio.Recording:
    raise DeviceError("no input device 'USB': there are none")


def test_devices() -> None:
    device = {"index": 1, "name": "USB", "channels": 1, "rate": 48000, "default": True}
    found = doctor_audio.portaudio_check(lambda: [device])
    assert found.found == "*1: USB (1 channels, 48000 Hz)"
    none = doctor_audio.portaudio_check(list)
    sane(none)
    assert none.result == FAIL

    def missing() -> doctor_audio.Devices:
        raise DeviceError("PortAudio is not installed, and the microphone needs it: apt …")

    absent = doctor_audio.portaudio_check(missing)
    sane(absent)
    assert absent.remedies == ("sudo apt install libportaudio2",)
    unplugged = doctor_audio.level_check(InputSettings("USB"), no_device)
    sane(unplugged)
    assert unplugged.result == FAIL


@pytest.mark.parametrize(("present", "result"), [(False, WARN), (True, FAIL)])
def test_a_missing_microphone_that_nobody_asked_for_is_a_warning(
    present: bool, result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_audio, "list_devices", lambda: [{}] * present)
    unheard = doctor_audio.level_check(InputSettings(), no_device, required=False)
    sane(unheard)
    assert unheard.result == result  # one that is there and can't be opened is a fault
    assert doctor_audio.portaudio_check(list, required=False).result == WARN


def test_permissions(tmp_path: Path) -> None:
    def check(usable: bool, groups: str) -> Finding:
        found = doctor_audio.permissions_check(board(tmp_path), lambda _: usable, groups)
        sane(found)
        return found

    assert check(True, "").result == WARN  # no card
    (tmp_path / "dev/snd").mkdir(parents=True)
    (tmp_path / "dev/snd/pcmC0D0p").touch()
    assert "outputs only" in check(True, "").found
    (tmp_path / "dev/snd/pcmC1D0c").touch()
    assert check(True, "").result == OK
    assert "usermod" in check(False, "pi").remedies[0]
    assert "udev" in check(False, "pi audio").remedies[0]


def test_sound_servers(tmp_path: Path) -> None:
    assert "ALSA alone" in doctor_audio.sound_server_check(board(tmp_path)).found
    files = {"run/user/1/pipewire-0": "", "run/user/1/pulse/native": ""}
    both = board(
        tmp_path, files, environment={"XDG_RUNTIME_DIR": "/run/user/1", "PULSE_SERVER": "x"}
    )
    assert "PipeWire" in doctor_audio.sound_server_check(both).found


@contextmanager
def listening(answer: object = None) -> Iterator[int]:
    """A port of this machine; ``answer`` handles each connection in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    continue
                with connection:
                    if callable(answer):
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for ``localhost`` by itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [
            *command.split(),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return cert, key


def test_a_broker_with_tls(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def shake_hands(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)
        except OSError:
            pass  # it did not trust us

    def check(host: str, ca_file: str | None) -> Finding:
        found = connection_check(
            "MQTT broker", host, port, True, ca_file, "mqtt.host and mqtt.port"
        )
        sane(found)
        return found

    with listening(shake_hands) as port:
        trusted = check("localhost", str(cert))
        assert trusted.result == OK
        assert "verified" in trusted.found
        assert "not trusted" in check("localhost", None).found
        assert "not trusted" in check("127.0.0.1", str(cert)).found  # the certificate says no
        assert "can't be read" in check("localhost", "/nowhere.pem").found
    with listening(lambda connection: connection.sendall(b"hello, who is there?\n")) as port:
        assert check("localhost", None).result == FAIL  # no TLS


def test_a_broker_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        here = connection_check(
            "MQTT broker", "127.0.0.1", port, False, None, "mqtt.host and mqtt.port"
        )
        assert here.result == OK
    refused = connection_check(
        "MQTT broker", "127.0.0.1", port, False, None, "mqtt.host and mqtt.port"
    )
    sane(refused)
    assert "nothing listens" in refused.found
    for error, words in (
        (socket.gaierror(-2, "Name or service not known"), "nobody knows"),
        (TimeoutError("timed out"), "no answer in time"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ):

        def fail(*_: object, error: OSError = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(socket, "create_connection", fail)
        found = connection_check(
            "MQTT broker", "broker.example", 1, False, None, "mqtt.host and mqtt.port"
        )
        sane(found)
        assert words in found.found


def test_a_webhooks_address_is_not_shown() -> None:
    with listening() as port:
        url = f"http://user:secret1@127.0.0.1:{port}/secret2?token=secret3"
        found = server_check(url, None)
    assert found.result == OK
    assert "secret" not in str(found)
    for wrong in ("ftp://host/x", "https:///path", "http://host:port/secret", "nonsense"):
        bad = server_check(wrong, None)
        sane(bad)
        assert bad.result == FAIL
        assert "secret" not in str(bad)


def test_a_file_with_a_secret(tmp_path: Path) -> None:
    def check(path: Path | str) -> Finding:
        found = secret_check("mqtt.password_file", str(path))
        sane(found)
        return found

    secret = tmp_path / "password"
    assert check(secret).result == FAIL
    secret.touch()
    assert "empty" in check(secret).found
    secret.write_text("hunter2")
    secret.chmod(0o644)
    assert check(secret).result == WARN
    secret.chmod(0o600)
    assert check(secret).result == OK
    assert "hunter2" not in str(check(secret))
    assert check("/run/credentials/otic.service/mqtt-password").result == OK


def test_a_missing_extra_says_what_to_install() -> None:
    found = extra_check("mqtt", "no_such_module")
    assert found.remedies == ("pip install 'otic[mqtt]'",)
    assert extra_check("x", "json").result == OK


def test_a_microphone_is_really_heard(tmp_path: Path) -> None:
    """Through PulseAudio, where it may be installed: silence, then noise."""
    import soundfile

    from tests.support import debian, virtual_microphone

    script = (
        "from otic.config.settings import InputSettings\n"
        "from otic.diagnostics import audio_checks as doctor_audio\n"
        "from otic.diagnostics.audio_checks import level_check, portaudio_check\n"
        "doctor_audio.LEVEL_SECONDS = 1.5\n"
        "for found in (portaudio_check(), level_check(InputSettings())): print(found)\n"
    )

    def ask(env: dict[str, str]) -> str:
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, env=env, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    noise = np.tile(sound(4.0), 5)
    soundfile.write(tmp_path / "noise.wav", noise, RATE)
    with debian.needed():
        virtual_microphone.install()
        with virtual_microphone.running(tmp_path) as env:
            silent = ask(env)
            command = ["paplay", "--device=virt", str(tmp_path / "noise.wav")]
            player = subprocess.Popen(command, env=env)
            try:
                heard = ask(env)
            finally:
                player.terminate()
                player.wait(10)
    assert "only zeros" in silent
    assert "result='ok'" in heard.splitlines()[-1], heard
