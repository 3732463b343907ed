"""A loop begun on one kind of processor and continued on others: their rounding differs, the jobs do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIFE = """
import sys
import sqlalchemy as sa
from qflows.algorithms import vqe
from qflows.core.client import Client
from qflows.core.scope import script_scope
core = Client()
problem = vqe.to_problem("tfim-4")
found = vqe.solve(core, script_scope("r"), problem, device="local-exact", shots=None, optimizer="COBYLA",
                  max_evaluations=int(sys.argv[1]), seed=1)
with core.ledger.read() as connection:
    print(found.n_evaluations, connection.execute(sa.text("select count(*) from jobs")).scalar(), found.energy.hex())
"""


def live(home: Path, core: str, evaluations: int) -> tuple[int, int, str]:
    """One process whose BLAS is told to be that of a processor: evaluations asked for, jobs there are, energy."""
    env = os.environ | {"QFLOWS_HOME": str(home), "OPENBLAS_CORETYPE": core}
    env.pop("QFLOWS_LEDGER_URL", None)
    done = subprocess.run(
        [sys.executable, "-c", LIFE, str(evaluations)], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    asked, jobs, energy = done.stdout.split()
    return int(asked), int(jobs), energy


# Prescott has SSE3 and Haswell AVX2: both run wherever numpy runs on x86, and where this means nothing nothing differs
@pytest.mark.slow(reason="three interpreters, because a BLAS chooses its kernels once a process")
def test_loop_continued_on_another_processor_buys_nothing_again(tmp_path: Path) -> None:
    assert live(tmp_path, "Haswell", 25)[:2] == (25, 25)
    asked, jobs, energy = live(tmp_path, "Prescott", 40)
    assert (asked, jobs) == (40, 40)
    assert live(tmp_path, "Haswell", 40) == (40, 40, energy)
