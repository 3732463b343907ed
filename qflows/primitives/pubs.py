"""Checks of what a primitive or a backend is given, before anything is recorded or sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, TypeVar

from qiskit import QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.primitives import DataBin

from qflows.core.arguments import shown
from qflows.core.orders import whole
from qflows.primitives.errors import PubRejected, also_qiskit

Pub = TypeVar("Pub")


def read_pubs(pubs: Any, coerce: Callable[[Any], Pub], kind: str, form: str) -> list[Pub]:
    """Every PUB of the list by `coerce`; `form` shows how to write one. Raises PubRejected naming the wrong one.

    `kind`: Sampler or Estimator, for the words by which Qiskit's own errors begin. Its message about a PUB whose parts
    do not fit is left unchanged; a note says which one it is.
    """
    said = f"An invalid {kind} pub-like was given:"
    if isinstance(pubs, QuantumCircuit):
        raise PubRejected(f"{said} run takes a list of PUBs, not one circuit; write run([{form}])")
    if isinstance(pubs, str | bytes) or not isinstance(pubs, Iterable):
        raise PubRejected(f"{said} run takes a list of PUBs, not {_said(pubs)}; write run([{form}])")
    return [_coerced(_checked(pub, place, form), place, coerce, form) for place, pub in enumerate(pubs)]


def _coerced(pub: Any, place: int, coerce: Callable[[Any], Pub], form: str) -> Pub:
    try:
        return coerce(pub)
    except (QiskitError, TypeError, ValueError) as error:
        error.add_note(f"PUB {place} does not fit; write {form}")
        raise


def circuits_of(run_input: Any) -> list[QuantumCircuit]:
    """The circuits for a backend's `run`: one, or several. Raises PubRejected."""
    if isinstance(run_input, QuantumCircuit):
        return [run_input]
    if isinstance(run_input, str | bytes) or not isinstance(run_input, Iterable):
        raise PubRejected(f"a backend runs a QuantumCircuit or a list of them, not {_said(run_input)}")
    circuits = list(run_input)
    for place, one in enumerate(circuits):
        if not isinstance(one, QuantumCircuit):
            raise PubRejected(
                f"circuit {place} is {_said(one)}; a backend runs Qiskit's circuits, qflows.batch takes other programs"
            )
    return circuits


def check_registers(circuit: QuantumCircuit, place: int) -> None:
    """Raise PubRejected for a register that results could not show: Qiskit's container has no field of that name."""
    for register in circuit.cregs:
        try:
            DataBin(**{register.name: 0}, shape=())
        except (TypeError, ValueError):
            raise PubRejected(
                f"PUB {place}: Qiskit's results have no field for a register named {register.name!r}; rename it"
            ) from None


def checked_shots(shots: Any) -> int:
    """A number of shots. Raises PubRejected for anything but a whole number of at least 1."""
    with also_qiskit():
        found = whole(shots)
    if found is None or found < 1:
        raise PubRejected(f"shots must be a whole number of at least 1, not {shots!r}")
    return found


def checked_precision(precision: Any, place: int | None = None) -> float:
    """A target precision. Raises PubRejected for anything but a finite number of at least 0."""
    if isinstance(precision, Real) and not isinstance(precision, bool) and 0 <= float(precision) < math.inf:
        return float(precision)
    where = "" if place is None else f"PUB {place}: "
    raise PubRejected(f"{where}precision is a standard error, a finite number of at least 0, not {shown(precision)}")


def _checked(pub: Any, place: int, form: str) -> Any:
    if isinstance(pub, int | float | complex | str | bytes | dict | None):
        raise PubRejected(f"PUB {place} is {_said(pub)}; write {form}")
    return pub


def _said(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) < 40 else f"of type {type(value).__name__}"
