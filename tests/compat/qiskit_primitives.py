"""Qiskit's own tests of its primitives, with ours in place of Qiskit's: `qiskit_primitives.py CHECKOUT [--device D]`.

`CHECKOUT`: a copy of Qiskit's repository at about the installed version; nothing of it is kept here. Needs `ddt`.
Prints how many tests pass, and of every other one why; ends with 1 if that is not what is written below.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import unittest
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qiskit import primitives

from qflows.sandbox import Sandbox

DRAWS = "by Qiskit's seed two calls give the same shots; here two calls of one run are two samples"
FEW = "compares about 36 counts within a tenth of themselves, which a fair sample misses"
LEVEL_1 = "kerneled data (measurement level 1) are not read"
SHARED = "registers that share a bit are refused: a key of counts would show it twice"
BARS: dict[str, dict[str, str]] = {
    "test_backend_sampler_v2": {"test_run_level1": LEVEL_1, "test_circuit_with_aliased_cregs": SHARED},
    "test_backend_estimator_v2": {
        "test_job_size_limit_backend_v2": "counts calls of a mocked backend.run; here the planner cuts jobs",
    },
    "test_statevector_sampler": {
        "test_circuit_with_aliased_cregs": SHARED,
        "test_run_errors": "expects that loops are refused; the simulator runs them",
        "test_run_numpy_params": FEW,
        "test_run_single_circuit": FEW,
        "test_sampler_run_multiple_times": DRAWS,
    },
    "test_statevector_estimator": {
        "test_metadata": "a precision means shots here, and the metadata tell how many",
        "test_precision_seed": "expects exact values with seeded Gaussian noise; a precision means shots here",
        "test_reset": "the exact device takes no reset",
    },
}
"""By file the tests that do not pass, and why."""


def stand_ins(device: str) -> dict[str, type]:
    """Our primitives with the constructors of Qiskit's; every one belongs to a run of its own."""
    from qflows.primitives import EstimatorV2, SamplerV2

    class Sampler(SamplerV2):
        def __init__(self, *, backend: Any = None, options: Any = None, default_shots: int = 1024, seed: Any = None):
            given = {"default_shots": default_shots} | (options or {})
            super().__init__(device, shots=given["default_shots"], run_key=uuid.uuid4().hex)
            self._said, self.seed = SimpleNamespace(**given), seed

        @property
        def options(self) -> Any:
            return self._said

        def run(self, pubs: Any, *, shots: int | None = None) -> Any:
            self.default_shots = self._said.default_shots
            return super().run(pubs, shots=shots)

    class Estimator(EstimatorV2):
        def __init__(
            self, *, backend: Any = None, options: Any = None, default_precision: Any = None, seed: Any = None
        ):
            given = {"default_precision": default_precision} | (options or {})
            super().__init__(device, precision=given["default_precision"], run_key=uuid.uuid4().hex)
            self._said, self.seed = SimpleNamespace(**given), seed

        @property
        def options(self) -> Any:
            return self._said

    kinds = {"SamplerV2": Sampler, "EstimatorV2": Estimator}
    return {f"Backend{kind}": ours for kind, ours in kinds.items()} | {
        f"Statevector{kind[:-2]}": ours for kind, ours in kinds.items()
    }


@contextmanager
def swapped(ours: dict[str, type]) -> Iterator[None]:
    """Ours under the names from which tests import Qiskit's."""
    homes = [primitives, *(sys.modules[getattr(primitives, name).__module__] for name in ours)]
    kept = [(home, name, getattr(home, name)) for home in homes for name in ours if hasattr(home, name)]
    for home, name, _ in kept:
        setattr(home, name, ours[name])
    try:
        yield
    finally:
        for home, name, theirs in kept:
            setattr(home, name, theirs)


def run(file: str, device: str) -> tuple[int, dict[str, str]]:
    """How many tests there are, and of those that do not pass the last line of their trace."""
    # one kind a file: its tests compare with Qiskit's other kind
    kind = "Backend" if "backend" in file else "Statevector"
    with swapped({name: ours for name, ours in stand_ins(device).items() if name.startswith(kind)}):
        suite = unittest.defaultTestLoader.loadTestsFromName(f"test.python.primitives.{file}")
    result = unittest.TestResult()
    suite.run(result)
    bad: dict[str, str] = {}
    for test, trace in [*result.errors, *result.failures]:
        name = str(test).split(" (")[0] if not hasattr(test, "test_case") else str(test.test_case).split(" (")[0]
        bad[name] = trace.strip().splitlines()[-1][:160]
    return result.testsRun, bad


def is_expected(name: str, bar: dict[str, str]) -> str | None:
    return next((why for known, why in bar.items() if name == known or name.startswith(known + "_")), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--device", default="local-aer")
    parser.add_argument("--only", choices=BARS)
    given = parser.parse_args()
    sys.path.insert(0, str(given.checkout))
    sys.modules.pop("test", None)
    warnings.simplefilter("ignore")
    is_good = True
    with tempfile.TemporaryDirectory() as home, place(given.device) as environment:
        os.environ |= environment | {"QFLOWS_HOME": home}
        for file, bar in BARS.items():
            if given.only not in (None, file):
                continue
            device = "local-exact" if file == "test_statevector_estimator" else given.device
            n, bad = run(file, device)
            print(f"{file} on {device}: {n - len(bad)} of {n}")
            for name, last in bad.items():
                why = next((why for known, why in bar.items() if name.startswith(known)), None)
                is_good &= why is not None
                print(f"  {name}: {why or 'NOT EXPECTED: ' + last}")
    return 0 if is_good else 1


@contextmanager
def place(device: str) -> Iterator[dict[str, str]]:
    """The variables that send a vendor's device to a sandbox; none for a local one."""
    if device.startswith("local-"):
        yield {}
        return
    with Sandbox(vendors=(device.split("-")[0],)) as sandbox:
        yield sandbox.env


if __name__ == "__main__":
    sys.exit(main())
