"""The folder of a scan: whose results are in it, and what of it is done."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otic import __version__
from otic.audio.recording_time import AS_RECORDED, TimeRule
from otic.detection.decide import ScoreTable, onsets_from
from otic.detection.thresholds import DecisionParams
from otic.errors import ParameterError, SinkError
from otic.model.bundle import Bundle
from otic.scan.find import Recording
from otic.scan.tables import COLUMNS, FORMATS, RETRIED, read_scores, read_table, shown_path
from otic.system.files import open_locked, written_beside

SCAN_FORMAT = 1
WHOLE = "1of1"
"""The share of a process that takes all recordings."""

_SCAN, _RUN = "scan.json", "run.json"
_KEYS: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "model_sha256": str,
    "labels": list,
    "sr": int,
    "decision": dict,
    "channel": (int, type(None)),
    "time": dict,
    "format": str,
    "scores": bool,
    "onsets_from": float,
}


@dataclass(frozen=True)
class Run:
    """The results of one model with one set of thresholds.

    Attributes
    ----------
    path : Path
        Its folder.
    model, model_sha256 : str
    labels : tuple of str
    sr : int
        The model's rate in Hz.
    decision : DecisionParams
    channel : int or None
        The channel that was classified; None: the mean of all.
    time : dict
        The rule for the times of recordings.
    format : str
        See :data:`otic.scan.tables.FORMATS`.
    scores : bool
        Whether scores are kept.
    onsets_from : float
        See :func:`otic.detection.decide.onsets_from`.
    """

    path: Path
    model: str
    model_sha256: str
    labels: tuple[str, ...]
    sr: int
    decision: DecisionParams
    channel: int | None
    time: dict[str, Any]
    format: str
    scores: bool
    onsets_from: float

    def parts(self) -> list[Path]:
        """List the parts that are whole, sorted."""
        folder = self.path / "parts"
        return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []

    def rows(self, table: str, part: Path | None = None) -> Iterator[tuple[Any, ...]]:
        """Read a table of all parts, or of one, row by row.

        Raises
        ------
        SinkError
            If a part is damaged.
        """
        for each in self.parts() if part is None else [part]:
            yield from read_rows(each, table, self.format)


def read_run_scores(run: Run, part: Path) -> Iterator[tuple[str, ScoreTable]]:
    """Read the predictions of a part, as :func:`otic.scan.tables.read_scores`; see read_rows."""
    with _damage(part):
        yield from read_scores(part, run.format, len(run.labels))


def read_rows(part: Path, table: str, kind: str) -> Iterator[tuple[Any, ...]]:
    """Read a table of a part; a damaged one is a SinkError that names it."""
    with _damage(part):
        yield from read_table(part, table, kind)


@contextmanager
def _damage(part: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise SinkError(
            f"'{part}' is damaged ({error}): remove that folder and scan again; "
            "its recordings will be classified again"
        ) from error


def open_run(
    out: Path,
    bundle: Bundle,
    channel: int | None = None,
    kind: str | None = None,
    scores: bool = False,
    time: TimeRule = AS_RECORDED,
) -> Run:
    """Open the folder for a model's results, or make it.

    Parameters
    ----------
    out : Path
        The folder of the scan.
    bundle : Bundle
        The model with the thresholds to decide with: each has a folder of its own.
    channel : int or None
    kind : str or None
        The format; None: that of the folder, else CSV.
    scores : bool
        Whether scores are to be kept. Where they are kept already, they are kept further.
    time : TimeRule
        How to tell when a recording began.

    Raises
    ------
    SinkError
        If it can't be written, holds something else, or was made otherwise.
    """
    check_scan(out)
    params = _params(bundle, channel, time)
    path = _run_path(out, params)
    if (path / _RUN).exists():
        run = read_run(path)
        if kind not in (None, run.format):
            raise SinkError(
                f"'{path}' holds {run.format}: leave --format out, or name another --out"
            )
        if scores and not run.scores:
            raise SinkError(f"'{path}' was begun without scores: name another --out for --scores")
        return run
    settings = {
        "format": kind or FORMATS[0],
        "scores": scores,
        "onsets_from": onsets_from(bundle.decision),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        _write_json(out / _SCAN, {"scan": SCAN_FORMAT, "otic": __version__})
        path.mkdir(exist_ok=True)
        _write_json(path / _RUN, {**params, **settings})
    except OSError as error:
        raise SinkError(
            f"can't write to '{out}': {error.strerror}: name a folder that can be written"
        ) from error
    return read_run(path)


def existing_run(out: Path, bundle: Bundle, channel: int | None, time: TimeRule) -> Run | None:
    """Read the run that :func:`open_run` would open; None where it would make one.

    Raises
    ------
    SinkError
        As :func:`open_run`.
    """
    check_scan(out)
    path = _run_path(out, _params(bundle, channel, time))
    return read_run(path) if (path / _RUN).exists() else None


def _params(bundle: Bundle, channel: int | None, time: TimeRule) -> dict[str, Any]:
    """Collect what results depend on, besides the recordings."""
    return {
        "model": bundle.name,
        "model_sha256": bundle.sha256,
        "labels": list(bundle.labels),
        "sr": bundle.features.sr,
        "decision": bundle.decision.to_dict(),
        "channel": channel,
        "time": time.to_dict(),
    }


def _run_path(out: Path, params: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]
    return out / f"{params['model']}-{digest}".replace("/", "_")


def check_scan(out: Path, needed: bool = False) -> None:
    """Require a folder that is a scan's, or else empty or not there.

    Raises
    ------
    SinkError
        If it is something else, or ``needed`` and not there.
    """
    try:
        text = (out / _SCAN).read_text(encoding="utf-8")
    except FileNotFoundError:
        if needed:
            raise SinkError(f"'{out}' is no folder of a scan: it has no {_SCAN}") from None
        if out.is_dir() and any(out.iterdir()):
            raise SinkError(
                f"'{out}' holds something else than a scan: name a new folder with --out"
            ) from None
        return
    except OSError as error:
        raise SinkError(f"can't use '{out}': {error.strerror}: name a folder with --out") from error
    try:
        found = json.loads(text)["scan"]
    except (ValueError, KeyError, TypeError):
        found = None
    if found != SCAN_FORMAT:
        raise SinkError(
            f"'{out}' is a scan of format {found}, this otic writes format {SCAN_FORMAT}: "
            "name another --out"
        )


def find_runs(out: Path) -> list[Run]:
    """List the runs of a scan, by name; of one run, its own folder may be given.

    Raises
    ------
    SinkError
        If it is no scan, or damaged.
    """
    if (out / _RUN).is_file():
        return [read_run(out)]
    check_scan(out, needed=True)
    return [read_run(path.parent) for path in sorted(out.glob(f"*/{_RUN}"))]


def read_run(path: Path) -> Run:
    """Read what a run's folder says of it.

    Raises
    ------
    SinkError
        If that is damaged.
    """
    try:
        values = json.loads((path / _RUN).read_text(encoding="utf-8"))
        for key, kind in _KEYS.items():
            if not isinstance(values[key], kind):
                raise ValueError(f"{key} is {values[key]!r}")
        decision = DecisionParams.from_dict(values["decision"])
        known = {key: values[key] for key in _KEYS}
        known |= {"labels": tuple(values["labels"]), "decision": decision}
        return Run(path, **known)
    except (OSError, ValueError, KeyError, TypeError, ParameterError) as error:
        raise SinkError(f"'{path / _RUN}' is damaged ({error}): name another --out") from error


class Ledger:
    """What of a run is done, for one process at a time.

    Parameters
    ----------
    run : Run
    share : str
        The share of the recordings that this process takes, such as ``1of4``.
    look_only : bool
        Whether it is only asked what is done: then nothing is locked or removed.

    Raises
    ------
    SinkError
        If another process has the share, or a part is damaged.
    """

    def __init__(self, run: Run, share: str, look_only: bool = False) -> None:
        self._run = run
        self.share = share
        self._states: dict[bytes, bytes] = {}
        self._known: set[str] = set()  # names of parts
        self._lock: int | None = None
        if look_only:
            self.refresh()
            return
        try:
            self._lock = open_locked(run.path / f".lock-{share}", os.O_RDWR | os.O_CREAT)
        except BlockingIOError:
            raise SinkError(f"another scan writes to '{run.path}': wait for its end") from None
        except OSError as error:
            raise SinkError(f"can't write to '{run.path}': {error.strerror}") from error
        self._clear()
        for part in run.parts():
            if RETRIED in part.name and share in (WHOLE, part.name.rpartition(RETRIED)[2]):
                _remove(part)
        self.refresh()

    def __len__(self) -> int:
        return len(self._states)

    def state(self, recording: Recording) -> bool | None:
        """True where a recording is done, None where it is not, False where it has changed."""
        file, state = _keys(shown_path(recording.path), recording.size, recording.modified_ns)
        found = self._states.get(file)
        return None if found is None else found == state

    def has(self, file: str) -> bool:
        """Tell whether a file, as the tables name it, is done in whatever state."""
        return _keys(file, 0, 0)[0] in self._states

    def forget(self, files: set[str]) -> None:
        """Remove the parts with these files: what is in them is to be done again."""
        for part in self._run.parts():
            rows = [row[0] for row in read_rows(part, "files", self._run.format)]
            if files.isdisjoint(rows):
                continue
            _remove(part)
            for file in rows:
                self._states.pop(_keys(file, 0, 0)[0], None)

    def close(self) -> None:
        """Let others take the share."""
        if self._lock is not None:
            self._clear()
            os.close(self._lock)
            self._lock = None

    def _clear(self) -> None:
        """Remove what a process of this share left when it died."""
        writing = self._run.path / "writing"
        if writing.is_dir():
            for folder in writing.glob(f"{self.share}-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def refresh(self) -> None:
        """Take note of parts that have come since the last time."""
        for part in self._run.parts():
            if part.name not in self._known:
                self._read(part)

    def _read(self, part: Path) -> None:
        self._known.add(part.name)
        at = [list(COLUMNS["files"]).index(name) for name in ("file", "size", "modified_ns")]
        for row in read_rows(part, "files", self._run.format):
            file, state = _keys(*(row[i] for i in at))
            self._states[file] = state


def _keys(file: str, size: int, modified_ns: int) -> tuple[bytes, bytes]:
    """Give short names for a file and for its state."""
    state = hashlib.blake2b(f"{size} {modified_ns}".encode(), digest_size=8)
    return hashlib.blake2b(file.encode(), digest_size=16).digest(), state.digest()


def _remove(part: Path) -> None:
    """Remove a part, first out of sight, so that none is ever there in half."""
    hidden = part.parent.parent / "writing" / f"{part.name}-removed"
    with suppress(OSError):
        hidden.parent.mkdir(exist_ok=True)
        part.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _write_json(path: Path, value: Any) -> None:
    with written_beside(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
