"""From a spec to the bytes of POST /jobs. Imports the client; makes no request.

Anything that fails here failed before the first byte was sent, so it is a rejection and never a doubt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from qiskit_ibm_runtime.json import RuntimeEncoder

from qflows.errors import ProgramRejected, ProviderError
from qflows.protocol import JobSpec
from qflows.providers.ibm import compile as compiling
from qflows.providers.ibm import decoding, isa, layout, pubs, usage, wire
from qflows.providers.ibm.compile import Compiled, Compiler, Described
from qflows.providers.ibm.layout import Sheet


@dataclass(frozen=True)
class Body:
    """A submission ready to send. `record`: what happened to the programs, JSON."""

    content: bytes
    record: Mapping[str, Any]
    note: str


def body(spec: JobSpec, key: str, backend: Any, compiler: Compiler) -> Body:
    """Compile and encode a spec. Raises ProgramRejected."""
    with _as_rejection():
        sheets, compiled = compile_all(spec, backend, compiler)
        content = json.dumps(_payload(spec, key, backend, sheets, compiled), cls=RuntimeEncoder).encode()
        return Body(content, _record(backend, sheets, compiled), _note(compiled))


@contextmanager
def _as_rejection() -> Iterator[None]:
    """Nothing was sent: any error from Qiskit or the client is a rejection."""
    try:
        yield
    except (ProgramRejected, ProviderError):
        raise
    except Exception as error:
        raise ProgramRejected(
            f"ibm: the job cannot be prepared ({type(error).__name__}): {str(error)[:500]}"
        ) from error


def compile_all(spec: JobSpec, backend: Any, compiler: Compiler) -> tuple[list[Sheet], list[Compiled]]:
    """The circuits as they will run: one for each point of a sweep, or one for all of them."""
    is_counted = not any(spec.observables)
    planned = layout.sheets(spec)
    device = Described.of(backend)
    compiled = [compiler.compile(sheet, device, spec.options, measured=is_counted) for sheet in planned]
    if all(sheet.values is None or one.circuit.parameters for sheet, one in zip(planned, compiled, strict=True)):
        return planned, compiled
    # the compiler found that the sweep has no effect, and a PUB without parameters has no points
    planned = layout.singles(spec)
    return planned, [compiler.compile(sheet, device, spec.options, measured=is_counted) for sheet in planned]


def check_places(spec: JobSpec, backend: Any, compiler: Compiler) -> None:
    """Refuse what cannot run where, or as, it is wanted. Compiles only what may be refused. Raises ProgramRejected."""
    target, pairs = backend.target, isa.pairs(backend.target)
    doubtful = [
        index
        for index, program in enumerate(spec.programs)
        if compiling.is_doubtful(program, spec.options, target, pairs)
    ]
    if doubtful:
        few = replace(
            spec,
            programs=tuple(spec.programs[index] for index in doubtful),
            observables=tuple(spec.observables_of(index) for index in doubtful) if any(spec.observables) else (),
        )
        with _as_rejection():
            compile_all(few, backend, compiler)


def preview(spec: JobSpec, backend: Any, compiler: Compiler) -> tuple[tuple[Any, Mapping[str, Any]], ...]:
    """By program: the circuit that would run, angles in place, and its summary. Raises ProgramRejected."""
    sheets, compiled = compile_all(spec, backend, compiler)
    found: dict[int, tuple[Any, Mapping[str, Any]]] = {}
    for sheet, one in zip(sheets, compiled, strict=True):
        values = one.values_of(sheet)
        for row, index in enumerate(sheet.indices):
            circuit = one.circuit if values is None else one.circuit.assign_parameters(list(values[row]))
            found[index] = (circuit, one.summary)
    return tuple(found[index] for index in range(len(spec.programs)))


def _payload(
    spec: JobSpec, key: str, backend: Any, sheets: Sequence[Sheet], compiled: Sequence[Compiled]
) -> dict[str, Any]:
    """Like the client's own (0.51.0, api/rest/runtime.py)."""
    try:
        if decoding.program_id(spec) == "executor":
            from qflows.providers.ibm import executor

            params, environment = executor.inputs(spec, sheets, compiled, backend)
        else:
            params, environment = pubs.inputs(spec, sheets, compiled)
    except (ValueError, TypeError) as error:
        raise ProgramRejected(f"the IBM client refuses the options: {str(error)[:500]}") from None
    payload: dict[str, Any] = {
        "program_id": decoding.program_id(spec),
        "params": params,
        "log_level": environment.get("log_level"),
        "backend": spec.device_id,
        "session_id": spec.session_id,
        "tags": wire.tags(spec, key),
        "cost": environment.get("max_execution_time") or usage.cap_s(spec, usage.pause_s(backend)),
        "private": spec.options.get("private"),
    }
    return {name: value for name, value in payload.items() if value is not None}


def _record(backend: Any, sheets: Sequence[Sheet], compiled: list[Compiled]) -> Mapping[str, Any]:
    return {
        "compiled": [one.summary for one in compiled],
        "programs": [list(sheet.indices) for sheet in sheets],
        "target": compiling.snapshot(backend, compiled),
    }


def _note(compiled: Sequence[Compiled]) -> str:
    return "; ".join(dict.fromkeys(note for one in compiled for note in one.notes))
