"""``otic download``: the published data sets, checked and unpacked.

UrbanSound8K's archive must have the MD5 that Zenodo publishes. ESC-50 is
GitHub's archive of one commit; GitHub does not promise that its bytes stay as
they are. Where they are not the known ones, the content decides: the MD5s of
``meta/esc50.csv`` and of all 2000 clips must be those that soundata publishes
(its index 2.0, https://zenodo.org/records/11176809). Nothing else of the archive
is checked then; of the rest only ``LICENSE`` is used, which has the licence of each
clip (:mod:`otic_training.data.licences`).

An interrupted download is resumed where the server can (Zenodo can, GitHub
can't). A data set gets its name once it is whole and checked.

``OTIC_DOWNLOAD_URL`` names a mirror: the URL of a folder that holds
``ESC-50-master.zip`` and ``UrbanSound8K.tar.gz``. The checks stay the same.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import BadGzipFile
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

from otic.errors import OticError, RuntimeMissingError
from otic_training.cli.progress import progress, say
from otic_training.data.dataset import Dataset, DatasetError
from otic_training.data.layouts import ESC10, ESC50, load_dataset
from otic_training.data.licences import licence_counts

MIRROR = "OTIC_DOWNLOAD_URL"
YAMNET = "yamnet"
"""The model that :mod:`otic_training.data.yamnet` downloads."""

AGAIN = "run the same command again"

_BLOCK = 1 << 20
_NETWORK_BLOCK = 1 << 16  # what is lost of a connection that breaks
_TIMEOUT_SECONDS = 60.0
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class Original:
    """Data set as its authors publish it.

    Attributes
    ----------
    url : str
    archive : str
        Its file name, while it is here and on a mirror.
    archive_bytes, unpacked_bytes : int
        About so many, to see early whether the disk has room.
    archive_hash : str
        ``algorithm:hex digits``.
    content_hash : str, optional
        See :func:`content_hash`. With it, an archive of another hash is fine if
        its content is.
    folder : str
        The data set's name once it is unpacked.
    metadata : str
        File in the folder that names the clips.
    clips : int
        WAV files in ``audio``.
    """

    url: str
    archive: str
    archive_bytes: int
    unpacked_bytes: int
    archive_hash: str
    content_hash: str | None
    folder: str
    metadata: str
    clips: int


ORIGINALS = {
    "esc50": Original(
        url="https://github.com/karolpiczak/ESC-50/archive/"
        "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6.zip",
        archive="ESC-50-master.zip",
        archive_bytes=645_832_161,
        unpacked_bytes=900_000_000,
        archive_hash="sha256:661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
        content_hash="ae5e9ae8d525d391d999d971c90417501fd531932f116f68566254303a046992",
        folder="ESC-50-master",
        metadata="meta/esc50.csv",
        clips=2000,
    ),
    "urbansound8k": Original(
        url="https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz",
        archive="UrbanSound8K.tar.gz",
        archive_bytes=6_023_741_708,
        unpacked_bytes=7_100_000_000,
        archive_hash="md5:9aa69802bbf37fb986f71ec1483a196e",
        content_hash=None,
        folder="UrbanSound8K",
        metadata="metadata/UrbanSound8K.csv",
        clips=8732,
    ),
}


def download(name: str, to: Path) -> Path:
    """Fetch, check and unpack one of :data:`ORIGINALS`; returns its folder.

    Raises
    ------
    OticError
        If the folder is there but incomplete, or the download fails a check.
    """
    original = ORIGINALS[name]
    folder = to / original.folder
    if folder.exists():
        problem = _problem(original, folder)
        if problem:
            raise OticError(f"'{folder}' is there, but {problem}: move it away and {AGAIN}")
        say(f"'{folder}' is there already, with all {original.clips} clips")
    else:
        if find_spec("pooch") is None:
            raise RuntimeMissingError(
                "downloading needs pooch, which is not installed: pip install 'otic[train]'"
            )
        to.mkdir(parents=True, exist_ok=True)
        _check_room(original, to)
        archive = _fetch(original, to)
        _unpack(original, archive, folder)
        archive.unlink()
        say(f"unpacked and checked {original.clips} clips; deleted '{archive}'")
    _say_what_training_finds(folder)
    return folder


def content_hash(folder: Path, metadata: str) -> str:
    """SHA-256 of the lines ``MD5  path`` of the metadata and of all clips, sorted by path."""
    paths = [metadata, *(path.relative_to(folder).as_posix() for path in _clips(folder))]
    lines = []
    for path in sorted(paths):
        with (folder / path).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, _md5).hexdigest()}  {path}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _clips(folder: Path) -> list[Path]:
    """List the clips, without the files that macOS hides beside them."""
    return [p for p in (folder / "audio").rglob("*.wav") if not p.name.startswith(".")]


def _problem(original: Original, folder: Path) -> str:
    """Say what this folder lacks; empty where it is the whole data set."""
    if not (folder / original.metadata).is_file():
        return f"lacks {original.metadata}"
    n = len(_clips(folder))
    return "" if n == original.clips else f"has {n} of {original.clips} clips"


def _say_what_training_finds(folder: Path) -> None:
    """The files are the published ones; whether all can be used is another matter."""
    try:
        dataset = load_dataset(str(folder))
        lines = (*dataset.notes, *dataset.warnings, *_licences(dataset))
    except DatasetError as error:
        lines = (f"the files are as published, but training refuses them: {error}",)
    for line in lines:
        say(line)


def _licences(dataset: Dataset) -> list[str]:
    """Count ESC-50's clips by their own licence, as its LICENSE has it."""
    if dataset.name not in (ESC10[0], ESC50[0]):
        return []
    counts = licence_counts(dataset.clips)
    listed = ", ".join(f"{licence} {n}" for licence, n in counts.items())
    lines = [f"licences of the clips: {listed}; 'otic train --any-use' goes by them"]
    unknown = len(dataset.clips) - sum(counts.values())
    if unknown:
        lines.append(f"the licences of {unknown} of {len(dataset.clips)} clips are not stated")
    return lines if counts else lines[1:]


