"""Panics of Qiskit's compiled code as refusals.

pyo3 raises them as an exception that is no `Exception`: neither callers nor the core would catch it, and a process with
many jobs would end because of one circuit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qflows.errors import ProgramRejected


@contextmanager
def refused_if_qiskit_panics(name: str) -> Iterator[None]:
    """Raise ProgramRejected, which names the program, if Qiskit's compiled code panics; all else passes."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # an interrupt, or the end of the process
            raise
        raise ProgramRejected(
            f"{name}: Qiskit's compiled code panics on it ({str(error)[:200]}); nothing was sent. Write the circuit in "
            "another way (nested branches and instructions within instructions are the usual causes), or run it "
            "through qiskit.transpile at another optimization level first; please report it to Qiskit"
        ) from error


def run_passes(manager: Any, circuit: Any, name: str) -> Any:
    """What a Qiskit pass manager makes of a circuit. Raises what its passes raise, and ProgramRejected for a panic."""
    with refused_if_qiskit_panics(name):
        return manager.run(circuit)
