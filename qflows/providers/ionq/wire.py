"""IonQ's JSON, both ways; pure functions, no socket.

Sources: OpenAPI description of API v0.4 dated 2026-09-02; what `qiskit-ionq` 1.1.1 sends (measured). State keys are
decimal numbers with qubit 0 least significant; every qubit is reported, measured or not.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from threading import Lock
from typing import Any

from qflows.errors import ProgramRejected, Unreadable
from qflows.keys import digest, seed_of
from qflows.model import Counts, ItemError, ItemResult
from qflows.programs import Feature, Program, to_program
from qflows.programs.analysis import plain
from qflows.programs.readout import check_total, merge, readout, sample
from qflows.programs.to_openqasm import STDGATES, to_openqasm
from qflows.protocol import JobSpec, Observation, Phase

KEY = "qflows_key"
IDEAL = "ideal"
_HEADER_CAP = 30_000  # v0.3 pages say 40000 characters a metadata value; v0.4 is silent
_MESSAGE_CAP = 2_000

# docs.ionq.com, API v0.4, "Job status"; `running` is v0.3's and the console's word for `started`
STATUS: dict[str, Phase] = {
    "submitted": Phase.QUEUED,
    "ready": Phase.QUEUED,
    "started": Phase.RUNNING,
    "running": Phase.RUNNING,
    "completed": Phase.DONE,
    "canceled": Phase.CANCELLED,
    "failed": Phase.FAILED,
}

# failure codes of API v0.4 after which the same circuit may succeed; the sorting is ours
RETRYABLE = frozenset({"InternalError", "QuantumComputerError", "SystemCancel", "SimulationTimeout"})

OPTIONS = frozenset({"noise_model", "debiasing", "sharpen", "memory", "dry_run", "gate_basis", "opt", "precision"})
NOISE_MODELS = frozenset(
    {IDEAL, "harmony", "harmony-1", "harmony-2", "aria-1", "aria-2", "forte-1", "forte-enterprise-1"}
)
NATIVE = frozenset({"gpi", "gpi2", "ms", "zz", "nop"})

# program gate → IonQ gate; "Supported gates", docs.ionq.com. `id` has no effect and is left out
_PLAIN = {
    "h": "h", "x": "x", "y": "y", "z": "z", "s": "s", "sdg": "si", "t": "t", "tdg": "ti", "sx": "v", "sxdg": "vi",
    "swap": "swap",
}  # fmt: skip
# p differs from rz by a global phase only; IonQ documents `rotation` for r-gates and not for z
_ROTATIONS = {"rx": "rx", "ry": "ry", "rz": "rz", "p": "rz", "u1": "rz", "rxx": "xx", "ryy": "yy", "rzz": "zz"}
_CONTROLLED_X = frozenset({"cx", "ccx", "mcx"})
BASIS = (*_PLAIN, "rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "cx", "ccx", "id")
GATES = frozenset(BASIS)
_SILENT = frozenset({"measure"})  # every qubit is measured
_SPOKEN = _PLAIN.keys() | _ROTATIONS.keys() | _CONTROLLED_X | {"id"}
_compiling = Lock()  # passes keep state while they run
# one job: docs.ionq.com, multi-circuit jobs (API v0.4, stored copy 2026); 413 beyond the bytes
MAX_CIRCUITS = 5_000
MAX_GATES = 150_000
MAX_BYTES = 10_000_000
_FEW_GATES = 30_000  # take 6 MB at most, and need not be written out to be weighed


def payload(spec: JobSpec, key: str) -> dict[str, Any]:
    """The body of POST /jobs. Raises ProgramRejected for what IonQ's formats cannot say."""
    body: dict[str, Any] = {
        "backend": spec.device_id,
        "shots": spec.shots,
        "name": (spec.name or spec.programs[0].name)[:128],
        "metadata": _metadata(spec, key),
    }
    body |= _circuit_part(spec)
    if spec.device_id == "simulator":
        model = str(spec.options.get("noise_model", IDEAL))
        noise: dict[str, Any] = {"model": model}
        # one seed for all circuits of a job would give equal circuits equal shots
        if model != IDEAL and len(spec.programs) == 1:
            noise["seed"] = seed_of(key) % 2**31
        body["noise"] = noise
    settings: dict[str, Any] = {}
    if spec.options.get("debiasing"):
        settings["error_mitigation"] = {"debiasing": True}
    compilation = {k: spec.options[k] for k in ("opt", "precision", "gate_basis") if k in spec.options}
    if compilation:
        settings["compilation"] = compilation
    if settings:
        body["settings"] = settings
    if spec.session_id:
        body["session_id"] = spec.session_id
    if spec.options.get("dry_run"):
        body["dry_run"] = True
    return body


