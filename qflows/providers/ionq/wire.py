"""IonQ's JSON in both directions; pure functions, no socket.

Sources: OpenAPI description of API v0.4 dated 2026-09-02; what `qiskit-ionq` 1.1.1 sends (measured). State keys are
decimal numbers with qubit 0 least significant; every qubit is reported, measured or not.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import Any

from qflows.errors import ProgramRejected
from qflows.keys import seed_of
from qflows.model import Cost
from qflows.programs import Feature, Program, to_program
from qflows.programs.analysis import plain
from qflows.programs.gates import OPAQUE
from qflows.programs.panics import run_passes
from qflows.programs.steps import NOT_GATES, Instruction
from qflows.programs.to_openqasm import STDGATES, to_openqasm
from qflows.protocol import JobSpec, Observation, Phase
from qflows.providers.ionq.failures import helps_to_buy_again
from qflows.providers.ionq.options import IDEAL, SIMULATOR

KEY = "qflows_key"
QASM3 = "ionq.qasm3.v1"
SERVICE_VERSION = "v0.4"
_HEADER_CAP = 30_000  # v0.3 pages say 40000 characters a metadata value; v0.4 is silent
_MESSAGE_CAP = 2_000
_LONGEST_MS = 1e11  # three years: a longer prediction is none

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

NATIVE = frozenset({"gpi", "gpi2", "ms", "zz", "nop"})
_FORTE_NATIVE = NATIVE - {"ms"}  # supported_native_gates; Forte Enterprise 1 refuses ms (seen 2026-08)
_ARIA_NATIVE = NATIVE - {"zz"}

# program gate → IonQ gate; "Supported gates", docs.ionq.com. `id` has no effect and is left out
_PLAIN = {
    "h": "h", "x": "x", "y": "y", "z": "z", "s": "s", "sdg": "si", "t": "t", "tdg": "ti", "sx": "v", "sxdg": "vi",
    "swap": "swap",
}  # fmt: skip
# p differs from rz only by a global phase; IonQ documents `rotation` for r-gates and not for z
_ROTATIONS = {"rx": "rx", "ry": "ry", "rz": "rz", "p": "rz", "u1": "rz", "rxx": "xx", "ryy": "yy", "rzz": "zz"}
_CONTROLLED_X = frozenset({"cx", "ccx", "mcx"})
BASIS = (*_PLAIN, "rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "cx", "ccx", "id")
GATES = frozenset(BASIS)
_SILENT = frozenset({"measure"})  # every qubit is measured at the end
_SPOKEN = _PLAIN.keys() | _ROTATIONS.keys() | _CONTROLLED_X | {"id"}
_compiling = Lock()  # passes keep state while they run
# one job: docs.ionq.com, multi-circuit jobs (API v0.4, stored copy 2026); 413 beyond the bytes
MAX_CIRCUITS = 5_000
MAX_GATES = 150_000
MAX_BYTES = 10_000_000
_FEW_GATES = 30_000  # take at most 6 MB, and need not be written out to be measured


def payload(spec: JobSpec, key: str) -> dict[str, Any]:
    """The body of POST /jobs. Raises ProgramRejected for what IonQ's formats cannot say."""
    body: dict[str, Any] = {
        "backend": spec.device_id,
        "shots": spec.shots,
        "name": (spec.name or spec.programs[0].name)[:128],
        "metadata": _metadata(spec, key),
    }
    body |= _circuit_part(spec)
    if spec.device_id == SIMULATOR:
        model = str(spec.options.get("noise_model", IDEAL))
        noise: dict[str, Any] = {"model": model}
        # one seed for all circuits of a job would give equal circuits equal shots
        if model != IDEAL and len(spec.programs) == 1:
            noise["seed"] = seed_of(key) % 2**31
        body["noise"] = noise
    if settings := _settings(spec, is_qasm3=body["type"] == QASM3):
        body["settings"] = settings
    if spec.session_id:
        body["session_id"] = spec.session_id
    if spec.options.get("dry_run"):
        body["dry_run"] = True
    return body


