"""From programs to circuits the device runs (ISA), and a record of the compilation. Imports qiskit."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import ControlFlowOp, Parameter
from qiskit.exceptions import QiskitError
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager

from qflows.errors import ProgramRejected
from qflows.keys import digest
from qflows.programs.delays import rounded_delays
from qflows.programs.gates import STANDARD
from qflows.programs.panics import run_passes
from qflows.programs.placement import ROUTED, may_not_fit
from qflows.programs.rebuild import placed_flat
from qflows.programs.unbranched import best_placed, has_branches
from qflows.providers.ibm import isa
from qflows.providers.ibm.layout import Angle, Sheet
from qflows.providers.ibm.openqasm3 import as_openqasm3
from qflows.providers.ibm.options import compile_level
from qflows.providers.ibm.wire import REGISTER

if TYPE_CHECKING:
    from qiskit.quantum_info import SparsePauliOp

    from qflows.programs import Program
    from qflows.programs.observables import Observable

SEED = 20_260_415  # compiling the same program twice must give the same circuit
_KEPT = 256  # a circuit on 156 qubits takes 40 to 70 kB
_TIDY_AFTER = 2_000
_MANAGERS = 64
_PARAMETER = "theta_"
_TEXT_STEPS, _TEXT_CAP = 500, 16_384


@dataclass(frozen=True)
class Compiled:
    """A circuit in the device's own gates, on its own qubits; `layout[i]` is where program qubit i is measured.

    `notes`: what was changed beyond compiling, such as rounded delays; `is_as_written`: nothing was compiled.
    """

    circuit: QuantumCircuit
    layout: tuple[int, ...]
    notes: tuple[str, ...] = ()
    is_as_written: bool = False

    def values_of(self, sheet: Sheet) -> np.ndarray[Any, Any] | None:
        """The sheet's values in the order of the circuit's parameters, shape (programs, parameters); None without."""
        if sheet.values is None:
            return None
        return sheet.values[:, [int(parameter.name[len(_PARAMETER) :]) for parameter in self.circuit.parameters]]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What runs: size, gates, physical qubits; and the circuit itself as OpenQASM 3 if it is not long."""
        found: dict[str, Any] = {
            "depth": self.circuit.depth(),
            "gates": {str(name): int(n) for name, n in self.circuit.count_ops().items()},
            "layout": list(self.layout),
            "as_written": self.is_as_written,
        }
        if self.notes:
            found["notes"] = list(self.notes)
        if len(self.circuit.data) <= _TEXT_STEPS:
            text = as_openqasm3(self.circuit)
            if text is not None and len(text) <= _TEXT_CAP:
                found["openqasm3"] = text
        return found


@dataclass(frozen=True)
class Described:
    """A device as the compiler needs it; the client derives its description anew each time it is asked."""

    name: str
    target: Any
    calibrated_at: str

    @staticmethod
    def of(backend: Any) -> Described:
        """What the client says of it now."""
        properties = backend.properties()
        return Described(backend.name, backend.target, str(getattr(properties, "last_update_date", None)))


@dataclass(frozen=True)
class _Wish:
    """How to compile a circuit; equal wishes give equal circuits."""

    level: str | int  # default, none, or a level of the preset pass managers
    seed: int
    layout: tuple[int, ...] | None
    is_fixed: bool  # the layout is final
    fractional: bool
    starts_at_zero: bool
    measured: bool

    @staticmethod
    def of(options: Mapping[str, Any], program: Program, *, measured: bool) -> _Wish:
        fixed = options.get("physical_qubits")
        if program.labels is not None:
            if fixed is not None or options.get("initial_layout") is not None:
                raise ProgramRejected(
                    f"{program.name} names the device's own qubits; leave out physical_qubits and initial_layout"
                )
            fixed = program.labels
        layout = fixed if fixed is not None else options.get("initial_layout")
        seed = options.get("seed_transpiler")
        return _Wish(
            level="none" if program.is_verbatim else compile_level(options),
            seed=SEED if seed is None else int(seed),
            layout=None if layout is None else tuple(layout),
            is_fixed=fixed is not None,
            fractional=bool(options.get("use_fractional_gates")),
            starts_at_zero=(options.get("execution") or {}).get("init_qubits") is not False,
            measured=measured,
        )


