"""An experiment that is described in YAML, so that a change of it is a reviewable diff and no code.

`python sweep_by_yaml.py sweep.yaml`. The run key is the document's name: started again it buys only what is new.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml
from prefect import flow, get_run_logger
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

import qflows

KEYS = {"name", "device", "shots", "phases", "observable"}


@flow
def sweep_by_yaml(path: str) -> list[tuple[float, float, float]]:
    """Rows of phase (rad), expectation value and its standard error."""
    told = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if set(told) != KEYS:
        raise ValueError(f"{path}: wanted the keys {sorted(KEYS)}, found {sorted(told)}")
    phase = Parameter("phase")
    ramsey = QuantumCircuit(1, name=told["name"])
    ramsey.h(0)
    ramsey.p(phase, 0)
    ramsey.h(0)
    phases = np.linspace(told["phases"]["from"], told["phases"]["to"], told["phases"]["steps"])
    batch = qflows.batch(
        (ramsey, phases[:, None]),
        observables=told["observable"],
        device=told["device"],
        shots=told["shots"],
        name=told["name"],
        run_key=told["name"],
    )
    qflows.wait_or_suspend(batch, detach_after=300)
    found = batch.result()
    rows = list(zip(phases.tolist(), found.expectation_values.tolist(), found.standard_errors.tolist(), strict=True))
    for at, value, error in rows:
        get_run_logger().info(f"{at:5.2f} rad  {value:+.3f} ± {error:.3f}")
    return rows


if __name__ == "__main__":
    sweep_by_yaml(sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).with_name("sweep.yaml")))
