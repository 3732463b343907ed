"""JSON for programs: numbers that are not finite are null, for every command, because all print in one place."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from qflows.cli.screen import print_json
from qflows.pages.text import json_text


def test_what_is_not_finite_is_null_however_deep(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1.5, math.inf, (math.nan, -math.inf)], "b": {"c": np.float64("nan")}, "at": datetime.now(UTC)})
    body = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert body["a"] == [1.5, None, [None, None]]
    assert body["b"] == {"c": None}


def test_json_text_keeps_finite_numbers_bit_for_bit() -> None:
    assert json.loads(json_text([0.1 + 0.2, 1e-300, 3])) == [0.1 + 0.2, 1e-300, 3]


def test_commands_and_pages_write_json_in_no_other_way() -> None:
    """Files a person or program reads; state of `qflows up` and identities in the ledger are something else."""
    package = Path(__file__).parents[2] / "qflows"
    allowed = {"supervisor.py", "up.py", "text.py", "sandbox.py"}
    wild = [
        path.name
        for room in ("cli", "pages", "flows")
        for path in (package / room).rglob("*.py")
        if re.search(r"json\.dumps?\(", path.read_text(encoding="utf-8")) and path.name not in allowed
    ]
    assert wild == []
