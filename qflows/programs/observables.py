"""Pauli observables: canonical form, qubit-wise measurement groups, and the circuits that measure them.

Labels are read like kets: the rightmost character acts on qubit 0, and so does the rightmost bit of a counts key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsComplex, cast

from qflows.errors import ProgramRejected

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

Term = tuple[str, float]
MEASURE_REGISTER = "m"
# operators built by arithmetic carry rounding errors in the imaginary part; more than this, relative to the largest, is
# a mistake
_IMAGINARY_DUST = 1e-12
_LARGEST = 1e150  # coefficient: variances hold its square
# projectors on 0, 1, +, -, r and l; each is a sum of two Pauli strings, so that a term of n of them has 2**n
_PROJECTORS = frozenset("01+-rl")
_MAX_PROJECTED = 1 << 16
_X_BITS = str.maketrans("IXYZ", "0110")
_Z_BITS = str.maketrans("IXYZ", "0011")


@dataclass(frozen=True)
class Observable:
    """A Hermitian sum of Pauli strings: labels unique and sorted, zeros dropped, coefficients real and finite.

    Build it with `observable()`. The zero operator keeps one identity term of coefficient 0, so that the width is
    always known. Equal operators are equal values, whatever order their terms came in.
    """

    terms: tuple[Term, ...]

    @property
    def n_qubits(self) -> int:
        return len(self.terms[0][0])

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def to_json(self) -> list[list[str]]:
        """`[[label, coefficient as float.hex], ...]`: exact, and the same text for equal operators."""
        return [[label, coeff.hex()] for label, coeff in self.terms]

    @classmethod
    def from_json(cls, value: Iterable[Sequence[str]]) -> Observable:
        """The observable that `to_json` wrote. Raises ProgramRejected on anything else."""
        try:
            pairs = [(label, float.fromhex(coeff)) for label, coeff in value]
        except (TypeError, ValueError, OverflowError) as error:
            raise ProgramRejected(f"not an observable in JSON: {error}; write it with Observable.to_json") from None
        return observable(pairs)


def observable(source: object) -> Observable:
    """The canonical form of `source`.

    Takes an Observable, one label (`"ZZ"`, coefficient 1), a list of (label, coefficient), a mapping of label to
    coefficient, or qiskit's `Pauli`, `SparsePauliOp` and `SparseObservable`. Rightmost character = qubit 0. Labels may
    hold qiskit's letters of projectors: `"0Z"` is (I + Z)/2 on qubit 1 and Z on qubit 0.
    Raises ProgramRejected for a bad label, unequal widths, no terms, and coefficients that are complex, not finite,
    or still hold parameters.
    """
    if isinstance(source, Observable):
        source = source.terms
    collected: dict[str, list[complex]] = {}
    for label, coeff in _without_projectors(_pairs(source)):
        _check_label(label)
        collected.setdefault(label, []).append(_number(label, coeff))
    widths = sorted({len(label) for label in collected})
    if not widths:
        raise ProgramRejected("an observable needs at least one term; for zero give [('I', 0.0)]")
    if len(widths) > 1:
        raise ProgramRejected(f"labels of one observable have different lengths {widths}; pad with I")
    # fsum is correctly rounded, hence independent of the order in which equal labels were given
    real = {label: math.fsum(c.real for c in coeffs) for label, coeffs in collected.items()}
    _refuse_imaginary(collected)
    kept = tuple((label, value) for label, value in sorted(real.items()) if value != 0.0)
    return Observable(kept or (("I" * widths[0], 0.0),))


def unwrapped(source: Any) -> Any:
    """Qiskit's and NumPy's arrays of observables as nested lists; anything else as it is."""
    kind = type(source).__name__
    if kind in ("ObservablesArray", "ndarray"):  # without importing them
        return source.tolist()
    if kind == "PauliList":
        return list(source)
    return [unwrapped(part) for part in source] if type(source) is list else source


def _pairs(source: object) -> list[tuple[str, object]]:
    if isinstance(source, str):
        return [(source, 1.0)]
    if isinstance(source, Mapping):
        return list(source.items())
    if hasattr(source, "paulis") and hasattr(source, "to_list"):  # SparsePauliOp
        labels: list[str] = cast(Any, source).paulis.to_labels()
        return list(zip(labels, cast(Any, source).coeffs, strict=True))
    if hasattr(source, "bit_terms") or hasattr(source, "to_label"):  # SparseObservable, Pauli
        from qiskit.quantum_info import SparsePauliOp

        if not hasattr(source, "bit_terms"):
            return _pairs(SparsePauliOp(cast(Any, source)))
        _check_projected(term.bit_labels() for term in cast(Any, source))
        return _pairs(SparsePauliOp.from_sparse_observable(cast(Any, source)))
    try:
        listed = list(cast(Any, source))
        if any(isinstance(part, str) for part in listed):
            raise ProgramRejected(
                f"{str(listed)[:60]} is a list of labels; an observable of several terms has coefficients: "
                "[('ZZ', 0.5), ('XX', 0.5)]"
            )
        return [(label, coeff) for label, coeff in listed]
    except (TypeError, ValueError):
        wanted = "give a SparsePauliOp, a label such as 'ZZ', or a list of (label, coefficient)"
        raise ProgramRejected(f"cannot read an observable from {type(source).__name__}; {wanted}") from None


def _without_projectors(pairs: list[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """The terms, those with projectors as sums of Pauli strings."""
    _check_projected(label for label, _ in pairs if isinstance(label, str))
    for label, coeff in pairs:
        if not isinstance(label, str) or _PROJECTORS.isdisjoint(label) or set(label) - _PROJECTORS - set("IXYZ"):
            yield label, coeff
            continue
        from qiskit.quantum_info import SparseObservable, SparsePauliOp

        scale = _number(label, coeff)
        whole: Any = SparsePauliOp.from_sparse_observable(SparseObservable.from_label(label))
        for name, part in zip(whole.paulis.to_labels(), whole.coeffs.tolist(), strict=True):
            yield name, scale * part


def _check_projected(labels: Iterable[str]) -> None:
    """Raise ProgramRejected for so many projectors that their Pauli strings would fill the memory."""
    n = sum(2 ** min(k, 64) for k in (sum(map(label.count, _PROJECTORS)) for label in labels) if k)
    if n > _MAX_PROJECTED:
        raise ProgramRejected(
            f"the projectors of this observable stand for {n:.3g} Pauli strings, {_MAX_PROJECTED} are allowed; measure "
            "all qubits and count the outcomes instead"
        )


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label or set(label) - set("IXYZ"):
        raise ProgramRejected(f"bad Pauli label {str(label)[:80]!r}; use the letters I X Y Z, rightmost = qubit 0")


def _number(label: str, coeff: object) -> complex:
    try:
        value = complex(cast(SupportsComplex, coeff))
    except (TypeError, ValueError, OverflowError):
        raise ProgramRejected(f"the coefficient of {label} is not a number; bind its parameters first") from None
    if isinstance(coeff, str) or not (math.isfinite(value.real) and math.isfinite(value.imag)):
        raise ProgramRejected(f"the coefficient of {label} is not a finite number")
    if abs(value) > _LARGEST:
        raise ProgramRejected(f"the coefficient of {label} is above {_LARGEST:g}; its square would not be a number")
    return value


def _refuse_imaginary(collected: Mapping[str, list[complex]]) -> None:
    scale = max(abs(c) for coeffs in collected.values() for c in coeffs)
    for label, coeffs in collected.items():
        imaginary = math.fsum(c.imag for c in coeffs)
        if abs(imaginary) > _IMAGINARY_DUST * scale:
            raise ProgramRejected(
                f"the coefficient of {label} has imaginary part {imaginary:g}; an observable is Hermitian, "
                "so measure the real and the imaginary part as two observables"
            )


@dataclass(frozen=True)
class Member:
    """One Pauli term of one observable; `observable` is its position in the list that was grouped."""

    label: str
    coeff: float
    observable: int = 0


@dataclass(frozen=True)
class Group:
    """Terms that share one measurement setting. `basis` holds X, Y or Z per needed qubit and I elsewhere."""

    basis: str
    members: tuple[Member, ...]

    @property
    def needs_measurement(self) -> bool:
        """False only for a group of identities: its value is known without a job."""
        return bool(self.basis.strip("I"))


def group_qubitwise(observables: object) -> tuple[Group, ...]:
    """Measurement groups in which all terms agree qubit by qubit.

    `observables` is one observable (anything `observable()` reads) or a list of `Observable`, which then share
    settings. Greedy by falling weight (Crawford et al., Quantum 5, 385 (2021): heavy terms measured together have the
    smaller error), ties by label, so equal input gives equal groups. Identity terms go into the first group.
    """
    listed = _listed(observables)
    if len({item.n_qubits for item in listed}) > 1:
        raise ProgramRejected("observables of one measurement act on different numbers of qubits; pad with I")
    by_label: dict[str, list[Member]] = {}
    for place, item in enumerate(listed):
        for label, coeff in item:
            by_label.setdefault(label, []).append(Member(label, coeff, place))
    identity = by_label.pop("I" * listed[0].n_qubits, [])
    order = sorted(by_label, key=lambda label: (-math.fsum(abs(m.coeff) for m in by_label[label]), label))
    bases: list[tuple[int, int]] = []
    groups: list[list[Member]] = []
    for label in order:
        x, z = masks(label)
        for place, (basis_x, basis_z) in enumerate(bases):
            shared = (x | z) & (basis_x | basis_z)
            if not ((x ^ basis_x) | (z ^ basis_z)) & shared:
                bases[place] = (x | basis_x, z | basis_z)
                groups[place] += by_label[label]
                break
        else:
            bases.append((x, z))
            groups.append(list(by_label[label]))
    width = listed[0].n_qubits
    if not groups:
        return (Group("I" * width, tuple(identity)),)
    groups[0] += identity
    letters = ["".join("IXZY"[(x >> q & 1) + 2 * (z >> q & 1)] for q in reversed(range(width))) for x, z in bases]
    return tuple(Group(basis, tuple(members)) for basis, members in zip(letters, groups, strict=True))


def _listed(value: object) -> Sequence[Observable]:
    several = isinstance(value, list | tuple) and value and all(isinstance(item, Observable) for item in value)
    return cast(Sequence[Observable], value) if several else [observable(value)]


def masks(label: str) -> tuple[int, int]:
    """(x, z) bit masks of a label; bit q belongs to qubit q, and Y sets both."""
    return int(label.translate(_X_BITS), 2), int(label.translate(_Z_BITS), 2)


def basis_rotations(basis: str) -> list[tuple[str, int]]:
    """(gate, qubit) pairs, in the order to apply, after which a Z measurement of each qubit reads `basis`.

    Gates are `h` and `sdg`, named as in OpenQASM. Measure every qubit q into bit q afterwards: counts keys are
    n_qubits wide, and qubits where `basis` has I are ignored.
    """
    _check_label(basis)
    gates = {"X": ("h",), "Y": ("sdg", "h")}
    return [(gate, qubit) for qubit, letter in enumerate(reversed(basis)) for gate in gates.get(letter, ())]


def measurement_circuit(state: QuantumCircuit, basis: str) -> QuantumCircuit:
    """`state` followed by the rotations of `basis` and a measurement of all qubits into one register `m`.

    `state` must have no classical bits and as many qubits as `basis` has letters; it is not changed.
    """
    from qiskit import ClassicalRegister

    if state.num_qubits != len(basis) or state.num_clbits:
        has = f"{state.num_qubits} qubits and {state.num_clbits} classical bits"
        raise ProgramRejected(f"the state circuit has {has}; it needs {len(basis)} qubits and none measured")
    circuit = state.copy()
    circuit.add_register(ClassicalRegister(len(basis), MEASURE_REGISTER))
    for gate, qubit in basis_rotations(basis):
        getattr(circuit, gate)(qubit)
    circuit.measure(range(len(basis)), range(len(basis)))
    return circuit