def check_features(spec: JobSpec) -> None:
    """Raise ProgramRejected for what would run as another circuit: IonQ compiles abstract gates and knows no delays,
    branches or barriers; native gates are sent unchanged, so that nothing is merged across barriers between them."""
    # equal outcomes, whatever is compiled away
    is_exact = spec.device_id == SIMULATOR and spec.options.get("noise_model", IDEAL) == IDEAL
    for program in spec.programs:
        found = program.features
        if Feature.DELAY in found:
            raise ProgramRejected(
                f"{program.name}: IonQ's circuits have no delays, and without them this would be a different circuit; "
                "choose a device that keeps delays, or remove them"
            )
        if Feature.FEED_FORWARD in found:
            raise ProgramRejected(
                f"{program.name}: IonQ runs loops and branches on no target (docs.ionq.com, OpenQASM 3); measure at "
                "the end and post-select, or choose a device with feed-forward"
            )
        if is_exact:
            continue
        if Feature.PHYSICAL in found:
            raise ProgramRejected(
                f"{program.name}: IonQ places qubits itself, and all of them are coupled; give the circuit as it was "
                "before it was placed on qubits"
            )
        kept = found & {Feature.BARRIER, Feature.VERBATIM}
        if kept and not any(map(_is_native, program.instructions)):
            raise ProgramRejected(
                f"{program.name}: IonQ may rearrange abstract gates across {min(kept)}; write the circuit in "
                "native gates (gpi, gpi2, zz), which are sent as they are, or leave it out"
            )


def _is_native(step: Instruction) -> bool:
    return step.name in NATIVE or step.name.startswith(OPAQUE)


def check_native(spec: JobSpec) -> None:
    """Raise ProgramRejected for a native gate that the backend does not have."""
    if spec.device_id == SIMULATOR:
        return
    there = native_gates(spec.device_id, spec.options)
    for program in spec.programs:
        used = {step.name.removeprefix(OPAQUE) for step in program.instructions if _is_native(step)}
        if missing := used & NATIVE - there:
            raise ProgramRejected(
                f"{program.name}: {spec.device_id} has no native gate {min(missing)}; its native gates "
                f"are {', '.join(sorted(there))}"
            )


def native_gates(device_id: str, options: Mapping[str, Any]) -> frozenset[str]:
    """Native gates of a QPU, or of the one whose errors the simulator imitates."""
    name = str(options.get("noise_model", IDEAL)) if device_id == SIMULATOR else device_id.removeprefix("qpu.")
    return _ARIA_NATIVE if name.startswith(("aria", "harmony")) else _FORTE_NATIVE


def _settings(spec: JobSpec, *, is_qasm3: bool) -> dict[str, Any]:
    """Settings of a job. Mitigation is always explicit on QPUs: left out, it is on and expensive; see
    `IonQQpuOptions`."""
    settings: dict[str, Any] = {}
    if spec.device_id != SIMULATOR:
        settings["error_mitigation"] = {
            name: bool(spec.options.get(name, False)) for name in ("debiasing", "symmetry_verification")
        }
    names = ("opt", "precision", "gate_basis", "service_version")
    compilation = {name: spec.options[name] for name in names if spec.options.get(name) is not None}
    if is_qasm3:
        # without it the service flattens register names (qiskit-ionq, change 260)
        compilation.setdefault("service_version", SERVICE_VERSION)
    if compilation:
        settings["compilation"] = compilation
    return settings


def check_size(body: Mapping[str, Any]) -> None:
    """Raise ProgramRejected for a job above IonQ's limits, after compilation: a plan goes by the circuits as given."""
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
                f"one IonQ job takes {most} {what}, written in its own gates the circuit has {value}; lower "
                "max_circuits, or simplify (qiskit.transpile with optimization_level=2)"
            )


