"""Backends, noise models, characterizations and prices of the emulated IonQ. Shapes: IonQ API v0.4, 2026-09-02."""

from __future__ import annotations

import uuid
from typing import Any

SIMULATOR = "simulator"
QPUS = ("qpu.forte-1", "qpu.forte-enterprise-1")
# still listed live on 2026-07-26, with their widths
RETIRED = {"qpu.aria-1": 25, "qpu.aria-2": 25, "qpu.harmony": 11}
SIMULATOR_QUBITS = 29
MAX_SHOTS = 1_000_000
NATIVE_OF_QPUS = ("gpi", "gpi2", "zz")
# Rate card of a direct account, 2026; the quotes of 2026-08 follow from it: 8 qubits, 128 gates on one qubit and 32 on
# two cost 25.79 USD to 400 shots, 168.20 from 500 to 2000 with debiasing, 284.32 for 5000, 568.64 for 10000.
USD_PER_1Q_SHOT, USD_PER_2Q_SHOT = 0.000164, 0.001121
MIN_USD, MIN_USD_DEBIASED = 25.79, 168.20

# Order of magnitude of the fidelities IonQ has published for each generation; used as depolarising and readout rates.
# They make results look like a device of that generation, but are not a model of it.
NOISE_RATES: dict[str, dict[str, float] | None] = {
    "ideal": None,
    "harmony": {"one_qubit": 0.004, "more_qubits": 0.03, "readout": 0.002},
    "harmony-1": {"one_qubit": 0.004, "more_qubits": 0.03, "readout": 0.002},
    "harmony-2": {"one_qubit": 0.004, "more_qubits": 0.03, "readout": 0.002},
    "aria-1": {"one_qubit": 0.0006, "more_qubits": 0.006, "readout": 0.005},
    "aria-2": {"one_qubit": 0.0006, "more_qubits": 0.006, "readout": 0.005},
    "forte-1": {"one_qubit": 0.0003, "more_qubits": 0.005, "readout": 0.005},
    "forte-enterprise-1": {"one_qubit": 0.0003, "more_qubits": 0.005, "readout": 0.005},
}
GATES = ["x", "y", "z", "h", "s", "si", "t", "ti", "v", "vi", "rx", "ry", "rz", "cnot", "swap", "xx", "yy", "zz", "not"]
WIDE_GATES = frozenset({"swap", "xx", "yy", "zz", "ms", "pauliexp"})
UPDATED = "2026-09-01T00:00:00Z"
QUEUE_MS = 60_000


def qpu_rates(backend: str) -> dict[str, float] | None:
    """The noise of a QPU: that of the noise model of the same name."""
    return NOISE_RATES[backend.removeprefix("qpu.")]


def characterization_id(backend: str) -> str:
    """An id that is the same in every process."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{backend}"))


def width(backend: str, qpu_qubits: int) -> int:
    """Number of qubits."""
    return SIMULATOR_QUBITS if backend == SIMULATOR else qpu_qubits


def backend(name: str, qpu_qubits: int, *, unavailable: frozenset[str] = frozenset()) -> dict[str, Any] | None:
    """The entry of a backend, or None."""
    common = {
        "backend": name,
        "status": "retired" if name in RETIRED else "unavailable" if name in unavailable else "available",
        "qubits": RETIRED.get(name) or width(name, qpu_qubits),
        "last_updated": UPDATED,
        "degraded": False,
        "location": "loopback",
        "supported_gates": GATES,
    }
    if name == SIMULATOR:
        # noise_models is not in the description, but qBraid reads it here
        return common | {
            "average_queue_time": 0,
            "noise_models": list(NOISE_RATES),
            "kw": 0.0,
            "supported_native_gates": ["gpi", "gpi2", "ms", "zz"],
            "supported_error_mitigations": [],
        }
    if name in RETIRED:
        return common | {
            "average_queue_time": 0,
            "kw": 0.0,
            "supported_native_gates": ["gpi", "gpi2", "ms"],
            "supported_error_mitigations": [],
        }
    if name in QPUS:
        return common | {
            "average_queue_time": QUEUE_MS,
            "characterization_id": characterization_id(name),
            "kw": 1.0,
            "supported_native_gates": list(NATIVE_OF_QPUS),
            "supported_error_mitigations": ["debiasing"],
        }
    return None


def characterization(name: str, qpu_qubits: int) -> dict[str, Any]:
    """The calibration record of a QPU, consistent with the noise it runs with."""
    rates = qpu_rates(name) or {}
    return {
        "id": characterization_id(name),
        "backend": name,
        "date": UPDATED,
        "qubits": qpu_qubits,
        "connectivity": [[a, b] for a in range(qpu_qubits) for b in range(a + 1, qpu_qubits)],
        "fidelity": {
            "spam": {"median": 1 - rates["readout"], "stderr": None},
            "1q": {"median": 1 - rates["one_qubit"], "stderr": None},
            "2q": {"median": 1 - rates["more_qubits"], "stderr": None},
        },
        "timing": {"t1": 100, "t2": 1, "1q": 0.00013, "2q": 0.00097, "readout": 0.0003, "reset": 0.00002},
    }


def gate_counts(circuits: list[list[dict[str, Any]]]) -> dict[str, int]:
    """Gates on one qubit and on two, as billed: one on N > 2 qubits counts 6(N - 2) on two (IonQ on Azure, 2026-04)."""
    one = two = 0
    for circuit in circuits:
        for gate in circuit:
            width = _width(gate)
            one += width == 1
            two += 1 if width == 2 else 6 * (width - 2) if width > 2 else 0
    return {"1q": one, "2q": two}


def _width(gate: dict[str, Any]) -> int:
    def count(name: str) -> int:
        value = gate.get(name + "s", gate.get(name))
        return len(value) if isinstance(value, list) else value is not None

    controls = count("control")
    # several targets on a one-qubit gate: it applies to each, and is counted once here
    return controls + max(2 if gate["gate"] in WIDE_GATES else 1, count("target") if gate["gate"] == "pauliexp" else 0)


def price_usd(backend: str, counts: dict[str, int], shots: int, *, is_mitigated: bool) -> float:
    """Price of a job of the gate model, in USD: per gate and shot, with a minimum for the job."""
    if backend == SIMULATOR:
        return 0.0
    minimum = MIN_USD_DEBIASED if is_mitigated else MIN_USD
    return round(max(minimum, shots * (USD_PER_1Q_SHOT * counts["1q"] + USD_PER_2Q_SHOT * counts["2q"])), 2)
