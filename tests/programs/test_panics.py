"""A panic of Qiskit's compiled code is an exception that `except Exception` does not catch; here it is a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.converters import circuit_to_dag
from qiskit.transpiler import PassManager, TransformationPass, generate_preset_pass_manager

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.programs.panics import refused_if_qiskit_panics, run_passes
from qflows.sandbox.worker import run as run_work
from qflows.settings import Settings


def branches() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2, name="branches")
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.clbits[0], 1)), circuit.if_test((circuit.clbits[1], 1)):
        circuit.x(0)
    circuit.measure(0, 0)
    return circuit


def composed(circuit: QuantumCircuit) -> QuantumCircuit:
    """Inner branches then read bits of the other circuit (Qiskit 2.4 to 2.6, issue 16223): every compile panics."""
    made = QuantumCircuit(QuantumRegister(2, "a"), ClassicalRegister(2, "b"), name=circuit.name)
    made.compose(circuit, [0, 1], [0, 1], inplace=True)
    return made


class Composing(TransformationPass):
    """A pass of a user's own that puts such a circuit in the place of any other."""

    def run(self, dag: Any) -> Any:
        """Whatever came in, the circuit that makes the next passes panic."""
        return circuit_to_dag(composed(branches()))


def panicking() -> PassManager:
    preset = generate_preset_pass_manager(1, basis_gates=["u", "cx", "if_else"])
    manager = PassManager([Composing()])
    manager.append(preset.to_flow_controller())
    return manager


@pytest.fixture
def core(tmp_path: Path) -> Client:
    return Client(Settings(ledger_url=f"sqlite:///{tmp_path}/ledger.db"))


def test_without_the_guard_the_panic_passes_every_except_exception() -> None:
    manager = generate_preset_pass_manager(1, basis_gates=["u", "cx", "if_else"])
    with pytest.raises(BaseException, match="unwrap") as told:
        manager.run(composed(branches()))
    assert not isinstance(told.value, Exception)
    with pytest.raises(ProgramRejected, match="branches: Qiskit's compiled code panics on it .*nothing was sent"):
        run_passes(manager, composed(branches()), "branches")


@pytest.mark.parametrize("device", ["local-aer", "local-noisy"])
def test_a_panic_in_the_callers_passes_is_refused_and_nothing_is_recorded(core: Client, device: str) -> None:
    with pytest.raises(ProgramRejected, match="branches: .*panics.*report it to Qiskit"):
        core.run(branches(), script_scope("k"), device=device, shots=100, compile=panicking(), timeout=60)
    assert len(core.jobs()) == 0
    core.run(branches(), script_scope("k"), device=device, shots=100, timeout=60)
    assert len(core.jobs()) == 1


def test_a_list_with_one_such_circuit_buys_nothing(core: Client) -> None:
    with pytest.raises(ProgramRejected):
        core.submit_list([branches(), composed(branches())], script_scope("k"), device="local-noisy", shots=10)
    assert len(core.jobs()) == 0


def test_interrupts_and_ordinary_errors_pass() -> None:
    for kind in (KeyboardInterrupt, SystemExit, ValueError, ProgramRejected):
        with pytest.raises(kind, match="as it was"), refused_if_qiskit_panics("bell"):
            raise kind("as it was")


def compile_it(payload: dict[str, Any]) -> dict[str, Any]:
    """Work of the emulators' worker that panics."""
    generate_preset_pass_manager(1, basis_gates=["u", "cx", "if_else"]).run(composed(branches()))
    return payload


def test_worker_of_the_emulators_outlives_a_panic(monkeypatch: pytest.MonkeyPatch) -> None:
    from qflows.sandbox import worker

    monkeypatch.setattr(worker, "_preloaded", {__name__})
    answer = run_work({"id": 1, "function": f"{__name__}:compile_it", "payload": {}})
    assert answer["error"]["code"] == "InternalError"
    assert "PanicException" in answer["error"]["message"]
