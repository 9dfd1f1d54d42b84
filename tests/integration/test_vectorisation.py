"""Every innermost loop of the kernels is vectorised, here and on a Raspberry Pi's processors."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import ROOT
from tests.support.vectorisation import vectorised_loops

Loop = tuple[str, str, int]  # file, function, which of the function's innermost loops

NOT_HOT: dict[Loop, str] = {
    ("fft.py", "turned_transpose", 1): "moves blocks that are vectors already",
    ("log_mel.py", "product", 0): "the same",
    ("fft.py", "one_pass", 0): "a copy, which becomes memcpy; for n_fft = 256 only",
    ("log_mel.py", "log_mel", 1): "for frames with NaN only",
    ("mfcc_statistics.py", "_mel_sums", 0): "zeros, which become memset",
    ("mfcc_statistics.py", "_mean_mfcc", 0): "the same",
    ("mfcc_statistics.py", "_spread_and_differences", 0): "the same",
    ("mfcc_statistics.py", "rolling_statistics", 0): "copies the result out, once a call",
}


def innermost_loops(name: str) -> dict[Loop, int]:
    """The line of each innermost loop."""
    found: dict[Loop, int] = {}
    tree = ast.parse((ROOT / "realtime/otic/features/kernels" / name).read_text("utf-8"))
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or not function.decorator_list:
            continue
        if function.name.startswith("make_"):  # those hold kernels
            continue
        loops = [node for node in ast.walk(function) if isinstance(node, ast.For)]
        lines = sorted(
            loop.lineno
            for loop in loops
            if not any(isinstance(n, ast.For | ast.While) for s in loop.body for n in ast.walk(s))
        )
        found |= {(name, function.name, i): line for i, line in enumerate(lines)}
    return found


@pytest.mark.parametrize("processor", ["host", "cortex-a72", "cortex-a53"])
def test_hot_loops_are_vectorised(processor: str) -> None:
    vectorised = vectorised_loops(processor)
    loops: dict[Loop, int] = {}
    for name in ("fft.py", "log_mel.py", "mfcc_statistics.py"):
        loops |= innermost_loops(name)
    assert loops.keys() >= NOT_HOT.keys(), "NOT_HOT names a loop that is gone"
    lanes = {
        loop: vectorised.get((loop[0], line), 0)
        for loop, line in loops.items()
        if loop not in NOT_HOT
    }
    assert not [loop for loop, n in lanes.items() if n == 0]
    # Full width: four float32 on NEON and on the oldest x86-64.
    assert min(n for loop, n in lanes.items() if loop[0] == "fft.py") >= 4
    print(processor, lanes)
