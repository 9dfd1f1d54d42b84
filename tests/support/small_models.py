"""TFLite models of one layer, made by hand: what comes from anywhere, without TensorFlow."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

F32 = NDArray[np.float32]

FULLY_CONNECTED, ADD, ARG_MAX, CUSTOM, DIV, RESHAPE = 9, 0, 56, 32, 42, 22
LOGISTIC, MUL, CAST = 14, 18, 53
_TYPES = {"float32": 0, "int32": 2, "int16": 7, "int8": 9}


class SmallModel:
    """A graph to which tensors and operators are added."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[Any] = []

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str = "float32",
        steps: tuple[float, int] | None = None,
        signature: tuple[int, ...] | None = None,
        data: NDArray[Any] | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), _TYPES[dtype]
        if signature is not None:
            tensor.shapeSignature = list(signature)
        if steps is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [steps[0]], [steps[1]]
        if data is not None:
            tensor.buffer = self.buffer(data.astype(dtype).tobytes())
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def buffer(self, content: bytes) -> int:
        self._buffers.append(schema.BufferT())
        self._buffers[-1].data = np.frombuffer(content, np.uint8)
        return len(self._buffers) - 1

    def operator(
        self, code: int, inputs: list[int], outputs: list[int], version: int = 1, custom: str = ""
    ) -> None:
        kind = schema.OperatorCodeT()
        kind.builtinCode = kind.deprecatedBuiltinCode = code
        kind.version, kind.customCode = version, custom or None
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._codes)
        operator.inputs, operator.outputs = inputs, outputs
        options = {
            FULLY_CONNECTED: ("FullyConnectedOptions", schema.FullyConnectedOptionsT),
            ADD: ("AddOptions", schema.AddOptionsT),
            ARG_MAX: ("ArgMaxOptions", schema.ArgMaxOptionsT),
            DIV: ("DivOptions", schema.DivOptionsT),
            MUL: ("MulOptions", schema.MulOptionsT),
        }
        if code in options:
            name, made = options[code]
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = made()
            if code == ARG_MAX:
                operator.builtinOptions.outputType = _TYPES["int32"]
        self._codes.append(kind)
        self._operators.append(operator)

    def content(self, inputs: list[int], outputs: list[int], metadata: bytes = b"") -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.subgraphs, model.operatorCodes = 3, [graph], self._codes
        if metadata:
            entry = schema.MetadataT()
            entry.name, entry.buffer = "TFLITE_METADATA", self.buffer(metadata)
            model.metadata = [entry]
        model.buffers = self._buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def linear_model(
    shape: tuple[int, ...],
    weights: F32,
    signature: tuple[int, ...] | None = None,
    int8: tuple[tuple[float, int], tuple[float, int]] | None = None,
    version: int = 1,
    metadata: bytes = b"",
    output: tuple[int, ...] | None = None,
) -> bytes:
    """Scores are ``weights @ x``, float32 [n_labels, n_features]; x has any shape.

    With ``int8``, the steps and zero points of the input and the output; weights of an
    int8 model are rounded to 1/100.
    """
    made = SmallModel()
    k, n = weights.shape
    dtype = "int8" if int8 else "float32"
    taken, given = int8 or (None, None)
    x = made.tensor("x", shape, dtype, taken, signature)
    data = np.round(weights * 100) if int8 else weights
    w = made.tensor("w", (k, n), dtype, (0.01, 0) if int8 else None, data=data)
    bias = made.tensor(
        "b",
        (k,),
        "int32" if int8 else "float32",
        (0.01 * taken[0], 0) if taken else None,
        data=np.zeros(k),
    )
    y = made.tensor("y", output or (1, k), dtype, given)
    made.operator(FULLY_CONNECTED, [x, w, bias], [y], version)
    return made.content([x], [y], metadata)


def streaming_model(
    weights: F32,
    shape: tuple[int, ...],
    decay: float = 0.8,
    state: tuple[int, ...] | None = None,
    new_state: tuple[int, ...] | None = None,
) -> bytes:
    """Hands on ``state * decay + weights @ frames``, and gives its sigmoid as scores.

    Inputs are the frames, of any shape, and the state; outputs the scores and the new state.
    """
    made = SmallModel()
    k, n = weights.shape
    x, old = made.tensor("frames", shape), made.tensor("state", state or (1, k))
    w, bias = made.tensor("w", (k, n), data=weights), made.tensor("b", (k,), data=np.zeros(k))
    kept = made.tensor("decay", (1,), data=np.array([decay]))
    h, left = made.tensor("h", (1, k)), made.tensor("left", state or (1, k))
    new = made.tensor("new state", new_state or (1, k))
    y = made.tensor("scores", (1, k))
    made.operator(FULLY_CONNECTED, [x, w, bias], [h])
    made.operator(MUL, [old, kept], [left])
    made.operator(ADD, [left, h], [new])
    made.operator(LOGISTIC, [new], [y])
    return made.content([x, old], [y, new])


