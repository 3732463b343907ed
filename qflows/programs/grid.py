"""Shapes of parameter sweeps: an array of points, an array of observables, and how the two broadcast.

The rule is Qiskit's for PUBs (qiskit 2, `BindingsArray`, `EstimatorPub`): values of shape (..., parameters) make points
of shape (...); points and observables broadcast as NumPy arrays do. Flat order is C order everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import TYPE_CHECKING, Any

from qflows.errors import ProgramRejected
from qflows.programs.observables import Observable, observable, unwrapped

if TYPE_CHECKING:
    import numpy as np

_MAX_POINTS = 100_000
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sweep:
    """`shape` of the points; `observables` in C order of `observable_shape`, empty if counts are wanted."""

    shape: Shape
    observables: tuple[Observable, ...] = ()
    observable_shape: Shape | None = None

    @property
    def n_points(self) -> int:
        """Number of circuits to run, before measurement bases."""
        return math.prod(self.shape)

    def wanted(self) -> list[tuple[Observable, ...]]:
        """The observables of every point, each once, in the order of their array."""
        if self.observable_shape is None:
            return [()] * self.n_points
        _, needs = pairing(self.shape, self.observable_shape)
        return [tuple(self.observables[place] for place in sorted(need)) for need in needs]

    def label(self, index: int) -> str:
        """`[1, 2]` for a point, its index as NumPy writes it."""
        import numpy as np

        return str([int(i) for i in np.unravel_index(index, self.shape)]) if self.shape else ""


def pairing(shape: Shape, observable_shape: Shape) -> tuple[np.ndarray[Any, Any], list[set[int]]]:
    """(pairs, needs): `pairs[..., 0]` is the point and `pairs[..., 1]` the observable of an entry of the result, whose
    shape is `pairs.shape[:-1]`; `needs[point]` are its observables. Raises ProgramRejected for other shapes.
    """
    import numpy as np

    try:
        result_shape = np.broadcast_shapes(shape, observable_shape)
    except ValueError:
        raise ProgramRejected(
            f"values of shape {shape} and observables of shape {observable_shape} do not broadcast; for every point "
            "with every observable give the values an axis of length 1: values[..., None, :]"
        ) from None
    points, places = (np.arange(math.prod(s)).reshape(s) for s in (shape, observable_shape))
    pairs = np.stack([np.broadcast_to(points, result_shape), np.broadcast_to(places, result_shape)], axis=-1)
    needs: list[set[int]] = [set() for _ in range(math.prod(shape))]
    for point, place in pairs.reshape(-1, 2).tolist():
        needs[point].add(place)
    return pairs, needs


def read(sources: Any, observables: Any) -> tuple[list[Any], Sweep | None]:
    """(sources of all points, their shape); no shape for a plain list of programs whose counts are wanted.

    `sources`: a list of programs, or one (circuit, values) with values of shape (..., parameters), a mapping of
    parameters to arrays included. Raises ProgramRejected.
    """
    array, observable_shape = _observables(observables)
    if isinstance(sources, tuple) and len(sources) == 2 and hasattr(sources[0], "num_parameters"):
        values = _values(*sources) if not hasattr(sources[1], "num_parameters") else None
        if values is not None:
            shape = values.shape[:-1]
            if not 0 < math.prod(shape) <= _MAX_POINTS:
                raise ProgramRejected(f"a sweep of shape {shape}; there must be 1 to {_MAX_POINTS} points")
            rows = values.reshape(-1, values.shape[-1]).tolist()
            return [(sources[0], row) for row in rows], Sweep(shape, array, observable_shape)
    if not isinstance(sources, list | tuple) or isinstance(sources, str):
        given = "a text" if isinstance(sources, str) else f"one {type(sources).__name__}"
        raise ProgramRejected(
            f"{given} was given where a list is expected; write [circuit], or use qflows.run for one circuit"
        )
    if not sources:
        raise ProgramRejected("a batch needs a list of programs with at least one in it, or one (circuit, values)")
    return list(sources), Sweep((len(sources),), array, observable_shape) if observable_shape is not None else None


def _values(circuit: Any, given: Any) -> np.ndarray[Any, Any] | None:
    """Values of shape (..., parameters), in the order of `circuit.parameters`; None for non-numbers."""
    import numpy as np
    from qiskit.primitives.containers.bindings_array import BindingsArray

    names = [parameter.name for parameter in circuit.parameters]
    try:
        for part in given.values() if isinstance(given, Mapping) else (given,):
            if np.iscomplexobj(part) and np.any(np.imag(part)):  # NumPy would drop it with a warning
                raise TypeError("a value has an imaginary part; give real numbers")
        if isinstance(given, Mapping):
            return BindingsArray.coerce({key: np.real(part) for key, part in given.items()}).as_array(names)
        array = np.asarray(np.real(given), dtype=float)
    except (TypeError, ValueError) as error:
        if isinstance(given, Mapping | np.ndarray):
            raise ProgramRejected(f"values of a sweep of {circuit.name}: {str(error)[:300]}") from None
        return None
    if len(names) == 1 and array.shape[-1:] != (1,):
        array = array[..., None]
    if array.shape[-1:] != (len(names),):
        raise ProgramRejected(
            f"values of shape {array.shape} for {len(names)} parameters of {circuit.name}; the last axis runs over "
            f"the parameters, in the order {names[:6]}"
        )
    return array


def _observables(source: Any) -> tuple[tuple[Observable, ...], Shape | None]:
    if source is None:
        return (), None
    shape: list[int] = []
    source = unwrapped(source)
    level = source
    while not _is_one(level):
        shape.append(len(level))
        if not len(level):
            raise ProgramRejected("observables is an empty list; name at least one")
        level = level[0]
    flat = tuple(observable(one) for one in _leaves(source, len(shape)))
    if len(flat) != math.prod(shape):
        raise ProgramRejected(f"observables: rows of different lengths where shape {tuple(shape)} was expected")
    return flat, tuple(shape)


def _is_one(source: Any) -> bool:
    """True for one observable: everything except arrays, and lists that are not (label, coefficient) pairs."""
    import numpy as np

    if isinstance(source, np.ndarray):
        return source.ndim == 0
    if not isinstance(source, list | tuple) or not source:
        return not isinstance(source, list | tuple)
    first = source[0]
    is_pair = isinstance(first, list | tuple) and len(first) == 2 and isinstance(first[0], str)
    return is_pair and isinstance(first[1], Number)


def _leaves(source: Any, depth: int) -> Iterator[Any]:
    import numpy as np

    if depth == 0:
        yield source
        return
    if _is_one(source) or not isinstance(source, Sequence | np.ndarray):
        raise ProgramRejected("observables: rows of different depths")
    for one in source:
        yield from _leaves(one, depth - 1)
