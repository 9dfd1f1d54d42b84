"""Connections to other machines, always verified, and addresses that a server listens on."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl

from otic.errors import ParameterError, printable
from otic.system.findings import CONNECT_SECONDS, FAIL, OK, WARN, Finding

LOOPBACK = "127.0.0.1"
_LISTEN = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s]+):)?(?P<port>\d{1,5})")
_WAITING = 128  # connections that are not accepted yet
_SOMEWHERE = {
    socket.AF_INET: "192.0.2.1",
    socket.AF_INET6: "2001:db8::1",
}  # reserved for documentation


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or later; trusts the system's authorities, or only those of a PEM file.

    Raises
    ------
    OSError, ValueError
        If the file can't be used; SSLError is an OSError.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the system's settings say
    return context


def explain(error: BaseException, address: str, ca_file: str, tls: bool) -> tuple[str, str]:
    """Say what went wrong with a connection, and what to do.

    Parameters
    ----------
    error : Exception
        Of a socket, of TLS, or urllib's around one of these.
    address, ca_file : str
        The settings that name host and port, and the certificates that are trusted.
    tls : bool
        Whether TLS was to be spoken.
    """
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):  # urllib wraps what happened
        return explain(reason, address, ca_file, tls)
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted: {error.verify_message}",
            f"name its authority's certificate as {ca_file}, and the host in {address} as the "
            "certificate does; a wrong clock does this, too",
        )
    if isinstance(error, ssl.SSLError) or (tls and isinstance(error, ConnectionResetError)):
        return (
            f"no TLS there ({reason or 'it hangs up'})",
            f"is its port one for TLS? See {address}",
        )
    if isinstance(error, socket.gaierror | UnicodeError):
        return "nobody knows this name", f"is the name right? See {address}"
    if isinstance(error, TimeoutError):
        return "no answer in time", "is it on, in this network, and let through by its firewall?"
    if isinstance(error, ConnectionRefusedError):
        return (
            "nothing listens on this port",
            f"does it run, and listen beyond its own machine? See {address}",
        )
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    what = printable(text)[:200] or type(error).__name__
    return what, "is this machine in a network? 'ip address'"


def connection_check(
    name: str, host: str, port: int, tls: bool, ca_file: str | None, address: str
) -> Finding:
    """Check that something answers there, and with TLS that it is who it says.

    Parameters
    ----------
    name : str
        Of the finding.
    host, port, tls, ca_file
    address : str
        The settings that name host and port.
    """
    where = f"{host}:{port}"
    try:
        context = client_context(ca_file) if tls else None
    except (OSError, ValueError) as error:
        remedy = "name a file of certificates in PEM format as its ca_file"
        return Finding(name, FAIL, f"ca_file '{ca_file}' can't be read: {error}", (remedy,))
    try:
        with contextlib.ExitStack() as open_ones:
            plain = open_ones.enter_context(
                socket.create_connection((host, port), timeout=CONNECT_SECONDS)
            )
            if context is None:
                if plain.getsockname()[0] == plain.getpeername()[0]:
                    return Finding(name, OK, f"{where} answers")
                remedy = "in a network that is not yours, passwords and events can be read: use TLS"
                return Finding(name, WARN, f"{where} answers, without TLS", (remedy,))
            secure = open_ones.enter_context(context.wrap_socket(plain, server_hostname=host))
            return Finding(name, OK, f"{where} answers, {secure.version()}, verified")
    except (OSError, UnicodeError) as error:
        what, remedy = explain(error, address, "its ca_file", tls)
        return Finding(name, FAIL, f"{where}: {what}", (remedy,))


def host_and_port(listen: str, key: str) -> tuple[str, int]:
    """Split ``[HOST:]PORT``; without a host, only this machine can connect.

    Parameters
    ----------
    listen : str
        An IPv6 address is in brackets: ``[::1]:9400``.
    key : str
        The setting's name, for the message.

    Raises
    ------
    ParameterError
        If it is not such an address.
    """
    match = _LISTEN.fullmatch(listen.strip())
    if match is None or int(match["port"]) > 65535:
        raise ParameterError(
            f"{key}={listen!r} must be PORT or HOST:PORT with a port of at most 65535, "
            "like 9400, 192.168.1.5:9400 or [::1]:9400"
        )
    return (match["host"] or LOOPBACK).strip("[]"), int(match["port"])


def listening_socket(host: str, port: int) -> socket.socket:
    """Open a TCP socket that listens on the address; connections wait until they are accepted.

    Raises
    ------
    OSError, UnicodeError
        If the port is in use, or the address is not this machine's.
    """
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_WAITING)
    except OSError:
        bound.close()
        raise
    return bound


def is_loopback(address: str) -> bool:
    """Return True if only this machine can reach a numeric address."""
    try:
        return ipaddress.ip_address(address.split("%")[0]).is_loopback
    except ValueError:
        return False


def reachable_host(bound: socket.socket) -> str:
    """Return the address at which others reach a socket that may listen on all of them."""
    host = str(bound.getsockname()[0])
    if not ipaddress.ip_address(host.split("%")[0]).is_unspecified:
        return host
    try:
        with socket.socket(bound.family, socket.SOCK_DGRAM) as probe:
            probe.connect((_SOMEWHERE[bound.family], 9))  # sends nothing: it asks for the route
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()


def url_host(host: str) -> str:
    """Write a host as in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