class Compiler:
    """Compiles for one account's devices and caches results, so that a second attempt is quick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._managers: OrderedDict[tuple[Any, ...], tuple[Any, Any]] = OrderedDict()
        self._kept: OrderedDict[str, Compiled] = OrderedDict()
        self._made = 0  # since the collector ran

    def compile(self, sheet: Sheet, backend: Described, options: Mapping[str, Any], *, measured: bool) -> Compiled:
        """The sheet's circuit for `backend`; without its measurements unless `measured`.

        Raises ProgramRejected if it does not fit.
        """
        wish = _Wish.of(options, sheet.shape, measured=measured)
        place = digest(sheet.digest, backend.name, backend.calibrated_at, repr(wish))
        with self._lock:
            found = self._kept.get(place)
            if found is None:
                found = self._kept[place] = self._compiled(sheet, backend, wish)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
                self._tidy()
            return found

    def _tidy(self) -> None:
        """Frees circuits that are not needed any more. They refer to themselves, and of a long list a hundred
        megabytes would wait for Python's own collector, which looks seldom at what has lived for a while."""
        self._made += 1
        if self._made >= _TIDY_AFTER:
            self._made = 0
            gc.collect()

    def _compiled(self, sheet: Sheet, backend: Described, wish: _Wish) -> Compiled:
        program, target = sheet.shape, backend.target
        ready = _ready(sheet, target, wish)
        if ready is not None:
            return ready
        circuit = opened(sheet)
        circuit = flat(circuit) if wish.measured else _unmeasured(circuit)
        circuit, notes = rounded_delays(circuit, target)
        _check_qubits(program.name, circuit, wish, backend)
        as_written = _as_written(program.name, circuit, wish, backend)
        if as_written is not None:
            return Compiled(as_written, wish.layout or tuple(range(circuit.num_qubits)), notes, is_as_written=True)
        try:
            made = self._run(circuit, backend, wish)
        except (QiskitError, ValueError) as error:
            if wish.is_fixed:
                raise _does_not_fit(program, wish, backend) from None
            raise ProgramRejected(f"{program.name} cannot be compiled for {backend.name}: {str(error)[:300]}") from None
        layout = tuple(made.layout.final_index_layout()) if made.layout is not None else tuple(range(program.n_qubits))
        if wish.is_fixed and (layout != wish.layout or not _touched(made) <= set(wish.layout or ())):
            raise _does_not_fit(program, wish, backend)
        return Compiled(made, layout, notes)

    def _run(self, circuit: QuantumCircuit, backend: Described, wish: _Wish) -> QuantumCircuit:
        manager = self._manager(backend, wish)
        if wish.layout is not None or wish.level == 0 or not has_branches(circuit):
            return run_passes(manager, circuit, circuit.name)
        return best_placed(circuit, manager, lambda layout: self._manager(backend, replace(wish, layout=layout)))

    def _manager(self, backend: Described, wish: _Wish) -> Any:
        level = 2 if wish.level == "default" else int(wish.level)
        name = (backend.name, level, wish.seed, wish.layout, wish.is_fixed, wish.fractional, wish.starts_at_zero)
        kept = self._managers.get(name)
        if kept is None or kept[0] is not backend.target:
            # rzz angles outside [0, pi/2] are folded by IBM's own translation stage
            stage: dict[str, Any] = {"translation_method": "ibm_dynamic_and_fractional"} if wish.fractional else {}
            stage |= {"routing_method": "none"} if wish.is_fixed else {}
            stage |= {"initial_layout": list(wish.layout)} if wish.layout is not None else {}
            manager = generate_preset_pass_manager(
                optimization_level=level,
                target=backend.target,
                seed_transpiler=wish.seed,
                qubits_initially_zero=wish.starts_at_zero,
                **stage,
            )
            kept = self._managers[name] = (backend.target, manager)
            while len(self._managers) > _MANAGERS:
                self._managers.popitem(last=False)
        return kept[1]


