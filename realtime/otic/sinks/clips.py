"""Recordings of events: the sound from shortly before each to shortly after."""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from otic.audio.recent_audio import RecentAudio
from otic.config.settings import ClipsSettings
from otic.errors import printable
from otic.sinks.clip_folder import Clip, ClipFolder, stamp
from otic.sinks.clip_writer import ClipStatus, ClipWriter
from otic.sinks.event_filter import EventFilter, decided_at
from otic.system.clock import iso, utc_now
from otic.types import Chunk, Event, Item, Lost, Scores, StreamEnd, StreamStart

_MARGIN_SECONDS = 1.0  # scores come in steps, and several make a decision
_STOP_SECONDS = 0.5
KEEP, DROP = "keep", "drop"
SPEECH_SCORE = 0.3
"""From this score on speech is heard: a recording that was made can't be unheard."""
_LONGEST_PART = 60
_MOST_LOSSES = 16  # that a file's comment lists


@dataclass
class _Recording:
    """An event that is being recorded; all numbers are samples of the stream."""

    on: Event
    onset_at: datetime
    start: int
    longest_stop: int
    off: Event | None = None
    stop: int = field(init=False)

    def __post_init__(self) -> None:
        self.stop = self.longest_stop


class _Track:
    """A stream: its latest sound, and what is being recorded of it."""

    def __init__(self, stream: StreamStart, settings: ClipsSettings) -> None:
        self.stream = stream
        self.audio = RecentAudio(stream.sr)
        self.recordings: list[_Recording] = []
        self.pre = round(settings.pre_seconds * stream.sr)
        self.post = round(settings.post_seconds * stream.sr)
        self.longest = round(settings.longest_seconds * stream.sr)
        reported_after = stream.window_seconds + stream.dated_back_seconds + _MARGIN_SECONDS
        self.kept = self.pre + round(reported_after * stream.sr)
        self.speech = [] if settings.speech == KEEP else speech_labels(stream.labels)
        self.hold = round(reported_after * stream.sr) if self.speech else 0
        """What is heard so long after a recording may be about its end."""
        self.spoken: list[int] = []

    def samples(self, seconds: float) -> int:
        """A time of an event as the sample that it was made from."""
        return round(seconds * self.stream.sr)

    def take(self, chunk: Chunk) -> None:
        """Add a chunk; forget what no recording can begin with any more."""
        needed = [self.audio.position - self.kept, *(r.start for r in self.recordings)]
        self.audio.forget(max(0, min(needed)))
        self.spoken = [sample for sample in self.spoken if sample >= min(needed)]
        if isinstance(chunk, Lost):
            self.audio.lose(chunk.samples)
        else:
            self.audio.push(chunk)

    def note(self, scores: Scores) -> None:
        """Note where speech is heard."""
        if any(scores.scores[label] >= SPEECH_SCORE for label in self.speech):
            self.spoken.append(scores.sample)

    def has_speech(self, start: int, stop: int) -> bool:
        """Tell if speech was heard in a stretch, or where what was heard may be about it."""
        return any(start <= sample <= stop + self.hold for sample in self.spoken)


def speech_labels(labels: Iterable[str]) -> list[str]:
    """List the labels that mean speech."""
    return [label for label in labels if label.lower() == "speech"]


