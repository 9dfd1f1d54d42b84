"""Surgery on TFLite graphs: a model cut where its embedding is, and another put in its place.

The result is one plain graph, which any TFLite runtime loads. Nothing here runs a model;
:mod:`otic_training.networks.base_model` compares the result with its parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic.model.bundle import MAX_LABELS

_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16
"""Alignment of weights in the file; the schema asks for it, and its Python code forgets it."""

_WEIGHTED = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_MATMUL")
_WIDEST = MAX_LABELS
"""Limit of an embedding's numbers: it is served as labels are."""


class GraftError(OticError):
    """A graph that can't be cut or joined."""


@dataclass(frozen=True)
class Embedding:
    """Input of a model's last weighted layer.

    Attributes
    ----------
    tensor : int
        Its index in the graph.
    name : str
    width : int
        Its numbers.
    """

    tensor: int
    name: str
    width: int


def find_embedding(model: bytes, output: int) -> Embedding:
    """Go back from the scores to the last layer with weights: the embedding is its input.

    Parameters
    ----------
    model : bytes
        A flatbuffer that a runtime has loaded.
    output : int
        Which of the outputs is the scores, from 0.

    Raises
    ------
    GraftError
        If there is no such layer, or its input is not one row of float32.
    """
    unpacked = _unpacked(model)
    graph, codes = _graph(unpacked), _operator_names(unpacked)
    behind = _operators_behind(graph, [_ints(graph.outputs)[output]])
    weighted = [i for i in behind if codes[graph.operators[i].opcodeIndex] in _WEIGHTED]
    if not weighted:
        raise GraftError("no layer with weights is behind its scores")
    tensor = _ints(graph.operators[weighted[-1]].inputs)[0]
    found = graph.tensors[tensor]
    shape = _ints(found.shape)
    dtype = _name_of("TensorType", found.type)
    if len(shape) != 2 or shape[0] != 1 or not 1 < shape[1] <= _WIDEST or dtype != "FLOAT32":
        raise GraftError(
            f"its last layer with weights looks at {dtype.lower()} {shape}: one row of float32, "
            f"at most {_WIDEST} numbers, is needed"
        )
    if tensor in _ints(graph.inputs):
        raise GraftError("its only layer with weights looks at its input: there is no embedding")
    return Embedding(tensor, found.name.decode(errors="replace"), shape[1])


def has_8_bit_weights(model: bytes) -> bool:
    """Tell if some weights are int8: then scores depend a little on the processor."""
    unpacked = _unpacked(model)
    return any(
        _name_of("TensorType", t.type) in ("INT8", "UINT8", "INT4")
        and _data(unpacked.buffers[t.buffer]) is not None
        for t in _graph(unpacked).tensors
    )


def find_tensor(model: bytes, name: str) -> int:
    """Find a tensor by its name.

    Raises
    ------
    GraftError
        If there is none, or several have the name.
    """
    tensors = _graph(_unpacked(model)).tensors
    found = [i for i, tensor in enumerate(tensors) if tensor.name == name.encode()]
    if len(found) != 1:
        raise GraftError(f"it has {len(found)} tensors with the name '{name}': one is needed")
    return found[0]


def tensor_name(model: bytes, tensor: int) -> str:
    """Name a tensor of a graph."""
    return str(_graph(_unpacked(model)).tensors[tensor].name.decode(errors="replace"))


def cut(model: bytes, *tensors: int) -> bytes:
    """Cut out the part of a model that computes some tensors, which are then its outputs.

    Inputs that it does not need are left out.

    Raises
    ------
    GraftError
        If the graph is of a kind that is not understood.
    """
    unpacked = _unpacked(model)
    graph = _graph(unpacked)
    graph.outputs = list(tensors)
    behind = [graph.operators[i] for i in _operators_behind(graph, tensors)]
    needed = {*tensors, *(i for operator in behind for i in _ints(operator.inputs))}
    graph.inputs = [i for i in _ints(graph.inputs) if i in needed]
    return packed(unpacked)


