"""A session as a person sees and controls it, in a terminal or a browser."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from otic.config.settings import Settings
from otic.errors import OticError, printable
from otic.model.bundle import Bundle
from otic.review.folder import Mark, ReviewFolder, open_review, wanted_sound
from otic.sinks.clip_folder import Clip, stamp
from otic.sinks.clip_writer import write_sound
from otic.sinks.clips import file_name_part
from otic.streaming.control import Control
from otic.streaming.monitor import Health, Monitor, judge
from otic.streaming.recent import SOUND_SECONDS, MemorySink, RecentEvent, StreamMemory
from otic.system.clock import iso, utc_now
from otic.types import StreamStatus

SAVED_SECONDS = 10.0


@dataclass(frozen=True)
class StreamView:
    """A running stream; ``memory`` is None until it has begun."""

    source: str
    monitor: Monitor
    memory: StreamMemory | None

    def snapshot(self) -> StreamStatus:
        """Return the present state."""
        return self.monitor.snapshot()


class SessionView:
    """Gives access to the running streams and to what can be asked of them.

    Thread safety: the loop's thread calls :meth:`show`; any thread may call the rest. Marks and
    saved sound are written by the calling thread.

    Parameters
    ----------
    bundle : Bundle
        The model in use.
    control : Control
    memories : MemorySink
    sensor : str
        Name of this installation.
    review : ReviewFolder or None
        Where marks are kept; None if marks are switched off.
    save_folder : Path
        Where saved sound goes.
    sound_is_written : bool
        False for privacy: marks have no sound, and none can be saved.
    messages : sequence of str
        Messages so far; it grows.
    thresholds : sequence of str
        Thresholds that the session began with in place of the model's, as ``label=0.5``.
    """

    def __init__(
        self,
        bundle: Bundle,
        control: Control,
        memories: MemorySink,
        sensor: str,
        review: ReviewFolder | None,
        save_folder: Path,
        sound_is_written: bool = True,
        messages: Sequence[str] = (),
        thresholds: Sequence[str] = (),
    ) -> None:
        self.bundle = bundle
        self.control = control
        self.sensor = sensor
        self.review = review
        self.messages = messages
        self.memories = memories
        self._save_folder = save_folder
        self._sound_is_written = sound_is_written
        self._monitors: Sequence[Monitor] = ()
        self._thresholds = thresholds

    def show(self, monitors: Sequence[Monitor]) -> None:
        """Set the monitors of the streams that run from now on."""
        self._monitors = monitors

    def views(self) -> list[StreamView]:
        """Return the running streams, in a fixed order."""
        return [StreamView(m.source, m, self.memories.get(m.source)) for m in self._monitors]

    def health(self, now: StreamStatus) -> Health:
        """Judge a stream's health."""
        return judge(now, self.control.paused)

    def verdict(self, memory: StreamMemory, event: RecentEvent) -> Mark | None:
        """Return an event's mark; None if it has none."""
        if self.review is None:
            return None
        return self.review.verdict(recording_of(memory), event.label, event.onset)

    def mark(self, source: str, number: int, verdict: str, true_label: str | None = None) -> Mark:
        """Mark an event ``right`` or ``wrong`` and keep its sound.

        Parameters
        ----------
        source : str
        number : int
            See :class:`otic.streaming.recent.RecentEvent`.
        verdict : str
            ``right`` or ``wrong``.
        true_label : str, optional
            What a ``wrong`` event really was.

        Raises
        ------
        OticError
            If the event is not in memory, or the mark can't be written.
        """
        memory = self.memories.get(source)
        found = None if memory is None else _event(memory, number)
        if memory is None or found is None:
            raise OticError(f"event {number} of {source} is no longer in memory: mark a later one")
        if self.review is None:
            raise OticError(
                "marks are switched off: set review.enabled = true (the demo keeps none)"
            )
        start, pieces = memory.sound(*wanted_sound(found.onset, found.offset))
        mark = Mark(
            verdict=verdict,
            label=found.label,
            source=source,
            sensor=self.sensor,
            model=self.bundle.name,
            model_sha256=self.bundle.sha256,
            recording=recording_of(memory),
            onset=found.onset,
            offset=found.offset,
            onset_at="" if found.onset_at is None else iso(found.onset_at),
            peak=found.peak,
            true_label=true_label,
            clip=None,
            clip_start=start,
            marked_at="",
        )
        return self.review.mark(mark, memory.sr, pieces if self._sound_is_written else ())

    def save(self, source: str, until: float | None = None, now: datetime | None = None) -> Path:
        """Write ten seconds of a stream as FLAC and return the file's path.

        The ten seconds are the latest, or those before second ``until`` of the stream.

        Raises
        ------
        OticError
            If there is no such sound, writing sound is switched off, or writing fails.
        """
        memory = self.memories.get(source)
        if not self._sound_is_written:
            raise OticError("clips.enabled is false: no sound is written")
        if memory is None or memory.seconds == 0.0:
            raise OticError(f"{source} has delivered no sound yet: wait a moment")
        end = memory.seconds if until is None else until
        _, pieces = memory.sound(end - SAVED_SECONDS, end)
        if not pieces:
            raise OticError(
                f"that sound is no longer in memory: only the latest {SOUND_SECONDS:.0f} s are"
            )
        at = stamp(utc_now() if now is None else now)
        clip = Clip(
            at, file_name_part(source), "saved", memory.sr, pieces, "saved", printable(source)
        )
        path = self._save_folder / f"{clip.name}.flac"
        unfinished = path.with_name(f".{path.name}.part")
        try:
            self._save_folder.mkdir(parents=True, exist_ok=True)
            write_sound(unfinished, clip, "flac", lambda: False)
            unfinished.rename(path)
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                unfinished.unlink()
            reason = getattr(error, "strerror", None) or str(error)
            raise OticError(
                f"can't save '{path}': {reason}: make room, or start otic in another folder"
            ) from error
        return path

    def changes(self) -> list[str]:
        """Return what a person changed and may want to keep, a line each."""
        changed = self.control.changed_thresholds
        if not changed:
            return []
        kept = [word for word in self._thresholds if word.rpartition("=")[0] not in changed]
        words = [*kept, *(f"{label}={value:g}" for label, value in changed.items())]
        # The option splits its value as a shell does, after a shell has done so.
        option = shlex.quote(shlex.join(words))
        return [f"thresholds were changed; to start with them: --thresholds {option}"]


def recording_of(memory: StreamMemory) -> str:
    """Return a stream's name: its source, and its start if it is live."""
    stream = memory.stream
    return stream.source if stream.started is None else f"{stream.source}@{stream.started}"


def _event(memory: StreamMemory, number: int) -> RecentEvent | None:
    return next((h for h in memory.events() if h.number == number and not h.lost), None)


def open_session_view(
    settings: Settings, bundle: Bundle, control: Control, messages: Sequence[str] = ()
) -> SessionView:
    """Return the view of a session with these settings."""
    return SessionView(
        bundle,
        control,
        MemorySink(bundle, paused=lambda: control.paused, keeps_sound=settings.clips.enabled),
        settings.name or socket.gethostname(),
        open_review(settings, os.environ),
        Path(settings.clips.directory or "."),
        settings.clips.enabled,
        messages,
        settings.thresholds,
    )