def check_size(body: Mapping[str, Any]) -> None:
    """Raises ProgramRejected for a job above IonQ's limits, after compilation: a plan goes by the circuits as given."""
    inside = body["input"]
    circuits = [one["circuit"] for one in inside["circuits"]] if "circuits" in inside else [inside.get("circuit", ())]
    gates = sum(map(len, circuits))
    n_bytes = len(json.dumps(body)) if gates > _FEW_GATES or "data" in inside else 0
    limits = [("circuits", len(circuits), MAX_CIRCUITS), ("bytes", n_bytes, MAX_BYTES)]
    if len(circuits) > 1:  # documented for jobs of several circuits only
        limits.append(("gates", gates, MAX_GATES))
    for what, value, most in limits:
        if value > most:
            raise ProgramRejected(
                f"one IonQ job takes {most} {what}, in its own gates these are {value}; lower max_circuits, or "
                "simplify (qiskit.transpile with optimization_level=2)"
            )


def _circuit_part(spec: JobSpec) -> dict[str, Any]:
    width = max(program.n_qubits for program in spec.programs)
    if len(spec.programs) == 1:
        (program,) = spec.programs
        if program.has_mid_circuit:
            data = to_openqasm(program, STDGATES, mid_circuit=True)
            return {"type": "ionq.qasm3.v1", "input": {"data": data}}
        gateset, circuit = gates_of(program)
        return {"type": "ionq.circuit.v1", "input": {"gateset": gateset, "qubits": width, "circuit": circuit}}
    written = [gates_of(program) for program in spec.programs]
    gatesets = {gateset for gateset, _ in written}
    if len(gatesets) > 1:
        raise ProgramRejected("one multi-circuit job cannot mix native and abstract gates; submit them separately")
    circuits = [
        {"name": program.name[:64], "qubits": program.n_qubits, "circuit": circuit}
        for program, (_, circuit) in zip(spec.programs, written, strict=True)
    ]
    return {
        "type": "ionq.multi-circuit.v1",
        "input": {"gateset": gatesets.pop(), "qubits": width, "circuits": circuits},
    }


@lru_cache(maxsize=1024)
def gates_of(program: Program) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    """(gateset, gates): `native` when every gate is one of IonQ's own, else `qis`, compiled where needed.

    Remembered, because a job is written twice: once to check it, once to send it.
    """
    if program.has_mid_circuit:
        raise ProgramRejected(
            f"{program.name}: IonQ runs mid-circuit measurement and reset as a job of its own; submit it alone"
        )
    if Feature.DELAY in program.features:
        raise ProgramRejected(f"{program.name}: IonQ has no delay, and without it this would be another circuit")
    program = plain(program)  # the JSON has no barriers, and every qubit starts in |0>
    steps = [s for s in program.instructions if s.name not in _SILENT]
    opaque = [s.name.startswith("opaque:") or s.name in NATIVE for s in steps]
    if any(opaque):
        if not all(opaque):
            raise ProgramRejected(f"{program.name}: native and abstract gates cannot be mixed in one IonQ circuit")
        return "native", tuple(_native(s.name.removeprefix("opaque:"), s.params, s.qubits) for s in steps)
    if any(s.name not in _SPOKEN for s in steps):
        with _compiling:
            compiled = _compiler().run(program.circuit())
        steps = [s for s in to_program(compiled).instructions if s.name not in _SILENT]
    return "qis", tuple(gate for s in steps for gate in _abstract(s.name, s.params, s.qubits))


@lru_cache(maxsize=1)
def _compiler() -> Any:
    """Pass manager into IonQ's gates; building one costs as much as compiling ten small circuits."""
    from qiskit.transpiler import generate_preset_pass_manager

    return generate_preset_pass_manager(optimization_level=0, basis_gates=[*BASIS, "measure", "delay"])


