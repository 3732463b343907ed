"""Runs IBM's programs in the worker process: sampler, estimator and executor. Heavy imports wait for the first job."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from qflows.sandbox.errors import WorkError
from qflows.sandbox.ibm import codec, isa, mitigate
from qflows.sandbox.ibm.simulate import Bits, Device, shots_of
from qflows.sandbox.ibm.submission import primitive_shots

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

SPAN_S = 0.01


def run_sampler(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute sampler PUBs. Returns the text of a PrimitiveResult: one BitArray per classical register."""
    params, device = payload["params"], _device(payload)
    plain = not params.get("support_qiskit")
    level = ((params.get("options") or {}).get("execution") or {}).get("meas_type", "classified")
    results, sizes = [], []
    for index, (pub, shots) in enumerate(zip(params["pubs"], primitive_shots(params, "sampler"), strict=True)):
        circuit = codec.read_circuit(pub[0])
        isa.check(circuit, payload["backend"])
        isa.check_twirling(circuit, params)
        values = codec.read_array(pub[1] if len(pub) > 1 else None)
        shape = values.shape[:-1] if circuit.num_parameters else ()
        bound = list(_bound(circuit, values))
        bits = _sampled(bound, shots, device, payload, index).reshape(*shape, shots, circuit.num_clbits)
        registers = {name: bits[..., places] for name, places in _registers(circuit).items()}
        if plain:
            samples = {name: {"samples": _hex(rows), "num_bits": rows.shape[-1]} for name, rows in registers.items()}
            results.append({"data": samples, "metadata": {"circuit_metadata": {}}})
            continue
        fields = {name: _readout(rows, level, device.seed + index) for name, rows in registers.items()}
        results.append(_pub("SamplerPubResult", codec.data_bin(fields, shape), {"circuit_metadata": {}}))
        sizes.append((shape, shots))
    metadata: dict[str, Any] = {"version": 2}
    if payload["has_infinity"]:
        metadata["load"] = math.inf
    if plain:
        return {"text": json.dumps({"results": results, "metadata": metadata})}
    metadata["execution"] = {"execution_spans": codec.spans(sizes, payload["started"], SPAN_S)}
    return {"text": codec.primitive_result(results, metadata)}


def _hex(rows: np.ndarray[Any, Any]) -> list[str]:
    """Samples for a client that decodes them itself: hex, clbit 0 lowest."""
    flat = rows.reshape(-1, rows.shape[-1])
    return [hex(int("".join("1" if bit else "0" for bit in row[::-1]) or "0", 2)) for row in flat]


def _readout(bits: np.ndarray[Any, Any], level: str, seed: int) -> dict[str, Any]:
    """Bits, or the signals they were read from: one complex number per shot and qubit, or their means."""
    if level == "classified":
        return codec.bit_array(bits)
    return codec.write_array(mitigate.signals(bits, level, seed))


