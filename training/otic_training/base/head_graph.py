"""Graph of a head, written operator by operator: no TensorFlow is needed to make one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from otic_training.networks.tflite_surgery import packed, with_8_bit_matrices

if TYPE_CHECKING:
    from otic_training.base.head import Head

F32 = NDArray[np.float32]

_SCHEMA_VERSION = 3


def head_tflite(head: Head) -> bytes:
    """Make a head's graph of one step, in float32 arithmetic.

    Inputs are a frame [1, width], the decayed means before it [1, n_taus * width], and a number
    [1, 1] that is 0 at the beginning of a stream. Outputs are the scores [1, n_labels], the new
    means, and 1 for the number. A state begins with zeros. The hidden layer's weights are kept in
    8 bits, see :meth:`otic_training.base.head.Head.in_8_bits`.
    """
    width, n_taus = head.width, len(head.keep)
    g = Graph()
    frame, before, begun = (
        g.tensor("frame", width),
        g.tensor("means", n_taus * width),
        g.tensor("begun", 1),
    )
    one = g.constant("one", np.ones((1, 1)))
    kept = g.operator("MUL", [begun, g.constant("keep", np.repeat(head.keep, width)[None])])
    change = g.operator("SUB", [_repeated(g, frame, n_taus), before])
    share = g.operator("SUB", [one, kept])
    means = g.operator("ADD", [before, g.operator("MUL", [change, share])])
    x = g.operator("CONCATENATION", [frame, means], axis=1)
    middle, scale = (np.tile(a, 1 + n_taus)[None] for a in (head.mean, 1.0 / head.sd))
    x = g.operator("SUB", [x, g.constant("middle", middle)])
    x = g.operator("MUL", [x, g.constant("scale", scale)])
    scores = g.operator(
        "LOGISTIC", [g.dense(g.dense(x, head.w1, head.b1, relu=True), head.w2, head.b2)]
    )
    now_begun = g.operator("MAXIMUM", [begun, one])
    model = g.packed([frame, before, begun], [scores, means, now_begun])
    return with_8_bit_matrices(model, head.w1.size)


def _repeated(g: Graph, tensor: int, n: int) -> int:
    return tensor if n == 1 else g.operator("CONCATENATION", [tensor] * n, axis=1)


class Graph:
    """A graph of rows of float32, in the making."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}
        self._buffers = [schema.BufferT()]

    def tensor(self, name: str, width: int, buffer: int = 0) -> int:
        """Add a row of numbers; returns its index."""
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name, [1, width], buffer
        made.type = schema.TensorType.FLOAT32
        self._tensors.append(made)
        return len(self._tensors) - 1

    def constant(self, name: str, values: NDArray[np.floating]) -> int:
        """Add numbers of one or two dimensions that stay; returns their index."""
        buffer = schema.BufferT()
        buffer.data = values.astype("<f4").tobytes()
        self._buffers.append(buffer)
        index = self.tensor(name, 0, len(self._buffers) - 1)
        self._tensors[index].shape = list(values.shape)
        return index

    def operator(
        self, name: str, inputs: list[int], width: int | None = None, **options: Any
    ) -> int:
        """Add an operator by its name in TFLite's schema; returns the tensor that it gives."""
        made = schema.OperatorT()
        made.opcodeIndex = self._codes.setdefault(name, len(self._codes))
        if width is None:
            widths = [self._tensors[i].shape[1] for i in inputs]
            width = sum(widths) if name == "CONCATENATION" else max(widths)
        made.inputs, made.outputs = (
            inputs,
            [self.tensor(f"{name.lower()}_{len(self._operators)}", width)],
        )
        kind = f"{''.join(part.capitalize() for part in name.split('_'))}Options"
        if kind in ("MulOptions", "SubOptions", "AddOptions") or options:
            made.builtinOptions = getattr(schema, f"{kind}T")()
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            for option, value in options.items():
                setattr(made.builtinOptions, option, value)
        self._operators.append(made)
        return int(made.outputs[0])

    def name_of(self, tensor: int) -> str:
        """Name a tensor."""
        return str(self._tensors[tensor].name)

    def dense(self, x: int, w: F32, b: F32, relu: bool = False) -> int:
        """Add a layer with weights [n_in, n_out]; returns the tensor that it gives."""
        inputs = [x, self.constant("weights", w.T), self.constant("bias", b)]
        kinds = schema.ActivationFunctionType
        activation = kinds.RELU if relu else kinds.NONE
        return self.operator(
            "FULLY_CONNECTED", inputs, w.shape[1], fusedActivationFunction=activation
        )

    def packed(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Pack the graph into a flatbuffer."""
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = inputs, outputs
        model.version, model.subgraphs, model.buffers = _SCHEMA_VERSION, [graph], self._buffers
        model.operatorCodes = []
        for name in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = 1
            model.operatorCodes.append(code)
        return packed(model)
