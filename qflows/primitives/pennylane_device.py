"""A device of qflows for PennyLane: `qml.device("qflows", device="ionq-simulator", wires=2, run_key="study")`.

All circuits that PennyLane requests at once, such as those of a gradient, are one batch, bought once and adopted on
replay. Written for the device API of PennyLane 0.45; installed by the extra `qflows[pennylane]`.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.preprocess import (
    decompose,
    measurements_from_samples,
    validate_device_wires,
    validate_measurements,
    validate_observables,
)
from pennylane.exceptions import DeviceError
from pennylane.transforms import (
    broadcast_expand,
    defer_measurements,
    diagonalize_measurements,
    split_non_commuting,
)

from qflows.core.client import Client
from qflows.core.sessions import Session
from qflows.model import ItemResult
from qflows.primitives.bits import keys_of_shots
from qflows.primitives.origin import Origin, by_shots
from qflows.primitives.replay import OnChange
from qflows.programs import Program
from qflows.programs.program import seal

_GATES = {
    "Identity": "id", "PauliX": "x", "PauliY": "y", "PauliZ": "z", "Hadamard": "h", "S": "s", "T": "t", "SX": "sx",
    "Adjoint(S)": "sdg", "Adjoint(T)": "tdg", "Adjoint(SX)": "sxdg", "CNOT": "cx", "CY": "cy", "CZ": "cz", "CH": "ch",
    "SWAP": "swap", "ISWAP": "iswap", "ECR": "ecr", "RX": "rx", "RY": "ry", "RZ": "rz", "PhaseShift": "p",
    "CRX": "crx", "CRY": "cry", "CRZ": "crz", "ControlledPhaseShift": "cp", "IsingXX": "rxx", "IsingYY": "ryy",
    "IsingZZ": "rzz", "U3": "u", "Toffoli": "ccx", "CSWAP": "cswap", "CCZ": "ccz",
}  # fmt: skip
_OBSERVABLES = frozenset(
    {"Identity", "PauliX", "PauliY", "PauliZ", "Hadamard", "Prod", "Sum", "SProd", "LinearCombination"}
)
_READ = (
    qml.measurements.ExpectationMP,
    qml.measurements.VarianceMP,
    qml.measurements.ProbabilityMP,
    qml.measurements.CountsMP,
    qml.measurements.SampleMP,
)


@simulator_tracking
@single_tape_support
class QflowsDevice(Device):
    """A device of qflows behind PennyLane's interface.

    `device`: name of a device as for `qflows.run`. `wires`: number of wires or their names; `shots`: of circuits
    without their own; None evaluates exactly, if the device can. `run_key`, `label`, `options`, `session`, `tags`,
    `on_change`, `client`: as for `qflows.primitives.SamplerV2`. Takes expectation values and variances of Pauli
    operators, probabilities, counts and samples; observables that are not Pauli operators, such as Hermitian and
    Projector, are refused.
    """

    name = "qflows"

    def __init__(
        self,
        device: str,
        wires: Any = None,
        shots: int | None = None,
        *,
        run_key: str | None = None,
        label: str = "pennylane",
        options: Mapping[str, Any] | None = None,
        session: Session | None = None,
        tags: Mapping[str, str] | None = None,
        on_change: OnChange | None = None,
        client: Client | None = None,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        self._origin = Origin(device, run_key, label, dict(options or {}), session, dict(tags or {}), client, on_change)

    @property
    def device(self) -> str:
        """The device's name."""
        return self._origin.device

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> Any:
        """PennyLane's own steps from any tape to circuits that are read in the computational basis."""
        program = _pipeline()
        program.add_transform(validate_device_wires, self.wires, name=self.name)
        program.add_transform(
            validate_measurements, analytic_measurements=_is_read, sample_measurements=_is_read, name=self.name
        )
        program.add_transform(defer_measurements, allow_postselect=False)
        program.add_transform(validate_observables, stopping_condition=_is_taken, name=self.name)
        program.add_transform(decompose, stopping_condition=_has_gate, skip_initial_state_prep=False, name=self.name)
        program.add_transform(broadcast_expand)
        program.add_transform(split_non_commuting)
        program.add_transform(_in_computational_basis)
        return program

    def setup_execution_config(self, config: Any = None, circuit: Any = None) -> Any:
        """Gradients are PennyLane's: parameter shifts, all in one batch."""
        config = config or ExecutionConfig()
        if config.gradient_method == "best":
            return replace(config, gradient_method="parameter-shift")
        return config

    def execute(self, circuits: Any, execution_config: ExecutionConfig | None = None) -> Any:
        """Buy all tapes as one batch, wait, and give PennyLane its numbers."""
        exact = self._origin.target.limits.exact
        programs, shots = [], []
        for tape in circuits:
            total = tape.shots.total_shots
            if total is None and not exact:
                raise DeviceError(f"{self.device} samples; pass shots=1000, or use the device local-exact")
            programs.append(self._program(tape))
            shots.append(total)
        order = by_shots(shots)
        wanted = [programs[place] for place in order if programs[place].n_qubits]
        found: dict[int, ItemResult] = {}
        if wanted:
            planned = self._origin.plan(
                wanted,
                [shots[place] for place in order if programs[place].n_qubits],
                self._origin.options_with_memory(),
            )
            batch = self._origin.buy(planned, {"kind": "pennylane/1"}, f"PennyLane: {len(wanted)} circuits")
            result = batch.result()
            places = [place for place in order if programs[place].n_qubits]
            found = {place: result[at] for at, place in enumerate(places)}
            seed = batch.id
        else:
            seed = ""
        return tuple(
            _read(tape, self._wires_of(tape), found.get(place), f"{seed}/{place}")
            for place, tape in enumerate(circuits)
        )

    def _wires_of(self, tape: Any) -> Any:
        return self.wires if self.wires is not None else tape.wires

    def _program(self, tape: Any) -> Program:
        wires = list(self._wires_of(tape))
        place = {wire: at for at, wire in enumerate(wires)}
        ops: list[list[Any]] = []
        for operation in tape.operations:
            if operation.name == "GlobalPhase":
                continue
            on = [place[wire] for wire in operation.wires]
            if operation.name == "Barrier":
                ops.append(["barrier", [], sorted(on), []])
                continue
            values = [float(qml.math.toarray(value)) for value in operation.data]
            name = _GATES[operation.name]
            if name == "id":
                ops += [["id", [], [qubit], []] for qubit in on]
            else:
                ops.append([name, values, on, []])
        ops += [["measure", [], [qubit], [qubit]] for qubit in range(len(wires))]
        return seal(
            n_qubits=len(wires),
            n_clbits=len(wires),
            registers=[("m", list(range(len(wires))))],
            phase=0.0,
            ops=ops,
            name="tape",
        )


