"""Secrets, which come from the environment or a file and never appear in a message."""

from __future__ import annotations

from pathlib import Path

from otic.errors import ParameterError

_MAX_BYTES = 65536


def read_secret(value: str | None, path: str | None, key: str) -> str:
    """Return a secret: the environment's value, else the file's content without its last newline.

    Parameters
    ----------
    value : str or None
        The environment's value; it takes precedence over the file.
    path : str or None
        A file that contains only the secret, at most 64 KiB of UTF-8.
    key : str
        The secret's name in the configuration, such as ``webhook.secret``; ``path`` is then
        the value of ``webhook.secret_file``.

    Returns
    -------
    str
        Empty if neither is given.

    Raises
    ------
    ParameterError
        If the secret is empty, or the file can't be read. The message names the key and the
        path, never the content.
    """
    if value is not None:
        if not value:
            variable = "OTIC_" + key.upper().replace(".", "_")
            raise ParameterError(f"{key} is empty: give {variable} a value, or unset it")
        return value
    if path is None:
        return ""
    where = f"{key}_file {path!r}"
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ParameterError(f"{where}: {reason}: name a file that otic's user can read") from None
    except ValueError:  # the path contains a zero byte
        raise ParameterError(f"{where} is not a path: name a file with the secret") from None
    if len(raw) > _MAX_BYTES:
        raise ParameterError(f"{where} is longer than {_MAX_BYTES} bytes: name a file of one line")
    try:
        secret = raw.decode()
    except UnicodeDecodeError:  # "from None", as the cause would show the bytes
        raise ParameterError(f"{where} is not UTF-8 text: save it as such") from None
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ParameterError(f"{where} is empty: write the secret into it")
    return secret
