"""Sandbox: a foreign model first runs in a process of its own.

LiteRT trusts the file: of 8,700 carefully damaged models, 28 crashed it and its process
without a word (LiteRT 2.3; its own verifier accepted them).
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from otic.errors import BundleError, OticError
from otic.model.bundle import Bundle, bundled_names, load_bundle
from otic.model.classifier import Classifier, load_runtime
from otic.system.subprocesses import child_command, child_environment

_TRIAL_SECONDS = 60.0
_LEAST_MEMORY = 512 * 2**20
_TOO_LARGE = 3
_NOT_OF_MEMORY = ("Didn't find op", "custom op", "its output has shape")
"""Words of the runtime's messages that have nothing to do with memory."""


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
        done = subprocess.run(
            child_command("otic.model.sandbox", path),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            f"model '{shown}' takes more than {_TRIAL_SECONDS:.0f} s for one prediction: "
            "it is damaged, or not for this machine"
        ) from error
    if done.returncode < 0:
        raise BundleError(
            f"model '{shown}' crashes the TFLite runtime "
            f"({signal.Signals(-done.returncode).name}): it is damaged, or made to: don't use it"
        )
    if done.returncode == _TOO_LARGE:
        reason = done.stdout.decode(errors="replace").strip()
        raise BundleError(f"model '{shown}' {reason}: it is damaged, or made to: don't use it")


def main() -> int:
    """Load and run the named model; the parent process reports most of what is wrong with it.

    A model that fails within the memory that it may take is not loaded again by the parent,
    where it could take all there is.
    """
    try:
        bundle = load_bundle(sys.argv[1])
        load_runtime()
    except OticError:
        return 1
    limit, before = _memory_limit(bundle), _peak_bytes()
    _limit_memory(limit)
    megabytes = f"{limit // 2**20} MB of memory"
    try:
        classifier = Classifier(bundle)
        classifier.step(np.zeros(bundle.features.n_features, np.float32), classifier.cold_state())
    except MemoryError:
        sys.stdout.write(f"needs more than {megabytes} for one prediction")
        return _TOO_LARGE
    except OticError as error:
        if error.__cause__ is None or any(words in str(error) for words in _NOT_OF_MEMORY):
            return 1
        reason = str(error).partition(": ")[2]
        sys.stdout.write(f"can't be run within {megabytes} ({reason})")
        return _TOO_LARGE
    if _peak_bytes() - before > limit:  # a system may not keep to limits
        sys.stdout.write(f"needs more than {megabytes} for one prediction")
        return _TOO_LARGE
    return 0


def _memory_limit(bundle: Bundle) -> int:
    """Choose how many bytes a model may take: by its weights, and some layers of its input."""
    return _LEAST_MEMORY + 4 * len(bundle.model) + 64 * bundle.features.n_features


def _limit_memory(limit: int) -> None:
    """Let the process take so many bytes more, where the system can."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return
    most = pages * resource.getpagesize() + limit
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.exit(main())
