"""Read a ``.tflite`` file's description of itself without running it.

The reader of flatbuffers is made for files from anywhere: every read is within the file, or
it is a ValueError; no number in a file decides how much memory is allocated.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

from otic.errors import BundleError, printable
from otic.model.foreign import require_tflite

_IDENTIFIER = b"TFL3"
_METADATA = "TFLITE_METADATA"
_MAX_ITEMS = 1_000_000
_MAX_CHARACTERS = 1000  # of a name or a licence
_CUSTOM = 32  # BuiltinOperator.CUSTOM
_TYPES = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64"),
    *("int8", "float64", "complex128", "uint64", "resource", "variant", "uint32", "uint16"),
    *("int4", "bfloat16"),
)
_BOUNDS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_BUILT_IN_CUSTOM = ("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess")
"""Custom operators that TFLite's runtimes come with."""
_FLEX = "Flex"
"""Prefix of TensorFlow's own operators, which LiteRT lacks."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes
    ----------
    name, dtype : str
    shape : tuple of int
        -1 where the model leaves it open.
    limits : tuple of float or None
        Least and greatest value that the steps of 8 or 16 bits stand for; None without steps.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    limits: tuple[float, float] | None = None

    @property
    def size(self) -> int:
        """Count its numbers; an open size counts as 1."""
        return math.prod(n for n in self.shape if n != -1)

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class ModelFile:
    """A model's inputs, outputs and operators.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
    custom_operators : tuple of str
        Names of operators that are not TFLite's own.
    int8 : bool
        True where weights or values have 8 bits.
    metadata : bytes
        TFLite's metadata, a flatbuffer; empty where there is none.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    custom_operators: tuple[str, ...]
    int8: bool
    metadata: bytes

    @property
    def missing_operators(self) -> tuple[str, ...]:
        """Names of custom operators that no runtime comes with, TensorFlow's own aside."""
        others = set(self.tensorflow_operators)
        return tuple(
            name
            for name in self.custom_operators
            if name not in others and name not in _BUILT_IN_CUSTOM
        )

    @property
    def tensorflow_operators(self) -> tuple[str, ...]:
        """Names of operators that only TensorFlow has."""
        return tuple(name for name in self.custom_operators if name.startswith(_FLEX))


def read_model_file(origin: str, content: bytes) -> ModelFile:
    """Read a model's inputs, outputs and operators.

    Parameters
    ----------
    origin : str
        Its name in messages.
    content : bytes
        The file; what is behind the flatbuffer does not matter.

    Raises
    ------
    BundleError
        If it is no TFLite file, or damaged.
    """
    require_tflite(origin, content)
    try:
        return _read(root(content, _IDENTIFIER))
    except ValueError as error:
        raise BundleError(f"model '{origin}' is damaged: {error}") from error


def _read(model: Table) -> ModelFile:
    graphs = model.tables(2)
    if not graphs:
        raise ValueError("it has no graph")
    tensors = graphs[0].tables(0)
    return ModelFile(
        inputs=tuple(_tensor(tensors, i) for i in graphs[0].numbers(1, "<i")),
        outputs=tuple(_tensor(tensors, i) for i in graphs[0].numbers(2, "<i")),
        custom_operators=_custom_operators(model),
        int8=any(_dtype(tensor) in ("int8", "uint8", "int4") for tensor in tensors),
        metadata=_metadata(model),
    )


def _tensor(tensors: list[Table], index: int) -> TensorInfo:
    if not 0 <= index < len(tensors):
        raise ValueError(f"it has no tensor {index}")
    tensor = tensors[index]
    shape, signature = tensor.numbers(0, "<i"), tensor.numbers(7, "<i")
    shown = signature if len(signature) == len(shape) else shape
    return TensorInfo(tensor.text(3), _dtype(tensor), tuple(shown), _limits(tensor))


