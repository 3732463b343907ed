"""Ground states to reference precision, and a loop that is killed and goes on as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from prefect_records import artifacts, flow_run, task_runs, until

from qflows.algorithms.vqe import VqeResult, VqeStep, solve, to_problem
from qflows.core.client import default_client
from qflows.core.scope import script_scope
from qflows.flows import vqe
from qflows.keys import name_of
from qflows.sandbox import Admin

H2 = -1.137306036  # hartree, 0.735 Å, STO-3G, full configuration interaction


def loop(problem: str, key: str, device: str, *, shots: int | None = None, maxiter: int | None = None) -> VqeResult:
    """The loop on the core, in this process."""
    return solve(default_client(), script_scope(key), to_problem(problem), device=device, shots=shots, maxiter=maxiter)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "own_ledger")
def test_h2_flow_reaches_the_reference_and_shows_the_way() -> None:
    state = vqe("h2-0.735", "local-exact", return_state=True)
    found = state.result()
    assert found.energy == pytest.approx(H2, abs=1e-6)
    run_id = str(state.state_details.flow_run_id)
    by_type = {one.type: one for one in artifacts(run_id)}
    page = str(by_type["markdown"].data)
    assert page.count("](data:image/png;base64,iVBOR") == 1
    assert all(f"| {step.energy:.10g} |" in page for step in found.trace)
    assert by_type["progress"].data == 100.0
    assert found.run_key == run_id
    assert flow_run(run_id).name == "VQE h2-0.735 on local-exact, exact"


@pytest.mark.usefixtures("own_ledger")
@pytest.mark.parametrize("name", ["lih-1.5949", "tfim-4"])
def test_exact_loop_reaches_the_reference(name: str) -> None:
    found = loop(name, f"exact {name}", "local-exact")
    assert found.reference is not None
    assert found.energy == pytest.approx(found.reference, abs=1e-6)


@pytest.mark.usefixtures("own_ledger")
def test_h2_with_shots_ends_within_three_standard_errors() -> None:
    found = loop("h2-0.735", "h2 with shots", "local-aer", shots=4000, maxiter=60)
    assert 0 < found.std_error < 0.02
    assert abs(found.energy - H2) < 3 * found.std_error


def start_loop(env: dict[str, str], folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The same loop from the command line, in a process that can be killed."""
    with (folder / "loop.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "qflows.cli", "vqe", "h2-0.735", "--no-flow", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def steps(result: VqeResult) -> list[VqeStep]:
    """The trace with the part of each job key that is the same in every ledger."""
    return [replace(step, job=name_of(step.job)) for step in result.trace]


def other_ledger(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From here on this process works with a ledger that knows nothing."""
    monkeypatch.setenv("QFLOWS_LEDGER_URL", f"sqlite:///{folder / 'other.db'}")


def test_killed_loop_on_ionq_goes_on_with_the_same_trace_and_buys_nothing_again(
    ionq: Admin, child_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ionq.fault("hold", "ionq.submit", skip=5, when="after")
    arguments = ("--device", "ionq-simulator", "--shots", "200", "--maxiter", "4", "--run-key", "broken")
    victim = start_loop(child_env, tmp_path, *arguments)
    ionq.wait_held(1, timeout_s=120)
    victim.send_signal(signal.SIGKILL)  # evaluation 6 is at the vendor, and its buyer never hears of it
    victim.wait()
    ionq.release_held(verdict="drop")
    assert ionq.count_jobs("ionq") == 6
    resumed = loop("h2-0.735", "broken", "ionq-simulator", shots=200, maxiter=4)
    assert resumed.n_evaluations > 6
    assert ionq.count_jobs("ionq") == resumed.n_evaluations
    other_ledger(monkeypatch, tmp_path)
    unbroken = loop("h2-0.735", "broken", "ionq-simulator", shots=200, maxiter=4)
    assert steps(resumed) == steps(unbroken)


def test_killed_loop_on_a_local_device_goes_on_with_the_same_trace(
    own_ledger: dict[str, str], child_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(own_ledger["QFLOWS_LEDGER_URL"])
    done = sa.text("select key, fence, finished_at from jobs where status = 'COMPLETED'")

    def finished() -> dict[str, tuple]:
        if not sa.inspect(engine).has_table("jobs"):
            return {}
        with engine.connect() as ledger:
            return {row[0]: tuple(row) for row in ledger.execute(done)}

    arguments = ("--device", "local-aer", "--shots", "500", "--maxiter", "40", "--run-key", "broken")
    victim = start_loop(child_env, tmp_path, *arguments)
    until(lambda: len(finished()) >= 7, timeout_s=120)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = finished()
    assert len(before) < 80
    resumed = loop("h2-0.735", "broken", "local-aer", shots=500, maxiter=40)
    after = finished()
    assert len(after) == resumed.n_evaluations > len(before)
    assert {key: after[key] for key in before} == before  # executed once, and not again
    engine.dispose()
    other_ledger(monkeypatch, tmp_path)
    assert steps(loop("h2-0.735", "broken", "local-aer", shots=500, maxiter=40)) == steps(resumed)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "own_ledger")
def test_loop_costs_the_server_no_task_run_per_evaluation() -> None:
    state = vqe("h2-0.735", "local-exact", maxiter=1, return_state=True)
    assert state.result().n_evaluations > 3
    with pytest.raises(TimeoutError):
        task_runs(state.state_details.flow_run_id, timeout_s=1.0)
