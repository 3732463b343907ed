"""Runs OpenQASM 3 in the worker process of the sandbox."""

from __future__ import annotations

from typing import Any

from qflows.sandbox.errors import WorkError


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """A histogram a program; the left character of a key is bit 0 of `b`. Raises WorkError for a bad program."""
    from qiskit import qasm3, transpile
    from qiskit_aer import AerSimulator

    found = []
    for place, text in enumerate(payload["programs"]):
        try:
            circuit = qasm3.loads(text)
        except Exception as error:  # noqa: BLE001  (the parser's own kinds; a bad text fails only its job)
            raise WorkError("bad_program", f"program {place}: {error}") from None
        simulator = AerSimulator(method="statevector", seed_simulator=payload["seed"] * 100 + place)
        ready = transpile(circuit, basis_gates=["u", "cx"], optimization_level=0)
        counts = simulator.run(ready, shots=payload["shots"]).result().get_counts()
        found.append({word.replace(" ", "")[::-1]: int(n) for word, n in counts.items()})
    return {"counts": found}
