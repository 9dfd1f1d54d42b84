"""``otic replay --report``: a page that shows why a sound was reported, or was not.

One HTML file that needs nothing else: no network, no library. It is written
beside its place and then renamed, so that nobody sees half of one. Nothing in
it depends on the clock, the speed or the block size.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from importlib import resources
from pathlib import Path

from otic.errors import SinkError
from otic.features.spectrogram import Spectrogram
from otic.model.bundle import Bundle
from otic.sinks.report_record import ReplayRecord
from otic.sinks.report_section import Section
from otic.types import Chunk, Item, Lost, StreamEnd, StreamStart

_TITLE = "What otic heard"


class ReplayReport:
    """A sink that makes a page of what it gets; a section for each stream.

    It is given the samples, too (:class:`otic.types.AudioSink`).
    The page is written by :meth:`close`; without a stream there is none.

    Parameters
    ----------
    path : str
        Overwritten at the end.
    bundle : Bundle
        The model that is served.

    Raises
    ------
    SinkError
        If the page could not be written there.
    """

    def __init__(self, path: str, bundle: Bundle) -> None:
        self._path = Path(path)
        self._beside = self._path.with_name(f".{self._path.name}.part")
        self._check_place()
        self._bundle = bundle
        self._records: dict[str, ReplayRecord] = {}  # by source
        self._sections: list[str] = []
        self._files: list[str] = []
        self._otic = ""

    def on_chunk(self, stream: StreamStart, chunk: Chunk) -> None:
        record = self._records[stream.source]
        if isinstance(chunk, Lost):
            record.add_loss(chunk.samples)
        else:
            record.add_samples(chunk)

    def start(self, stream: StreamStart) -> None:
        spectrogram = Spectrogram(self._bundle.features)
        self._records[stream.source] = ReplayRecord(self._bundle, spectrogram)
        self._otic = stream.otic

    def write(self, stream: StreamStart, item: Item) -> None:
        self._records[stream.source].add(item)

    def end(self, stream: StreamStart, end: StreamEnd) -> None:
        # Now, not in close(): a stop by a signal may take a few seconds, not minutes.
        section = Section(self._bundle, self._records.pop(stream.source), end)
        self._files.append(stream.source)
        self._sections.append(section.html(len(self._files), self._files[-1]))

    def close(self) -> None:
        if not self._sections:
            return
        try:
            self._beside.write_text(self._page(), encoding="utf-8", errors="replace")
            self._beside.replace(self._path)
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error
        finally:
            self._beside.unlink(missing_ok=True)

    def _page(self) -> str:
        template = (
            resources.files("otic.sinks").joinpath("html_report.html").read_text(encoding="utf-8")
        )
        script = template.split("<script>")[1].split("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        contents = ""
        if len(self._files) > 1:
            items = (
                f'<li><a href="#file-{i}">{escape(name)}</a></li>'
                for i, name in enumerate(self._files, 1)
            )
            contents = f'<ul class="files">{"".join(items)}</ul>\n'
        title = f"{_TITLE} in {self._files[0]}" if len(self._files) == 1 else _TITLE
        marks = {
            "@SCRIPT_HASH@": f"sha256-{digest}",
            "@TITLE@": escape(title),
            "@SECTIONS@": contents + "\n".join(self._sections),
            "@FOOTER@": f"otic {escape(self._otic)}",
        }
        # In one pass: a file may be named like a mark.
        return re.sub("|".join(marks), lambda found: marks[found[0]], template)

    def _check_place(self) -> None:
        """Now, not when hours of audio have been replayed."""
        folder = self._path.parent
        if str(self._path) == "-":
            raise self._unwritable("it does not go to standard output")
        if not folder.is_dir():
            raise self._unwritable(f"there is no folder '{folder}'")
        if self._path.exists() and not self._path.is_file():
            raise self._unwritable("it is a folder or a device")
        try:
            self._beside.open("wb").close()
            self._beside.unlink()
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _unwritable(self, reason: str) -> SinkError:
        return SinkError(
            f"can't write the report '{self._path}': {reason}: "
            "name a file that can be written with --report"
        )