def _circuit_part(spec: JobSpec) -> dict[str, Any]:
    width = max(program.n_qubits for program in spec.programs)
    if len(spec.programs) == 1:
        (program,) = spec.programs
        if program.has_mid_circuit:
            data = to_openqasm(program, STDGATES, mid_circuit=True)
            return {"type": QASM3, "input": {"data": data}}
        gateset, circuit = gates_of(program)
        return {"type": "ionq.circuit.v1", "input": {"gateset": gateset, "qubits": width, "circuit": circuit}}
    written = [gates_of(program) for program in spec.programs]
    gatesets = {gateset for gateset, _ in written}
    if len(gatesets) > 1:
        raise ProgramRejected("one multi-circuit job cannot mix native and abstract gates; submit them separately")
    circuits = [
        {"name": circuit_name(place, program), "qubits": program.n_qubits, "circuit": circuit}
        for place, (program, (_, circuit)) in enumerate(zip(spec.programs, written, strict=True))
    ]
    return {
        "type": "ionq.multi-circuit.v1",
        "input": {"gateset": gatesets.pop(), "qubits": width, "circuits": circuits},
    }


def circuit_name(place: int, program: Program) -> str:
    """The name of a circuit in a job of several: unique, because the order of child jobs is not promised."""
    return f"{place:04d} {program.name}"[:64]


@lru_cache(maxsize=1024)
def gates_of(program: Program) -> tuple[str, tuple[Mapping[str, Any], ...]]:
    """(gateset, gates): `native` if every gate is one of IonQ's own, otherwise `qis`, compiled if needed.

    Cached, because a job is written twice: once to check it, once to send it.
    """
    if program.has_mid_circuit:
        raise ProgramRejected(
            f"{program.name}: IonQ runs mid-circuit measurement and reset as a job of its own; submit it alone"
        )
    program = plain(program)  # the JSON has no barriers, and every qubit starts in |0>
    steps = [s for s in program.instructions if s.name not in _SILENT]
    is_native = [_is_native(s) for s in steps]
    if any(is_native):
        if not all(is_native):
            raise ProgramRejected(f"{program.name}: native and abstract gates cannot be mixed in one IonQ circuit")
        return "native", tuple(_native(s.name.removeprefix(OPAQUE), s.params, s.qubits) for s in steps)
    steps = [s for s in in_abstract_gates(program).instructions if s.name not in _SILENT]
    return "qis", tuple(gate for s in steps for gate in _abstract(s.name, s.params, s.qubits))


def in_abstract_gates(program: Program) -> Program:
    """The program in gates that IonQ has names for."""
    if {step.name for step in program.instructions} <= _SPOKEN | NOT_GATES | NATIVE:
        return program
    with _compiling:
        made = to_program(run_passes(_compiler(), program.circuit(), program.name), name=program.name)
    return made.rewritten(made.ops(), labels=program.labels, metadata=program.metadata)


def billed_gates(programs: Sequence[Program]) -> tuple[int, int]:
    """Gates on one qubit and on two as IonQ counts them: a gate on N > 2 qubits is 6(N - 2) on two (prices of IonQ on
    Azure, 2026-04). Mid-circuit circuits are counted as written."""
    one = two = 0
    for program in programs:
        if program.has_mid_circuit:
            one += sum(len(step.qubits) == 1 for step in program.instructions if step.name not in NOT_GATES)
            two += program.n_two_qubit
            continue
        for gate in gates_of(program)[1]:
            width = len(gate.get("targets", ())) + len(gate.get("controls", ())) or 1
            one += width == 1
            two += 1 if width == 2 else 6 * (width - 2) if width > 2 else 0
    return one, two


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
    """Angles in turns, as in IonQ's native gates: gpi(phase), gpi2(phase), ms(p0, p1[, angle]), zz(angle)."""
    if name not in NATIVE:
        raise ProgramRejected(f"{name} is not a native gate of IonQ; they are {', '.join(sorted(NATIVE))}")
    if name in ("gpi", "gpi2"):
        return {"gate": name, "target": qubits[0], "phase": params[0]}
    if name == "ms":
        return {"gate": "ms", "targets": list(qubits), "phases": list(params[:2]), "angle": (*params, 0.25)[2]}
    if name == "zz":
        return {"gate": "zz", "targets": list(qubits), "angle": params[0]}
    return {"gate": "nop", "targets": list(qubits), "time": (*params, 0.0)[0]}


