"""What a device is chosen for, from a call's own arguments: a name for the call, and its jobs on each candidate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from qflows.core import orders
from qflows.core.choice.deciding import Asked
from qflows.core.devices import Device
from qflows.errors import ProgramRejected
from qflows.programs import Program, grid, to_program
from qflows.protocol import JobSpec

_LAYOUT = (
    "values",
    "observables",
    "options",
    "max_circuits",
    "as_batch",
    "mitigate",
    "compile",
    "physical_qubits",
    "reference",
)


def layout(target: Device, programs: Any, shots: Any, wishes: Mapping[str, Any]) -> list[JobSpec]:
    """The jobs of a program, or of a list of them as a batch, on a device; nothing is recorded or sent."""
    given = {name: wishes[name] for name in _LAYOUT if wishes.get(name) is not None}
    if given.get("mitigate") and not isinstance(programs, list):
        values, wanted = given.pop("values", None), orders.listed_observables(given.pop("observables", None))
        programs, given["observables"] = [to_program(programs, values)], list(wanted) or None
    if is_batch(programs):
        return [spec for _, spec in orders.batch_plan(target, programs, shots=shots, **given).specs]
    for name in ("max_circuits", "as_batch", "mitigate", "reference"):
        given.pop(name, None)
    return orders.job_specs(target, programs, shots=cast("int | None", shots), **given)


def is_batch(programs: Any) -> bool:
    """True for what `qflows.batch` takes as a list or a sweep."""
    return isinstance(programs, list)


def for_programs(programs: Any, shots: Any, wishes: Mapping[str, Any], *, label: str = "") -> Asked:
    """For one program, or a list of them."""
    named = [wishes.get(name) for name in ("observables", "options")]
    content = [label, _digests(programs, wishes), repr(shots), *(_text(one) for one in named)]
    return Asked(content, lambda target: layout(target, programs, shots, wishes))


def for_each(programs: Sequence[Any], shots: Any, wishes: Mapping[str, Any], *, label: str = "") -> Asked:
    """For programs that are bought as separate jobs."""
    content = ["each", label, _digests(list(programs), wishes), repr(shots), _text(wishes.get("options"))]
    return Asked(content, lambda target: [s for one in programs for s in layout(target, one, shots, wishes)])


def for_sweep(programs: Any, shots: Any, wishes: Mapping[str, Any], *, label: str = "") -> Asked:
    """For what `qflows.batch` takes, including (circuit, values)."""
    given = {name: wishes[name] for name in _LAYOUT[1:] if wishes.get(name) is not None}

    def specs(target: Device) -> list[JobSpec]:
        return [spec for _, spec in orders.batch_plan(target, programs, shots=shots, **given).specs]

    listed, _ = grid.read(programs, wishes.get("observables"))
    named = [wishes.get(name) for name in ("observables", "options")]
    content = [label, [_digest(one) for one in listed], repr(shots), *(_text(one) for one in named)]
    return Asked(content, specs)


def for_a_place(*names: Any) -> Asked:
    """For a session or a loop whose programs are not known."""
    return Asked(["place", *(_text(one) for one in names)])


def _digests(programs: Any, wishes: Mapping[str, Any]) -> list[str]:
    listed: Sequence[Any] = programs if isinstance(programs, list) else [programs]
    return [_digest(one, wishes.get("values")) for one in listed]


def _digest(source: Any, values: Any = None) -> str:
    if isinstance(source, Program):
        return source.digest
    try:
        return to_program(source, values).digest
    except ProgramRejected:  # a vendor's own format, or nothing that can run: each candidate reports that itself
        return _text(source)


def _text(value: Any) -> str:
    if isinstance(value, Iterator):
        raise ProgramRejected("a rule reads the programs once per candidate; pass a list, not an iterator")
    if hasattr(value, "tolist"):
        value = value.tolist()
    return json.dumps(value, sort_keys=True, default=str)
