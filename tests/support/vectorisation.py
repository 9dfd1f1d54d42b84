"""Compiles the kernels for a processor and reads off which loops LLVM vectorised.

Numba is told that this machine is the other one, so that the kernels go through
exactly the stages that they go through there. Nothing is run, and no compiled
code is kept.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

REMARK = re.compile(
    r"^remark: \S*?(\w+\.py):(\d+):\d+: vectorized loop \(vectorization width: (\d+)"
)
ARM_TRIPLE = "aarch64-unknown-linux-gnu"


def vectorised_loops(processor: str) -> dict[tuple[str, int], int]:
    """Lanes of each loop that was vectorised, by file and line; the fewest where it was twice.

    ``processor`` is ``host`` or the name of an Arm one, ``cortex-a72`` say.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        if processor != "host":
            environment |= {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.vectorisation", processor],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    loops: dict[tuple[str, int], int] = {}
    for match in filter(None, map(REMARK.match, done.stderr.splitlines())):
        place, lanes = (match[1], int(match[2])), int(match[3])
        loops[place] = min(lanes, loops.get(place, lanes))
    return loops


def compile_for(processor: str) -> None:
    """Compile; LLVM's remarks go to stderr."""
    import llvmlite.binding as llvm
    import numba

    llvm.set_option("", "--pass-remarks=loop-vectorize")
    if processor != "host":
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        llvm.get_process_triple = lambda: ARM_TRIPLE

    plain_njit = numba.njit

    def njit_with_lines(*arguments: Any, **options: Any) -> Callable[..., Any]:
        decorate: Callable[..., Any] = plain_njit(*arguments, **options, debug=True)
        return decorate

    numba.njit = njit_with_lines
    from otic.features.kernels.log_mel import make_push
    from otic.features.kernels.mfcc_statistics import make_rolling_statistics

    # These two hold every pass: 8 x 16 of radix 8 alone, and of 4 and 4; 32 x 64 of 4 and 8, and
    # of 8 and 8.
    make_push(256)
    make_push(4096)
    make_rolling_statistics()


if __name__ == "__main__":
    compile_for(sys.argv[1])