def run_estimator(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute estimator PUBs: gate noise, and sampling error per the precision; resilience 0 keeps readout errors."""
    params, device = payload["params"], _device(payload)
    plan = mitigate.plan_of(params)
    rng = np.random.default_rng(device.seed)
    results = []
    for pub, shots in zip(params["pubs"], primitive_shots(params, "estimator"), strict=True):
        circuit = codec.read_circuit(pub[0])
        isa.check(circuit, payload["backend"])
        isa.check_twirling(circuit, params)
        values = codec.read_array(pub[2] if len(pub) > 2 else None)
        sweep = values.shape[:-1] if circuit.num_parameters else ()
        bound = np.empty(sweep, dtype=object)
        for place, one in zip(np.ndindex(sweep), _bound(circuit, values), strict=True):
            bound[place] = one
        observables = _observables(pub[1])
        isa.check_observables(observables, circuit.num_qubits)
        circuits, wanted = (cast(Any, array) for array in np.broadcast_arrays(bound, observables))
        arrays = mitigate.estimate(circuits, wanted, shots, device, rng, plan)
        fields = {name: codec.write_array(array) for name, array in arrays.items()}
        metadata = {"shots": shots, "target_precision": 1 / math.sqrt(shots), "circuit_metadata": {}}
        results.append(_pub("PubResult", codec.data_bin(fields, circuits.shape), metadata))
    return {"text": codec.primitive_result(results, {"version": 2, "resilience": {}})}


def run_executor(payload: dict[str, Any]) -> dict[str, Any]:
    """Execute a quantum program, schema v2.0, decoded with IBM's own schema package."""
    from ibm_quantum_schemas.common import CompressedTensorModel
    from ibm_quantum_schemas.executor.version_2_0 import ParamsModel

    params = payload["params"]
    if params.get("schema_version") != "v2.0":
        raise WorkError("1230", f"this sandbox runs schema v2.0, not {params.get('schema_version')}")
    model = ParamsModel(**params).quantum_program
    level = params["quantum_program"].get("meas_level") or "classified"
    device, data, shapes = _device(payload), [], []
    for index, (circuit, item) in enumerate(zip(model.circuits.to_python(), model.items, strict=True)):
        isa.check(circuit, payload["backend"])
        found: dict[str, np.ndarray[Any, Any]] = {}
        if item.item_type == "samplex":
            found = _samplex_draws(item, np.random.default_rng(device.seed + index))
            values = found.pop("parameter_values")
        else:
            values = item.circuit_arguments.to_numpy()
        shape = values.shape[:-1] if circuit.num_parameters else tuple(getattr(item, "shape", ()) or ())
        bound = list(_bound(circuit, values)) if circuit.num_parameters else [circuit] * math.prod(shape)
        shapes.append(shape)
        bits = _sampled(bound, model.shots, device, payload, index).reshape(*shape, model.shots, circuit.num_clbits)
        registers = {name: bits[..., places] for name, places in _registers(circuit).items()}
        if level != "classified":
            registers = {name: mitigate.signals(rows, level, device.seed + index) for name, rows in registers.items()}
        found |= registers
        results = {name: CompressedTensorModel.from_numpy(np.ascontiguousarray(v)) for name, v in found.items()}
        data.append(
            {
                "results": {name: tensor.model_dump(mode="json") for name, tensor in results.items()},
                "metadata": {"scheduler_timing": None, "stretch_values": None},
            }
        )
    program = params["quantum_program"]
    body = {
        "schema_version": "v2.0",
        "data": data,
        "metadata": {"chunk_timing": _timing(payload["started"], shapes)},
        "passthrough_data": program.get("passthrough_data"),
        "semantic_role": program.get("semantic_role"),
    }
    return {"text": json.dumps(body)}


def _timing(started: float, shapes: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    """When each part ran: one chunk per item, in sequence."""
    moments = [datetime.fromtimestamp(started + i * SPAN_S, UTC).isoformat() for i in range(len(shapes) + 1)]
    found = []
    for index, (shape, start, stop) in enumerate(zip(shapes, moments, moments[1:], strict=False)):
        size = math.prod(shape)
        order = list(range(len(shape)))
        part = {"idx_item": index, "size": size, "permutation": order, "element_range": [0, size, 1]}
        found.append({"start": start, "stop": stop, "parts": [part]})
    return found


def _samplex_draws(item: Any, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    """Random values of a samplex, shape (*item shape, ...): parameters, and flips to undo in the client.

    Axes along which the arguments vary are walked; the others are randomisations.
    """
    from ibm_quantum_schemas.common import CompressedTensorModel, PauliLindbladMapModel

    samplex = item.samplex.to_samplex()
    samplex.finalize()
    arguments = samplex.inputs().make_broadcastable()
    for name, value in item.samplex_arguments.items():
        if isinstance(value, CompressedTensorModel):
            arguments[name] = value.to_numpy()
        elif isinstance(value, PauliLindbladMapModel):
            arguments[name] = value.to_pauli_lindblad_map()
        else:
            arguments[name] = value
    shape = tuple(item.shape)
    padded = (1,) * (len(shape) - arguments.ndim) + tuple(arguments.shape)
    drawn = math.prod(size for size, given in zip(shape, padded, strict=True) if given <= 1)
    random_shape = tuple(size for size, given in zip(shape, padded, strict=True) if given <= 1)
    output: dict[str, np.ndarray[Any, Any]] = {}
    walked = [size if given > 1 else 1 for size, given in zip(shape, padded, strict=True)]
    for place in np.ndindex(*walked):
        own = place[len(shape) - arguments.ndim :]
        sampled = dict(samplex.sample(arguments[own], num_randomizations=drawn, rng=rng))
        target = tuple(at if given > 1 else slice(None) for at, given in zip(place, padded, strict=True))
        for name, drawn_values in sampled.items():
            value = np.asarray(drawn_values)
            whole = output.setdefault(name, np.empty((*shape, *value.shape[1:]), dtype=value.dtype))
            whole[target] = value.reshape(*random_shape, *value.shape[1:])
    return output


def _device(payload: dict[str, Any]) -> Device:
    snapshot = payload["snapshot"] if payload["is_noisy"] else None
    return Device(snapshot, payload["limit"], payload["seed"], frozenset(payload["keeps"]))


def _sampled(
    circuits: Sequence[QuantumCircuit], shots: int, device: Device, payload: dict[str, Any], index: int
) -> Bits:
    """(circuits, shots, clbits). A mock device answers at random, like a dry run (client docstring)."""
    n_clbits = circuits[0].num_clbits if circuits else 0
    if payload["is_mock"]:
        rng = np.random.default_rng(device.seed + index)
        return rng.integers(0, 2, (len(circuits), shots, n_clbits)).astype(bool)
    seeded = replace(device, seed=(device.seed + 7919 * index) % 2**31)
    return np.stack(shots_of(circuits, shots, seeded)) if circuits else np.zeros((0, shots, 0), dtype=bool)


def _bound(circuit: QuantumCircuit, values: np.ndarray[Any, Any]) -> Iterator[QuantumCircuit]:
    """The circuit for every element of the sweep, C order; columns follow `circuit.parameters`."""
    if not circuit.num_parameters:
        isa.check_angles(circuit)
        yield circuit
        return
    if values.shape[-1:] != (circuit.num_parameters,):
        raise WorkError("1230", f"{circuit.num_parameters} parameters, values of shape {values.shape}")
    for row in values.reshape(-1, circuit.num_parameters):
        bound = circuit.assign_parameters(list(map(float, row)))
        isa.check_angles(bound)
        yield bound


def _registers(circuit: QuantumCircuit) -> dict[str, list[int]]:
    index = {bit: i for i, bit in enumerate(circuit.clbits)}
    return {register.name: [index[bit] for bit in register] for register in circuit.cregs}


def _pub(kind: str, data: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    return {"__type__": kind, "__value__": {"data": data, "metadata": metadata}}


def _observables(value: Any) -> np.ndarray[Any, Any]:
    """Nested lists of {label: coefficient} as an array of objects."""
    inner = value["__value__"] if isinstance(value, dict) and value.get("__type__") == "ObservablesArray" else value
    shape, level = [], inner
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else {}
    array = np.empty(tuple(shape), dtype=object)
    for place in np.ndindex(*shape):
        leaf = inner
        for i in place:
            leaf = leaf[i]
        array[place] = leaf
    return array