class ClipSink:
    """Records each event as a file of its own: an :class:`otic.types.AudioSink`.

    A file holds exactly the stream's samples, rounded to 16 bit, from ``pre_seconds``
    before the onset to ``post_seconds`` after the offset, but at most ``longest_seconds``
    from the onset on, and not beyond the ends of the stream. Lost samples are silence.
    How the stream is cut into chunks makes no difference. With ``speech`` "drop" there is no file
    where the model hears speech in what it would hold, whatever the thresholds.

    Thread safety: one thread calls the methods of the contract and :meth:`finish`, any
    :meth:`status`. None of them waits for the disk but :meth:`close`, for the patience, and
    those that end a recording where it ``waits``.

    Parameters
    ----------
    settings : ClipsSettings
        Without a directory, or where not enabled, nothing is written or kept in memory.
    sensor : str
        Named in each file's comment.
    now : callable
        The wall clock, with a time zone.
    event_filter : EventFilter, optional
        Only events that it takes are recorded.
    waits : bool
        Whether the stream may be held up until there is room for a recording; else it is
        dropped where 64 MB wait for the disk. For streams that are not live.
    drain_timeout : callable
        How long :meth:`close` waits for the disk, at least half a second.

    Raises
    ------
    SinkError
        By the first :meth:`start`, if the folder can't be written.
    """

    def __init__(
        self,
        settings: ClipsSettings,
        sensor: str,
        now: Callable[[], datetime] = utc_now,
        *,
        event_filter: EventFilter | None = None,
        waits: bool = False,
        drain_timeout: Callable[[], float] = lambda: _STOP_SECONDS,
    ) -> None:
        self._settings = settings
        self._directory = settings.directory if settings.enabled else None
        self._sensor = sensor
        self._now = now
        self._filter = event_filter
        self._waits = waits
        self._patience = drain_timeout
        self._tracks: dict[str, _Track] = {}
        self._writer: ClipWriter | None = None
        self._final = ClipStatus()

    @property
    def kept_bytes(self) -> int:
        """Sound in memory, but for what waits to be written."""
        return sum(track.audio.kept_bytes for track in self._tracks.values())

    def start(self, stream: StreamStart) -> None:
        if self._directory is None:
            return
        if self._writer is None:
            max_bytes = round(self._settings.max_megabytes * 1e6)
            folder = ClipFolder(Path(self._directory), max_bytes, self._now)
            self._writer = ClipWriter(folder, self._settings.format, self._waits)
        self._tracks[stream.source] = _Track(stream, self._settings)

    def on_chunk(self, stream: StreamStart, chunk: Chunk) -> None:
        track = self._tracks.get(stream.source)
        if track is None:
            return
        # Only now is all known that was decided up to here, whatever the chunks' length.
        for recording in [
            r for r in track.recordings if r.stop + track.hold <= track.audio.position
        ]:
            self._finish(track, recording)
        track.take(chunk)

    def write(self, stream: StreamStart, item: Item) -> None:
        track = self._tracks.get(stream.source)
        if track is not None and isinstance(item, Scores):
            track.note(item)
        if track is None or not isinstance(item, Event):
            return
        if item.state == "on":
            at = decided_at(stream, item.time, self._now)
            if self._filter is not None and not self._filter.takes(stream.source, item, at):
                return
            onset = track.samples(item.onset)
            if stream.recorded is None:
                onset_at = self._now() - timedelta(seconds=item.time - item.onset)
            else:
                recorded = datetime.fromisoformat(stream.recorded)
                onset_at = recorded + timedelta(seconds=item.onset)
            start = max(onset - track.pre, track.audio.oldest)
            recording = _Recording(item, onset_at, start, onset + track.longest)
            track.recordings.append(recording)
            return
        for recording in track.recordings:
            same = (recording.on.label, recording.on.onset) == (item.label, item.onset)
            if same and track.samples(item.time) <= recording.longest_stop:
                recording.off = item
                after = track.samples(item.onset if item.offset is None else item.offset)
                recording.stop = min(recording.stop, after + track.post)
                if recording.stop <= track.audio.position and not track.hold:
                    self._finish(track, recording)
                return

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        track = self._tracks.pop(stream.source, None)
        if track is not None:
            for recording in list(track.recordings):
                self._finish(track, recording)

    def finish(self) -> None:
        """No further stream comes: the patience begins. Does not wait."""
        if self._writer is not None:
            for track in list(self._tracks.values()):
                for recording in list(track.recordings):
                    self._finish(track, recording)
            self._tracks.clear()
            self._writer.finish()

    def close(self) -> None:
        if self._writer is not None:
            self.finish()
            self._writer.close(lambda: max(_STOP_SECONDS, self._patience()))
            self._final = self._writer.status()
            self._writer = None

    def status(self) -> ClipStatus:
        """Return the fate of the recordings so far."""
        writer = self._writer
        return self._final if writer is None else writer.status()

    def _finish(self, track: _Track, recording: _Recording) -> None:
        track.recordings.remove(recording)
        stop = min(recording.stop, track.audio.position)
        if stop <= recording.start or self._writer is None:
            return
        if track.has_speech(recording.start, stop):
            return
        self._writer.offer(
            Clip(
                at=stamp(recording.onset_at),
                source=file_name_part(track.stream.source),
                label=file_name_part(recording.on.label),
                sr=track.stream.sr,
                pieces=track.audio.cut(recording.start, stop),
                title=printable(recording.on.label),
                comment=json.dumps(self._facts(track, recording, stop), separators=(",", ":")),
            )
        )

    def _facts(self, track: _Track, recording: _Recording, stop: int) -> dict[str, Any]:
        """Return the facts for the file's comment, in seconds of the stream."""
        sr = track.stream.sr
        known = track.stream.started is not None or track.stream.recorded is not None
        on, off = recording.on, recording.off
        facts: dict[str, Any] = {
            "sensor": self._sensor,
            "source": track.stream.source,
            "model": track.stream.model,
            "label": on.label,
            "onset_at": iso(recording.onset_at) if known else None,
            "onset": round(on.onset, 6),
            "offset": None if off is None or off.offset is None else round(off.offset, 6),
            "start": round(recording.start / sr, 6),
            "stop": round(stop / sr, 6),
        }
        losses = track.audio.losses(recording.start, stop)
        if losses:
            facts["lost_seconds"] = round(sum(n for _, n in losses) / sr, 6)
            facts["lost"] = [
                [round((sample - recording.start) / sr, 6), round(n / sr, 6)]
                for sample, n in losses[:_MOST_LOSSES]
            ]
        return facts


def file_name_part(text: str) -> str:
    """Lower-case ASCII letters, digits and hyphens, for a file's name; never empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain)[:_LONGEST_PART].strip("-")
    return words or f"{zlib.crc32(text.encode(errors='replace')):08x}"