def _part(original: Original, to: Path) -> Path:
    """Path of the incomplete download."""
    return to / f"{original.archive}.part"


def _check_room(original: Original, to: Path) -> None:
    here = (to / original.archive, _part(original, to))
    missing = max(original.archive_bytes - sum(p.stat().st_size for p in here if p.exists()), 0)
    needed = missing + original.unpacked_bytes
    free = shutil.disk_usage(to).free
    if free < needed:
        raise OticError(
            f"'{to}' has {_gigabytes(free)} free, but {original.folder} takes "
            f"{_gigabytes(needed)}, its archive included: free some, or give another --to"
        )


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB"


def _fetch(original: Original, to: Path) -> Path:
    """The archive, downloaded unless it is here; its hash is as known where that must be."""
    pooch = importlib.import_module("pooch")
    pooch.get_logger().setLevel("WARNING")  # it would announce every step on stderr
    mirror = os.environ.get(MIRROR)
    url = f"{mirror.rstrip('/')}/{original.archive}" if mirror else original.url
    part = _part(original, to)
    archive = to / original.archive

    def resume(url: str, output_file: str, _: object) -> None:
        say(f"downloading {url}, {_gigabytes(original.archive_bytes)}")
        download_rest(url, part, original.archive_bytes)
        part.replace(output_file)  # pooch checks it, and deletes it where it is wrong

    try:
        pooch.retrieve(
            url,
            known_hash=None if original.content_hash else original.archive_hash,
            fname=original.archive,
            path=to,
            downloader=resume,
        )
    except ValueError as error:
        found = re.search(r"but got ([0-9a-f]+)", str(error))
        raise OticError(
            f"'{archive}' from {url} has the hash {found[1] if found else 'of another file'} "
            f"and must have {original.archive_hash}: deleted; {AGAIN}, or set {MIRROR} to a mirror"
        ) from error
    except OSError as error:
        raise OticError(
            f"can't write '{archive}': {error.strerror or error}; put that right, or "
            f"give another --to, and {AGAIN}"
        ) from error
    return archive


