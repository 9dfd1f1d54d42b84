"""Conversion between features, scores and a model's tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import BundleError
from otic.features.params import LOG_MEL, FeatureParams
from otic.model.bundle import Bundle
from otic.model.interface import BANDS_FIRST, PLAIN, ModelInterface

_INTEGERS = ("int8", "uint8", "int16")


class ModelInput:
    """A model's only input, and the tensor for a feature vector.

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
        if len(details) != 1:
            raise BundleError(
                f"model '{name}': one input is needed, it has {shown_tensors(details)}"
            )
        self.index = int(details[0]["index"])
        fitting = input_shape(_shape(details[0]), n)
        if fitting is None:
            raise BundleError(
                f"model '{name}': the bundle names {n} features, "
                f"but the model's input has shape {_shown(details[0])}"
            )
        self.shape = fitting
        self.must_be_resized = list(fitting) != [int(size) for size in details[0]["shape"]]
        self._steps = _quantisation(name, "input", details[0])
        self._dtype = np.dtype(details[0]["dtype"])
        interface = bundle.interface
        self._cells = _cells(interface, bundle.features)
        self._relative_to_peak = interface.relative_to_peak
        scaled = (interface.scale, interface.offset) != (PLAIN.scale, PLAIN.offset)
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
        self._steps = _quantisation(name, "output", chosen)
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


def _quantisation(name: str, kind: str, detail: dict[str, Any]) -> tuple[float, int] | None:
    """Read step and zero point of a tensor of 8 or 16 bits; None for float32."""
    dtype = np.dtype(detail["dtype"]).name
    if dtype == "float32":
        return None
    scale, zero = (float(detail["quantization"][0]), int(detail["quantization"][1]))
    if dtype not in _INTEGERS or not (scale > 0.0 and math.isfinite(scale)):
        raise BundleError(
            f"model '{name}': its {kind} is {dtype} {_shown(detail)}: "
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
