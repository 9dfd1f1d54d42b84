"""Downloads over HTTP that go on where an interrupted one ended."""

from __future__ import annotations

import re
from pathlib import Path

from otic.errors import OticError
from otic_training.cli.progress import progress, say

MIRROR = "OTIC_DOWNLOAD_URL"
AGAIN = "run the same command again"

_BLOCK = 1 << 16  # what is lost of a connection that breaks
_TIMEOUT_SECONDS = 60.0


def download_rest(url: str, part: Path, expected_bytes: int) -> None:
    """Download the rest of a file; all of it where the server can't send the rest only.

    Parameters
    ----------
    url : str
    part : Path
        What an interrupted download has left is taken as the file's beginning;
        what arrives is added to it.
    expected_bytes : int
        About so long is the whole file, for servers that don't say.

    Raises
    ------
    OticError
        If the server can't be reached, refuses, or breaks off.
    OSError
        If ``part`` can't be written.
    """
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # the stored bytes, or they can't be counted
    if start:
        headers["Range"] = f"bytes={start}-"
    received = start
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            span = response.headers.get("Content-Range", "")
            if response.status_code == 416 and start:  # nothing is after what we have
                if span != f"bytes */{start}":
                    part.unlink()
                    download_rest(url, part, expected_bytes)
                return
            if not response.ok:
                raise OticError(
                    f"{url} answers {response.status_code} {response.reason}: try again later, "
                    f"or set {MIRROR} to a mirror"
                )
            resumed = response.status_code == 206 and span.startswith(f"bytes {start}-")
            if start:
                say(
                    f"going on after {start} bytes"
                    if resumed
                    else "starting over: this server can't send the rest only"
                )
            received = start if resumed else 0
            length = response.headers.get("Content-Length", "")
            total = received + int(length) if length.isdecimal() else None
            with (
                part.open("ab" if resumed else "wb") as file,
                progress("downloading", total or expected_bytes, received, True) as advance,
            ):
                for block in response.iter_content(_BLOCK):
                    file.write(block)
                    received += len(block)
                    advance(len(block))
            if total is not None and received < total:
                raise requests.ConnectionError("Connection broken")
    except requests.RequestException as error:
        kept = f"; {received} bytes are kept" if received else ""
        raise OticError(
            f"can't download {url}: {_reason(error)}{kept}: check the network and {AGAIN}"
        ) from error


def _reason(error: Exception) -> str:
    """What went wrong, out of what requests and urllib3 wrap around it."""
    text = str(error)
    system = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text)
    if system:
        return system[1]
    if "timed out" in text:
        return f"no answer within {_TIMEOUT_SECONDS:.0f} s"
    if "IncompleteRead" in text or "Connection broken" in text:
        return "the connection broke"
    short = text.rsplit("(Caused by ", 1)[-1].splitlines()[:1]
    return short[0][:200] if short else type(error).__name__
