"""Parameters of a model's features, checked as they are read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from otic.config.values import as_float, as_tuple, check_keys, check_whole
from otic.errors import ParameterError

STATISTICS = ("mean", "std", "delta_mean", "delta_rms")
"""Rolling statistics over the window, each ``n_mfcc`` numbers."""

LOG_MEL = "log_mel"
"""The window's clamped log-mel frames themselves, ``window_frames * n_mels`` numbers."""

MFCC = "mfcc"
"""The MFCCs of the window's frames, ``window_frames * n_mfcc`` numbers."""

WAVEFORM = "waveform"
"""The window's samples themselves, ``window_samples`` numbers."""

FEATURES = (*STATISTICS, LOG_MEL, MFCC, WAVEFORM)
"""Everything that a model may be given."""

MIN_N_FFT, MAX_N_FFT = 256, 4096
MAX_N_MELS = 256
MAX_WINDOW_SAMPLES = 2**26  # 50 minutes at 22050 Hz
MAX_WINDOW_CELLS = 2**26  # frames times mel bands


@dataclass(frozen=True)
class FeatureParams:
    """Parameters of the front end, named as in librosa.

    There are no defaults: a model is served with exactly what it was trained on.

    Parameters
    ----------
    sr : int
        Sampling rate in Hz.
    n_fft : int
        Frame length in samples, a power of two from 256 to 4096.
    hop_length : int
        Samples between the starts of two frames.
    n_mels, n_mfcc : int
        Mel bands (at most 256) and cepstral coefficients (at most ``n_mels``).
    fmin, fmax : float
        Edges of the mel filterbank in Hz; ``0 <= fmin < fmax <= sr / 2``.
    top_db : float
        Log-mel values are clamped at this many dB below the window's maximum.
    center : bool
        True for librosa's default, zero padding at the edges of each window, for
        models that were trained on it; the frames at the edges are computed again
        for each prediction. False for models that are trained for a stream.
    window_frames : int
        Frames that one prediction looks at.
    statistics : tuple of str
        The parts of the feature vector, in order: statistics of the MFCCs (``mean``, ``std``,
        ``delta_mean``, the mean absolute first difference, and ``delta_rms``), the frames
        themselves (``mfcc``, ``log_mel``), or the samples (``waveform``). A model of the
        waveform has the other parameters too: onsets and pictures are made with them.
    tail_samples : int
        With ``center=True`` only: samples of the window behind the centre of its
        last frame, below ``hop_length``. A clip of ``n`` samples has
        ``n // hop_length + 1`` frames and a tail of ``n % hop_length``.

    Raises
    ------
    ParameterError
        If a value is outside its range; the message names it and the limit.

    Examples
    --------
    >>> params = FeatureParams(
    ...     sr=22050,
    ...     n_fft=2048,
    ...     hop_length=512,
    ...     n_mels=128,
    ...     n_mfcc=40,
    ...     fmin=0.0,
    ...     fmax=11025.0,
    ...     top_db=80.0,
    ...     center=False,
    ...     window_frames=83,
    ...     statistics=("mean", "std"),
    ... )
    >>> params.n_features, params.window_samples
    (80, 44032)
    >>> FeatureParams(**{**params.to_dict(), "n_fft": 2000})
    Traceback (most recent call last):
        ...
    otic.errors.ParameterError: n_fft=2000 must be a power of two from 256 to 4096
    """

    sr: int
    n_fft: int
    hop_length: int
    n_mels: int
    n_mfcc: int
    fmin: float
    fmax: float
    top_db: float
    center: bool
    window_frames: int
    statistics: tuple[str, ...]
    tail_samples: int = 0

    def __post_init__(self) -> None:
        for name in ("sr", "n_fft", "hop_length", "n_mels", "n_mfcc", "window_frames"):
            check_whole(name, getattr(self, name))
        for name in ("fmin", "fmax", "top_db"):
            object.__setattr__(self, name, as_float(name, getattr(self, name)))
        self._check_ranges()
        self._check_statistics()

    def _check_ranges(self) -> None:
        power_of_two = self.n_fft & (self.n_fft - 1) == 0
        if not (MIN_N_FFT <= self.n_fft <= MAX_N_FFT and power_of_two):
            raise ParameterError(
                f"n_fft={self.n_fft} must be a power of two from {MIN_N_FFT} to {MAX_N_FFT}"
            )
        if self.n_mels > MAX_N_MELS:
            raise ParameterError(f"n_mels={self.n_mels} must be at most {MAX_N_MELS}")
        if self.n_mfcc > self.n_mels:
            raise ParameterError(f"n_mfcc={self.n_mfcc} must be at most n_mels={self.n_mels}")
        if not 0.0 <= self.fmin < self.fmax <= self.sr / 2:
            raise ParameterError(
                f"fmin={self.fmin:g}, fmax={self.fmax:g} must satisfy "
                f"0 <= fmin < fmax <= sr / 2 = {self.sr / 2:g}"
            )
        if self.top_db <= 0.0:
            raise ParameterError(f"top_db={self.top_db:g} must be above 0")
        if not isinstance(self.center, bool):
            raise ParameterError(f"center={self.center!r} must be true or false")
        self._check_tail()
        self._check_window()

    def _check_window(self) -> None:
        if self.window_samples == 0:
            raise ParameterError(
                "window_frames=1 with center=True and tail_samples=0 is a window without samples"
            )
        if self.window_samples > MAX_WINDOW_SAMPLES:
            raise ParameterError(
                f"window_frames={self.window_frames} with hop_length={self.hop_length} is a window "
                f"of {self.window_samples} samples: at most {MAX_WINDOW_SAMPLES} are possible"
            )
        if self.window_frames * self.n_mels > MAX_WINDOW_CELLS:
            raise ParameterError(
                f"window_frames={self.window_frames} times n_mels={self.n_mels} "
                f"must be at most {MAX_WINDOW_CELLS}"
            )

    def _check_tail(self) -> None:
        tail = self.tail_samples
        if isinstance(tail, bool) or not isinstance(tail, int):
            raise ParameterError(f"tail_samples={tail!r} must be a whole number")
        limit = self.hop_length if self.center else 1
        if not 0 <= tail < limit:
            raise ParameterError(
                f"tail_samples={tail} must be at least 0 and below "
                f"{limit} with center={self.center}"
            )

    def _check_statistics(self) -> None:
        object.__setattr__(self, "statistics", as_tuple("statistics", self.statistics))
        unknown = [s for s in self.statistics if s not in FEATURES]
        if unknown or not self.statistics or len(set(self.statistics)) < len(self.statistics):
            raise ParameterError(
                f"statistics={list(self.statistics)} must name each at most once, "
                f"and at least one, of {', '.join(FEATURES)}"
            )
        if self.window_frames < 2 and any(s.startswith("delta") for s in self.statistics):
            raise ParameterError(
                f"window_frames={self.window_frames} must be at least 2 for delta statistics"
            )

    @property
    def n_bins(self) -> int:
        """Bins of the real FFT."""
        return self.n_fft // 2 + 1

    @property
    def n_features(self) -> int:
        """Length of the feature vector."""
        return sum(self.width(name) for name in self.statistics)

    def width(self, statistic: str) -> int:
        """Length of one of :attr:`statistics` in the feature vector."""
        widths = {
            LOG_MEL: self.window_frames * self.n_mels,
            MFCC: self.window_frames * self.n_mfcc,
            WAVEFORM: self.window_samples,
        }
        return widths.get(statistic, self.n_mfcc)

    @property
    def looked_at(self) -> str:
        """Description of what the model looks at, for people."""
        frames = {
            LOG_MEL: f"{self.n_mels} log-mel bands",
            MFCC: f"{self.n_mfcc} MFCCs",
            WAVEFORM: f"the waveform at {self.sr} Hz",
        }
        averaged = [name for name in self.statistics if name in STATISTICS]
        others = [frames[name] for name in self.statistics if name in frames]
        words = [f"{' + '.join(averaged)} of {self.n_mfcc} MFCCs"] if averaged else []
        return " and ".join([*words, *others])

    @property
    def window_samples(self) -> int:
        """Length of a full window in samples."""
        if self.center:
            return (self.window_frames - 1) * self.hop_length + self.tail_samples
        return (self.window_frames - 1) * self.hop_length + self.n_fft

    @property
    def window_seconds(self) -> float:
        """Length of a full window in seconds."""
        return self.window_samples / self.sr

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in field order; ``tail_samples`` only with ``center``."""
        values = {**asdict(self), "statistics": list(self.statistics)}
        if not self.center:
            del values["tail_samples"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureParams:
        """Read what :meth:`to_dict` gives.

        Raises
        ------
        ParameterError
            If a key is missing or unknown, or a value is outside its range.
        """
        names = [f.name for f in fields(cls)]
        if isinstance(values, dict) and values.get("center") is not True:
            names.remove("tail_samples")
        check_keys("feature parameters", values, names)
        return cls(**{**values, "statistics": as_tuple("statistics", values["statistics"])})
