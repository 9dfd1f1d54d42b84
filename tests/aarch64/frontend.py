"""Compares the front end's numbers on two kinds of processor.

    python tests/aarch64/frontend.py write SOUND.wav RESULT.npz     # on the one
    python tests/aarch64/frontend.py compare RESULT.npz             # on the other

The result holds the samples too, so that both sides have the same.
"""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from dataclasses import asdict, replace
from typing import Any

import llvmlite.binding
import numba
import numpy as np
import soundfile
from numpy.typing import NDArray

from otic import FeatureParams, Frontend, load_bundle
from otic.errors import ParameterError

F32 = NDArray[np.float32]

HOPS_A_STEP = 12  # between two features; a window has several steps
STEPS_A_LOG_MEL = 20
# Of any feature: what the README promises of a mean MFCC against librosa.
FEATURES_TOLERANCE = 5e-4
# In dB, of a cell that the clamp leaves alone. Near the clamp, 80 dB below the peak, a cell is
# what float32 left of larger numbers.
LOG_MEL_TOLERANCE = 1e-2


def cases() -> dict[str, FeatureParams]:
    """What is computed: the bundled model's features, and some unlike them."""
    bundled = load_bundle("esc10-mfcc-mlp").features
    small = replace(bundled, n_fft=512, hop_length=200, n_mels=40, n_mfcc=13, fmin=50.0, fmax=8e3)
    found = {"bundled": bundled, "small": small}
    with contextlib.suppress(ParameterError):  # not every version serves it
        found["center"] = replace(bundled, center=True)
    return found


def compute(y: F32, params: FeatureParams) -> tuple[F32, F32]:
    """Features [n, n_features] and some log-mel windows [n, window_frames, n_mels]."""
    frontend = Frontend(params)
    features, log_mels = [], []
    step = HOPS_A_STEP * params.hop_length
    for at in range(0, len(y), step):
        frontend.push(y[at : at + step])
        if frontend.ready:
            features.append(frontend.features())
            if len(features) % STEPS_A_LOG_MEL == 1:
                log_mels.append(frontend.log_mel())
    return np.stack(features), np.stack(log_mels)


def write(sound: str, result: str) -> int:
    y, _ = soundfile.read(sound, dtype="float32")
    arrays: dict[str, Any] = {"y": y}
    for name, params in cases().items():
        arrays[f"{name}.params"] = json.dumps(asdict(params))
        arrays[f"{name}.features"], arrays[f"{name}.log_mel"] = compute(y, params)
    np.savez(result, **arrays)
    print(machine())
    return 0


def compare(result: str) -> int:
    print(machine())
    with np.load(result) as file:
        stored = dict(file)
    names = [key.removesuffix(".params") for key in stored if key.endswith(".params")]
    passed = [compare_case(name, stored) for name in names]
    return 0 if all(passed) else 1


def compare_case(name: str, stored: dict[str, NDArray[Any]]) -> bool:
    values = json.loads(str(stored[f"{name}.params"]))
    params = FeatureParams(**{**values, "statistics": tuple(values["statistics"])})
    features, log_mel = compute(stored["y"], params)
    other, other_mel = stored[f"{name}.features"], stored[f"{name}.log_mel"]
    largest = float(np.abs(features - other).max())
    differences = np.abs(log_mel - other_mel)
    clamp = other_mel.max(axis=(1, 2), keepdims=True) - params.top_db
    largest_mel = float(differences[other_mel > clamp].max())
    passed = largest <= FEATURES_TOLERANCE and largest_mel <= LOG_MEL_TOLERANCE
    print(
        f"{'PASS' if passed else 'FAIL'} {name}: largest difference in {len(features)} features() "
        f"{largest:.2g} (they reach {np.abs(other).max():.0f}), in {len(log_mel)} log_mel() "
        f"{largest_mel:.2g} dB above the clamp, {differences.max():.2g} dB anywhere"
    )
    return passed


def machine() -> str:
    cpu = llvmlite.binding.get_host_cpu_name()
    return (
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, "
        f"numba {numba.__version__} for {cpu}"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", sound, result]:
            sys.exit(write(sound, result))
        case ["compare", result]:
            sys.exit(compare(result))
    sys.exit(__doc__)
