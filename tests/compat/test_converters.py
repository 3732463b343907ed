"""Circuits of Cirq and pytket are taken wherever programs are, and do what their own libraries say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import qflows
from qflows.errors import ProgramRejected
from qflows.programs import to_program

from .conftest import Place

At = Callable[[str], Place]
ANGLE = 0.12345678901234567


def test_a_cirq_circuit_runs_with_its_keys_as_registers(at: At) -> None:
    cirq = pytest.importorskip("cirq")
    sympy = pytest.importorskip("sympy")
    place = at("local-aer")
    a, b, c = cirq.LineQubit.range(3)
    turn = sympy.Symbol("t")
    circuit = cirq.Circuit(cirq.X(a), cirq.CNOT(a, b), cirq.rz(turn)(c), cirq.measure(a, b, key="ab"), cirq.measure(c))
    found = qflows.run((circuit, {"t": ANGLE}), device="local-aer", shots=10, run_key="r")
    assert list(found.counts) == ["0 11"] or list(found.counts) == ["11 0"]
    bare = cirq.Circuit(cirq.H(a), cirq.ISWAP(a, b) ** 0.3, cirq.rz(ANGLE)(b), cirq.CZ(b, c) ** 0.7)
    ours = np.asarray(_state(to_program(bare)))
    theirs = cirq.final_state_vector(bare, dtype=np.complex128).reshape((2,) * 3).transpose().ravel()
    assert abs(np.vdot(ours, theirs)) == pytest.approx(1, abs=1e-9)
    with pytest.raises(ProgramRejected, match="symbols without values: t"):
        to_program(circuit)
    assert place.count_jobs() == 1


def test_a_pytket_circuit_runs_with_its_registers(at: At) -> None:
    pytket = pytest.importorskip("pytket")
    sympy = pytest.importorskip("sympy")
    at("local-aer")
    circuit = pytket.Circuit(2, 2).X(0).CX(0, 1).measure_all()
    assert dict(qflows.run(circuit, device="local-aer", shots=10, run_key="r").counts) == {"11": 10}
    turn = sympy.Symbol("t")
    free = pytket.Circuit(2).H(0).Rz(turn, 0).CX(0, 1).TK1(0.1, 0.2, 1 / 3, 1).ISWAP(0.3, 0, 1)
    ours = np.asarray(_state(to_program((free, {"t": ANGLE}))))
    bound = free.copy()
    bound.symbol_substitution({turn: ANGLE})
    theirs = bound.get_statevector().reshape((2, 2)).transpose().ravel()
    assert abs(np.vdot(ours, theirs)) == pytest.approx(1, abs=1e-9)
    with pytest.raises(ProgramRejected, match="symbols without values: t"):
        to_program(free)
    with pytest.raises(ProgramRejected, match="no symbol 'u'"):
        to_program((free, {"u": 1}))


def _state(program: object) -> object:
    from qiskit.quantum_info import Statevector

    return Statevector(program.circuit()).data
