"""From programs to circuits the device runs (ISA), and a record of what became of them. Imports qiskit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.transpiler import TranspilerError
from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager

from qflows.errors import Refused
from qflows.keys import digest
from qflows.programs.gates import STANDARD
from qflows.providers.ibm.layout import Angle, Sheet
from qflows.providers.ibm.wire import REGISTER

if TYPE_CHECKING:
    from qiskit.quantum_info import SparsePauliOp

    from qflows.programs.observables import Observable

SEED = 20_260_415  # compiling the same program twice must give the same circuit
_KEPT = 2_048
_PARAMETER = "theta_"
_TEXT_STEPS, _TEXT_CAP = 500, 16_384


@dataclass(frozen=True)
class Compiled:
    """A circuit in the device's own gates, on its own qubits; `layout[i]` is where program qubit i is measured."""

    circuit: QuantumCircuit
    layout: tuple[int, ...]

    def values_of(self, sheet: Sheet) -> np.ndarray[Any, Any] | None:
        """The sheet's values in the order of the circuit's parameters, shape (programs, parameters); None without."""
        if sheet.values is None:
            return None
        return sheet.values[:, [int(parameter.name[len(_PARAMETER) :]) for parameter in self.circuit.parameters]]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What runs: size, gates, which physical qubits; and the circuit itself as OpenQASM 3 if it is not long."""
        found: dict[str, Any] = {
            "depth": self.circuit.depth(),
            "gates": {str(name): int(n) for name, n in self.circuit.count_ops().items()},
            "layout": list(self.layout),
        }
        if len(self.circuit.data) <= _TEXT_STEPS:
            from qiskit import qasm3

            text = qasm3.dumps(self.circuit)
            if len(text) <= _TEXT_CAP:
                found["openqasm3"] = text
        return found


class Compiler:
    """Compiles for one account's devices and remembers results, so that a second attempt is quick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._managers: dict[str, Any] = {}
        self._kept: OrderedDict[str, Compiled] = OrderedDict()

    def compile(self, sheet: Sheet, backend: Any, options: Mapping[str, Any], *, measured: bool) -> Compiled:
        """The sheet's circuit for `backend`; without its measurements unless `measured`.

        Raises Refused if it does not fit.
        """
        level = int(options.get("optimization_level", 2))
        seed = int(options.get("seed_transpiler", SEED))
        place = digest(sheet.digest, backend.name, level, seed, options.get("initial_layout"), measured)
        fractional = bool(options.get("use_fractional_gates", False))
        with self._lock:
            found = self._kept.get(f"{place}/{fractional}")
            if found is None:
                manager = self._manager(backend, level, seed, options.get("initial_layout"), fractional=fractional)
                found = _compiled(sheet, manager, backend.name, measured=measured)
                self._kept[f"{place}/{fractional}"] = found
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return found

    def _manager(self, backend: Any, level: int, seed: int, layout: Any, *, fractional: bool) -> Any:
        name = f"{backend.name}/{level}/{seed}/{layout}/{fractional}"
        if name not in self._managers:
            # rzz angles outside [0, pi/2] are folded by IBM's own translation stage
            stage: dict[str, Any] = {"translation_method": "ibm_fractional"} if fractional else {}
            self._managers[name] = generate_preset_pass_manager(
                optimization_level=level, target=backend.target, seed_transpiler=seed, initial_layout=layout, **stage
            )
        return self._managers[name]


def _compiled(sheet: Sheet, manager: Any, device: str, *, measured: bool) -> Compiled:
    program, circuit = sheet.shape, opened(sheet)
    circuit = flat(circuit) if measured else circuit.remove_final_measurements(inplace=False)
    try:
        isa = manager.run(circuit)
    except (TranspilerError, ValueError) as error:
        raise Refused(f"{program.name} cannot be compiled for {device}: {str(error)[:300]}", provider="ibm") from None
    layout = tuple(isa.layout.final_index_layout()) if isa.layout is not None else tuple(range(program.n_qubits))
    return Compiled(isa, layout)


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
    """The fixed angle, or the parameter of that number, made at its first use."""
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
