"""Events as messages to people, through Apprise."""

from __future__ import annotations

import logging
import re
import string
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from otic.config.secrets import read_secret
from otic.errors import ParameterError, RuntimeMissingError, printable
from otic.sinks.clip_folder import find_clip
from otic.sinks.clips import file_name_part
from otic.sinks.delivery.notification import DeliveryError, Notification, RefusedError, Sensor
from otic.sinks.receivers.notify import Section
from otic.system.clock import clock, utc_now
from otic.types import label_text

_FIELDS = ("label", "sensor", "source", "time", "score", "seconds")
_TRIES = 3  # where some services took a message and others did not
_CLIP_SECONDS = 10.0  # after the end of the recording, for the disk
_LOOK_SECONDS = 0.1
_SHORTEST_SECRET = 3
_MAX_COLUMNS = 800


class NotifyReceiver:
    """Sends a message for each event to every address.

    Without files to attach it is sent when the event begins, else when its recording is there.
    Each address gets it once, but for one whose answer was lost. Where all fail, it is tried again
    until it is too old; where others took it, an address is tried three times in all.

    Not thread safe.

    Parameters
    ----------
    settings : Section
    sensor : Sensor
        ``clips`` are needed for attachments; what is older than ``longest_wait_seconds`` is
        refused where it is ``live``.
    now : callable
        The wall clock, with a time zone.

    Raises
    ------
    ParameterError
        If an address, a template or the file of addresses is not usable, or nothing is recorded
        that could be attached.
    RuntimeMissingError
        If Apprise is not installed.
    """

    name = "notify"

    def __init__(
        self, settings: Section, sensor: Sensor, now: Callable[[], datetime] = utc_now
    ) -> None:
        for key in ("title", "text"):
            _check_template(f"notify.{key}", getattr(settings, key))
        if settings.attach and sensor.clips is None:
            raise ParameterError(
                "notify.attach is set, but nothing is recorded: set clips.directory"
            )
        self._settings = settings
        self._sensor = sensor
        self._now = now
        self._reasons = _Reasons()
        self._services = _services(_addresses(settings), self._reasons)
        self._under_way = ""  # the notification that the next two are about
        self._left: list[_Service] = []
        self._tries = 0

    def open(self) -> None:
        pass  # there is no connection between messages

    def deliver(self, notification: Notification) -> None:
        if notification.state != ("off" if self._settings.attach else "on"):
            return
        if notification.id != self._under_way:
            self._under_way, self._left, self._tries = notification.id, list(self._services), 0
        self._refuse_old(notification)
        title, text = (
            _filled(template, notification)
            for template in (self._settings.title, self._settings.text)
        )
        with ExitStack() as stack:
            files = self._files(notification, stack) if self._settings.attach else []
            self._left = [each for each in self._left if not each.send(title, text, files)]
        self._tries += 1
        if not self._left:
            return
        names = ", ".join(each.name for each in self._left)
        reason = self._reasons.latest or "it did not take the message"
        if len(self._left) < len(self._services) and self._tries >= _TRIES:
            raise RefusedError(f"{names}: {reason}: correct notify.urls")
        raise DeliveryError(f"{names}: {reason}: see to the network, or correct notify.urls")

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _refuse_old(self, notification: Notification) -> None:
        if not self._sensor.live or notification.at is None:
            return
        age = (self._now() - datetime.fromisoformat(notification.at)).total_seconds()
        if age > self._settings.longest_wait_seconds:
            raise RefusedError(
                f"{notification.id} is {clock(age, 0)} old: messages are sent within "
                f"{clock(self._settings.longest_wait_seconds, 0)} (notify.longest_wait_seconds)"
            )

    def _files(self, notification: Notification, stack: ExitStack) -> list[str]:
        """Return what to attach: nothing where the recording does not come."""
        clip = self._clip(notification)
        if clip is None:
            return []
        files = [str(clip)] if "clip" in self._settings.attach else []
        if "spectrogram" in self._settings.attach:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="otic-"))
            picture = Path(folder) / f"{clip.stem}.png"
            picture.write_bytes(_picture(clip))
            files.append(str(picture))
        return files

    def _clip(self, notification: Notification) -> Path | None:
        clips = self._sensor.clips
        assert clips is not None
        assert clips.directory is not None
        if notification.onset_at is None:
            return None
        onset = datetime.fromisoformat(notification.onset_at)
        source, label = file_name_part(notification.source), file_name_part(notification.label)
        deadline = time.monotonic() + clips.post_seconds + _CLIP_SECONDS
        while True:
            found = find_clip(Path(clips.directory), source, label, onset)
            if found is not None or self._tries or time.monotonic() >= deadline:
                return found
            time.sleep(_LOOK_SECONDS)


