"""Addresses of live streams: what they may be, and what a person may be shown of them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

_HTTP = ("http", "tcp", "https", "tls", "crypto")  # crypto: encrypted HLS
_RTSP = ("rtsp", "rtp", "udp", "tcp")
PROTOCOLS = {
    "rtsp": _RTSP,
    "rtsps": (*_RTSP, "rtsps", "tls"),
    "http": _HTTP,
    "https": _HTTP[1:],
    "udp": ("udp",),
    "rtp": ("rtp", "udp"),
    "tcp": ("tcp",),
    "file": ("file",),
}
"""What ffmpeg may open for a stream, by the scheme of its URL; https never turns into http."""

_LISTENING = ("udp", "rtp")  # may have no host
_LONGEST = 4096
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_url(text: str) -> bool:
    """Return True for a URL with ``://``, of any scheme; False for a path or a device's name."""
    return _SCHEME.match(text) is not None


def scheme_of(url: str) -> str:
    """Return the scheme in lower case; ``file`` for a path."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else "file"


def is_playlist(url: str) -> bool:
    """Return True for HLS, as far as the name tells."""
    return ".m3u8" in url


def path_of(url: str) -> str:
    """Return the path of what is a file, a FIFO, or a URL of one."""
    return url[len("file://") :] if is_url(url) else url


NOT_A_FILE = "it is the address of a stream, no file: 'otic listen --url URL' hears live streams"


def check_url(text: str) -> None:
    """Require the address of a stream, or a path.

    Raises
    ------
    ValueError
        With what it must be. The text is not repeated: it may hold a password.
    """
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueError(f"must be a URL or a path of at most {_LONGEST} visible characters")
    scheme = scheme_of(text)
    if scheme not in PROTOCOLS:
        raise ValueError(
            f"has the scheme '{scheme}'; it must be one of {', '.join(PROTOCOLS)}: "
            "let ffmpeg write it into a FIFO as WAV, and give the FIFO's path"
        )
    if scheme == "file":
        return
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            "must be like rtsp://user:password@host:554/path; in a user or a password write "
            "/ as %2F, : as %3A, @ as %40"
        ) from None
    if not host and scheme not in _LISTENING:
        raise ValueError(f"has no host: write {scheme}://host/path")


def refuse_url(text: str) -> None:
    """Require anything but a URL.

    Raises
    ------
    ValueError
        With where it belongs. The text is not repeated: it may hold a password.
    """
    if is_url(text):
        raise ValueError("is the address of a stream: write url in place of device")


def has_password(url: str) -> bool:
    """Return True if a password is in a URL's part before the host."""
    return is_url(url) and urlsplit(url).password is not None


def shown_url(url: str) -> str:
    """Return what may be shown: scheme, host and port, or a path; tokens may be anywhere else."""
    scheme = scheme_of(url)
    if scheme == "file":
        return path_of(url)
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
        return f"{scheme}://{parts.hostname or ''}{port}"
    except ValueError:
        return f"{scheme}://…"


def stream_name(url: str) -> str:
    """Return a short name: the host, or the file's name."""
    scheme = scheme_of(url)
    if scheme == "file":
        return Path(path_of(url)).name
    return urlsplit(url).hostname or shown_url(url).replace("://", "")
