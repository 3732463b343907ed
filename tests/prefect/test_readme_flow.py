"""The README's flow runs as printed on a real Prefect server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prefect_server import PrefectServer

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.server
def test_the_first_flow_runs_as_printed(
    prefect_api: PrefectServer, own_ledger: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    [source] = [
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "@flow" in block
    ]
    script = tmp_path / "flow.py"
    script.write_text(source)
    exec(compile(source, str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})
    counts = {key: int(number) for key, number in re.findall(r"'(\d+)': (\d+)", capsys.readouterr().out)}
    assert set(counts) == {"100", "111"}
    assert sum(counts.values()) == 1000
