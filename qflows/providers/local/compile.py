"""From programs to what a local simulator runs, and which method runs it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs import Program
from qflows.programs.delays import rounded_delays
from qflows.programs.gates import STANDARD
from qflows.programs.panics import run_passes
from qflows.programs.placement import ROUTED, may_not_fit
from qflows.programs.rebuild import placed
from qflows.programs.steps import NOT_GATES, walk
from qflows.programs.unbranched import best_placed, has_branches
from qflows.providers.local.compact import active_qubits, compacted
from qflows.providers.local.noise import noise_of, snapshot, snapshot_noise
from qflows.providers.local.options import AerOptions, NoisyOptions

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

CLIFFORD = frozenset(
    {"id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "dcx", "ecr", "swap", "iswap"}
)
WIDTH = 29  # qubits of a state vector that fits the memory of an ordinary machine
WIDEST = 1_000
_MAX_BOND = 10  # log2 of the largest bond a matrix product state may need: beyond, memory and time run away
_compiling = Lock()  # passes keep state while they run, and a provider serves several threads


@dataclass(frozen=True)
class Ready:
    """A circuit for a simulator; `layout[i]` is where the program's qubit i starts, None if nothing was placed.

    `notes`: what was changed beyond compiling, such as rounded delays.
    """

    circuit: QuantumCircuit
    layout: tuple[int, ...] | None
    is_as_written: bool
    notes: tuple[str, ...] = ()


def snapshot_name(device_id: str, options: NoisyOptions) -> str:
    """The snapshot of a noisy device."""
    return (options.snapshot or device_id.removeprefix("noisy:")).lower()


def method_of(program: Program, options: AerOptions) -> str:
    """Aer's method for an ideal circuit. Raises ProgramRejected for one that none can hold.

    Up to 29 active qubits Aer chooses by itself; wider Clifford circuits are stabilizer states, others matrix product
    states if little enough entanglement can arise between neighbors.
    """
    width = len(active_qubits(program))
    if width > WIDEST:
        raise ProgramRejected(f"{program.name} uses {width} qubits; aer simulates at most {WIDEST}")
    if width <= WIDTH:
        return options.method
    if options.method not in ("automatic", "stabilizer", "matrix_product_state"):
        raise ProgramRejected(f"{program.name} uses {width} qubits; {options.method} simulates {WIDTH}")
    names = {step.name for step in walk(program.instructions)} - NOT_GATES
    if names <= CLIFFORD and options.method != "matrix_product_state":
        return "stabilizer"
    if options.method == "stabilizer":
        raise ProgramRejected(f"{program.name}: {', '.join(sorted(names - CLIFFORD))} is not a Clifford gate")
    if options.method == "automatic" and (bond := _bond(compacted(program))) > _MAX_BOND:
        raise ProgramRejected(
            f"{program.name} uses {width} qubits; aer simulates {WIDTH}, more for Clifford circuits and for those of "
            f"little entanglement (here bonds of up to 2**{bond} may be needed, 2**{_MAX_BOND} are simulated); "
            "choose a narrower circuit, or say method='matrix_product_state' to try"
        )
    return "matrix_product_state"


def _bond(program: Program) -> int:
    """log2 of the largest bond dimension that the gates across any cut of the line of qubits can create."""
    width = program.n_qubits
    across = [0] * max(width - 1, 0)
    for step in walk(program.instructions):
        if step.name in NOT_GATES or len(step.qubits) < 2:
            continue
        rank = 1 if step.name in _CONTROLLED else 2 * (len(step.qubits) - 1)
        for cut in range(min(step.qubits), max(step.qubits)):
            across[cut] += rank
    return max((min(n, cut + 1, width - cut - 1) for cut, n in enumerate(across)), default=0)


# operator Schmidt rank 2: each at most doubles a bond
_CONTROLLED = frozenset({
    "cx", "cy", "cz", "ch", "cp", "cu1", "cu3", "cu", "crx", "cry", "crz", "cs", "csdg", "csx", "rxx", "ryy", "rzz",
    "rzx", "zz", "ms", "cphaseshift00", "cphaseshift01", "cphaseshift10",
})  # fmt: skip


@lru_cache(maxsize=8)
def target_of(name: str) -> Any:
    """The compiler's target of a snapshot."""
    return snapshot(name).target


