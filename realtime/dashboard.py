"""The live terminal view (rich). It pulls snapshots and never makes the audio wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from realtime.events import Event
from realtime.monitor import SILENCE_DBFS, Monitor, Snapshot
from realtime.sinks.text import event_text

FRAMES_A_SECOND = 8
_FLOOR_DBFS = -60.0  # left end of the level bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LABEL_WIDTH = 16
_MIN_EVENT_ROWS = 3
_ALARM = "bold white on red"


class Dashboard:
    """Draws a :class:`Monitor` until it is left.

    Drawing happens in a thread of rich's, at most eight times a second, on the
    alternate screen. Use as a context manager in the thread that runs the stream.

    Parameters
    ----------
    console : Console
        A terminal.
    messages : sequence of str
        What is said meanwhile; the latest has a line.
    """

    def __init__(self, console: Console, messages: Sequence[str] = ()) -> None:
        self._view = View(messages)
        self._live = Live(
            console=console,
            screen=True,
            refresh_per_second=FRAMES_A_SECOND,
            get_renderable=lambda: self._view,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def show(self, monitors: Sequence[Monitor]) -> None:
        """Show these from the next frame on: the first in full, a line for each other."""
        self._view.monitors = monitors

    def __enter__(self) -> Dashboard:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)


class View:
    """One frame: fits whatever size the console has at that moment."""

    def __init__(self, messages: Sequence[str] = ()) -> None:
        self.monitors: Sequence[Monitor] = ()
        self._messages = messages

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.monitors:
            return
        first, *others = self.monitors
        width, height = options.max_width, options.height or console.height
        message = self._messages[-1] if self._messages else ""
        for line in frame_lines(first, first.snapshot(), width, height, others, message):
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
            yield line


def frame_lines(
    monitor: Monitor,
    now: Snapshot,
    width: int,
    height: int,
    others: Sequence[Monitor] = (),
    message: str = "",
) -> list[Text]:
    """All lines of a frame, ``height`` at most, each fit for ``width`` columns."""
    labels = monitor.bundle.labels
    head = [_title(monitor, now, width), _level(now, width)]
    head += [_other(other.source, other.snapshot()) for other in others]
    head.append(_rule("scores", width))
    tail = [_rule("health", width), _health(now)]
    if message:
        tail.insert(1, Text(message, "yellow"))
    room = max(1, height - len(head) - len(tail) - 1 - _MIN_EVENT_ROWS)
    shown = labels if len(labels) <= room else labels[: room - 1]
    rows = list(_score_rows(monitor, now, shown, width))
    if len(shown) < len(labels):
        rows.append(Text(f"… {len(labels) - len(shown)} more classes: enlarge the window", "dim"))
    n_events = height - len(head) - len(rows) - len(tail) - 1
    events = _events(now, n_events)
    return [*head, *rows, _rule("events", width), *events, *tail][:height]


def _title(monitor: Monitor, now: Snapshot, width: int) -> Text:
    left = Text.assemble(
        ("otic ", "bold"), (monitor.source, "cyan"), (" → ", "dim"), (monitor.bundle.name, "cyan")
    )
    minutes, seconds = divmod(round(now.seconds, 1), 60.0)
    clock = f"{int(minutes):d}:{seconds:04.1f}"
    if now.n_scores == 0:
        window = monitor.bundle.features.window_seconds
        clock = f"filling the window of {window:.1f} s  {clock}"
    left.truncate(max(1, width - len(clock) - 1), overflow="ellipsis", pad=True)
    return left.append(" ").append(clock, "bold")


def _level(now: Snapshot, width: int) -> Text:
    numbers = f" {_db(now.level_dbfs)} dBFS  peak {_db(now.peak_dbfs)} "
    mark = "CLIP" if now.clipped else "    "
    cells = max(4, width - _LABEL_WIDTH - 1 - len(numbers) - len(mark))
    share = (now.level_dbfs - _FLOOR_DBFS) / -_FLOOR_DBFS
    peak = (now.peak_dbfs - _FLOOR_DBFS) / -_FLOOR_DBFS
    style = "green" if now.level_dbfs < -12.0 else "yellow"
    return Text.assemble(
        ("level".ljust(_LABEL_WIDTH + 1), "bold"),
        _bar(share, cells, style, marker=peak, marker_style="bold white"),
        numbers,
        (mark, _ALARM if now.clipped else ""),
    )


def _other(source: str, now: Snapshot) -> Text:
    """What there is to know of another microphone, on one line."""
    name = Text(source, "cyan")
    name.truncate(_LABEL_WIDTH, overflow="ellipsis", pad=True)
    heard = ", ".join(sorted(now.active)) or "-"
    return Text.assemble(
        name,
        (f" {now.state}", "" if now.state == "listening" else _ALARM),
        f" {_db(now.level_dbfs)} dBFS  ",
        _lost(now),
        "  ",
        (heard, "bold green" if now.active else "dim"),
    )


def _lost(now: Snapshot) -> tuple[str, str]:
    return f"lost {now.lost_samples:,}", _ALARM if now.lost_samples else "green"


def _score_rows(
    monitor: Monitor, now: Snapshot, labels: tuple[str, ...], width: int
) -> Iterator[Text]:
    for label, threshold in zip(labels, monitor.bundle.decision.on_thresholds, strict=False):
        on = label in now.active
        score = now.scores[label]
        numbers = f" {score:5.2f} / {threshold:4.2f} {'ON' if on else '  '}"
        name = Text(label, "bold green" if on else "")
        name.truncate(_LABEL_WIDTH, overflow="ellipsis", pad=True)
        cells = max(4, width - _LABEL_WIDTH - 1 - len(numbers))
        bar = _bar(score, cells, "green" if on else "blue", threshold, "yellow")
        yield Text.assemble(name, " ", bar, (numbers, "bold green" if on else ""))


def _events(now: Snapshot, rows: int) -> list[Text]:
    """The latest ones, newest first, padded to ``rows`` lines."""
    lines = []
    for item in reversed(now.events):
        if isinstance(item, Event):
            lines.append(Text(event_text(item), "" if item.state == "on" else "dim"))
        else:
            lines.append(Text(f"{item.lost} samples lost", "bold red"))
    if not lines:
        lines.append(Text("none yet", "dim"))
    lines = lines[: max(rows, 0)]
    return lines + [Text("") for _ in range(rows - len(lines))]


def _health(now: Snapshot) -> Text:
    """What matters most comes first: a narrow terminal cuts the rest."""
    return Text.assemble(
        (f"{now.state} " if now.state != "listening" else "", _ALARM),
        _lost(now),
        (f"  overruns {now.overruns}" if now.overruns else "", _ALARM),
        f"  queue {now.queue_fill:.0%}  {now.real_time_factor:,.0f} × real time  "
        f"inference p50 {now.inference_p50_ms:.3f} ms p99 {now.inference_p99_ms:.3f} ms",
    )


def _bar(share: float, cells: int, style: str, marker: float, marker_style: str) -> Text:
    """A bar over ``cells`` columns, in eighths, with a mark at another share."""
    eighths = round(min(max(share, 0.0), 1.0) * cells * 8)
    full, part = divmod(eighths, 8)
    text = "█" * full + (_EIGHTHS[part] if part else "")
    bar = Text(text.ljust(cells), style)
    at = min(max(int(marker * cells), 0), cells - 1)
    if marker > 0.0:
        bar = Text.assemble(bar[:at], ("│", marker_style), bar[at + 1 :])
    return bar


def _rule(title: str, width: int) -> Text:
    return Text(f"── {title} ".ljust(width, "─"), "dim")


def _db(value: float) -> str:
    return "  -∞" if value <= SILENCE_DBFS else f"{round(value):4d}"
