"""Addresses that a server listens on: how they are written, and who reaches them."""

from __future__ import annotations

import ipaddress
import re
import socket

from otic.errors import ParameterError

LOOPBACK = "127.0.0.1"
_LISTEN = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s]+):)?(?P<port>\d{1,5})")
_WAITING = 128  # connections, until they are taken
_SOMEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # for documentation


def host_and_port(listen: str, key: str) -> tuple[str, int]:
    """Host and port of ``[HOST:]PORT``; without a host only this machine is answered.

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
    """A TCP socket that listens on the address: who connects from now on is answered later.

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
    """Whether only this machine reaches a numeric address."""
    try:
        return ipaddress.ip_address(address.split("%")[0]).is_loopback
    except ValueError:
        return False


def reachable_host(bound: socket.socket) -> str:
    """How others reach what listens on all addresses; else the address that it is bound to."""
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
    """A host as addresses of pages have it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