def _pipeline() -> Any:
    """PennyLane's list of transforms, under this version's name for it."""
    core: Any = qml.transforms.core
    return (core.CompilePipeline if hasattr(core, "CompilePipeline") else core.TransformProgram)()


@qml.transform
def _in_computational_basis(tape: Any) -> Any:
    """Measurements as samples of all wires if there are shots, otherwise rotated into the computational basis."""
    if tape.shots:
        return measurements_from_samples(tape)
    (turned,), read = diagonalize_measurements(tape)
    return (turned,), read


def _is_read(measurement: Any) -> bool:
    return isinstance(measurement, _READ) and not isinstance(measurement, qml.measurements.ClassicalShadowMP)


def _is_taken(observable: Any) -> bool:
    operands = getattr(observable, "operands", None)
    if operands is None and isinstance(observable, qml.ops.SProd):
        operands = [observable.base]
    if observable.name not in _OBSERVABLES:
        return False
    return all(_is_taken(one) for one in operands or ())


def _has_gate(operation: Any) -> bool:
    return operation.name in _GATES or operation.name in ("Barrier", "GlobalPhase")


def _read(tape: Any, wires: Any, item: ItemResult | None, seed: str) -> Any:
    """The values of the tape's measurements for the outcome."""
    width = len(wires)
    if tape.shots.total_shots is None:
        chances = np.zeros(2**width)
        for key, chance in ((item.probabilities or {}) if item else {"": 1.0}).items():
            chances[int(key[::-1] or "0", 2)] = chance  # the first wire is PennyLane's most significant
        state = np.sqrt(np.clip(chances, 0, None))  # in the computational basis phases do not matter
        state = state / np.linalg.norm(state)
        found = tuple(one.process_state(state, wires) for one in tape.measurements)
        return found[0] if len(found) == 1 else found
    total = tape.shots.total_shots
    if item is None:
        samples = np.zeros((total, 0), dtype=np.int64)
    else:
        keys = keys_of_shots(item, total, seed)
        text = np.frombuffer("".join(keys).encode("ascii"), dtype=np.uint8).reshape(total, width)
        samples = (text[:, ::-1] & 1).astype(np.int64)
    parts = []
    for low, high in tape.shots.bins():
        found = tuple(one.process_samples(samples[low:high], wires) for one in tape.measurements)
        parts.append(found[0] if len(found) == 1 else found)
    return tuple(parts) if tape.shots.has_partitioned_shots else parts[0]
