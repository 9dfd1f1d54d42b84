"""Costs of a model: parameters, multiplications, bytes, time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from otic.model.bundle import Bundle
from otic.model.classifier import Classifier
from otic.model.golden import golden_sound
from otic.pipeline import open_frontend

_CALLS = 300


@dataclass(frozen=True)
class Cost:
    """Costs of one prediction.

    Attributes
    ----------
    parameters : int
        Weights and biases.
    macs : int
        Multiplications with an addition in the model's dense and convolution layers.
    bytes : int
        The model in the bundle.
    features_us, inference_us : float
        Median time of the features and of the model on this machine, on one thread.
    """

    parameters: int
    macs: int
    bytes: int
    features_us: float
    inference_us: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "parameters": self.parameters,
            "macs": self.macs,
            "bytes": self.bytes,
            "features_us": round(self.features_us, 1),
            "inference_us": round(self.inference_us, 1),
        }

    def text(self) -> str:
        """Say the costs in one line."""
        return (
            f"{self.parameters} parameters, {self.macs / 1e6:.3f} million multiplications a "
            f"score, {self.bytes / 1000:.0f} kB; here {self.features_us:.0f} µs for the "
            f"features, {self.inference_us:.0f} µs for the model"
        )


def cost_of(bundle: Bundle) -> Cost:
    """Count and measure."""
    p = bundle.features
    frontend, classifier = open_frontend(bundle), Classifier(bundle)
    state = classifier.cold_state()
    frontend.push(golden_sound("noise", p.sr, p.window_samples))
    features = frontend.features()
    parameters, macs = _count(bundle.model)
    return Cost(
        parameters=parameters,
        macs=macs,
        bytes=len(bundle.model),
        features_us=_median_us(frontend.features),
        inference_us=_median_us(lambda: classifier.step(features, state)),
    )


def _median_us(call: Any) -> float:
    seconds = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) * 1e6


def _count(model: bytes) -> tuple[int, int]:
    """Parameters and multiplications, read off the flatbuffer's dense and convolution layers."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    shapes = {d["index"]: [int(n) for n in d["shape"]] for d in interpreter.get_tensor_details()}
    parameters = macs = 0
    for op in interpreter._get_ops_details():
        if op["op_name"] not in ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        _, weights, *bias = op["inputs"]
        kernel, out = shapes[weights], shapes[op["outputs"][0]]
        parameters += int(np.prod(kernel))
        parameters += int(np.prod(shapes[bias[0]])) if bias and bias[0] >= 0 else 0
        # Each output number takes the kernel's numbers for one output channel.
        channels = kernel[-1] if op["op_name"] == "DEPTHWISE_CONV_2D" else kernel[0]
        macs += int(np.prod(out)) * int(np.prod(kernel)) // channels
    return parameters, macs
