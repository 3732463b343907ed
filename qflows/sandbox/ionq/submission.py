"""The allowed contents of `POST /jobs`, checked. Rules: IonQ API v0.4 description, 2026-09-02; lenient on extras.

Strictness beyond what a job needs is a switch, because the vendor's own client sends members the description forbids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qflows.sandbox.errors import Refusal
from qflows.sandbox.ionq import catalog

SINGLE, MULTI, QASM3 = "ionq.circuit.v1", "ionq.multi-circuit.v1", "ionq.qasm3.v1"
MAX_CIRCUITS = 5_000
MAX_GATES = 150_000
# far above any backend: a circuit merely too wide for its backend is accepted, and fails as a job
MAX_QUBITS = 1_000
MIN_DEBIASING_SHOTS = 500
DEFAULT_SHOTS = 100
# v0.3 pages: 10 keys, names of 40 characters, values of 40000
V03_METADATA = (10, 40, 40_000)
_MEMBERS = ["type", "backend", "input", "shots", "name", "metadata", "session_id", "dry_run", "noise", "settings"]

SwitchReader = Callable[[str], Any]


@dataclass(frozen=True)
class Circuit:
    """One circuit of JSON gates."""

    name: str | None
    gates: list[dict[str, Any]]
    gateset: str
    qubits: int


@dataclass(frozen=True)
class Submission:
    """A checked submission."""

    type: str
    backend: str
    shots: int
    qubits: int
    circuits: list[Circuit] = field(default_factory=list)
    qasm3: str | None = None
    name: str | None = None
    metadata: dict[str, Any] | None = None
    session_id: str | None = None
    dry_run: bool = False
    noise_model: str = "ideal"
    noise_seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    is_mitigated: bool = False  # debiasing, requested or by default

    @property
    def gate_counts(self) -> dict[str, int]:
        """Gates on one qubit and on more, over all circuits."""
        return catalog.gate_counts([circuit.gates for circuit in self.circuits])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _bad(message: str, *keys: str) -> Refusal:
    return Refusal(400, message, keys=keys)


def read(document: Any, switch: SwitchReader) -> Submission:
    """Check a body. Raises Refusal(400) that names the member."""
    if not isinstance(document, dict):
        raise _bad("the body must be an object")
    if "backend" not in document and "target" in document and switch("target_member") == "simulator":
        document = {name: value for name, value in document.items() if name != "target"} | {"backend": "simulator"}
    for name in ("type", "backend", "input"):
        if name not in document:
            raise _bad(f"{name} is required", name)
    if switch("strict_input") and (extra := sorted(set(document) - set(_MEMBERS))):
        raise _bad(f"unknown member {extra[0]}", extra[0])
    backend = document["backend"]
    if isinstance(backend, str) and backend in catalog.RETIRED:
        raise _bad(f"backend {backend} is retired", "backend")
    if backend != catalog.SIMULATOR and backend not in catalog.QPUS:
        raise _bad(f"unknown backend {backend!r}", "backend")
    shots = document.get("shots")
    shots = DEFAULT_SHOTS if shots is None else shots
    most = catalog.MAX_SHOTS if backend == catalog.SIMULATOR else int(switch("qpu_max_shots"))
    if type(shots) is not int or not 1 <= shots <= most:
        raise _bad(f"shots must be a whole number in 1..{most}", "shots")
    model, seed = _noise(document, backend, switch)
    settings = _settings(document, shots)
    kind, source = document["type"], document["input"]
    if not isinstance(source, dict):
        raise _bad("input must be an object", "input")
    circuits, qubits, text = _read_input(kind, source, switch)
    for name in ("name", "session_id"):
        if not isinstance(document.get(name), str | None):
            raise _bad(f"{name} must be text", name)
    if not isinstance(document.get("dry_run", False), bool):
        raise _bad("dry_run must be true or false", "dry_run")
    return Submission(
        type=kind,
        backend=backend,
        shots=shots,
        qubits=qubits,
        circuits=circuits,
        qasm3=text,
        name=document.get("name"),
        metadata=_metadata(document.get("metadata"), switch),
        session_id=document.get("session_id"),
        # "dry_run has no effect on the simulator" (cirq-ionq 1.7.0)
        dry_run=document.get("dry_run", False) and backend != catalog.SIMULATOR,
        noise_model=model,
        noise_seed=seed,
        settings=settings,
        is_mitigated=_is_mitigated(settings, circuits, backend, shots, switch),
    )


def _is_mitigated(
    settings: dict[str, Any], circuits: list[Circuit], backend: Any, shots: int, switch: SwitchReader
) -> bool:
    """Debiasing: as requested, otherwise on for abstract circuits with enough shots on a QPU (docs, and quotes of
    2026-08).

    Members that IonQ does not know, such as `debias`, have no effect.
    """
    said = _object(settings.get("error_mitigation")).get("debiasing")
    if said is not None:
        return bool(said)
    is_native = any(circuit.gateset == "native" for circuit in circuits)
    is_default = backend != catalog.SIMULATOR and not is_native and shots >= MIN_DEBIASING_SHOTS
    return is_default and switch("debiasing_default") == "on"


def is_pinned(settings: Mapping[str, Any]) -> bool:
    """True if the compiler service is one that keeps register names (qiskit-ionq, change 260)."""
    return str(_object(settings.get("compilation")).get("service_version") or "") >= "v0.4"


def _noise(document: Mapping[str, Any], backend: str, switch: SwitchReader) -> tuple[str, int | None]:
    noise = document.get("noise")
    if noise is None:
        return "ideal", None
    if backend != catalog.SIMULATOR:
        raise _bad("noise is for the simulator only", "noise")
    if not isinstance(noise, dict):
        raise _bad("noise must be an object", "noise")
    model, seed = noise.get("model", "ideal"), noise.get("seed")
    if not isinstance(model, str) or model not in catalog.NOISE_RATES:
        raise _bad(f"unknown noise model {model!r}", "noise")
    # typed as integer, while qiskit-ionq 1.1.1 sends null
    if (seed is None and "seed" in noise and switch("strict_input")) or type(seed) not in (int, type(None)):
        raise _bad("noise.seed must be a whole number", "noise")
    return model, seed


def _settings(document: Mapping[str, Any], shots: int) -> dict[str, Any]:
    settings = document.get("settings")
    if settings is not None and not isinstance(settings, dict):
        raise _bad("settings must be an object", "settings")
    settings = settings or {}
    mitigation = settings.get("error_mitigation") or {}
    if not isinstance(mitigation, dict):
        raise _bad("settings.error_mitigation must be an object", "settings")
    if mitigation.get("debiasing") and shots < MIN_DEBIASING_SHOTS:
        raise _bad(f"debiasing needs {MIN_DEBIASING_SHOTS} shots or more", "settings", "shots")
    return settings


def _metadata(metadata: Any, switch: SwitchReader) -> dict[str, Any] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise _bad("metadata must be an object", "metadata")
    if switch("metadata_values") == "refuse" and not all(isinstance(value, str) for value in metadata.values()):
        raise _bad("metadata values must be text", "metadata")
    if switch("metadata_limits") == "v0.3":
        keys, name_length, value_length = V03_METADATA
        if (
            len(metadata) > keys
            or any(len(name) > name_length for name in metadata)
            or any(len(str(value)) > value_length for value in metadata.values())
        ):
            raise _bad("metadata is over the limit", "metadata")
    return metadata


def _read_input(kind: Any, source: dict[str, Any], switch: SwitchReader) -> tuple[list[Circuit], int, str | None]:
    if kind == QASM3:
        text = source.get("data")
        if not isinstance(text, str) or not text.strip():
            raise _bad("input.data must be OpenQASM 3 text", "input")
        if switch("strict_input") and set(source) - {"data"}:
            raise _bad("input holds only data", "input")
        qubits = source.get("qubits")
        return [], qubits if type(qubits) is int and 0 < qubits <= MAX_QUBITS else 0, text
    if kind not in (SINGLE, MULTI):
        # quantum-function and qctrl.qaoa.v1 exist, and are not emulated
        raise _bad(f"job type {kind!r} is not supported here", "type")
    gateset = source.get("gateset", "qis")
    qubits = source.get("qubits")
    if kind == SINGLE:
        circuits = [_circuit(source, gateset, qubits, name=None)]
    else:
        entries = source.get("circuits")
        if "circuit" in source:
            raise _bad("a multi-circuit job has circuits, not circuit", "input")
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_CIRCUITS:
            raise _bad(f"input.circuits must be a list of 1..{MAX_CIRCUITS} circuits", "input")
        circuits = [_entry(entry, gateset, qubits) for entry in entries]
    if sum(len(circuit.gates) for circuit in circuits) > MAX_GATES:
        raise _bad(f"more than {MAX_GATES} gates", "input")
    return circuits, max(circuit.qubits for circuit in circuits), None


def _entry(entry: Any, gateset: Any, qubits: Any) -> Circuit:
    if not isinstance(entry, dict):
        raise _bad("each of input.circuits must be an object", "input")
    name = entry.get("name")
    if not isinstance(name, str | None):
        raise _bad("the name of a circuit must be text", "input")
    return _circuit(entry, entry.get("gateset", gateset), entry.get("qubits", qubits), name=name)


def _circuit(source: dict[str, Any], gateset: Any, qubits: Any, *, name: str | None) -> Circuit:
    if gateset not in ("qis", "native"):
        raise _bad("gateset is qis or native", "input")
    if type(qubits) is not int or not 0 <= qubits <= MAX_QUBITS:
        raise _bad(f"qubits must be a whole number in 0..{MAX_QUBITS}", "input")
    gates = source.get("circuit")
    if not isinstance(gates, list) or not all(isinstance(g, dict) and isinstance(g.get("gate"), str) for g in gates):
        raise _bad("circuit must be a list of gates", "input")
    return Circuit(name, gates, gateset, qubits)
