"""Qiskit's native code must outlive no thread that loaded it: else reading QPY crashes the process (Qiskit 2.6.2)."""

from __future__ import annotations

import subprocess
import sys

import pytest

_TRIES = 5  # each crashes in more than half of the cases without the cure

_SCRIPT = """
import io, sys, threading
from qflows.programs import to_program
from qflows.programs.loading import load_qiskit

def first():
    {first}

def then():
    from qiskit import QuantumCircuit, qpy
    file = io.BytesIO()
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    qpy.dump(circuit, file)
    file.seek(0)
    print(qpy.load(file)[0].num_qubits)

for work in (first, then):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize(
    "first", ["load_qiskit()", "to_program('OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;')"]
)
def test_qiskit_that_a_short_lived_thread_asked_for_is_held_by_one_that_stays(first: str) -> None:
    for _ in range(_TRIES):
        done = subprocess.run([sys.executable, "-c", _SCRIPT.format(first=first)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-1000:]
        assert "'qflows-qiskit'" in done.stdout


def test_qiskit_that_the_main_thread_asks_for_needs_no_thread_of_its_own() -> None:
    code = "import threading; from qflows.programs.loading import load_qiskit; load_qiskit(); "
    code += "import sys; print('qiskit._accelerate' in sys.modules, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "1"]
