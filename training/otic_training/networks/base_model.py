"""A base model that knows sounds in general, and a small head that is trained on its embedding.

The base is cut at its embedding and run by the class that runs models live, on the windows
that are taken live: the head is trained on the numbers that it is given later. Base and head are
written as one graph (:mod:`otic_training.networks.tflite_surgery`).
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otic.detection.thresholds import DecisionParams
from otic.errors import BundleError, OticError
from otic.model.archive import read_model
from otic.model.bundle import Bundle, load_bundle
from otic.model.classifier import Classifier
from otic.model.interface import ModelInterface
from otic.model.tensors import ModelInput
from otic.system.log import silence_native_stderr
from otic_training.data.cache import key_of
from otic_training.networks.presets import YAMNET, YAMNET_HOP_FRAMES, Preset
from otic_training.networks.tflite_surgery import (
    GraftError,
    cut,
    find_embedding,
    graft,
    has_8_bit_weights,
)

_F32 = NDArray[np.float32]

_YAMNET_LABELS = 521


class Base:
    """A model without its last layer. Not thread safe.

    Parameters
    ----------
    path : str
        YAMNet as TFLite, as Google gives it, or a bundle: a file, or a name that ``otic models``
        lists.

    Attributes
    ----------
    name, license : str
        For cards and licence lines.
    features : FeatureParams
        What it looks at.
    inference_hop_frames : int
        Its frames between two predictions.
    interface : ModelInterface
        How it takes features; its scores are not used.
    has_8_bit_weights : bool
    data : str or None
        What it was trained on, where that is known to be a data set of otic's.
    key : str
        Stands for its embeddings.
    origin : dict of str
        For provenance.

    Raises
    ------
    OticError
        If it can't be read, is something else, or has no embedding.
    """

    def __init__(self, path: str) -> None:
        bundle, sha256 = _read(path)
        try:
            found = find_embedding(bundle.model, bundle.interface.output)
            trunk = cut(bundle.model, found.tensor)
            self.has_8_bit_weights = has_8_bit_weights(trunk)
        except GraftError as error:
            raise OticError(
                f"the base '{path}' has no embedding to build on: {error}; name another model"
            ) from error
        self.name, self.license, self.features = bundle.name, bundle.license, bundle.features
        self.inference_hop_frames = bundle.inference_hop_frames
        self.interface = replace(bundle.interface, output=0, activation="none")
        self.data = str(bundle.provenance["data"]) if "data" in bundle.provenance else None
        self._bundle, self._tensor = bundle, found.tensor
        self._trunk = Classifier(_served_as_labels(bundle, trunk, found.width, self.interface))
        here = (Path(__file__), Path(__file__).with_name("tflite_surgery.py"))
        runtime = metadata.version("ai-edge-litert")
        self.key = key_of(sha256, runtime, *(file.read_bytes() for file in here))
        self.origin = {
            "name": self.name,
            "sha256": sha256,
            "license": self.license,
            "embedding": found.name,
        }

    def embeddings(self, x: _F32) -> _F32:
        """Compute the embeddings of windows: the inputs of the head.

        Parameters
        ----------
        x : float32 [n, features.n_features]

        Returns
        -------
        float32 [n, width]
        """
        return np.stack([self._trunk.predict(window) for window in x])

    def read_off(self, x: _F32) -> _F32:
        """Compute the embeddings by running the whole base, uncut: for checks."""
        from ai_edge_litert.interpreter import Interpreter

        with silence_native_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it takes memory
            interpreter = Interpreter(
                model_content=self._bundle.model,
                num_threads=1,
                experimental_preserve_all_tensors=True,
            )
            given = ModelInput(self._bundle, interpreter.get_input_details())
            if given.must_be_resized:
                interpreter.resize_tensor_input(given.index, given.shape)
            interpreter.allocate_tensors()
        found = []
        for window in x:
            interpreter.set_tensor(given.index, given.tensor(window))
            interpreter.invoke()
            found.append(interpreter.get_tensor(self._tensor).ravel().copy())
        return np.stack(found)

    def with_head(self, head: bytes) -> bytes:
        """Join base and head in one flatbuffer, from the base's input to the head's output."""
        return graft(self._bundle.model, self._tensor, head)


def recipe_on(base: Base, recipe: Preset) -> Preset:
    """Give a preset the features and the pace of the base."""
    return replace(recipe, features=base.features, inference_hop_frames=base.inference_hop_frames)


def _read(path: str) -> tuple[Bundle, str]:
    """Read a bundle, or make one of YAMNet; and the file's SHA-256."""
    if Path(path).name == path and not Path(path).exists():
        bundle = load_bundle(path)
        return bundle, bundle.sha256
    content = read_model(Path(path))
    if b"otic.json" in content:
        bundle = load_bundle(Path(path).absolute())
        return bundle, bundle.sha256
    yamnet = _yamnet(content)
    try:
        Classifier(yamnet)
    except BundleError as error:
        raise OticError(
            f"the base '{path}' is neither a bundle nor YAMNet as TFLite, with "
            f"{YAMNET.window_samples} samples in and {_YAMNET_LABELS} scores out: make a bundle "
            "of it with 'otic pack' first"
        ) from error
    return yamnet, hashlib.sha256(content).hexdigest()


def _yamnet(content: bytes) -> Bundle:
    return Bundle(
        name="YAMNet",
        labels=_numbered(_YAMNET_LABELS),
        features=YAMNET,
        inference_hop_frames=YAMNET_HOP_FRAMES,
        decision=_any_decision(_YAMNET_LABELS),
        accuracy={},
        license="Google, Apache-2.0; trained on AudioSet",
        provenance={},
        model=content,
    )


def _served_as_labels(
    bundle: Bundle, trunk: bytes, width: int, interface: ModelInterface
) -> Bundle:
    """Declare the embedding as scores, so that it is run exactly as live."""
    return replace(
        bundle,
        labels=_numbered(width),
        groups={},
        decision=_any_decision(width),
        model=trunk,
        golden=(),
        interface=interface,
    )


def _numbered(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def _any_decision(n: int) -> DecisionParams:
    return DecisionParams(
        smoothing_scores=1,
        on_thresholds=(1.0,) * n,
        off_thresholds=(1.0,) * n,
        min_on_seconds=0.0,
        min_off_seconds=0.0,
        max_on_seconds=1.0,
        lag_seconds=0.0,
    )
