"""The notebooks run to their ends in a real kernel, against the emulators and a real Prefect server."""

from __future__ import annotations

import runpy
from pathlib import Path

import nbformat
import pytest

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
OUTPUTS = runpy.run_path(str(DOCS / "notebook_outputs.py"), run_name="outputs")


@pytest.mark.slow(reason="a kernel of its own imports everything")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_it_is_stored_with(path: Path, tmp_path: Path) -> None:
    stored = nbformat.read(path, as_version=4)
    assert (
        OUTPUTS["text_only"](nbformat.read(path, as_version=4)) == stored
    )  # no pictures, times or logs in the repository
    ran = OUTPUTS["text_only"](OUTPUTS["executed"](path, tmp_path))
    # shot noise and ids differ; which cells speak does not
    assert [bool(cell.get("outputs")) for cell in ran.cells] == [bool(cell.get("outputs")) for cell in stored.cells]


def test_there_are_five() -> None:
    assert len(NOTEBOOKS) >= 5