def of_16_bit_samples(weights: F32) -> bytes:
    """``weights @ x / 32768``, of int16 samples ``x`` without a quantisation."""
    made = SmallModel()
    k, n = weights.shape
    x, y = made.tensor("x", (1, n), "int16"), made.tensor("y", (1, k))
    cast = made.tensor("cast", (1, n))
    w = made.tensor("w", (k, n), data=weights / 32768.0)
    bias = made.tensor("b", (k,), data=np.zeros(k))
    made.operator(CAST, [x], [cast])
    made.operator(FULLY_CONNECTED, [cast, w, bias], [y])
    return made.content([x], [y])


def two_inputs(shape: tuple[int, ...] = (1, 3), dtype: str = "float32") -> bytes:
    """Adds a second input, of this shape and type, to the first."""
    made = SmallModel()
    a, y = (made.tensor(name, (1, 3)) for name in ("sound", "y"))
    b = made.tensor("state", shape, dtype)
    made.operator(ADD, [a, b], [y])
    return made.content([a, b], [y])


def best_label(n: int) -> bytes:
    """Gives the index of the greatest input."""
    made = SmallModel()
    x, y = made.tensor("x", (1, n)), made.tensor("label", (1,), "int32")
    axis = made.tensor("axis", (), "int32", data=np.array(1))
    made.operator(ARG_MAX, [x, axis], [y])
    return made.content([x], [y])


def numbers_and_scores(weights: F32) -> bytes:
    """Has two outputs as long: int32 numbers, and scores as a :func:`linear_model` gives."""
    made = SmallModel()
    k, n = weights.shape
    x, w = made.tensor("x", (1, n)), made.tensor("w", (k, n), data=weights)
    bias, y = made.tensor("b", (k,), data=np.zeros(k)), made.tensor("y", (1, k))
    numbers = made.tensor("numbers", (k,), "int32", data=np.arange(k))
    made.operator(FULLY_CONNECTED, [x, w, bias], [y])
    return made.content([x], [numbers, y])


def divided_by_level(weights: F32) -> bytes:
    """``weights @ x`` divided by itself: 1 for each label, and NaN for silence."""
    made = SmallModel()
    k, n = weights.shape
    x, w = made.tensor("x", (1, n)), made.tensor("w", (k, n), data=weights)
    bias = made.tensor("b", (k,), data=np.zeros(k))
    sums, y = made.tensor("sums", (1, k)), made.tensor("y", (1, k))
    made.operator(FULLY_CONNECTED, [x, w, bias], [sums])
    made.operator(DIV, [sums, sums], [y])
    return made.content([x], [y])


def scores_of_rows(weights: F32) -> bytes:
    """Cuts what it is given into rows, and gives scores of each, as YAMNet of TF Hub does."""
    made = SmallModel()
    k, n = weights.shape
    x, w = made.tensor("x", (1,), signature=(-1,)), made.tensor("w", (k, n), data=weights)
    bias, sizes = made.tensor("b", (k,), data=np.zeros(k)), np.array([-1, n])
    rows = made.tensor("rows", (1, n), signature=(-1, n))
    y = made.tensor("y", (1, k), signature=(-1, k))
    made.operator(RESHAPE, [x, made.tensor("sizes", (2,), "int32", data=sizes)], [rows])
    made.operator(FULLY_CONNECTED, [rows, w, bias], [y])
    return made.content([x], [y])


def custom_operators(*names: str) -> bytes:
    made = SmallModel()
    x = at = made.tensor("x", (1, 3))
    for name in names:
        behind = made.tensor(name, (1, 3))
        made.operator(CUSTOM, [at], [behind], custom=name)
        at = behind
    return made.content([x], [at])


def audio_metadata(
    sr: int, channels: int = 1, label_file: str = "labels.txt", model_license: str = ""
) -> bytes:
    """What MediaPipe's and TFLite Support's writers put into an audio classifier."""
    b = flatbuffers.Builder(256)

    def table(*fields: tuple[int, str, int]) -> int:
        b.StartObject(1 + max(number for number, _, _ in fields))
        for number, kind, value in fields:
            getattr(b, f"Prepend{kind}Slot")(number, value, 0)
        return int(b.EndObject())

    def vector(item: int) -> int:
        b.StartVector(4, 1, 4)
        b.PrependUOffsetTRelative(item)
        return int(b.EndVector())

    def offset(number: int, value: int) -> tuple[int, str, int]:
        return number, "UOffsetTRelative", value

    name, licensed = b.CreateString("a classifier"), b.CreateString(model_license)
    file = table(offset(0, b.CreateString(label_file)), (2, "Int8", 2))  # TENSOR_AXIS_LABELS
    audio = table((0, "Uint32", sr), (1, "Uint32", channels))
    content = table((0, "Uint8", 4), offset(1, audio))  # AudioProperties
    inputs, outputs = vector(table(offset(3, content))), vector(table(offset(6, vector(file))))
    graph = table(offset(2, inputs), offset(3, outputs))
    graphs = vector(graph)
    b.Finish(table(offset(0, name), offset(3, graphs), offset(5, licensed)), b"M001")
    return bytes(b.Output())


def with_files(model: bytes, files: dict[str, str]) -> bytes:
    """A zip behind the model, as metadata's files are."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()
