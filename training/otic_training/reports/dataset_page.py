"""The page of ``otic explore``: what a data set holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from otic.errors import OticError
from otic_training.cli.progress import progress
from otic_training.data.dataset import Clip, Dataset
from otic_training.data.windows import ACTIVE_DB, read_clip, read_recording
from otic_training.reports.page import Cell, Page, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_F32 = NDArray[np.float32]

_EXAMPLE_SR = 22050
_N_FFT, _HOP, _N_MELS, _N_MFCC = 2048, 512, 64, 20
_FULL_SCALE = 0.999
_CLIPPED_RUN = 3
_MOSTLY_SILENT = 0.5


@dataclass(frozen=True)
class Measured:
    """Facts about one clip, at its own sampling rate, mixed down."""

    clip: Clip
    seconds: float
    rate: int
    channels: int
    silent: float  # share of its 10-ms frames
    clipped: bool
    notes: tuple[str, ...] = ()  # what a person should know of its file


@dataclass(frozen=True)
class Unreadable:
    """Clip that can't be used, and the reason."""

    clip: Clip
    reason: str


def notes_of(measured: list[Measured], folder: str) -> list[tuple[str, str]]:
    """List what a person should know of the clips that can be read: file and note."""
    return [
        (relative_name(m.clip, folder), note.partition(": ")[2])
        for m in measured
        for note in m.notes
    ]


def measure(dataset: Dataset) -> tuple[list[Measured], list[Unreadable]]:
    """Read every clip, without resampling; list apart what can't be read."""
    measured, unreadable = [], []
    with progress("reading clips", len(dataset.clips)) as advance:
        for clip in dataset.clips:
            try:
                measured.append(_measure(clip))
            except OticError as error:
                unreadable.append(Unreadable(clip, str(error)))
            advance(1)
    return measured, unreadable


def _measure(clip: Clip) -> Measured:
    found = read_recording(clip, None)
    y, rate = found.y, found.rate
    return Measured(
        clip,
        len(y) / rate,
        rate,
        found.channels,
        silent_share(y, rate),
        is_clipped(y),
        found.notes,
    )


