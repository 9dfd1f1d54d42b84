"""Model files of other formats, named with the way to TensorFlow Lite."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from otic.errors import BundleError

_TFLITE = b"TFL3"
_SAVED_MODEL = "saved_model.pb"
_KERAS = "tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model(FILE)).convert()"
_FROM_SAVED = "tf.lite.TFLiteConverter.from_saved_model(FOLDER).convert()"
_THEN = "write what it gives to a file and make that a bundle with 'otic pack'"
_BY_SUFFIX = {
    ".onnx": ("an ONNX model", "convert it with onnx2tf"),
    ".pt": ("a PyTorch model", "convert it with litert_torch.convert"),
    ".pth": ("a PyTorch model", "convert it with litert_torch.convert"),
    ".ckpt": ("a checkpoint with weights only", "export the whole model from its code"),
    ".safetensors": ("a file with weights only", "export the whole model from its code"),
    ".pb": ("a TensorFlow graph", f"convert its folder with {_FROM_SAVED}"),
    ".mlmodel": ("a Core ML model", "convert what it was made from"),
    ".pkl": ("a Python pickle", "build the model as a TensorFlow graph and convert that"),
    ".joblib": ("a Python pickle", "build the model as a TensorFlow graph and convert that"),
}


def require_tflite(origin: str, content: bytes) -> None:
    """Require a TensorFlow Lite file.

    Raises
    ------
    BundleError
        If it is something else; the message names what it is, where that shows, and what to do.
    """
    if content[4:8] == _TFLITE:
        return
    found = _recognised(origin, content)
    if found is None:
        raise BundleError(f"model '{origin}' is not a TensorFlow Lite file")
    kind, remedy = found
    raise BundleError(f"model '{origin}' is {kind}, not a TensorFlow Lite file: {remedy}")


def is_saved_model(path: Path) -> bool:
    """Return True for the folder of a SavedModel."""
    return (path / _SAVED_MODEL).exists()


def refuse_folder(path: Path) -> None:
    """Refuse a folder, and name a SavedModel.

    Raises
    ------
    BundleError
        If the path is a folder.
    """
    if not path.is_dir():
        return
    if is_saved_model(path):
        raise BundleError(
            f"model '{path}' is a SavedModel, not a TensorFlow Lite file: convert it with "
            f"{_FROM_SAVED}, {_THEN}"
        )
    raise BundleError(f"model '{path}' is a folder: name a .tflite file")


def _recognised(origin: str, content: bytes) -> tuple[str, str] | None:
    """Name what a file is, and what to do."""
    suffix = Path(origin).suffix.lower()
    if not content:
        return "an empty file", "copy or download it again"
    if content.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS", "fetch the file itself with 'git lfs pull'"
    if content[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "a web page", "download the file itself"
    if content.startswith(b"\x89HDF\r\n\x1a\n"):
        return "a Keras model (HDF5)", f"convert it with {_KERAS}, {_THEN}"
    if content.startswith(b"PK\x03\x04"):
        return _in_zip(content)
    if content.startswith(b"\x1f\x8b") or content[257:262] == b"ustar":
        return "a compressed archive", "unpack it first"
    if content[:1] == b"{" and b"modelTopology" in content[:4096]:
        return "a TensorFlow.js model", "convert the Keras model that it was made from"
    if suffix in (".keras", ".h5", ".hdf5"):
        return "a damaged Keras model", "copy it again"
    if suffix in _BY_SUFFIX:
        kind, remedy = _BY_SUFFIX[suffix]
        return kind, f"{remedy}, {_THEN}"
    return None


def _in_zip(content: bytes) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return "a damaged archive (zip)", "copy or download it again"
    if "config.json" in names and any(name.endswith((".h5", "metadata.json")) for name in names):
        return "a Keras model", f"convert it with {_KERAS}, {_THEN}"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch model", f"convert it with litert_torch.convert, {_THEN}"
    if any(name.endswith(_SAVED_MODEL) for name in names):
        return "a SavedModel in a zip", f"unpack it and convert it with {_FROM_SAVED}, {_THEN}"
    inner = next((name for name in names if name.endswith(".tflite")), None)
    if inner is not None and inner.isprintable():
        return "an archive (zip)", f"unpack it and name the '{inner[:80]}' in it"
    return "an archive (zip)", "unpack it first"
