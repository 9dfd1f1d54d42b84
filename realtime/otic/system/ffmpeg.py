"""ffmpeg, the program that decodes what otic's libraries do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from otic.errors import RuntimeMissingError


class NoFfmpegError(RuntimeMissingError):
    """ffmpeg is not installed."""


def ffmpeg_command(protocols: Iterable[str], *arguments: str) -> list[str]:
    """Return a command of ffmpeg, without a shell, that opens nothing but these protocols.

    It takes no keys from standard input, and prints messages only, each with its level.

    Raises
    ------
    NoFfmpegError
        If ffmpeg is not installed.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise NoFfmpegError("ffmpeg is not installed: apt install ffmpeg")
    quiet = ("-nostdin", "-hide_banner", "-nostats")
    return [program, *quiet, "-protocol_whitelist", ",".join(protocols), *arguments]