def is_bound(program: Program, device_id: str, options: NoisyOptions) -> bool:
    """True if the snapshot may not be able to run a program where, or as, it is wanted."""
    if program.is_verbatim or options.level is None:
        return True
    name = snapshot_name(device_id, options)
    return may_not_fit(
        program,
        target_of(name).num_qubits,
        _pairs(name),
        fixed=options.physical_qubits,
        start=options.initial_layout,
    )


@lru_cache(maxsize=8)
def _pairs(name: str) -> frozenset[frozenset[int]]:
    return frozenset(frozenset(on) for on in target_of(name).qargs or () if len(on) == 2)


@lru_cache(maxsize=256)
def for_snapshot(
    program: Program, name: str, level: int | None, seed: int, layout: tuple[int, ...] | None, *, is_fixed: bool = False
) -> Ready:
    """The program on a snapshot's gates and couplings.

    It runs as written if it is verbatim, if `level` is None, or if it is placed on the device and made of its gates and
    couplings; otherwise it is compiled, on its own qubits if it names them. `is_fixed`: the layout is final, nothing is
    moved. Raises ProgramRejected.
    """
    target = target_of(name)
    width = target.num_qubits
    layout = program.labels if program.labels is not None else layout
    if program.n_qubits > width and layout is None:
        program = compacted(program)  # otherwise the chosen qubits stay: their noise is what is wanted
    if layout is not None:
        _check_layout(program, layout, width, name)
    must_be = program.is_verbatim or level is None
    as_is, notes = rounded_delays(
        placed(program.rewritten(program.ops(), labels=layout or range(program.n_qubits)), width), target
    )
    if must_be or program.is_physical or program.n_qubits == width:
        problem = _not_native(as_is, target)
        if problem is None:
            return Ready(as_is, tuple(layout or range(program.n_qubits)), is_as_written=True, notes=notes)
        if must_be:
            raise ProgramRejected(
                f"{program.name} cannot run as it is written on the snapshot {name}: {problem}; compile it, or use its "
                f"gates ({', '.join(sorted(set(target.operation_names) & STANDARD.keys()))}) and couplings"
            )
    return _compiled(program, name, level or 0, seed, layout, is_fixed=is_fixed or program.is_physical)


def _check_layout(program: Program, layout: tuple[int, ...], width: int, name: str) -> None:
    if len(layout) != program.n_qubits:
        raise ProgramRejected(f"{program.name} has {program.n_qubits} qubits, but its layout names {len(layout)}")
    if unknown := [qubit for qubit in layout if qubit >= width]:
        raise ProgramRejected(f"{program.name}: the snapshot {name} has qubits 0 to {width - 1}, not {unknown[0]}")


def _not_native(circuit: QuantumCircuit, target: Any) -> str | None:
    """Why a circuit on the device's qubits is not in its own gates, or None."""
    index = {bit: place for place, bit in enumerate(circuit.qubits)}
    for step in circuit.data:
        operation, on = step.operation, tuple(index[bit] for bit in step.qubits)
        if operation.name == "if_else":
            inner = next((why for block in operation.params if block is not None
                          if (why := _block_problem(block, on, target))), None)  # fmt: skip
            if inner:
                return inner
        elif operation.name not in NOT_GATES and not target.instruction_supported(operation.name, on):
            return f"{operation.name} on {', '.join(map(str, on))} is not among its gates"
    return None


def _block_problem(block: QuantumCircuit, on: tuple[int, ...], target: Any) -> str | None:
    index = {bit: on[place] for place, bit in enumerate(block.qubits)}
    for step in block.data:
        where = tuple(index[bit] for bit in step.qubits)
        name = step.operation.name
        if name not in NOT_GATES and not target.instruction_supported(name, where):
            return f"{name} on {', '.join(map(str, where))} is not among its gates"
    return None


def _compiled(
    program: Program, name: str, level: int, seed: int, layout: tuple[int, ...] | None, *, is_fixed: bool
) -> Ready:
    from qiskit.exceptions import QiskitError

    asked, notes = rounded_delays(program.circuit(), target_of(name))
    try:
        with _compiling:
            manager = _manager(name, level, seed, layout, is_fixed=is_fixed)
            if layout is None and level > 0 and has_branches(asked):
                circuit = best_placed(asked, manager, lambda on: _manager(name, level, seed, on, is_fixed=False))
            else:
                circuit = run_passes(manager, asked, program.name)
    except (QiskitError, ValueError) as error:
        if is_fixed:
            raise _does_not_fit(program, name, layout) from error
        raise ProgramRejected(
            f"{program.name} cannot be compiled for the snapshot {name}: {str(error)[:300]}"
        ) from error
    if is_fixed and layout is not None and not _touched(circuit) <= set(layout):
        raise _does_not_fit(program, name, layout)
    found = circuit.layout.initial_index_layout(filter_ancillas=True) if circuit.layout is not None else None
    return Ready(circuit, tuple(found) if found is not None else None, is_as_written=False, notes=notes)


