"""Writes recordings in a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from otic.errors import SinkError
from otic.sinks.clip_folder import Clip, ClipFolder

_log = logging.getLogger(__name__)

_MOST_WAITING_BYTES = 64 << 20
_LOOK_SECONDS = 0.05  # how soon a shorter patience is noticed
_HEADER_BYTES = 8192  # header and texts, and what FLAC adds to samples that can't be compressed


@dataclass(frozen=True)
class ClipStatus:
    """The fate of the recordings so far.

    ``dropped`` ones came while too many waited for a slow disk, or were larger than the
    budget; ``failed`` ones could not be written; ``deleted`` ones made room.
    """

    written: int = 0
    deleted: int = 0
    dropped: int = 0
    failed: int = 0
    waiting: int = 0
    last_error: str | None = None


class ClipWriter:
    """A thread that writes recordings; nobody waits for it but who says so.

    Thread safety: one thread calls the methods, any :meth:`status`.

    Parameters
    ----------
    folder : ClipFolder
    suffix : str
        ``flac`` or ``wav``.
    waits : bool
        Whether :meth:`offer` waits for a slow disk, or else drops the recording.

    Raises
    ------
    SinkError
        If the folder can't be made, or no file can be made in it.
    """

    def __init__(self, folder: ClipFolder, suffix: str, waits: bool = False) -> None:
        self._folder = folder
        self._suffix = suffix
        self._waits = waits
        self._finishing_since: float | None = None
        self._queue: SimpleQueue[Clip | None] = SimpleQueue()
        self._lock = threading.Lock()  # guards the next two; held for a few additions only
        self._written = threading.Condition(self._lock)
        self._status = ClipStatus()
        self._waiting_bytes = 0
        self._failing = False
        self._given_up = threading.Event()
        self._check()
        self._thread = threading.Thread(target=self._work, name="otic clips", daemon=True)
        self._thread.start()

    def offer(self, clip: Clip) -> None:
        """Have a recording written; where too many wait already, wait too, or drop it."""
        with self._lock:
            while not (taken := self._has_room(clip)) and self._waits and self._thread.is_alive():
                self._written.wait(_LOOK_SECONDS)
            if taken:
                self._waiting_bytes += clip.n_bytes
                self._status = replace(self._status, waiting=self._status.waiting + 1)
        if taken:
            self._queue.put(clip)
        else:
            self._trouble("the disk is too slow", dropped=1)

    def finish(self) -> None:
        """No further recording comes. Does not wait."""
        if self._finishing_since is None:
            self._finishing_since = time.monotonic()
            self._queue.put(None)

    def close(self, drain_timeout: Callable[[], float]) -> None:
        """:meth:`finish`, and wait until all is written, no longer than the patience from then.

        It is asked again and again, and may become shorter.
        """
        self.finish()
        assert self._finishing_since is not None
        while (
            self._thread.is_alive()
            and (left := self._finishing_since + drain_timeout() - time.monotonic()) > 0.0
        ):
            self._thread.join(min(left, _LOOK_SECONDS))
        if self._thread.is_alive():
            self._given_up.set()
            left = self.status().waiting
            _log.warning(f"{left} recordings could not be written before the end")
            self._add(dropped=left)

    def status(self) -> ClipStatus:
        """The counters now."""
        with self._lock:
            return replace(self._status, deleted=self._folder.deleted)

    def _check(self) -> None:
        import soundfile  # noqa: F401  # now, and not while audio flows

        probe = self._folder.path / f".otic-{os.getpid()}"
        try:
            self._folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            probe.unlink()
        except OSError as error:
            raise SinkError(
                f"can't record into {str(self._folder.path)!r}: {error.strerror}: "
                "set clips.directory to a folder that can be written"
            ) from error

    def _work(self) -> None:
        try:
            self._folder.make_room(0)
        except OSError as error:
            self._trouble(_reason(error))
        while (clip := self._queue.get()) is not None and not self._given_up.is_set():
            self._write(clip)
            with self._lock:
                self._waiting_bytes -= clip.n_bytes
                self._status = replace(self._status, waiting=self._status.waiting - 1)
                self._written.notify()

    def _has_room(self, clip: Clip) -> bool:
        """Return whether it may wait, too; the lock is held."""
        if not self._status.waiting:
            return True
        return self._waiting_bytes + clip.n_bytes <= _MOST_WAITING_BYTES

    def _write(self, clip: Clip) -> None:
        """Write beside, then rename; what goes wrong is counted."""
        unfinished = self._folder.path / f".{clip.name}.{self._suffix}.part"
        try:
            if not self._folder.make_room(clip.n_bytes + _HEADER_BYTES):
                self._trouble("it is larger than clips.max_megabytes", dropped=1)
                return
            unfinished.unlink(missing_ok=True)
            if write_sound(unfinished, clip, self._suffix, self._given_up.is_set):
                self._folder.put(unfinished, clip, self._suffix)
                self._add(written=1)
                if self._failing:
                    _log.info("recordings are written again")
                self._failing = False
        except (OSError, RuntimeError, AssertionError) as error:  # the last two are soundfile's
            self._trouble(_reason(error), failed=1)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _trouble(self, reason: str, dropped: int = 0, failed: int = 0) -> None:
        self._add(dropped=dropped, failed=failed)
        with self._lock:
            self._status = replace(self._status, last_error=reason)
        if not self._failing:
            _log.warning(f"a recording is lost, {str(self._folder.path)!r}: {reason}")
        self._failing = True

    def _add(self, written: int = 0, dropped: int = 0, failed: int = 0) -> None:
        with self._lock:
            old = self._status
            self._status = replace(
                old,
                written=old.written + written,
                dropped=old.dropped + dropped,
                failed=old.failed + failed,
            )


class _Unforgetful:
    """A file to write for libsndfile, which does not pass on every error that it gets."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self.error = self.error or error
        return len(data) - len(left)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._fd, 0, os.SEEK_CUR)


def write_sound(path: Path, clip: Clip, suffix: str, given_up: Callable[[], bool]) -> bool:
    """Write a recording, 16 bit, readable by its owner only; False where it was given up.

    Raises
    ------
    OSError, RuntimeError, AssertionError
        If it can't be written whole.
    """
    import soundfile

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        file = _Unforgetful(fd)
        try:
            with soundfile.SoundFile(file, "w", clip.sr, 1, "PCM_16", format=suffix.upper()) as out:
                out.title = clip.title
                out.comment = clip.comment
                for piece in clip.pieces:
                    if given_up() or file.error:
                        break
                    out.write(piece)
        except (RuntimeError, AssertionError):
            if file.error is None:
                raise
        if file.error is not None:
            raise file.error  # it says why
        if not given_up():
            os.fsync(fd)  # a name must not outlive its sound in a power cut
    finally:
        os.close(fd)
    return not given_up()


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
