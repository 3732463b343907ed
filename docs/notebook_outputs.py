"""Runs the notebooks in a real kernel and keeps what they print: `python docs/notebook_outputs.py`.

Only text is kept: what a cell printed, and its value. No pictures, no logs, no times, so that a notebook changes in the
repository when what it says changes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "notebooks"


def executed(path: Path, folder: Path) -> Any:
    """The notebook after a run of all its cells in `folder`. Raises CellExecutionError at the first that fails."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def text_only(notebook: Any) -> Any:
    """The same notebook with the text of its outputs alone."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = [kept for output in cell.outputs if (kept := _text(output)) is not None]
    return notebook


def _text(output: Any) -> Any:
    if output.output_type == "stream" and output.name == "stdout":
        return output
    if output.output_type == "execute_result":
        return nbformat.v4.new_output("execute_result", {"text/plain": output.data["text/plain"]}, execution_count=None)
    return None


if __name__ == "__main__":
    import tempfile

    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as scratch:
            path.write_text(
                nbformat.writes(text_only(executed(path, Path(scratch))), indent=1) + "\n", encoding="utf-8"
            )
        print(path.name)
