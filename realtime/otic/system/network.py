"""Encrypted connections, always verified."""

from __future__ import annotations

import ssl


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
