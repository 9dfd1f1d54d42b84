"""What ``otic doctor`` looks at on the other end: brokers, web servers, folders, secrets."""

from __future__ import annotations

import contextlib
import socket
import ssl
import stat
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from otic.config.settings import Settings
from otic.system.findings import FAIL, OK, WARN, Check, Finding, disk_check

CONNECT_SECONDS = 3.0
_LIMIT_SECONDS = 3 * CONNECT_SECONDS  # to look the name up, to connect, to agree on TLS
_USUAL_PORTS = {"http": 80, "https": 443}


def receiver_checks(settings: Settings) -> list[Check]:
    """What the configuration names: each receiver, each folder, each file with a secret."""
    checks = []
    mqtt, webhook = settings.receivers.get("mqtt"), settings.receivers.get("webhook")
    if mqtt is not None and mqtt.host:
        port = mqtt.port or (8883 if mqtt.tls else 1883)
        host, tls, ca_file = mqtt.host, mqtt.tls, mqtt.ca_file
        checks.append(Check("extra mqtt", lambda: extra_check("mqtt", "paho")))
        checks.append(
            Check(
                "MQTT broker",
                lambda: connection_check("MQTT broker", host, port, tls, ca_file),
                _LIMIT_SECONDS,
            )
        )
    if webhook is not None and webhook.url:
        url = webhook.url
        checks.append(Check("webhook", lambda: webhook_check(url, webhook.ca_file), _LIMIT_SECONDS))
    if settings.metrics.listen:
        checks.append(Check("extra metrics", lambda: extra_check("metrics", "prometheus_client")))
    if settings.web.listen:
        checks.append(Check("extra web", lambda: extra_check("web", "uvicorn")))
    for name, folder, megabytes in _folders(settings):
        checks.append(_folder_check(name, folder, megabytes))
    for name, path in _secret_files(settings):
        checks.append(_secret_check(name, path))
    return checks


def connection_check(name: str, host: str, port: int, tls: bool, ca_file: str | None) -> Finding:
    """Something answers there, and with TLS it is who it says."""
    where = f"{host}:{port}"
    try:
        context = ssl.create_default_context(cafile=ca_file) if tls else None
    except (OSError, ssl.SSLError) as error:
        remedy = "name a file of certificates in PEM format as its ca_file"
        return Finding(name, FAIL, f"ca_file '{ca_file}' can't be read: {error}", (remedy,))
    try:
        with contextlib.ExitStack() as open_ones:
            plain = open_ones.enter_context(
                socket.create_connection((host, port), timeout=CONNECT_SECONDS)
            )
            if context is None:
                remedy = "in a network that is not yours, passwords and events can be read: use TLS"
                if _is_this_machine(plain):
                    return Finding(name, OK, f"{where} answers")
                return Finding(name, WARN, f"{where} answers, without TLS", (remedy,))
            secure = open_ones.enter_context(context.wrap_socket(plain, server_hostname=host))
            return Finding(name, OK, f"{where} answers, {secure.version()}, verified")
    except OSError as error:
        found, remedy = _trouble(error, where, tls)
        return Finding(name, FAIL, found, (remedy,))


def extra_check(extra: str, module: str) -> Finding:
    """What an asked-for receiver needs is installed."""
    if find_spec(module) is None:
        remedy = f"pip install 'otic[{extra}]'"
        return Finding(f"extra {extra}", FAIL, f"{module} is not installed", (remedy,))
    return Finding(f"extra {extra}", OK, f"{module} is installed")


def webhook_check(url: str, ca_file: str | None) -> Finding:
    """The web server can be reached. Nothing of the address but host and port is shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _USUAL_PORTS.get(parts.scheme)
    except ValueError:
        host = port = None
    if host is None or port is None:
        remedy = "write it as https://host/path"
        return Finding("webhook", FAIL, "webhook.url is no http(s) address", (remedy,))
    return connection_check("webhook", host, port, parts.scheme == "https", ca_file)


def _trouble(error: OSError, where: str, tls: bool) -> tuple[str, str]:
    """What went wrong, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{where}: its certificate is not trusted: {error.verify_message}",
            "name its authority's certificate as ca_file, and the host as the certificate does; "
            "a wrong clock does this too",
        )
    if isinstance(error, ssl.SSLError):
        return f"{where}: no TLS there ({error.reason})", "is this its port for TLS (MQTT: 8883)?"
    if isinstance(error, socket.gaierror):
        return f"{where}: nobody knows this name", "is it spelt right? 'getent hosts' asks the DNS"
    if isinstance(error, TimeoutError):
        return (
            f"{where}: no answer within {CONNECT_SECONDS:.0f} s",
            "is it on, in this network, and let through by its firewall?",
        )
    if isinstance(error, ConnectionRefusedError):
        return (
            f"{where}: nothing listens on this port",
            "does it run, is the port right, and does it listen beyond its own machine?",
        )
    if tls and isinstance(error, ConnectionError):
        return f"{where}: it hangs up", "is this its port for TLS (MQTT: 8883)?"
    return f"{where}: {error.strerror or error}", "is this machine in a network? 'ip address'"


def _is_this_machine(connection: socket.socket) -> bool:
    return bool(connection.getsockname()[0] == connection.getpeername()[0])


def _folders(settings: Settings) -> list[tuple[str, Path, float]]:
    """What is written: its name, its folder, how many megabytes it may take."""
    found = []
    clips = settings.clips
    if clips.directory and clips.enabled:
        found.append(("clips", Path(clips.directory), clips.max_megabytes))
    if settings.spool.directory:
        found.append(("spool", Path(settings.spool.directory), 0.0))
    for name in ("jsonl", "csv", "sqlite"):
        section = settings.jsonl if name == "jsonl" else settings.receivers.get(name)
        path = getattr(section, "path", None)
        if path and path != "-":
            found.append((name, Path(path).absolute().parent, 0.0))
    return found


def _folder_check(name: str, folder: Path, megabytes: float) -> Check:
    return Check(name, lambda: disk_check(folder, name, megabytes))


def _secret_files(settings: Settings) -> list[tuple[str, str]]:
    """Keys that end in ``_file`` beside a secret, and the files that they name."""
    found = []
    for section in ("mqtt", "webhook", "web"):
        values = settings.web if section == "web" else settings.receivers.get(section)
        if values is None:
            continue
        for secret in fields(values):
            path = getattr(values, f"{secret.name}_file", None)
            if secret.metadata.get("secret") and path:
                found.append((f"{section}.{secret.name}_file", path))
    return found


def _secret_check(name: str, path: str) -> Check:
    return Check(name, lambda: secret_check(name, path))


def secret_check(name: str, path: str) -> Finding:
    """A file with a secret is there, and not for everyone."""
    if path.startswith("/run/credentials/"):
        return Finding(name, OK, "given by systemd, to the service alone")
    try:
        with Path(path).open("rb") as file:
            empty = not file.read(1)
        mode = Path(path).stat().st_mode
    except OSError as error:
        remedy = "is the path right? Root's files can be read by the service with LoadCredential="
        return Finding(name, FAIL, f"{path}: {error.strerror}", (remedy,))
    if empty:
        return Finding(name, FAIL, f"{path} is empty", ("write the secret into it",))
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        return Finding(name, WARN, f"{path} is open to others", (f"chmod 640 {path}",))
    return Finding(name, OK, path)