def _metadata(spec: JobSpec, key: str) -> dict[str, str]:
    """Metadata, text to text. `shots`, `sampler_seed` and `qiskit_header` let a user's qiskit-ionq read our jobs
    back."""
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
    """Seed for sampling program `index` of a job here, if IonQ returns exact probabilities."""
    return seed_of(key, index if len(spec.programs) > 1 else None)


def observation(job: Mapping[str, Any]) -> Observation:
    """One entry of GET /jobs. An undocumented status is UNKNOWN."""
    word = str(job.get("status"))
    failure = mapping(job.get("failure"))
    wait_ms = job.get("predicted_wait_time_ms")
    phase = STATUS.get(word, Phase.UNKNOWN)
    code = str(failure.get("code") or "") or None
    waiting = phase is Phase.QUEUED and isinstance(wait_ms, int | float)
    expected = _expected(job, phase)
    return Observation(
        phase=phase,
        word=word,
        started_at=moment(job.get("started_at")),
        finished_at=moment(job.get("completed_at")),
        queue_note=f"predicted wait {wait_ms / 1000:.0f} s" if waiting and wait_ms is not None else None,
        error_code=code,
        error_message=failure_text(failure) if failure else None,
        # "released when failed or cancelled": docs.ionq.com, billing
        cost=Cost(0.0, "usd", False) if phase in (Phase.FAILED, Phase.CANCELLED) else None,
        is_retryable=helps_to_buy_again(code),
        steps=steps(job),
        expected_start_at=expected[0],
        expected_end_at=expected[1],
    )


_STEPS = ("submitted", "started", "completed")


def steps(job: Mapping[str, Any]) -> dict[str, datetime]:
    """`submitted_at` and its like, by name."""
    return {name: at for name in _STEPS if (at := moment(job.get(f"{name}_at"))) is not None}


def _expected(job: Mapping[str, Any], phase: Phase) -> tuple[datetime | None, datetime | None]:
    """When the job is expected to start and end, by `predicted_wait_time_ms`, counted from this answer, and
    `predicted_execution_duration_ms` (docs.ionq.com, v0.4)."""
    wait, run = _ms(job.get("predicted_wait_time_ms")), _ms(job.get("predicted_execution_duration_ms"))
    if wait is None and run is None:
        return None, None
    start = datetime.now(UTC) + wait if wait is not None and phase is Phase.QUEUED else None
    begins = moment(job.get("started_at")) if phase is Phase.RUNNING else start
    try:
        return start, begins + run if begins is not None and run is not None else None
    except OverflowError:  # a start in the year 9999
        return start, None


def _ms(value: Any) -> timedelta | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return timedelta(milliseconds=value) if is_number and 0 <= value <= _LONGEST_MS else None


def mapping(value: Any) -> Mapping[str, Any]:
    """`value` if it is a JSON object, otherwise an empty one: missing and garbled values are treated alike."""
    return value if isinstance(value, dict) else {}


def failure_text(failure: Mapping[str, Any]) -> str:
    """Text of a failure, bounded: the description says `message`, clients read `error`; take whichever is there."""
    return str(failure.get("message") or failure.get("error") or "no reason given")[:_MESSAGE_CAP]


def moment(text: Any) -> datetime | None:
    """ISO 8601 as an aware time, UTC where no zone is given, or None."""
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