def is_doubtful(program: Program, options: Mapping[str, Any], target: Any, pairs: Collection[frozenset[int]]) -> bool:
    """Quick, and True for every program that is refused for its qubits, or because it must run as it is written."""
    fixed, start = options.get("physical_qubits"), options.get("initial_layout")
    if program.is_verbatim or compile_level(options) == "none":
        on = next((one for one in (program.labels, fixed, start) if one is not None), range(program.n_qubits))
        return len(on) != program.n_qubits or not isa.is_in_own_gates(program, target, on)
    return may_not_fit(program, target.num_qubits, pairs, fixed=fixed, start=start)


def _ready(sheet: Sheet, target: Any, wish: _Wish) -> Compiled | None:
    """The circuit of a program that is in the device's own gates, where nothing else is to be done; otherwise None.

    At level 0 that is what Qiskit's passes give: they take the first qubits, or those of the layout, and leave alone
    what the device has. Without compiling it is what `_as_written` gives.
    """
    program = sheet.shape
    width = int(target.num_qubits or 0)
    is_as_written = wish.level == "none" or (wish.level == "default" and (wish.is_fixed or program.n_qubits == width))
    if sheet.angles is not None or not wish.measured or wish.fractional or program.n_qubits > width:
        return None
    if not (is_as_written or wish.level == 0) or (is_as_written and wish.layout is None and program.n_qubits < width):
        return None
    layout = wish.layout or tuple(range(program.n_qubits))
    if len(layout) != program.n_qubits or not isa.is_in_own_gates(program, target, layout):
        return None
    circuit = placed_flat(program, width, layout, REGISTER)
    return Compiled(circuit, layout, is_as_written=is_as_written)


def _unmeasured(circuit: QuantumCircuit) -> QuantumCircuit:
    made = circuit.remove_final_measurements(inplace=False)
    assert made is not None
    return made


def _check_qubits(name: str, circuit: QuantumCircuit, wish: _Wish, backend: Described) -> None:
    width = backend.target.num_qubits
    if circuit.num_qubits > width:
        raise ProgramRejected(
            f"{name} has {circuit.num_qubits} qubits and cannot be compiled for {backend.name}, which has {width}"
        )
    if wish.layout is not None and (len(wish.layout) != circuit.num_qubits or max(wish.layout) >= width):
        raise ProgramRejected(
            f"{name} has {circuit.num_qubits} qubits; {'physical_qubits' if wish.is_fixed else 'initial_layout'} must "
            f"name as many of {backend.name}, from 0 to {width - 1}, not {list(wish.layout)!r:.60}"
        )


def _as_written(name: str, circuit: QuantumCircuit, wish: _Wish, backend: Described) -> QuantumCircuit | None:
    """The circuit on its intended qubits, if it runs without being compiled; None if it must be compiled.

    By default that is a circuit in the device's own gates that spans the device, as compiling for it gives, or whose
    qubits are named. Raises ProgramRejected for one that must not be compiled and is not in those gates.
    """
    is_meant = wish.is_fixed or (wish.layout is None and circuit.num_qubits == backend.target.num_qubits)
    if wish.level != "none" and not (wish.level == "default" and is_meant):
        return None
    placed = circuit if wish.layout is None else _placed(circuit, wish.layout, backend.target.num_qubits)
    stranger = isa.first_stranger(placed, backend.target)
    if stranger is None:
        return placed
    if wish.level != "none":
        return None
    raise ProgramRejected(
        f"{name} is not in the gate set of {backend.name}: {stranger}; compile it for the device, or leave out "
        "compile='none'"
    )


def _placed(circuit: QuantumCircuit, layout: tuple[int, ...], width: int) -> QuantumCircuit:
    wide = QuantumCircuit(width, name=circuit.name, global_phase=circuit.global_phase)
    for register in circuit.cregs:
        wide.add_register(register)
    wide.compose(circuit, list(layout), circuit.clbits, inplace=True)
    return wide


def _does_not_fit(program: Program, wish: _Wish, backend: Described) -> ProgramRejected:
    return ProgramRejected(
        f"{program.name} does not fit on the physical qubits {list(wish.layout or ())} of {backend.name} without "
        f"routing; choose coupled qubits, or {ROUTED[program.is_physical]}"
    )


