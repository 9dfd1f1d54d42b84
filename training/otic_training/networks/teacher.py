"""A large model that a small one learns from: YAMNet as TFLite.

A few hundred labelled clips hold little of what is known about audio in general; the
teacher's embeddings hold more. The small model also learns to give their main components,
and its targets are mixed with the probabilities of a logistic regression on them. No part
of the teacher is served.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from otic.errors import OticError
from otic.system.log import silence_native_stderr
from otic_training.data.dataset import DatasetError

_F32 = NDArray[np.float32]
_I64 = NDArray[np.int64]

SR = 16000
FRAME = 15600
"""Samples of its input."""

HOP_SECONDS = 0.24
COMPONENTS = 64
_EMBEDDING = "yamnet_frames/global_average_pooling2d/Mean"


def centres_of(n: int) -> NDArray[np.floating]:
    """Centre of each of ``n`` embeddings' inputs, in seconds from the start of the clip."""
    return np.arange(n) * HOP_SECONDS + FRAME / SR / 2.0


class Teacher:
    """YAMNet, run for its embeddings. Not thread safe.

    Parameters
    ----------
    path : str
        The TFLite file.

    Attributes
    ----------
    name : str
        For provenance.
    key, code : str, bytes
        Stand for the model, and for the code that runs it.

    Raises
    ------
    DatasetError
        If the file can't be read, or is another model.
    """

    def __init__(self, path: str) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise DatasetError(f"can't read the teacher '{path}': {error.strerror}") from error
        self.code = Path(__file__).read_bytes()
        self.key = hashlib.sha256(content).hexdigest()
        self.name = f"YAMNet (Google, Apache-2.0), SHA-256 {self.key[:12]}"
        try:
            with silence_native_stderr():
                self._interpreter = Interpreter(
                    model_content=content, num_threads=1, experimental_preserve_all_tensors=True
                )
                self._interpreter.allocate_tensors()
            details = self._interpreter.get_tensor_details()
            self._embedding = next(d["index"] for d in details if d["name"] == _EMBEDDING)
            self._input = self._interpreter.get_input_details()[0]
            if int(np.prod(self._input["shape"])) != FRAME:
                raise ValueError
        except (ValueError, RuntimeError, StopIteration) as error:
            raise DatasetError(
                f"the teacher '{path}' is not YAMNet as TFLite, with {FRAME} samples as its "
                f"input and the tensor {_EMBEDDING}"
            ) from error

    def embeddings(self, y: _F32, sr: int) -> _F32:
        """Embed a clip, float32 [n], every ``HOP_SECONDS``; float32 [m, 1024], ``m`` at least 1."""
        samples = soxr.resample(y, sr, SR).astype(np.float32)
        samples = np.pad(samples, (0, max(0, FRAME - len(samples))))
        found = []
        for start in range(0, len(samples) - FRAME + 1, round(HOP_SECONDS * SR)):
            frame = samples[start : start + FRAME].reshape(self._input["shape"])
            self._interpreter.set_tensor(self._input["index"], frame)
            self._interpreter.invoke()
            found.append(self._interpreter.get_tensor(self._embedding).ravel().copy())
        return np.stack(found)


@dataclass(frozen=True)
class DistillationTarget:
    """What a small model is to learn of one clip from the teacher, at :func:`centres_of`.

    Attributes
    ----------
    components : float32 [n, COMPONENTS]
        Main components of the embeddings.
    probabilities : float32 [n, n_outputs]
        Probabilities of the labels, by a regression that was not fitted to the clip's fold.
    """

    components: _F32
    probabilities: _F32


def distillation_targets(
    embeddings: list[_F32], target: _I64, fold: _I64, n_outputs: int
) -> list[DistillationTarget]:
    """Make the targets of training clips from their embeddings, labels and folds alone.

    The components are half whitened: each counts by the root of its standard
    deviation. The probabilities are those of the label where there is one fold only.

    Raises
    ------
    OticError
        If there are too few embeddings for the components.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.sqrt(np.maximum(np.concatenate(embeddings), 0.0))
    if len(rows) < COMPONENTS:
        raise OticError(
            f"{len(rows)} embeddings of the teacher are too few: {COMPONENTS} are needed"
        )
    lengths = [len(e) for e in embeddings]
    centred = rows - rows.mean(axis=0)
    basis = np.linalg.svd(centred[:: max(1, len(rows) // 2000)], full_matrices=False)[2]
    components = centred @ basis[:COMPONENTS].T
    spread = components.std(axis=0)
    components /= np.sqrt(np.maximum(spread * spread.mean(), 1e-12))

    label, of_fold = np.repeat(target, lengths), np.repeat(fold, lengths)
    probabilities, present = np.eye(n_outputs)[label], np.unique(label)
    for held_out in np.unique(fold) if len(np.unique(fold)) > 1 else ():
        seen, unseen = of_fold != held_out, of_fold == held_out
        if not np.array_equal(np.unique(label[seen]), present):
            continue  # the other folds lack a label: the true one stays
        fitted = LogisticRegression(C=0.1, max_iter=300).fit(
            components[seen][::2], label[seen][::2]
        )
        probabilities[np.ix_(unseen, present)] = fitted.predict_proba(components[unseen])
    ends = np.cumsum(lengths)[:-1]
    return [
        DistillationTarget(c.astype(np.float32), p.astype(np.float32))
        for c, p in zip(np.split(components, ends), np.split(probabilities, ends), strict=True)
    ]