class _Service:
    """One address, and the service behind it."""

    def __init__(self, server: Any, name: str, reasons: _Reasons) -> None:
        self.name = name
        self._server = server
        self._reasons = reasons

    def send(self, title: str, text: str, files: list[str]) -> bool:
        """Send a message; return whether the service took it."""
        import apprise

        self._reasons.latest = ""
        if files and self._server.attachment_support:
            attach = apprise.AppriseAttachment(files)
            if self._server.notify(text, title=title, attach=attach):
                return True  # else it may be too large: the message matters more
        return bool(self._server.notify(text, title=title))


class _Reasons(logging.Handler):
    """Keeps what Apprise says last, without what may be secret in an address."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.latest = ""
        self.secrets: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(" ".join(record.getMessage().split()))
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, "…")
        self.latest = text.rstrip(".")


def _addresses(settings: Section) -> list[str]:
    if settings.urls:
        return list(settings.urls)
    lines = read_secret(None, settings.urls_file, "notify.urls").splitlines()
    found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise ParameterError("notify.urls_file holds no address: write one a line")
    return found


def _services(addresses: list[str], reasons: _Reasons) -> list[_Service]:
    try:
        import apprise
    except ImportError as error:
        raise RuntimeMissingError(
            "messages to people need apprise: pip install 'otic[notify]'"
        ) from error
    log = logging.getLogger("apprise")
    log.handlers = [each for each in log.handlers if not isinstance(each, _Reasons)]
    log.addHandler(reasons)
    log.propagate = False  # what it says goes into otic's own messages
    asset = apprise.AppriseAsset(
        app_id="otic",
        app_desc="otic",
        async_mode=False,
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    services = []
    for number, url in enumerate(addresses, 1):
        reasons.secrets.update(_secrets(url))
        scheme = url.partition("://")[0] if "://" in url else "?"
        name = f"{printable(scheme)}://… (number {number} of notify.urls)"
        server = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if server is None:
            raise ParameterError(
                f"{name} is no address of a service that Apprise knows: "
                "see https://appriseit.com/services/"
            )
        services.append(_Service(server, name, reasons))
    return services


def _secrets(url: str) -> set[str]:
    """Return the parts of an address that no message may have, which are all but its scheme."""
    rest = url.partition("://")[2] or url
    return {part for part in re.split(r"[/:@?&=#,]+", rest) if len(part) >= _SHORTEST_SECRET}


def _check_template(key: str, template: str) -> None:
    try:
        for _, field, _, _ in string.Formatter().parse(template):
            if field is not None and field not in _FIELDS:
                raise ValueError(f"there is no '{{{field}}}'")
        template.format(**{**dict.fromkeys(_FIELDS, ""), "score": 0.5, "seconds": 0.5})
    except (ValueError, LookupError, TypeError) as error:
        raise ParameterError(
            f"{key}: {error}: it may have {', '.join(f'{{{f}}}' for f in _FIELDS)}, as in "
            "'{label}, score {score:.2f}'"
        ) from None


def _filled(template: str, notification: Notification) -> str:
    """Fill a template in; times are those of this machine's time zone."""
    if notification.onset_at is None:
        at = clock(notification.onset)
    else:
        at = f"{datetime.fromisoformat(notification.onset_at).astimezone():%H:%M:%S}"
    offset = notification.time if notification.offset is None else notification.offset
    return template.format(
        label=label_text(notification.label),
        sensor=notification.sensor,
        source=notification.source,
        time=at,
        score=notification.peak if notification.score is None else notification.score,
        seconds=offset - notification.onset,
    )


def _picture(clip: Path) -> bytes:
    """Draw a recording's spectrogram as PNG."""
    import soundfile

    from otic.features.params import FeatureParams
    from otic.features.spectrogram import Spectrogram, loudness_range, palette, png

    y, sr = soundfile.read(clip, dtype="float32")
    params = FeatureParams(
        sr=sr,
        n_fft=1024,
        hop_length=256,
        n_mels=96,
        n_mfcc=1,
        fmin=0.0,
        fmax=sr / 2,
        top_db=80.0,
        center=False,
        window_frames=1,
        statistics=("mean",),
    )
    spectrogram = Spectrogram(params, _MAX_COLUMNS)
    spectrogram.push(y)
    levels = spectrogram.levels()
    return png(levels.repeat(3, axis=0), palette(*loudness_range(levels, params.top_db)))
