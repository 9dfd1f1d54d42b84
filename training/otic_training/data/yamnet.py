"""``otic download yamnet``: Google's model, checked, and packed so that its name is enough.

The file is the one of MediaPipe's audio classifier, version 1, as TensorFlow Hub published it:
a waveform in, 521 scores out, and their labels in a zip behind the model.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from otic.errors import OticError
from otic.model.bundle import Bundle, load_bundle, models_folder
from otic.packing.bundling import PackRequest, check_servable, make_bundle, prove, write
from otic.packing.features import FeatureRequest
from otic.packing.files import read_attached_labels, read_metadata
from otic.packing.tflite_file import read_model_file
from otic.system.network import explain
from otic_training.cli.progress import say
from otic_training.data.download import AGAIN, MIRROR, YAMNET

_LABELS = "yamnet_label_list.txt"
_SR = 16000
_HOP_SECONDS = 0.24
_THRESHOLD = 0.3  # two scores above it name 78 % of ESC-10's clips, above 0.5 67 %
_NEVER = 1.0
_PLACES = (
    *("Silence", "Inside, small room", "Inside, large room or hall", "Inside, public space"),
    *("Outside, urban or manmade", "Outside, rural or natural", "Noise", "Environmental noise"),
)
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Published:
    """A file as its publisher gives it.

    Attributes
    ----------
    url : str
    file : str
        Its name on a mirror.
    size : int
        Bytes.
    sha256 : str
    """

    url: str
    file: str
    size: int
    sha256: str


PUBLISHED = Published(
    url="https://storage.googleapis.com/mediapipe-models/audio_classifier/yamnet/float32/1/"
    "yamnet.tflite",
    file="yamnet.tflite",
    size=4_126_810,
    sha256="4d8b4a53282dc83ef04e3e7dbc4fbc98082e34e44ed798e16c3a0cdd4c584faf",
)


def download_yamnet(to: Path | None, published: Published = PUBLISHED) -> Path:
    """Fetch, check, pack and try YAMNet; returns the bundle's path.

    Parameters
    ----------
    to : Path or None
        The folder to write it to; None for the one where ``--model yamnet`` finds it.
    published : Published

    Raises
    ------
    OticError
        If what is there already is another file, or the download fails a check.
    """
    out = (models_folder() if to is None else to) / f"{YAMNET}.tflite"
    if out.exists():
        kept = load_bundle(out.absolute()).provenance.get("file_sha256")
        if kept != published.sha256:
            raise OticError(f"'{out}' is there, but of another file: move it away and {AGAIN}")
        say(f"'{out}' is there already")
        return out
    content = _fetch(published)
    bundle = prove(_packed(content, published.file))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OticError(
            f"can't make '{out.parent}': {error.strerror}: give another --to"
        ) from error
    write(bundle, str(out))
    name = YAMNET if to is None else out
    say(f"{len(bundle.labels)} labels; {bundle.license}")
    say(f"try it: otic listen --model {name} --filter-only 'Dog,Doorbell'")
    return out


def _fetch(published: Published) -> bytes:
    mirror = os.environ.get(MIRROR)
    url = f"{mirror.rstrip('/')}/{published.file}" if mirror else published.url
    say(f"downloading {url}, {published.size / 1e6:.1f} MB")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            content: bytes = response.read(published.size + 1)
    except urllib.error.HTTPError as error:
        raise OticError(
            f"{url} answers {error.code} {error.reason}: try again later, or set {MIRROR} to a "
            "mirror"
        ) from error
    except (OSError, ValueError, HTTPException) as error:
        what = explain(error, url, "SSL_CERT_FILE", url.startswith("https"))[0]
        raise OticError(
            f"can't download {url}: {what}: check the network and {AGAIN}, or set {MIRROR} to a "
            "mirror"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != published.sha256:
        raise OticError(
            f"{url} gave {len(content)} bytes with the SHA-256 {found} and must give "
            f"{published.size} with {published.sha256}: nothing is kept; {AGAIN}, or set "
            f"{MIRROR} to a mirror"
        )
    return content


def _packed(content: bytes, origin: str) -> Bundle:
    """Make the bundle: one threshold for all sounds, and none for what is a place."""
    model = read_model_file(origin, content)
    metadata = read_metadata(origin, model.metadata)
    check_servable(origin, model, metadata)
    request = PackRequest(
        origin=origin,
        content=content,
        model=model,
        metadata=metadata,
        labels=tuple(read_attached_labels(origin, content, _LABELS)),
        features=FeatureRequest(sr=_SR, kind="waveform", window_samples=None),
        interface={},
        output=None,
        hop_seconds=_HOP_SECONDS,
        threshold=_THRESHOLD,
        thresholds=dict.fromkeys(_PLACES, _NEVER),
        groups={},
        name=YAMNET,
        license="Google, Apache-2.0; trained on AudioSet",
        accuracy_note="",
    )
    return make_bundle(request)
