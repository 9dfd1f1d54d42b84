"""From the bytes of a keyboard to the names of keys."""

from __future__ import annotations

import re

_NAMED = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b[8~": "end",
    b"\x1b[Z": "back tab",
    b"\t": "tab",
    b" ": "space",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
}
_SEQUENCE = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|\x1b[^\[O]|[^\x1b]", re.DOTALL)
_MOST_BYTES = 32  # of a sequence that is not complete


class KeyReader:
    """Cuts what is read into keys; a sequence may come in parts.

    Not thread safe.
    """

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete: a printable character, or a name such as ``up``."""
        data = self._left + data
        keys = []
        at = 0
        while found := _SEQUENCE.match(data, at):
            at = found.end()
            name = _NAMED.get(found[0])
            if name is None and len(found[0]) == 1 and found[0].isascii():
                name = found[0].decode()
            if name is not None and (name in _NAMED.values() or name.isprintable()):
                keys.append(name)
        self._left = data[at:][:_MOST_BYTES]
        return keys

    def idle(self) -> list[str]:
        """Nothing came for a moment: a lone escape was the key itself."""
        left, self._left = self._left, b""
        return ["escape"] if left == b"\x1b" else []
