"""The names are loaded on use."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import qflows
assert "primitives" in dir(qflows)
primitives = qflows.primitives
assert not any(name.split(".")[0] in ("qiskit", "prefect") for name in sys.modules)
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
assert issubclass(primitives.SamplerV2, BaseSamplerV2) and issubclass(primitives.EstimatorV2, BaseEstimatorV2)
assert callable(primitives.job) and "prefect" not in sys.modules
"""


def test_qflows_loads_qiskit_when_a_primitive_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