def _abstract(name: str, params: Sequence[float], qubits: Sequence[int]) -> list[dict[str, Any]]:
    if name == "id":
        return []
    if name in _CONTROLLED_X:
        return [{"gate": "x", "controls": list(qubits[:-1]), "targets": [qubits[-1]]}]
    if name in _ROTATIONS:
        return [{"gate": _ROTATIONS[name], "targets": list(qubits), "rotation": params[0]}]
    return [{"gate": _PLAIN[name], "targets": list(qubits)}]


def _native(name: str, params: Sequence[float], qubits: Sequence[int]) -> dict[str, Any]:
    """Angles in turns, as IonQ's native gates have them: gpi(phase), gpi2(phase), ms(p0, p1[, angle]), zz(angle)."""
    if name not in NATIVE:
        raise ProgramRejected(f"{name} is no native gate of IonQ; there are {', '.join(sorted(NATIVE))}")
    if name in ("gpi", "gpi2"):
        return {"gate": name, "target": qubits[0], "phase": params[0]}
    if name == "ms":
        return {"gate": "ms", "targets": list(qubits), "phases": list(params[:2]), "angle": (*params, 0.25)[2]}
    if name == "zz":
        return {"gate": "zz", "targets": list(qubits), "angle": params[0]}
    return {"gate": "nop", "targets": list(qubits), "time": (*params, 0.0)[0]}


def _metadata(spec: JobSpec, key: str) -> dict[str, str]:
    """Text to text. `shots`, `sampler_seed` and `qiskit_header` let a user's qiskit-ionq read our jobs back."""
    metadata = {KEY: key, "shots": str(spec.shots), "sampler_seed": str(item_seed(spec, key, 0) % 2**31)}
    headers = [_qiskit_header(program) for program in spec.programs]
    header = json.dumps(headers if len(headers) > 1 else headers[0], separators=(",", ":"))
    # mtime=0: the same job must be the same bytes whenever it is sent
    packed = base64.b64encode(gzip.compress(header.encode(), mtime=0)).decode("ascii")
    if len(packed) <= _HEADER_CAP:
        metadata["qiskit_header"] = packed
    return metadata


def _qiskit_header(program: Program) -> dict[str, Any]:
    register_bits = [(register.name, len(register.bits)) for register in program.registers]
    mapped: list[int | None] = [None] * program.n_clbits
    for qubit, clbit in program.measured:
        mapped[clbit] = qubit
    return {
        "memory_slots": program.n_clbits,
        "global_phase": 0.0,
        "n_qubits": program.n_qubits,
        "name": program.name,
        "creg_sizes": [[name, size] for name, size in register_bits],
        "clbit_labels": [[name, i] for name, size in register_bits for i in range(size)],
        "qreg_sizes": [["q", program.n_qubits]],
        "qubit_labels": [["q", i] for i in range(program.n_qubits)],
        "meas_mapped": mapped,
    }


def item_seed(spec: JobSpec, key: str, index: int) -> int:
    """Seed for sampling program `index` of a job here, where IonQ returns exact probabilities."""
    return seed_of(digest("seed/1", key, index)) if len(spec.programs) > 1 else seed_of(key)


def observation(job: Mapping[str, Any]) -> Observation:
    """One entry of GET /jobs. An undocumented status is UNKNOWN."""
    word = str(job.get("status"))
    failure = mapping(job.get("failure"))
    wait_ms = job.get("predicted_wait_time_ms")
    phase = STATUS.get(word, Phase.UNKNOWN)
    code = str(failure.get("code") or "") or None
    waiting = phase is Phase.QUEUED and isinstance(wait_ms, int | float)
    return Observation(
        phase=phase,
        word=word,
        started_at=moment(job.get("started_at")),
        finished_at=moment(job.get("completed_at")),
        queue_note=f"predicted wait {wait_ms / 1000:.0f} s" if waiting and wait_ms is not None else None,
        error_code=code,
        error_message=failure_text(failure) if failure else None,
        is_retryable=code in RETRYABLE,
    )


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a JSON object, else an empty one: what is left out and what is garbled are treated alike."""
    return value if isinstance(value, dict) else {}


def failure_text(failure: Mapping[str, Any]) -> str:
    """The description says `message`, clients read `error`: take what is there, bounded."""
    return str(failure.get("message") or failure.get("error") or "no reason given")[:_MESSAGE_CAP]


def moment(text: Any) -> datetime | None:
    """ISO 8601 as an aware time, UTC where no zone is given, or None."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found