def _unpack(original: Original, archive: Path, folder: Path) -> None:
    """Unpack beside, check, and give it its name; what failed leaves nothing of that name."""
    pooch = importlib.import_module("pooch")
    algorithm, known = original.archive_hash.split(":")
    staging = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    try:
        checked = (
            original.content_hash is None  # pooch has
            or pooch.file_hash(str(archive), alg=algorithm) == known
        )
        with progress("unpacking", original.clips) as advance:
            for name, content in _members(archive):
                target = _target(staging, name, archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file, _BLOCK)
                advance(1)
        problem = _problem(original, staging)
        if problem:
            raise OticError(f"'{archive}' {problem}: deleted; {AGAIN}")
        if not checked:
            found = content_hash(staging, original.metadata)
            if found != original.content_hash:
                raise OticError(
                    f"the clips in '{archive}' are not the published ones: their hash is {found} "
                    f"and must be {original.content_hash}: deleted; {AGAIN}"
                )
        staging.rename(folder)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, (OticError, *_DAMAGED)):
            archive.unlink()  # or the next run would take it for good
        if isinstance(error, _DAMAGED):
            raise OticError(f"'{archive}' is damaged ({error}): deleted; {AGAIN}") from error
        if isinstance(error, OSError):
            raise OticError(
                f"can't unpack '{archive}': {error.strerror or error}; the archive is kept: "
                f"put that right and {AGAIN}"
            ) from error
        raise


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in an archive, in its order."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if not info.is_dir():
                    with zipped.open(info) as content:
                        yield info.filename, content
        return
    with tarfile.open(archive, "r|gz") as tarred:
        for member in tarred:
            file = tarred.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file
            elif not member.isdir():
                raise OticError(f"'{archive}' holds '{member.name}', which is no file: deleted")


def _target(staging: Path, name: str, archive: Path) -> Path:
    """Path that a file is unpacked to; the archive's one top folder becomes ``staging``."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise OticError(
            f"'{archive}' holds '{name}', which is outside of its folder: deleted, nothing unpacked"
        )
    return staging.joinpath(*(path.parts[1:] or path.parts))


def download_rest(url: str, part: Path, expected_bytes: int) -> None:
    """Download the rest of a file; all of it where the server can't send the rest only.

    Parameters
    ----------
    url : str
    part : Path
        The beginning that an interrupted download has left; the rest is added to it.
    expected_bytes : int
        Rough length of the whole file, for servers that don't say.

    Raises
    ------
    OticError
        If the server can't be reached, refuses, or breaks off.
    OSError
        If ``part`` can't be written.
    """
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # the stored bytes, or they can't be counted
    if start:
        headers["Range"] = f"bytes={start}-"
    received = start
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
            span = response.headers.get("Content-Range", "")
            if response.status_code == 416 and start:  # nothing is after what we have
                if span != f"bytes */{start}":
                    part.unlink()
                    download_rest(url, part, expected_bytes)
                return
            if not response.ok:
                raise OticError(
                    f"{url} answers {response.status_code} {response.reason}: try again later, "
                    f"or set {MIRROR} to a mirror"
                )
            resumed = response.status_code == 206 and span.startswith(f"bytes {start}-")
            if start:
                say(
                    f"going on after {start} bytes"
                    if resumed
                    else "starting over: this server can't send the rest only"
                )
            received = start if resumed else 0
            length = response.headers.get("Content-Length", "")
            total = received + int(length) if length.isdecimal() else None
            with (
                part.open("ab" if resumed else "wb") as file,
                progress("downloading", total or expected_bytes, received, True) as advance,
            ):
                for block in response.iter_content(_NETWORK_BLOCK):
                    file.write(block)
                    received += len(block)
                    advance(len(block))
            if total is not None and received < total:
                raise requests.ConnectionError("Connection broken")
    except requests.RequestException as error:
        kept = f"; {received} bytes are kept" if received else ""
        raise OticError(
            f"can't download {url}: {_reason(error)}{kept}: check the network and {AGAIN}"
        ) from error


def _reason(error: Exception) -> str:
    """Find the cause in what requests and urllib3 wrap around it."""
    text = str(error)
    system = re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text)
    if system:
        return system[1]
    if "timed out" in text:
        return f"no answer within {_TIMEOUT_SECONDS:.0f} s"
    if "IncompleteRead" in text or "Connection broken" in text:
        return "the connection broke"
    short = text.rsplit("(Caused by ", 1)[-1].splitlines()[:1]
    return short[0][:200] if short else type(error).__name__
