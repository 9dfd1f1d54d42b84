"""Conversion between features, scores and a model's tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import BundleError
from otic.features.params import LOG_MEL, WAVEFORM, FeatureParams
from otic.model.bundle import Bundle
from otic.model.interface import BANDS_FIRST, PLAIN, ModelInterface
from otic.model.streaming import StateTensor

_INTEGERS = ("int8", "uint8", "int16")


class ModelInput:
    """The input that takes features, and the tensor for a feature vector.

    Parameters
    ----------
    bundle : Bundle
    details : list of dict
        The runtime's description of the inputs, before memory is allocated.

    Raises
    ------
    BundleError
        If the features don't fit it.
    """

    def __init__(self, bundle: Bundle, details: list[dict[str, Any]]) -> None:
        name, n = bundle.origin or bundle.name, bundle.features.n_features
        states = () if bundle.stream is None else bundle.stream.states
        taken = {state.input for state in states}
        free = [detail for number, detail in enumerate(details) if number not in taken]
        if len(free) != 1:
            beside = f" beside {len(taken)} of the bundle's states" if taken else ""
            raise BundleError(
                f"model '{name}': one input is needed{beside}, it has {shown_tensors(details)}"
            )
        detail = free[0]
        self.index = int(detail["index"])
        fitting = input_shape(_shape(detail), n)
        if fitting is None:
            raise BundleError(
                f"model '{name}': the bundle names {n} features, "
                f"but the model's input has shape {_shown(detail)}"
            )
        self.shape = fitting
        self.must_be_resized = list(fitting) != [int(size) for size in detail["shape"]]
        interface = bundle.interface
        self._dtype = np.dtype(detail["dtype"])
        scaled = (interface.scale, interface.offset) != (PLAIN.scale, PLAIN.offset)
        if _of_16_bit_samples(bundle, detail):
            self._steps: tuple[float, int] | None = (1.0 if scaled else 1.0 / 32768.0, 0)
        else:
            self._steps = _quantisation(f"model '{name}'", "input", detail)
        self._cells = _cells(interface, bundle.features)
        self._relative_to_peak = interface.relative_to_peak
        self._scale = np.array(interface.scale, np.float32) if scaled else None
        self._offset = np.array(interface.offset, np.float32)

    def tensor(self, features: NDArray[np.float32]) -> NDArray[Any]:
        """Make the tensor for a feature vector, in the input's shape and type."""
        if self._relative_to_peak:
            features = features - features.max()
        if self._cells is not None:
            features = features.reshape(self._cells).T
        if self._scale is not None:
            features = features.ravel() * self._scale + self._offset
        if self._steps is None:
            return features.reshape(self.shape)
        scale, zero = self._steps
        limits = np.iinfo(self._dtype)
        steps = np.clip(np.round(features / scale) + zero, limits.min, limits.max)
        quantised: NDArray[Any] = steps.astype(self._dtype)
        return quantised.reshape(self.shape)


def _of_16_bit_samples(bundle: Bundle, detail: dict[str, Any]) -> bool:
    """Return True for an input of int16 samples without a quantisation of their own."""
    without = not float(detail.get("quantization", (0.0, 0))[0])
    waveform = bundle.features.statistics == (WAVEFORM,)
    return waveform and without and np.dtype(detail["dtype"]) == np.int16


class ModelState:
    """One tensor that a streaming model hands on: its input, its output, its first numbers.

    Parameters
    ----------
    bundle : Bundle
    number : int
        Number of the state in the bundle.
    inputs, outputs : list of dict
        The runtime's description of them.

    Raises
    ------
    BundleError
        If input and output differ, or the bundle names what the model does not have.
    """

    def __init__(
        self,
        bundle: Bundle,
        number: int,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
    ) -> None:
        assert bundle.stream is not None
        state = bundle.stream.states[number]
        name = f"model '{bundle.origin or bundle.name}': state {number} of the bundle"
        for kind, index, details in (
            ("input", state.input, inputs),
            ("output", state.output, outputs),
        ):
            if index >= len(details):
                raise BundleError(
                    f"{name} is {kind} {index}, but the model has {len(details)} {kind}s"
                )
        taken, given = inputs[state.input], outputs[state.output]
        for detail in (taken, given):
            if -1 in _shape(detail):
                raise BundleError(f"{name} has the open shape {_shape(detail)}: it must be fixed")
        if _tensor_kind(taken) != _tensor_kind(given):
            raise BundleError(
                f"{name} does not match: the model takes {_tensor_text(taken)}, "
                f"but gives {_tensor_text(given)}"
            )
        self.input_index, self.output_index = int(taken["index"]), int(given["index"])
        self.initial = _initial(name, state, taken)


def _tensor_kind(detail: dict[str, Any]) -> tuple[Any, ...]:
    scale, zero = detail.get("quantization", (0.0, 0))
    return np.dtype(detail["dtype"]), tuple(_shown(detail)), float(scale), int(zero)


def _tensor_text(detail: dict[str, Any]) -> str:
    dtype, shape, scale, zero = _tensor_kind(detail)
    steps = f" in steps of {scale:.6g} from {zero}" if scale else ""
    return f"{dtype.name} {list(shape)}{steps}"