def _limits(tensor: Table) -> tuple[float, float] | None:
    """Read the range of a quantised tensor."""
    quantisation, bounds = tensor.table(4), _BOUNDS.get(_dtype(tensor))
    if quantisation is None or bounds is None:
        return None
    scales, zeros = quantisation.numbers(2, "<f"), quantisation.numbers(3, "<q")
    if len(scales) != 1 or not (math.isfinite(scales[0]) and scales[0] > 0.0):
        return None
    zero = zeros[0] if zeros else 0
    return (bounds[0] - zero) * scales[0], (bounds[1] - zero) * scales[0]


def _dtype(tensor: Table) -> str:
    code = tensor.number(1, "<b")
    return _TYPES[code] if 0 <= code < len(_TYPES) else f"type {code}"


def _custom_operators(model: Table) -> tuple[str, ...]:
    names = []
    for code in model.tables(1):
        # Newer files have the number in a wider field; it is 0 in older ones.
        builtin = max(code.number(0, "<b"), code.number(3, "<i"))
        if builtin == _CUSTOM:
            names.append(code.text(1))
    return tuple(dict.fromkeys(names))


def _metadata(model: Table) -> bytes:
    buffers = model.tables(4)
    for entry in model.tables(6):
        if entry.text(0) == _METADATA:
            index = entry.number(1, "<I")
            if index >= len(buffers):
                raise ValueError(f"it has no buffer {index}")
            return buffers[index].blob(0)
    return b""


class Table:
    """One table of a flatbuffer: numbered fields, each absent or at an offset.

    Parameters
    ----------
    data : bytes
        All of it.
    at : int
        Where the table begins.

    Raises
    ------
    ValueError
        If it does not lie within the data; so do all methods.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - _number(data, at, "<i")
        self._n_fields = (_number(data, self._fields, "<H") - 4) // 2

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Read a number; ``kind`` is a format of :mod:`struct`, such as ``<i``."""
        at = self._place(field)
        return default if at is None else int(_number(self._data, at, kind))

    def table(self, field: int) -> Table | None:
        """Read a table, or None."""
        at = self._place(field)
        return None if at is None else Table(self._data, self._behind(at))

    def tables(self, field: int) -> list[Table]:
        """Read a list of tables."""
        start, n = self._vector(field, 4)
        return [Table(self._data, self._behind(start + 4 * i)) for i in range(n)]

    def numbers(self, field: int, kind: str) -> list[Any]:
        """Read a list of numbers."""
        size = struct.calcsize(kind)
        start, n = self._vector(field, size)
        return [_number(self._data, start + size * i, kind) for i in range(n)]

    def blob(self, field: int) -> bytes:
        """Read bytes; empty where there are none."""
        start, n = self._vector(field, 1)
        return self._data[start : start + n]

    def text(self, field: int) -> str:
        """Read printable text; empty where there is none."""
        return printable(self.blob(field).decode("utf-8", "replace")[:_MAX_CHARACTERS])

    def _place(self, field: int) -> int | None:
        if field >= self._n_fields:
            return None
        offset = _number(self._data, self._fields + 4 + 2 * field, "<H")
        return self._at + int(offset) if offset else None

    def _behind(self, at: int) -> int:
        return at + int(_number(self._data, at, "<I"))

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Find the start of a list's items, and their number."""
        at = self._place(field)
        if at is None:
            return 0, 0
        start = self._behind(at)
        n = _number(self._data, start, "<I")
        if start + 4 + n * size > len(self._data) or (size > 1 and n > _MAX_ITEMS):
            raise ValueError(f"a list of {n} items does not fit into the file")
        return start + 4, n


def root(data: bytes, identifier: bytes) -> Table:
    """Read the table that a flatbuffer begins with.

    Raises
    ------
    ValueError
        If it has another identifier, or is too short.
    """
    if data[4:8] != identifier:
        raise ValueError(f"it does not begin with {identifier.decode()}")
    return Table(data, _number(data, 0, "<I"))


def _number(data: bytes, at: int, kind: str) -> Any:
    size = struct.calcsize(kind)
    value: Any
    if not 0 <= at <= len(data) - size:
        raise ValueError(f"an offset of {at} is outside of the file")
    (value,) = struct.unpack_from(kind, data, at)
    return value