def graft(base: bytes, tensor: int, head: bytes, taken: int = 0, kept: Sequence[int] = ()) -> bytes:
    """Put a head on one of a base's tensors, in place of all that came after.

    Parameters
    ----------
    base : bytes
    tensor : int
        The head's input, of the base's tensors; see :func:`find_embedding`. One of 8 bits is
        turned into float32 for a head that takes that.
    head : bytes
        A model with an input as wide as that tensor.
    taken : int
        Number of that input; the head's other inputs follow those of the base.
    kept : sequence of int
        Tensors of the base that stay outputs, behind those of the head.

    Returns
    -------
    bytes
        One graph.

    Raises
    ------
    GraftError
        If they do not fit together.
    """
    whole, added = _unpacked(base), _unpacked(head)
    graph, scion = _graph(whole), _graph(added)
    inputs = _ints(scion.inputs)
    wanted, given = (
        _ints(graph.tensors[tensor].shape),
        [_ints(scion.tensors[i].shape) for i in inputs],
    )
    others = [shape for i, shape in enumerate(given) if i != taken]
    if given[taken : taken + 1] != [wanted] or (others and not kept):
        raise GraftError(f"the head has inputs of shape {given}, the embedding's is {wanted}")
    tensor = _as_type_of(whole, tensor, scion.tensors[inputs[taken]])

    first_buffer, first_tensor = len(whole.buffers), len(graph.tensors)
    first_code = len(whole.operatorCodes)
    place = {i: first_tensor + i for i in range(len(scion.tensors))}
    place |= {inputs[taken]: tensor, -1: -1}
    for added_tensor in scion.tensors:
        added_tensor.name = b"head/" + added_tensor.name
        if added_tensor.buffer:  # 0 is the empty one, for what is computed
            added_tensor.buffer += first_buffer
    for operator in scion.operators:
        operator.opcodeIndex += first_code
        operator.inputs = [place[i] for i in _ints(operator.inputs)]
        operator.outputs = [place[i] for i in _ints(operator.outputs)]
    whole.buffers = [*whole.buffers, *added.buffers]
    whole.operatorCodes = [*whole.operatorCodes, *added.operatorCodes]
    graph.tensors = [*graph.tensors, *scion.tensors]
    graph.operators = [*graph.operators, *scion.operators]
    graph.inputs = [*_ints(graph.inputs), *(place[i] for i in inputs if i != inputs[taken])]
    graph.outputs = [*(place[i] for i in _ints(scion.outputs)), *kept]
    return packed(whole)


def chained(model: bytes, first: int, second: int) -> bytes:
    """Put two of a model's outputs, rows of numbers, one after the other, in the first's place.

    Parameters
    ----------
    model : bytes
    first, second : int
        Numbers of the outputs; the second is no output any more.
    """
    from ai_edge_litert import schema_py_generated as schema

    unpacked = _unpacked(model)
    graph = _graph(unpacked)
    outputs = _ints(graph.outputs)
    parts = [outputs[first], outputs[second]]
    shape = [1, sum(_ints(graph.tensors[i].shape)[-1] for i in parts)]
    dtype = graph.tensors[parts[0]].type
    operator, whole = _operator(unpacked, "CONCATENATION", 1, parts, b"head/all", shape, dtype)
    operator.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
    operator.builtinOptions = schema.ConcatenationOptionsT()
    operator.builtinOptions.axis = 1
    graph.operators = [*graph.operators, operator]
    outputs[first] = whole
    graph.outputs = outputs[:second] + outputs[second + 1 :]
    return packed(unpacked)


def _as_type_of(unpacked: Any, tensor: int, wanted: Any) -> int:
    """Give a tensor in the type of another: itself, or what is made of its 8-bit steps.

    Raises
    ------
    GraftError
        If there is no way from one type to the other.
    """
    graph = _graph(unpacked)
    found = graph.tensors[tensor]
    if found.type == wanted.type:
        return tensor
    kinds = [_name_of("TensorType", t.type) for t in (found, wanted)]
    if kinds[0] not in ("INT8", "UINT8") or kinds[1] != "FLOAT32":
        raise GraftError(f"the head takes {kinds[1].lower()}, the embedding is {kinds[0].lower()}")
    operator, made = _dequantized(unpacked, tensor, b"head/frame")
    graph.operators = [*graph.operators, operator]
    return made