def opened(sheet: Sheet) -> QuantumCircuit:
    """The sheet's circuit with its fixed angles in place and parameters `theta_<number>` for the others."""
    circuit = sheet.shape.circuit()
    if sheet.angles is None:
        return circuit
    parameters: dict[int, Any] = {}
    angles = iter(sheet.angles)
    made = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if operation.name in STANDARD and operation.params:
            own = [_angle(next(angles), parameters) for _ in operation.params]
            operation = operation.base_class(*own)
        made.append(operation, step.qubits, step.clbits, copy=False)
    return made


def _angle(angle: Angle, parameters: dict[int, Any]) -> Any:
    """The fixed angle, or the parameter of that number, created at its first use."""
    if isinstance(angle, int):
        return parameters.setdefault(angle, Parameter(f"{_PARAMETER}{angle}"))
    return angle


def flat(circuit: QuantumCircuit) -> QuantumCircuit:
    """The circuit with all its classical bits, in order, in one register.

    IBM returns registers by name and nothing outside of registers; one register of our own has no name clashes, no
    shared bits and no loose ones. The program says afterwards which bit belongs to which register.
    """
    bits = ClassicalRegister(circuit.num_clbits, REGISTER)
    place = dict(zip(circuit.clbits, bits, strict=True))
    made = QuantumCircuit(*circuit.qregs, bits, name=circuit.name, global_phase=circuit.global_phase)
    if made.num_qubits != circuit.num_qubits:
        made = QuantumCircuit(circuit.qubits, name=circuit.name, global_phase=circuit.global_phase)
        made.add_register(bits)
    if any(isinstance(step.operation, ControlFlowOp) for step in circuit.data):
        made.compose(circuit, made.qubits, list(bits), inplace=True)
        return made
    for step in circuit.data:
        made.append(step.operation, step.qubits, [place[clbit] for clbit in step.clbits])
    return made


def on_device(observable: Observable, compiled: Compiled) -> SparsePauliOp:
    """The observable on the qubits of the compiled circuit."""
    from qiskit.quantum_info import SparsePauliOp

    return SparsePauliOp.from_list(list(observable)).apply_layout(list(compiled.layout), compiled.circuit.num_qubits)


def snapshot(backend: Any, circuits: list[Compiled]) -> dict[str, Any]:
    """The calibration of the qubits and gates in use, at the time of compiling. Times in seconds."""
    target = backend.target
    used = sorted({qubit for one in circuits for qubit in _touched(one.circuit)})
    qubits = {}
    for qubit in used:
        known = target.qubit_properties[qubit] if target.qubit_properties else None
        measure = target["measure"].get((qubit,)) if "measure" in target else None
        qubits[str(qubit)] = {
            "t1": getattr(known, "t1", None),
            "t2": getattr(known, "t2", None),
            "readout_error": getattr(measure, "error", None),
        }
    gates: dict[str, float] = {}
    for one in circuits:
        index = {qubit: i for i, qubit in enumerate(one.circuit.qubits)}
        for step in one.circuit.data:
            name, on = step.operation.name, tuple(index[q] for q in step.qubits)
            if len(on) == 2 and name in target:
                error = getattr(target[name].get(on) or target[name].get(on[::-1]), "error", None)
                if error is not None:
                    gates[f"{name} {on[0]} {on[1]}"] = float(error)
    properties = backend.properties()
    calibrated = getattr(properties, "last_update_date", None)
    return {
        "device": backend.name,
        "version": str(backend.backend_version),
        "qubits_total": int(backend.num_qubits),
        "basis": sorted(name for name in target.operation_names if name.isidentifier()),
        "calibrated_at": calibrated.isoformat() if calibrated is not None else None,
        "qubits": qubits,
        "two_qubit_errors": gates,
    }


def _touched(circuit: QuantumCircuit) -> set[int]:
    index = {qubit: i for i, qubit in enumerate(circuit.qubits)}
    return {index[q] for step in circuit.data if step.operation.name != "barrier" for q in step.qubits}