def item_result(
    program: Program,
    states: Any,
    *,
    spec: JobSpec,
    seed: int,
    is_exact: bool,
    memory: Any = None,
) -> ItemResult:
    """Counts from a probabilities body `{"<decimal state>": p}`; qubit 0 is the least significant bit.

    Exact probabilities (ideal simulator) are sampled here with `seed`; measured ones become counts by the largest
    remainder, so that they sum to the shots. Qubits that other circuits of the job have and this one has not may have
    been measured, and misread. Raises Unreadable unless they are probabilities that sum to 1.
    """
    layout, shots = readout(program), spec.shots
    width = max(one.n_qubits for one in spec.programs)
    weights = _probabilities(states, width)
    probabilities = merge(weights, layout.from_qubits)
    if memory is not None:
        if not isinstance(memory, list):
            raise Unreadable(f"ionq: expected a list of shots, got {str(memory)[:200]!r}", provider="ionq")
        rows = tuple(layout.from_qubits(_state(value, width)) for value in memory)
        check_total(Counter(rows), shots, "ionq")
        return ItemResult(counts=_tally(rows), probabilities=probabilities, memory=rows)
    if shots is None:
        return ItemResult(probabilities=probabilities)
    if is_exact:
        counts, drawn = sample(probabilities, shots, seed)
        return ItemResult(counts=counts, probabilities=probabilities, memory=drawn)
    return ItemResult(counts=_apportion(probabilities, shots), probabilities=probabilities)


def register_shots(program: Program, body: Any, *, shots: int | None) -> ItemResult:
    """Shot-by-shot results of an OpenQASM 3 job: `{"shots": [{"registers": {"b": [bit 0, bit 1, ...]}}]}`."""
    layout = readout(program)
    try:
        rows = [shot["registers"]["b"] for shot in body["shots"]]
        if any(len(row) != program.n_clbits or set(row) - {0, 1} for row in rows):
            raise ValueError(f"a shot is not {program.n_clbits} bits")
        words = tuple(layout.from_clbits(sum(bit << k for k, bit in enumerate(row))) for row in rows)
    except (TypeError, KeyError, ValueError) as error:
        raise Unreadable(f"ionq: shots are not in the documented shape: {error!r}", provider="ionq") from error
    check_total(Counter(words), shots, "ionq")
    return ItemResult(counts=_tally(words), memory=words)


def child_failure(job: Mapping[str, Any]) -> ItemResult:
    """One circuit of a multi-circuit job that has no counts."""
    failure = mapping(job.get("failure"))
    code = failure.get("code")
    text = failure_text(failure) if failure else f"the circuit is {job.get('status')}"
    return ItemResult(error=ItemError(str(code) if code else str(job.get("status")), text))


def _probabilities(states: Any, n_qubits: int) -> dict[int, float]:
    if not isinstance(states, dict) or not states:
        raise Unreadable(f"ionq: expected probabilities by state, got {str(states)[:200]!r}", provider="ionq")
    weights = {_state(key, n_qubits): _weight(p) for key, p in states.items()}
    total = math.fsum(weights.values())
    if abs(total - 1) > 1e-6:
        raise Unreadable(f"ionq: probabilities sum to {total}, not to 1", provider="ionq")
    return weights


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 + 1e-6:
        raise Unreadable(f"ionq: {value!r} is not a probability", provider="ionq")
    return float(value)


def _state(value: Any, n_qubits: int) -> int:
    text = str(value)
    # ASCII only: int() reads the digits of every script
    if not (text.isascii() and text.isdecimal()) or int(text) >> n_qubits:
        raise Unreadable(f"ionq: {text[:40]!r} is not a state of {n_qubits} qubits", provider="ionq")
    return int(text)


def _apportion(probabilities: Mapping[str, float], shots: int) -> Counts:
    floors = {key: math.floor(p * shots + 1e-9) for key, p in probabilities.items()}
    missing = shots - sum(floors.values())
    by_remainder: Callable[[str], tuple[float, str]] = lambda key: (floors[key] - probabilities[key] * shots, key)  # noqa: E731
    for key in sorted(probabilities, key=by_remainder)[: max(missing, 0)]:
        floors[key] += 1
    return Counts({key: n for key, n in sorted(floors.items()) if n})


def _tally(rows: Sequence[str]) -> Counts:
    return Counts(sorted(Counter(rows).items()))