def silent_share(y: _F32, sr: int) -> float:
    """Share of 10-ms frames that are zeros or more than 60 dB below the loudest one."""
    step = min(sr // 100, len(y))
    frames = y[: len(y) // step * step].reshape(-1, step)
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / step
    faintest = power.max() * 10 ** (-ACTIVE_DB / 10)
    return float(np.mean((power == 0) | (power < faintest)))


def is_clipped(y: _F32) -> bool:
    """Tell if three samples in a row are at full scale."""
    full = np.abs(y) >= _FULL_SCALE
    runs = full[_CLIPPED_RUN - 1 :].copy()
    for shift in range(_CLIPPED_RUN - 1):
        runs &= full[shift : shift + len(runs)]
    return bool(runs.any())


def dataset_page(
    folder: str, dataset: Dataset, measured: list[Measured], unreadable: list[Unreadable]
) -> Page:
    """Write facts, counts, what can't be read, and an example of each class on a page."""
    page = Page(f"{dataset.name}: what the data set holds")
    total = sum(m.seconds for m in measured)
    page.table(
        (),
        [
            ("folder", str(Path(folder).resolve())),
            ("clips", f"{len(dataset.clips)}, {_duration(total)}"),
            ("classes", len(dataset.labels)),
            ("recordings", len({clip.recording for clip in dataset.clips})),
            ("folds", f"{len(dataset.folds)}, {dataset.protocol}"),
            ("licence", dataset.license),
        ],
    )
    for line in (*dataset.notes, *dataset.warnings):
        page.note(line)
    if unreadable:
        page.note(f"{len(unreadable)} of {len(dataset.clips)} clips can't be read: see below")
    page.heading("Classes")
    page.table(_CLASS_HEADER, [_class_row(label, dataset, measured) for label in dataset.labels])
    page.paragraph(
        f"Silent: of all 10-ms frames, those that are digital silence or more than "
        f"{ACTIVE_DB:.0f} dB below the clip's loudest. A model that is shown much silence learns "
        "the padding in place of the sound. Mostly silent: clips that are so for more than half "
        f"of their length. Clipped: clips with {_CLIPPED_RUN} samples in a row "
        f"at full scale ({_FULL_SCALE} and above). All is measured on the mix of all channels "
        "at the clip's own sampling rate."
    )
    page.heading("Clips by class and fold")
    page.table(("class", *(f"fold {f}" for f in dataset.folds)), _balance(dataset), shaded=True)
    torn = _torn_recordings(dataset)
    if torn:
        page.note(f"{torn} recordings are in two folds or more: figures over these folds leak")
    else:
        page.paragraph(
            "All clips of a recording are in one fold: no test hears what was trained on."
        )
    if unreadable:
        page.heading("Clips that can't be read")
        page.table(
            ("file", "class", "reason"),
            [(relative_name(u.clip, folder), u.clip.label, u.reason) for u in unreadable],
        )
    if notes := notes_of(measured, folder):
        page.heading("Clips to look at")
        page.table(("file", "note"), notes)
    page.heading("An example of each class")
    page.paragraph(
        "The first clip of the class that is not mostly silent. Waveform; mel spectrogram in dB "
        f"below its loudest point ({_N_MELS} bands, {_N_FFT} samples a frame, {_HOP} a hop); "
        f"MFCCs 1 to {_N_MFCC - 1}, without number 0, the level. Heard as live: mixed down, "
        f"resampled to {_EXAMPLE_SR} Hz."
    )
    examples = [m for label in dataset.labels if (m := _example(label, measured))]
    with progress("drawing examples", len(examples)) as advance:
        for example in examples:
            _draw(page, example, folder)
            advance(1)
    return page


_CLASS_HEADER = (
    "class",
    "clips",
    "recordings",
    "total",
    "shortest",
    "median",
    "longest",
    "rate, Hz",
    "channels",
    "silent",
    "mostly silent",
    "clipped",
)


def _class_row(label: str, dataset: Dataset, measured: list[Measured]) -> list[Cell]:
    """Count all clips of a label, and sum up those that can be read."""
    clips = [clip for clip in dataset.clips if clip.label == label]
    read = [m for m in measured if m.clip.label == label]
    row: list[Cell] = [label, len(clips), len({clip.recording for clip in clips})]
    if not read:
        return [*row, *["–"] * (len(_CLASS_HEADER) - len(row))]
    seconds = np.array([m.seconds for m in read])
    return [
        *row,
        _duration(float(seconds.sum())),
        *(f"{s:.2f} s" for s in (seconds.min(), np.median(seconds), seconds.max())),
        _counts(Counter(m.rate for m in read)),
        _counts(Counter(m.channels for m in read)),
        f"{np.average([m.silent for m in read], weights=seconds):.1%}",
        sum(m.silent > _MOSTLY_SILENT for m in read),
        sum(m.clipped for m in read),
    ]


def _counts(found: Counter[int]) -> str:
    """``44100`` or, where there are several, ``44100 (38), 48000 (2)``: the most frequent first."""
    if len(found) == 1:
        return str(*found)
    return ", ".join(f"{value} ({n})" for value, n in found.most_common())


def _balance(dataset: Dataset) -> list[list[Cell]]:
    counts = Counter((clip.label, clip.fold) for clip in dataset.clips)
    return [[label, *(counts[label, f] for f in dataset.folds)] for label in dataset.labels]


def _torn_recordings(dataset: Dataset) -> int:
    folds = {(clip.recording, clip.fold) for clip in dataset.clips}
    return len(folds) - len({recording for recording, _ in folds})


def _example(label: str, measured: list[Measured]) -> Measured | None:
    """The first that isn't mostly silent; else the first there is."""
    read = [m for m in measured if m.clip.label == label]
    return next((m for m in read if m.silent <= _MOSTLY_SILENT), read[0] if read else None)


def _draw(page: Page, example: Measured, folder: str) -> None:
    import librosa
    from librosa.display import specshow, waveshow

    sr = _EXAMPLE_SR
    y = read_clip(example.clip, sr)
    shape = {"n_fft": _N_FFT, "hop_length": _HOP}
    whole = np.pad(y, (0, max(_N_FFT - len(y), 0)))  # a short click fills no frame
    mel = librosa.feature.melspectrogram(y=whole, sr=sr, n_mels=_N_MELS, **shape)
    decibels = librosa.power_to_db(mel, ref=np.max, top_db=80.0)
    mfcc = librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=sr, n_mfcc=_N_MFCC)[1:]
    most = float(np.abs(mfcc).max()) or 1.0
    where = {"sr": sr, "x_axis": "time", **shape}
    label, name = example.clip.label, relative_name(example.clip, folder)
    with drawing(10.0, 1.75) as figure:
        wave, spectrum, cepstrum = figure.subplots(1, 3)
        waveshow(y, sr=sr, ax=wave)
        wave.set_title("waveform")
        shown = specshow(decibels, y_axis="mel", ax=spectrum, cmap="magma", **where)
        spectrum.set_title("mel spectrogram, dB")
        figure.colorbar(shown, ax=spectrum, pad=0.02)
        shown = specshow(mfcc, ax=cepstrum, cmap="coolwarm", vmin=-most, vmax=most, **where)
        cepstrum.set_title("MFCC")
        figure.colorbar(shown, ax=cepstrum, pad=0.02)
        for axes in (wave, spectrum, cepstrum):
            _label(axes, len(y) / sr)
        page.heading(label, 3)
        page.picture(
            figure,
            f"Waveform, mel spectrogram and MFCCs of {name}, an example of {label}",
            f"{name}: {example.seconds:.2f} s, fold {example.clip.fold}, "
            f"recording {example.clip.recording}",
        )


def _label(axes: Axes, seconds: float) -> None:
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("s")
    axes.set_ylabel("")


def _duration(seconds: float) -> str:
    """``48 s``, ``3.3 min`` or ``8.8 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def relative_name(clip: Clip, folder: str) -> str:
    """Name of a clip below the data set's folder."""
    return clip.path.relative_to(folder).as_posix()