def with_8_bit_matrices(model: bytes, least: int) -> bytes:
    """Keep large float32 matrices in 8 bits, with a scale a row; arithmetic stays float32.

    The runtime turns them into float32 once, before the first inference: weights lie at most half
    a step, 1/254 of their row's largest, from what they were, and nothing else changes.

    Parameters
    ----------
    model : bytes
    least : int
        Numbers of the smallest matrix that is changed.

    Raises
    ------
    GraftError
        If the graph is of a kind that is not understood.
    """
    from ai_edge_litert import schema_py_generated as schema

    unpacked = _unpacked(model)
    graph = _graph(unpacked)
    before = []
    for index in range(len(graph.tensors)):
        tensor = graph.tensors[index]
        data, shape = _data(unpacked.buffers[tensor.buffer]), _ints(tensor.shape)
        large = len(shape) == 2 and shape[0] * shape[1] >= least
        if data is None or not large or _name_of("TensorType", tensor.type) != "FLOAT32":
            continue
        steps, scale = rows_in_8_bits(np.frombuffer(data, np.float32).reshape(shape))
        operator, made = _dequantized(unpacked, index, tensor.name + b"/float32")
        for other in graph.operators:
            other.inputs = [made if i == index else i for i in _ints(other.inputs)]
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scale
        tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
        tensor.quantization.quantizedDimension = 0
        unpacked.buffers[tensor.buffer].data = np.frombuffer(steps.tobytes(), np.uint8)
        before.append(operator)
    graph.operators = [*before, *graph.operators]
    return packed(unpacked)


