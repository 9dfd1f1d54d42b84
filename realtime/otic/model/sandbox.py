"""Sandbox: a foreign model first runs in a process of its own.

LiteRT trusts the file: of 8,700 carefully damaged models, 28 crashed it and its process
without a word (LiteRT 2.3; its own verifier accepted them).
"""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np

from otic.errors import BundleError, OticError
from otic.model.bundle import Bundle, bundled_names, load_bundle
from otic.model.classifier import Classifier
from otic.system.subprocesses import child_command, child_environment

_TRIAL_SECONDS = 60.0


def load_checked_bundle(name: str) -> Bundle:
    """Load a model by its bundled name or its path; one with a path runs in the sandbox first.

    This takes as long as loading LiteRT once more. It can't find a model that is made to
    crash later, on some sound.

    Raises
    ------
    BundleError
        If :func:`otic.model.bundle.load_bundle` fails, or the sandbox crashes or hangs.
    """
    bundle = load_bundle(name)
    if name not in bundled_names():
        try_out(name, name)
    return bundle


def try_out(path: str, shown: str) -> None:
    """Run the bundle at a path once; ``shown`` is its name in messages.

    Faults that can be found without a risk are left to the caller: see :func:`main`.

    Raises
    ------
    BundleError
        If it crashes or hangs.
    """
    try:
        ended = subprocess.run(
            child_command("otic.model.sandbox", path),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TRIAL_SECONDS,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            f"model '{shown}' takes more than {_TRIAL_SECONDS:.0f} s for one window: "
            "it is damaged, or not for this machine"
        ) from error
    if ended < 0:
        raise BundleError(
            f"model '{shown}' crashes the TFLite runtime ({signal.Signals(-ended).name}): "
            "it is damaged, or made to: don't use it"
        )


def main() -> int:
    """Load and run the named model; the parent process reports what is wrong with it."""
    try:
        bundle = load_bundle(sys.argv[1])
        classifier = Classifier(bundle)
        classifier.step(np.zeros(bundle.features.n_features, np.float32), classifier.cold_state())
    except OticError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
