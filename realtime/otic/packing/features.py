"""Feature parameters of a foreign model, from the options and its input's shape."""

from __future__ import annotations

from dataclasses import dataclass

from otic.errors import BundleError, UsageError
from otic.features.params import LOG_MEL, MAX_N_FFT, MFCC, MIN_N_FFT, WAVEFORM, FeatureParams
from otic.model.interface import BANDS_FIRST, FRAMES_FIRST
from otic.packing.tflite_file import TensorInfo

INPUTS = ("waveform", "log-mel", "mfcc", "mean-mfcc", "statistics")
"""Kinds of input."""

# librosa's defaults.
N_FFT, HOP_LENGTH, N_MELS, N_MFCC, TOP_DB = 2048, 512, 128, 20, 80.0

# A model of the waveform needs frames for onsets and pictures only:
_FRAME_SECONDS, _HOP_SECONDS, _PICTURE_MELS = 0.025, 0.01, 64

_SHORTEST_WAVEFORM_SECONDS = 0.25
"""Shortest row of numbers that is taken for a waveform without being asked to."""

# Ranges of quantised samples: about -1 to 1 (less, of quiet ones), or those of 16 bits.
_EVEN_SHARE, _LOUDEST_SAMPLE, _LEAST_16_BIT, _MOST_16_BIT = 0.25, 2.0, 8192.0, 65536.0


@dataclass(frozen=True)
class FeatureRequest:
    """What the options say about a model's input; None is to be derived.

    Attributes
    ----------
    sr : int
        Sampling rate in Hz.
    kind : str or None
        One of ``INPUTS``.
    statistics : tuple of str
        Names, with the kind ``statistics``.
    window_samples : int or None
    n_fft, hop_length, n_mels, n_mfcc : int or None
    fmin, fmax, top_db : float or None
    center : bool
        True for librosa's padding at the window's edges.
    order : str or None
        Order of a patch.
    """

    sr: int
    kind: str | None = None
    statistics: tuple[str, ...] = ()
    window_samples: int | None = None
    n_fft: int | None = None
    hop_length: int | None = None
    n_mels: int | None = None
    n_mfcc: int | None = None
    fmin: float | None = None
    fmax: float | None = None
    top_db: float | None = None
    center: bool = True
    order: str | None = None


def derive_features(request: FeatureRequest, tensor: TensorInfo) -> tuple[FeatureParams, str]:
    """Derive the feature parameters, and the order of the cells of a patch.

    Raises
    ------
    UsageError
        If an option is needed for what can't be derived.
    BundleError, ParameterError
        If the options do not fit the input, or are beyond the limits.
    """
    sizes = _sizes(tensor)
    kind = request.kind or _guessed_kind(request, sizes, tensor)
    order = request.order or FRAMES_FIRST
    if kind == "waveform":
        return _waveform(request, sizes, tensor), order
    if kind in ("log-mel", "mfcc"):
        return _patch(request, LOG_MEL if kind == "log-mel" else MFCC, sizes, tensor)
    return _averages(request, kind, sizes, tensor), order


def _sizes(tensor: TensorInfo) -> list[int]:
    """Return the sizes other than 1 and the batch; -1 is open."""
    shape = list(tensor.shape)
    inner = shape[1:] if len(shape) > 1 and shape[0] in (1, -1) else shape
    return [size for size in inner if size != 1] or [1]


def _guessed_kind(request: FeatureRequest, sizes: list[int], tensor: TensorInfo) -> str:
    long = sizes[0] == -1 or sizes[0] >= _SHORTEST_WAVEFORM_SECONDS * request.sr
    if len(sizes) == 1 and long and _may_be_samples(tensor):
        return "waveform"
    kinds = INPUTS if len(sizes) == 1 else INPUTS[1:]
    why = _why_not_samples(request, sizes, tensor)
    raise UsageError(
        f"what the model's input {tensor} is can't be told from its shape{why}: "
        f"say --input {', '.join(kinds[:-1])} or {kinds[-1]}"
    )