def _touched(circuit: QuantumCircuit) -> set[int]:
    index = {qubit: place for place, qubit in enumerate(circuit.qubits)}
    return {index[qubit] for step in circuit.data if step.operation.name != "barrier" for qubit in step.qubits}


def _does_not_fit(program: Program, name: str, layout: tuple[int, ...] | None) -> ProgramRejected:
    return ProgramRejected(
        f"{program.name} does not fit on the physical qubits {list(layout or ())} of the snapshot {name} without "
        f"routing; choose coupled qubits, or {ROUTED[program.is_physical]}"
    )


@lru_cache(maxsize=32)
def _manager(name: str, level: int, seed: int, layout: tuple[int, ...] | None, *, is_fixed: bool) -> Any:
    """Pass manager for a snapshot; building one costs more than a small circuit's compilation and run together."""
    from qiskit.transpiler import generate_preset_pass_manager

    return generate_preset_pass_manager(
        optimization_level=level,
        target=target_of(name),
        seed_transpiler=seed,
        initial_layout=list(layout) if layout is not None else None,  # pyright: ignore[reportArgumentType]
        routing_method="none" if is_fixed else None,
    )


def duration_s(program: Program, name: str) -> float | None:
    """Seconds of one shot of a compiled program; None if a gate has no known duration."""
    from qiskit.exceptions import QiskitError

    target = target_of(name)
    try:
        return float(placed(program, target.num_qubits).estimate_duration(target, unit="s"))
    except (QiskitError, TypeError, KeyError):
        return None


def for_simulator(program: Program, method: str, noise: str) -> QuantumCircuit:
    """The program in gates that Aer's method has; with noise, in gates that carry the noise model."""
    circuit = program.circuit()
    names = {step.name for step in walk(program.instructions)} - NOT_GATES
    if names <= _names(noise, method):
        return circuit
    with _compiling:
        return run_passes(_ideal_manager(noise, method), circuit, program.name)


def with_branches_read(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with further bits for qubits of branches that nothing measures at all.

    Aer 0.18.2 drops such qubits and then cannot load the branch ("unordered_map::at"). The bits come last.
    """
    if not has_branches(circuit):
        return circuit
    from qiskit.circuit import Clbit

    branched = {qubit for step in circuit.data if step.operation.name == "if_else" for qubit in step.qubits}
    unread = branched - {step.qubits[0] for step in circuit.data if step.operation.name == "measure"}
    made = circuit.copy() if unread else circuit
    for qubit in (one for one in circuit.qubits if one in unread):
        bit = Clbit()
        made.add_bits([bit])
        made.measure(qubit, bit)
    return made


@lru_cache(maxsize=16)
def simulator(name: str, noise: str, method: str) -> Any:
    """Aer with a snapshot's couplings and noise, or without if there is no name; `noise`: see `noise_text`."""
    from qiskit_aer import AerSimulator

    model = noise_of(noise) if noise else None
    if name:
        if model is not None:  # Aer runs no gate that its model does not name
            model = deepcopy(model)
            model.add_basis_gates([one for one in target_of(name).operation_names if one in STANDARD])
        return AerSimulator.from_backend(
            snapshot(name), method=method, noise_model=snapshot_noise(name) if model is None else model
        )
    return AerSimulator(method=method, noise_model=model)


@lru_cache(maxsize=16)
def _names(noise: str, method: str) -> frozenset[str]:
    return frozenset(simulator("", noise, method).target.operation_names)


@lru_cache(maxsize=16)
def _ideal_manager(noise: str, method: str) -> Any:
    from qiskit.transpiler import generate_preset_pass_manager

    level = 0 if noise else 1  # with noise every gate counts
    return generate_preset_pass_manager(
        optimization_level=level, backend=simulator("", noise, method), seed_transpiler=1
    )
