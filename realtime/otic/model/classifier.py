"""One small class around LiteRT, or its predecessor tflite-runtime."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otic.errors import BundleError, RuntimeMissingError
from otic.model.bundle import Bundle
from otic.model.golden import Predict, golden_cases, golden_streams
from otic.model.tensors import ModelInput, ModelOutput, ModelState
from otic.system.log import silence_native_stderr

RUNTIME_VARIABLE = "OTIC_RUNTIME"
_RUNTIMES = ("litert", "tflite-runtime")
_RUNTIME_ERRORS = (ValueError, RuntimeError, LookupError, TypeError, ArithmeticError, SystemError)
_MAX_REASON = 400  # characters of the runtime's message, which may quote the file

State = list[NDArray[Any]]
"""State of one stream between two steps: an array for each state of the bundle."""


class Classifier:
    """Run a bundle's model on one feature vector at a time.

    A model of windows has :meth:`predict`. A streaming model has :meth:`step`, which takes
    the state of a stream and changes it; several streams may share a classifier.

    Not thread safe: one thread owns an instance at a time.

    Parameters
    ----------
    bundle : Bundle
        Its model has one input of ``n_features`` numbers in any shape, and an output with
        a number for each of the model's labels; besides those, the states of the bundle.

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
            with silence_native_stderr():
                interpreter_class = _interpreter_class()
                self._interpreter = interpreter_class(model_content=bundle.model, num_threads=1)
                inputs = self._interpreter.get_input_details()
                outputs = self._interpreter.get_output_details()
                numbers = range(0 if bundle.stream is None else len(bundle.stream.states))
                self._states = [ModelState(bundle, i, inputs, outputs) for i in numbers]
                self._input = ModelInput(bundle, inputs)
                if self._input.must_be_resized:
                    self._interpreter.resize_tensor_input(self._input.index, self._input.shape)
                self._interpreter.allocate_tensors()
            self._output = ModelOutput(bundle, self._interpreter.get_output_details())
        except _RUNTIME_ERRORS as error:
            raise self._runtime_failure("load", error) from error

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the scores of one feature vector.

        Parameters
        ----------
        features : float32 [n_features]

        Returns
        -------
        float32 [n_labels]
            A copy, in the order of the bundle's labels: groups last.

        Raises
        ------
        BundleError
            If the model can't be run, gives NaN or infinite scores, or is a streaming model.
        """
        if self._states:
            raise BundleError(
                f"model '{self._origin}' is a streaming model, which hands its state from step to "
                "step: use Pipeline, or Classifier.step"
            )
        return self._run(features, [])

    def cold_state(self) -> State:
        """Make the state with which a stream begins; empty for a model of windows."""
        return [state.initial for state in self._states]

    def step(self, frames: NDArray[np.float32], state: State) -> NDArray[np.float32]:
        """Compute the scores of one step of a stream.

        Parameters
        ----------
        frames : float32 [n_features]
        state : list of array
            What :meth:`cold_state` made; holds the state after the step when it returns.

        Returns
        -------
        float32 [n_labels]
            A copy, in the order of the bundle's labels: groups last.

        Raises
        ------
        BundleError
            If the model can't be run, or gives NaN or infinite scores.
        """
        return self._run(frames, state)

    def _run(self, features: NDArray[np.float32], state: State) -> NDArray[np.float32]:
        interpreter = self._interpreter
        try:
            for tensor, kept in zip(self._states, state, strict=True):
                interpreter.set_tensor(tensor.input_index, kept)
            interpreter.set_tensor(self._input.index, self._input.tensor(features))
            interpreter.invoke()
            scores = self._output.scores(interpreter.get_tensor(self._output.index))
            for i, tensor in enumerate(self._states):
                state[i] = interpreter.get_tensor(tensor.output_index)
        except _RUNTIME_ERRORS as error:
            raise self._runtime_failure("run", error) from error
        if not np.isfinite(scores).all():
            raise BundleError(
                f"model '{self._origin}' gives scores that are not finite: it is damaged"
            )
        return scores

    def _runtime_failure(self, what: str, error: Exception) -> BundleError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        shown = "".join(c for c in reason if c.isprintable())[:_MAX_REASON]
        return BundleError(f"model '{self._origin}': the TFLite runtime can't {what} it: {shown}")


def with_golden_cases(bundle: Bundle) -> Bundle:
    """Compute a bundle's golden cases, of windows or of streams, on this machine.

    Raises
    ------
    BundleError
        If the model can't be run.
    """
    classifier, p, stream = Classifier(bundle), bundle.features, bundle.stream
    if stream is None:
        return replace(bundle, golden=golden_cases(p, classifier.predict))

    def cold() -> Predict:
        state = classifier.cold_state()
        return lambda frames: classifier.step(frames, state)

    cases = golden_streams(p, bundle.inference_hop_frames, stream.warm_up_steps, cold)
    return replace(bundle, golden=cases)


def load_runtime() -> None:
    """Import the TFLite runtime.

    Raises
    ------
    RuntimeMissingError
        If no TFLite runtime is installed, or the installed one can't work.
    """
    with silence_native_stderr():
        _interpreter_class()


def _interpreter_class() -> Any:
    """Import the runtime that OTIC_RUNTIME names; by default LiteRT, else tflite-runtime."""
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