def _may_be_samples(tensor: TensorInfo) -> bool:
    """Return False where an input's steps of 8 or 16 bits stand for values that no audio has."""
    if tensor.limits is None:
        return True
    low, high = tensor.limits
    loudest = max(-low, high)
    even = min(-low, high) >= _EVEN_SHARE * loudest
    return even and (loudest <= _LOUDEST_SAMPLE or _LEAST_16_BIT <= loudest <= _MOST_16_BIT)


def _why_not_samples(request: FeatureRequest, sizes: list[int], tensor: TensorInfo) -> str:
    if len(sizes) > 1 or sizes[0] == -1:
        return ""
    if not _may_be_samples(tensor):
        assert tensor.limits is not None
        low, high = tensor.limits
        return f", with values from {low:.4g} to {high:.4g}, which no waveform has"
    return f" (a waveform of {sizes[0] / request.sr:.3g} s would be short)"


def _waveform(request: FeatureRequest, sizes: list[int], tensor: TensorInfo) -> FeatureParams:
    n = request.window_samples
    if len(sizes) != 1:
        raise BundleError(
            f"the model's input {list(tensor.shape)} is no waveform: one row of samples is needed"
        )
    if sizes != [-1]:
        if n not in (None, sizes[0]):
            raise BundleError(f"a window of {n} samples is wanted, the model takes {sizes[0]}")
        n = sizes[0]
    if n is None:
        raise _window_needed(tensor)
    hop_length = request.hop_length or max(1, round(_HOP_SECONDS * request.sr))
    n_mels = request.n_mels or _PICTURE_MELS
    n_fft = MIN_N_FFT
    while n_fft < min(MAX_N_FFT, _FRAME_SECONDS * request.sr):
        n_fft *= 2
    return _params(request, (WAVEFORM,), n_fft, hop_length, n_mels, None, n, center=True)


def _patch(
    request: FeatureRequest, statistic: str, sizes: list[int], tensor: TensorInfo
) -> tuple[FeatureParams, str]:
    wanted = request.n_mels if statistic == LOG_MEL else request.n_mfcc
    frames, bands, order = _frames_and_bands(request, wanted, statistic, sizes, tensor)
    hop_length = request.hop_length or HOP_LENGTH
    n_fft = request.n_fft or N_FFT
    n = request.window_samples
    if n is None:
        if frames == -1:
            raise _window_needed(tensor)
        n = (frames - 1) * hop_length + (0 if request.center else n_fft)
    n_mels = bands if statistic == LOG_MEL else request.n_mels or N_MELS
    n_mfcc = bands if statistic == MFCC else request.n_mfcc
    features = _params(
        request, (statistic,), n_fft, hop_length, n_mels, n_mfcc, n, center=request.center
    )
    if frames not in (-1, features.window_frames):
        raise BundleError(
            f"a window of {n} samples has {features.window_frames} frames, but the model's "
            f"input {list(tensor.shape)} has {frames}: leave out --window-seconds, or change "
            "--hop-length or --no-center"
        )
    return features, order


