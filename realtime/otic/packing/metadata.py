"""TFLite's metadata, as MediaPipe's and TensorFlow's tools write it into models.

A flatbuffer inside the model says what its tensors are; the files that it names, such as
labels, are in a zip behind the model. Tables and fields: metadata_schema.fbs of TFLite Support.
"""

from __future__ import annotations

from dataclasses import dataclass

from otic.errors import BundleError
from otic.model.archive import read_files
from otic.packing.flatbuffer import Table, root

_IDENTIFIER = b"M001"
_AUDIO = 4  # ContentProperties.AudioProperties
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS


@dataclass(frozen=True)
class ModelMetadata:
    """What a model's metadata says that is of use here; empty or 0 where it says nothing.

    Attributes
    ----------
    name, license : str
    sr, channels : int
        Of the audio that the first input takes; the rate in Hz.
    label_files : tuple of str
        For each output, the name of the file with its labels.
    """

    name: str = ""
    license: str = ""
    sr: int = 0
    channels: int = 0
    label_files: tuple[str, ...] = ()


def read_metadata(origin: str, metadata: bytes) -> ModelMetadata:
    """Read it; an empty one gives an empty one.

    Raises
    ------
    BundleError
        If it is damaged.
    """
    if not metadata:
        return ModelMetadata()
    try:
        return _read(root(metadata, _IDENTIFIER))
    except ValueError as error:
        raise BundleError(f"model '{origin}': its metadata is damaged: {error}") from error


def read_labels(origin: str, content: bytes, file: str) -> list[str]:
    """The labels in a file of the zip behind the model, one a line.

    Raises
    ------
    BundleError
        If it is not there, or damaged.
    """
    found = read_files(f"model '{origin}': the zip behind the model", content, (file,))
    if file not in found:
        raise BundleError(
            f"model '{origin}': its metadata names '{file}' for its labels, which is not in the "
            "file: give them with --labels"
        )
    text = found[file].decode("utf-8-sig", "replace").rstrip()
    return [line.strip() for line in text.splitlines()]


def _read(model: Table) -> ModelMetadata:
    graphs = model.tables(3)
    sr = channels = 0
    label_files: list[str] = []
    if graphs:
        inputs, outputs = graphs[0].tables(2), graphs[0].tables(3)
        sr, channels = _audio(inputs[0]) if inputs else (0, 0)
        label_files = [_label_file(output) for output in outputs]
    return ModelMetadata(model.text(0), model.text(5), sr, channels, tuple(label_files))


def _audio(tensor: Table) -> tuple[int, int]:
    content = tensor.table(3)
    if content is None or content.number(0, "<B") != _AUDIO:
        return 0, 0
    audio = content.table(1)
    return (0, 0) if audio is None else (audio.number(0, "<I"), audio.number(1, "<I"))


def _label_file(tensor: Table) -> str:
    """The first one; a model may have more, in other languages."""
    for file in tensor.tables(6):
        if file.number(2, "<b") == _AXIS_LABELS:
            return file.text(0)
    return ""