def _initial(name: str, state: StateTensor, detail: dict[str, Any]) -> NDArray[Any]:
    """Make a state's first numbers, in the tensor's shape and type."""
    values = np.zeros(math.prod(_shown(detail)), np.float32)
    for start, numbers in state.initial:
        end = start + len(numbers)
        if end > len(values):
            raise BundleError(
                f"{name} begins with numbers up to {end}, but the model's state has {len(values)}"
            )
        values[start:end] = numbers
    steps = _quantisation(name, "tensor", detail)
    if steps is not None:
        limits = np.iinfo(detail["dtype"])
        quantised = np.round(values / np.float32(steps[0])) + steps[1]
        values = np.clip(quantised, limits.min, limits.max).astype(detail["dtype"])
    return values.reshape(_shown(detail))


class ModelOutput:
    """The output with a model's scores, and the scores of its tensor.

    Raises
    ------
    BundleError
        If the labels don't fit it.
    """

    def __init__(self, bundle: Bundle, details: list[dict[str, Any]]) -> None:
        name, interface = bundle.origin or bundle.name, bundle.interface
        if interface.output >= len(details):
            raise BundleError(
                f"model '{name}': output {interface.output} should be the scores, "
                f"but the model has {shown_tensors(details)}"
            )
        chosen = details[interface.output]
        self.index = int(chosen["index"])
        self._n_outputs = len(bundle.model_labels)
        shape = _shape(chosen)
        known = math.prod(size for size in shape if size != -1)
        unknown_at_all = known == 1 and -1 in shape  # until it is run
        if known != self._n_outputs and not unknown_at_all:
            raise BundleError(
                f"model '{name}': the bundle names {self._n_outputs} labels, "
                f"but the model's output has shape {_shown(chosen)}"
            )
        self._steps = _quantisation(f"model '{name}'", "output", chosen)
        self._activation = interface.activation
        place = {label: index for index, label in enumerate(bundle.model_labels)}
        members = [[place[label] for label in labels] for labels in bundle.groups.values()]
        self._members = np.array([index for group in members for index in group], np.intp)
        self._starts = np.cumsum([0, *(len(group) for group in members)])[:-1]

    def scores(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the scores of the bundle's labels, groups last.

        Raises
        ------
        ValueError
            If the output does not have the size that it should have.
        """
        if output.size != self._n_outputs:  # that of a damaged model may change as it runs
            raise ValueError(f"its output has shape {list(output.shape)} now")
        scores: NDArray[np.float32] = output.ravel()
        if self._steps is not None:
            scale, zero = self._steps
            scores = ((scores.astype(np.float64) - zero) * scale).astype(np.float32)
        if self._activation != "none":
            scores = _activated(self._activation, scores)
        if not self._members.size:
            return scores
        groups = np.maximum.reduceat(scores[self._members], self._starts)
        return np.concatenate([scores, groups])


def input_shape(shape: Sequence[int], n: int) -> tuple[int, ...] | None:
    """Find the shape of ``n`` numbers in an input whose open sizes are -1; None if none fits.

    All open sizes are 1, the batch, where that fits; else the last one takes what is left.
    """
    known = math.prod(size for size in shape if size != -1)
    if known < 1 or n % known or (known != n and -1 not in shape):
        return None
    sizes = [1 if size == -1 else size for size in shape]
    if known != n:
        sizes[len(shape) - 1 - list(shape)[::-1].index(-1)] = n // known
    return tuple(sizes)


def shown_tensors(details: list[dict[str, Any]]) -> str:
    """List number, types and shapes for a message."""
    shown = [f"{np.dtype(d['dtype']).name} {_shown(d)}" for d in details[:4]]
    return f"{len(details)}: {', '.join(shown)}" if shown else "none"


def _shown(detail: dict[str, Any]) -> list[int]:
    """Give a tensor's shape with 1 for sizes that the model leaves open, mostly batches."""
    return [int(size) for size in detail["shape"]]


def _shape(detail: dict[str, Any]) -> list[int]:
    """Give a tensor's shape with -1 for sizes that the model leaves open."""
    shape = _shown(detail)
    signature = [int(size) for size in detail.get("shape_signature", shape)]
    return signature if len(signature) == len(shape) else shape


def _quantisation(what: str, kind: str, detail: dict[str, Any]) -> tuple[float, int] | None:
    """Read step and zero point of a tensor of 8 or 16 bits; None for float32."""
    dtype = np.dtype(detail["dtype"]).name
    if dtype == "float32":
        return None
    scale, zero = (float(detail["quantization"][0]), int(detail["quantization"][1]))
    if dtype not in _INTEGERS or not (scale > 0.0 and math.isfinite(scale)):
        raise BundleError(
            f"{what}: its {kind} is {dtype} {_shown(detail)}: "
            "float32, or int8, uint8 or int16 with a quantisation, is needed"
        )
    return scale, zero


def _cells(interface: ModelInterface, features: FeatureParams) -> tuple[int, int] | None:
    """Give frames and bands of a patch that must be turned, or None."""
    if interface.order != BANDS_FIRST:
        return None
    bands = features.n_mels if features.statistics == (LOG_MEL,) else features.n_mfcc
    return features.window_frames, bands


def _activated(activation: str, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    values = logits.astype(np.float64)
    if activation == "softmax":
        powers = np.exp(values - values.max())
        values = powers / powers.sum()
    else:
        values = 0.5 * (1.0 + np.tanh(0.5 * values))
    return values.astype(np.float32)
