"""The notebook is executed, by Jupyter's own machinery, and shows what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from otic import load_bundle
from otic.config.values import DEFAULT_MODEL
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PATH = ROOT / "examples" / "notebook.ipynb"
REPORT = """
import json
print(json.dumps({
    "heard": sorted({event.label for event in events}),
    "log_mel": [*log_mel.shape, str(log_mel.dtype)],
    "statistics": statistics.shape,
    "scores": smoothed.shape,
    "largest": largest,
    "compared": compared,
}))
"""


def read() -> Any:
    return nbformat.read(PATH, as_version=nbformat.NO_CONVERT)


def test_it_is_stored_as_it_should_be() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_it_runs(tmp_path: Path) -> None:
    notebook = read()
    notebook.cells.append(nbformat.v4.new_code_cell(REPORT))
    kernel = AsyncKernelManager(transport="ipc", ip=str(tmp_path / "kernel"))  # sockets in a folder
    client = NotebookClient(
        notebook, km=kernel, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    for name in ("plot-log-mel", "plot-scores", "plot-mfcc"):
        assert [len(o.data["image/png"]) > 10_000 for o in outputs[name]] == [True], name
    assert "rain, peak" in outputs["classify"][0].text
    shown = json.loads(outputs[notebook.cells[-1].id][0].text)
    assert {"rain", "clock_tick", "helicopter"} <= set(shown["heard"])
    bundle = load_bundle(DEFAULT_MODEL)
    p = bundle.features
    n_frames = 1 + (44 * p.sr - p.n_fft) // p.hop_length
    n_scores = 1 + (44 * p.sr - bundle.window_samples) // bundle.inference_hop_samples
    assert shown["log_mel"] == [n_frames, p.n_mels, "float32"]
    assert shown["statistics"][:2] == [4, 40]
    assert shown["scores"] == [n_scores, 10]
    assert shown["compared"] > 50
    assert shown["largest"] < 5e-4
