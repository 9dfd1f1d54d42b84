"""LiteRT, or its predecessor tflite-runtime, behind one small class."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.bundle import Bundle
from realtime.errors import BundleError, RuntimeMissingError
from realtime.messages import hushed_libraries

RUNTIME_VARIABLE = "OTIC_RUNTIME"
_RUNTIMES = ("litert", "tflite-runtime")
_MAX_REASON = 400  # characters of what the runtime says, which may quote the file


class Classifier:
    """Runs a bundle's model on one feature vector at a time.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    bundle : Bundle
        The model; float32 input ``[1, n_features]``, float32 output ``[1, n_labels]``.

    Raises
    ------
    BundleError
        If the runtime can't load the model, or its input or output does not
        fit the bundle's feature parameters and labels.
    RuntimeMissingError
        If no TFLite runtime is installed, or the installed one can't work.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._origin = bundle.origin or bundle.name
        try:
            with hushed_libraries():
                interpreter_class = _interpreter_class()
                self._interpreter = interpreter_class(model_content=bundle.model, num_threads=1)
                self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise self._runtime_failure("load", error) from error
        n_features, n_labels = bundle.features.n_features, len(bundle.labels)
        self._output_shape = (1, n_labels)
        self._input = _tensor_index(self._origin, inputs, "input", n_features, "features")
        self._output = _tensor_index(self._origin, outputs, "output", n_labels, "labels")

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores for one feature vector.

        Parameters
        ----------
        features : float32 [n_features]

        Returns
        -------
        float32 [n_labels]
            A copy, in the order of the bundle's labels.

        Raises
        ------
        BundleError
            If the model can't be run, or gives NaN or infinite scores.
        """
        try:
            self._interpreter.set_tensor(self._input, features[None, :])
            self._interpreter.invoke()
            outputs: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
            if outputs.shape != self._output_shape:  # a damaged model's may change as it runs
                raise ValueError(f"its output has shape {list(outputs.shape)} now")
        except (ValueError, RuntimeError) as error:
            raise self._runtime_failure("run", error) from error
        scores: NDArray[np.float32] = outputs[0]
        if not np.isfinite(scores).all():
            raise BundleError(
                f"model '{self._origin}' gives scores that are not finite: it is damaged"
            )
        return scores

    def _runtime_failure(self, what: str, error: Exception) -> BundleError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shown = "".join(c for c in reason if c.isprintable())[:_MAX_REASON]
        return BundleError(f"model '{self._origin}': the TFLite runtime can't {what} it: {shown}")


def _tensor_index(
    name: str, details: list[dict[str, Any]], kind: str, width: int, what: str
) -> int:
    """Index of the only tensor of its kind, which must be float32 ``[1, width]``."""
    found = [(np.dtype(d["dtype"]).name, [int(n) for n in d["shape"]]) for d in details]
    if len(found) == 1 and found[0][1][-1:] != [width]:
        raise BundleError(
            f"model '{name}': the bundle names {width} {what}, "
            f"but the model's {kind} has shape {found[0][1]}"
        )
    if found != [("float32", [1, width])]:
        raise BundleError(
            f"model '{name}': one float32 {kind} of shape {[1, width]} is needed, it has "
            + (", ".join(f"{dtype} {shape}" for dtype, shape in found) or "none")
        )
    return int(details[0]["index"])


def _interpreter_class() -> Any:
    """The runtime that OTIC_RUNTIME names; without it LiteRT, else tflite-runtime."""
    wanted = os.environ.get(RUNTIME_VARIABLE, "")
    if wanted and wanted not in _RUNTIMES:
        raise RuntimeMissingError(
            f"{RUNTIME_VARIABLE}={wanted} must be one of {', '.join(_RUNTIMES)}"
        )
    if wanted != "tflite-runtime":
        try:
            from ai_edge_litert.interpreter import Interpreter

            return Interpreter
        except ImportError as error:
            if wanted:
                raise RuntimeMissingError(
                    f"{RUNTIME_VARIABLE}={wanted}, but LiteRT can't be imported ({error}): "
                    "pip install ai-edge-litert"
                ) from error
    return _tflite_runtime_class()


def _tflite_runtime_class() -> Any:
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError as error:
        raise RuntimeMissingError(
            "no TFLite runtime can be imported: pip install ai-edge-litert"
        ) from error
    if int(np.__version__.split(".")[0]) >= 2:
        # It imports, but Interpreter(...) dies with a misleading SystemError.
        raise RuntimeMissingError(
            f"tflite-runtime works with numpy below 2 only, and numpy is {np.__version__}: "
            "pip install ai-edge-litert, or pip install 'numpy<2' on Python 3.11"
        )
    return Interpreter