def rows_in_8_bits(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix to whole steps from -127 to 127, with the size of a step for each row."""
    scale = (np.maximum(np.abs(matrix).max(1), 1e-9) / 127.0).astype(np.float32)
    return np.clip(np.rint(matrix / scale[:, None]), -127, 127).astype(np.int8), scale


def _dequantized(unpacked: Any, tensor: int, name: bytes) -> tuple[Any, int]:
    """Make an operator that turns an 8-bit tensor into float32, and the tensor that it gives.

    The operator still has to be put in its place.
    """
    from ai_edge_litert import schema_py_generated as schema

    shape = _graph(unpacked).tensors[tensor].shape
    return _operator(unpacked, "DEQUANTIZE", 2, [tensor], name, shape, schema.TensorType.FLOAT32)


def _operator(
    unpacked: Any, kind: str, version: int, inputs: list[int], name: bytes, shape: Any, dtype: int
) -> tuple[Any, int]:
    """Make an operator, and the tensor that it gives; it still has to be put in its place."""
    from ai_edge_litert import schema_py_generated as schema

    graph = _graph(unpacked)
    code, made, operator = schema.OperatorCodeT(), schema.TensorT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = version
    made.name, made.shape, made.type = name, shape, dtype
    operator.opcodeIndex = len(unpacked.operatorCodes)
    operator.inputs, operator.outputs = inputs, [len(graph.tensors)]
    unpacked.operatorCodes = [*unpacked.operatorCodes, code]
    graph.tensors = [*graph.tensors, made]
    return operator, len(graph.tensors) - 1


def _unpacked(model: bytes) -> Any:
    """The flatbuffer as objects.

    Raises
    ------
    GraftError
        If it can't be read, or holds what could not be written again.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        unpacked = schema.ModelT.InitFromPackedBuf(model, 0)
        graphs = unpacked.subgraphs or []
        apart = any(b.offset > 1 or b.size > 1 for b in unpacked.buffers)
        apart |= any(o.largeCustomOptionsOffset > 1 for g in graphs for o in g.operators)
    except Exception as error:  # a damaged flatbuffer has many faces
        raise GraftError("its graph can't be read: it is damaged") from error
    if len(graphs) != 1:
        raise GraftError(f"it has {len(graphs)} graphs (branches or loops): one is needed")
    if apart:
        raise GraftError("it keeps weights behind its graph, as files above 2 GB do")
    return unpacked


def _graph(unpacked: Any) -> Any:
    return unpacked.subgraphs[0]


def packed(unpacked: Any) -> bytes:
    """Pack what the outputs need of a model into a flatbuffer.

    Signatures and metadata described the model as it was: they are left out.
    """
    import flatbuffers

    _prune(unpacked)
    unpacked.signatureDefs = unpacked.metadata = unpacked.metadataBuffer = None
    unpacked.buffers = [_aligned(_data(buffer)) for buffer in unpacked.buffers]
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(unpacked.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _prune(unpacked: Any) -> None:
    """Leave out operators, tensors, buffers and operator codes that the outputs do not need."""
    graph = _graph(unpacked)
    inputs, outputs = _ints(graph.inputs), _ints(graph.outputs)
    graph.operators = [graph.operators[i] for i in _operators_behind(graph, outputs)]
    touched = {i for o in graph.operators for i in _ints(o.inputs) + _ints(o.outputs)}
    touched |= {i for o in graph.operators for i in _ints(o.intermediates)}
    kept = sorted((touched | set(inputs) | set(outputs)) - {-1})
    place = {old: new for new, old in enumerate(kept)} | {-1: -1}
    for operator in graph.operators:
        for part in ("inputs", "outputs", "intermediates"):
            if getattr(operator, part) is not None:
                setattr(operator, part, [place[i] for i in _ints(getattr(operator, part))])
    graph.inputs, graph.outputs = ([place[i] for i in part] for part in (inputs, outputs))
    graph.tensors = [graph.tensors[i] for i in kept]

    buffers = _renumbered({0} | {tensor.buffer for tensor in graph.tensors})
    for tensor in graph.tensors:
        tensor.buffer = buffers[tensor.buffer]
    unpacked.buffers = [unpacked.buffers[i] for i in buffers]
    codes = _renumbered({operator.opcodeIndex for operator in graph.operators})
    for operator in graph.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]
    unpacked.operatorCodes = [unpacked.operatorCodes[i] for i in codes]


def _renumbered(kept: Iterable[int]) -> dict[int, int]:
    """Map old numbers to new ones, in the old order."""
    return {old: new for new, old in enumerate(sorted(kept))}


def _operators_behind(graph: Any, tensors: Iterable[int]) -> list[int]:
    """The operators that compute these tensors, in the order in which they run.

    In a flatbuffer every operator comes after those whose outputs it takes.
    """
    needed = set(tensors)
    behind = []
    for i in range(len(graph.operators) - 1, -1, -1):
        if needed & set(_ints(graph.operators[i].outputs)):
            behind.append(i)
            needed |= set(_ints(graph.operators[i].inputs))
    return behind[::-1]


def _operator_names(unpacked: Any) -> list[str]:
    """Name of each operator code.

    Files from before 2020 have it in a field of one byte only.
    """
    return [
        _name_of("BuiltinOperator", max(code.builtinCode, code.deprecatedBuiltinCode))
        for code in unpacked.operatorCodes
    ]


def _name_of(enumeration: str, value: int) -> str:
    from ai_edge_litert import schema_py_generated as schema

    names = vars(getattr(schema, enumeration))
    return next((name for name, number in names.items() if number == value), f"number {value}")


def _aligned(data: bytes | None) -> Any:
    """Make a buffer that packs itself where the runtime may read it as wide numbers."""
    from ai_edge_litert import schema_py_generated as schema

    class Aligned(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802
            if data is None:
                schema.BufferStart(builder)
                return schema.BufferEnd(builder)
            builder.Prep(_ALIGNMENT, len(data))
            written = builder.CreateByteVector(data)
            schema.BufferStart(builder)
            schema.BufferAddData(builder, written)
            return schema.BufferEnd(builder)

    return Aligned()


def _data(buffer: Any) -> bytes | None:
    """Bytes of a buffer; None where it is empty."""
    return None if buffer.data is None or not len(buffer.data) else bytes(buffer.data)


def _ints(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values]