def _frames_and_bands(
    request: FeatureRequest,
    wanted: int | None,
    statistic: str,
    sizes: list[int],
    tensor: TensorInfo,
) -> tuple[int, int, str]:
    """Find frames (-1 where open), bands and their order."""
    option = "--n-mels" if statistic == LOG_MEL else "--n-mfcc"
    order = request.order
    if len(sizes) == 1:
        bands = wanted or (N_MELS if statistic == LOG_MEL else N_MFCC)
        if sizes[0] == -1:
            return -1, bands, order or FRAMES_FIRST
        if sizes[0] % bands:
            raise BundleError(
                f"the model's input {list(tensor.shape)} can't be cut into frames of {bands} "
                f"bands: say {option}"
            )
        return sizes[0] // bands, bands, order or FRAMES_FIRST
    if len(sizes) != 2:
        raise BundleError(
            f"the model's input {list(tensor.shape)} is no patch of frames and bands: "
            "several channels can't be served"
        )
    if sizes == [-1, -1]:  # the runtime must be told both, and in order
        raise BundleError(
            f"the model's input {list(tensor.shape)} leaves frames and bands open: convert it with "
            "the number of bands fixed"
        )
    if order is None:
        fitting = [o for o, bands in zip(_ORDERS, sizes[::-1], strict=True) if bands == wanted]
        if len(fitting) != 1:
            raise UsageError(
                f"the model's input {list(tensor.shape)} may be {sizes[0]} frames of {sizes[1]} "
                f"bands or the reverse: say --order frames-first or bands-first (librosa's)"
            )
        order = fitting[0]
    frames, bands = sizes if order == FRAMES_FIRST else sizes[::-1]
    if bands == -1 and wanted is None:
        raise UsageError(f"the model's input {list(tensor.shape)} leaves its bands open: {option}")
    if bands not in (-1, wanted or bands):
        raise BundleError(
            f"{option} {wanted} is wanted, the model's input {list(tensor.shape)} has {bands}"
        )
    return frames, wanted or bands, order


_ORDERS = (FRAMES_FIRST, BANDS_FIRST)


def _averages(
    request: FeatureRequest, kind: str, sizes: list[int], tensor: TensorInfo
) -> FeatureParams:
    names = ("mean",) if kind == "mean-mfcc" else request.statistics
    if not names:
        raise UsageError("--input statistics needs --statistics, such as mean,std")
    if len(sizes) != 1:
        raise BundleError(
            f"the model's input {list(tensor.shape)} is no row of averages: is it --input mfcc?"
        )
    n_mfcc = request.n_mfcc
    if sizes[0] == -1:
        n_mfcc = n_mfcc or N_MFCC
    elif sizes[0] % len(names) or n_mfcc not in (None, sizes[0] // len(names)):
        raise BundleError(
            f"the model's input {list(tensor.shape)} does not hold {' and '.join(names)} of "
            f"{n_mfcc or 'the same number of'} MFCCs"
        )
    else:
        n_mfcc = sizes[0] // len(names)
    if request.window_samples is None:
        raise _window_needed(tensor)
    return _params(
        request,
        names,
        request.n_fft or N_FFT,
        request.hop_length or HOP_LENGTH,
        request.n_mels or N_MELS,
        n_mfcc,
        request.window_samples,
        center=request.center,
    )


def _params(
    request: FeatureRequest,
    statistics: tuple[str, ...],
    n_fft: int,
    hop_length: int,
    n_mels: int,
    n_mfcc: int | None,
    window_samples: int,
    center: bool,
) -> FeatureParams:
    n_fft = request.n_fft or n_fft
    frames = 1 + (window_samples if center else window_samples - n_fft) // hop_length
    if frames < 1:
        raise BundleError(
            f"a window of {window_samples} samples is shorter than a frame of n_fft={n_fft}: "
            "say a smaller --n-fft"
        )
    return FeatureParams(
        sr=request.sr,
        n_fft=n_fft,
        hop_length=hop_length,
        n_mels=n_mels,
        n_mfcc=min(N_MFCC, n_mels) if n_mfcc is None else n_mfcc,
        fmin=request.fmin or 0.0,
        fmax=request.sr / 2 if request.fmax is None else request.fmax,
        top_db=TOP_DB if request.top_db is None else request.top_db,
        center=center,
        window_frames=frames,
        statistics=statistics,
        tail_samples=window_samples % hop_length if center else 0,
    )


def _window_needed(tensor: TensorInfo) -> UsageError:
    return UsageError(
        f"how long a window is can't be told from the model's input {list(tensor.shape)}: "
        "say --window-seconds, the length of the clips that it was trained on"
    )
