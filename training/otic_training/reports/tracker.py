"""Trackers, which keep a training run's figures, pictures and sounds.

``tensorboard`` writes event files into ``runs/NAME``; ``comet`` sends to Comet where
COMET_API_KEY is set, and else keeps an offline experiment there to be sent later.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from otic.errors import OticError, RuntimeMissingError
from otic_training.cli.progress import say
from otic_training.data.dataset import Dataset

if TYPE_CHECKING:  # the names of the trackers are needed by `otic train --help`
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from otic_training.scoring.metrics import Figures, Tested

TRACKERS = ("none", "tensorboard", "comet")
RUNS = Path("runs")
_KEPT_SECONDS = 5
_SR = 22050


class Backend(Protocol):
    """Tracking service. Not thread safe."""

    def number(self, name: str, value: float, step: int) -> None:
        """Keep a figure."""

    def facts(self, values: Mapping[str, Any]) -> None:
        """Keep parameters."""

    def picture(self, name: str, figure: Figure) -> None:
        """Keep a picture."""

    def sound(self, name: str, y: NDArray[np.float32], sr: int) -> None:
        """Keep a sound."""

    def model(self, path: str) -> None:
        """Keep the written bundle."""

    def close(self) -> None:
        """End the run."""


@dataclass
class Tracker:
    """Passes a training run's results to a backend, if there is one."""

    backend: Backend | None

    def loss(self, epoch: int, loss: float) -> None:
        """Keep the mean loss of an epoch."""
        if self.backend is not None:
            self.backend.number("training/loss", loss, epoch)

    def finish(
        self,
        dataset: Dataset,
        figures: Mapping[str, Figures],
        results: Sequence[Tested],
        path: str,
    ) -> None:
        """Keep a clip of each class, the figures and the model; end the run."""
        if self.backend is None:
            return
        from otic_training.data.windows import read_clip
        from otic_training.reports.report import confusion_picture, reliability_picture
        from otic_training.scoring.metrics import reliability

        first = next(iter(figures.values()))
        self.backend.facts({"protocol": first.protocol, "data": dataset.name})
        for name, values in figures.items():
            for kind in ("clip_mean", "window_mean", "calibration_error"):
                self.backend.number(f"{name}/{kind}", getattr(values, kind), 0)
        self.backend.picture("confusion", confusion_picture(dataset.labels, first.confusion))
        self.backend.picture("reliability", reliability_picture(reliability(results)))
        for label in dataset.labels:
            clip = next(clip for clip in dataset.clips if clip.label == label)
            try:
                y = read_clip(clip, _SR)
            except OticError:
                continue  # it was listed when the clips were read for training
            self.backend.sound(label, y[: _KEPT_SECONDS * _SR], _SR)
        self.backend.model(path)
        self.backend.close()


def start_tracker(kind: str, name: str) -> Tracker:
    """Begin a run.

    Raises
    ------
    RuntimeMissingError
        If the package is not installed.
    OticError
        If its folder can't be made.
    """
    if kind == "none":
        return Tracker(None)
    package, extra = {"tensorboard": ("tensorboard", "train"), "comet": ("comet_ml", "comet")}[kind]
    if find_spec(package) is None:
        raise RuntimeMissingError(
            f"--tracker {kind} needs {package}, which is not installed: "
            f"pip install 'otic[{extra}]', or --tracker none"
        )
    folder = _new_folder(name)
    say(f"tracking in {folder}")
    return Tracker(_Tensorboard(folder) if kind == "tensorboard" else _Comet(folder, name))


def _new_folder(name: str) -> Path:
    """Make ``runs/NAME``, or ``runs/NAME-2`` and so on where that is taken."""
    try:
        RUNS.mkdir(exist_ok=True)
        for number in count(1):
            folder = RUNS / (name if number == 1 else f"{name}-{number}")
            if not folder.exists():
                folder.mkdir()
                return folder
        raise AssertionError
    except OSError as error:
        raise OticError(
            f"can't make a folder in '{RUNS}': {error.strerror}; or use --tracker none"
        ) from error


class _Tensorboard:
    def __init__(self, folder: Path) -> None:
        from tensorflow import summary

        self._folder = folder
        self._summary = summary
        self._writer = summary.create_file_writer(str(folder))

    def number(self, name: str, value: float, step: int) -> None:
        with self._writer.as_default():
            self._summary.scalar(name, value, step=step)

    def facts(self, values: Mapping[str, Any]) -> None:
        with self._writer.as_default():
            text = "\n\n".join(f"**{key}**: {value}" for key, value in values.items())
            self._summary.text("run", text, step=0)

    def picture(self, name: str, figure: Figure) -> None:
        figure.set_facecolor("white")
        with self._writer.as_default():
            self._summary.image(name, pixels(figure)[None], step=0)

    def sound(self, name: str, y: NDArray[np.float32], sr: int) -> None:
        with self._writer.as_default():
            self._summary.audio(f"sounds/{name}", y[None, :, None], sr, step=0)

    def model(self, path: str) -> None:
        shutil.copyfile(path, self._folder / Path(path).name)

    def close(self) -> None:
        self._writer.close()


class _Comet:
    def __init__(self, folder: Path, name: str) -> None:
        os.environ.setdefault("COMET_LOGGING_CONSOLE", "ERROR")
        import comet_ml

        if os.environ.get("COMET_API_KEY"):
            self._experiment = comet_ml.Experiment(project_name="otic")
        else:
            self._experiment = comet_ml.OfflineExperiment(
                project_name="otic", offline_directory=str(folder)
            )
            say(f"no COMET_API_KEY: to send the run later, comet upload {folder}/*.zip")
        self._experiment.set_name(name)

    def number(self, name: str, value: float, step: int) -> None:
        self._experiment.log_metric(name, value, step=step)

    def facts(self, values: Mapping[str, Any]) -> None:
        self._experiment.log_parameters(dict(values))

    def picture(self, name: str, figure: Figure) -> None:
        figure.set_facecolor("white")
        self._experiment.log_image(pixels(figure), name=name)

    def sound(self, name: str, y: NDArray[np.float32], sr: int) -> None:
        self._experiment.log_audio(y, sample_rate=sr, file_name=f"{name}.wav")

    def model(self, path: str) -> None:
        self._experiment.log_model(Path(path).stem, path)

    def close(self) -> None:
        self._experiment.end()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure, uint8 [height, width, 3]."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    rgba: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())
    return rgba[..., :3].copy()
