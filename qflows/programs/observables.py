"""Pauli observables: canonical form, qubit-wise measurement groups, and estimates with honest error bars.

Labels are read like kets: the rightmost character acts on qubit 0, and so does the rightmost bit of a counts key.
Every sum runs in a fixed order, so equal counts give the same energy to the last bit, on any day and in any process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, SupportsComplex, cast

import numpy as np
from numpy.typing import NDArray

from qflows.errors import ProgramRejected

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

Term = tuple[str, float]
MEASURE_REGISTER = "m"
# operators built by arithmetic carry imaginary dust; more than this, relative to the largest, is a mistake
_IMAGINARY_DUST = 1e-12
_PROBABILITY_SLACK = 1e-6
_LARGEST = 1e150  # coefficient: variances hold its square
_X_BITS = str.maketrans("IXYZ", "0110")
_Z_BITS = str.maketrans("IXYZ", "0011")
_CACHED_ENTRIES = 1 << 20


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
    coefficient, or qiskit's `Pauli`, `SparsePauliOp` and `SparseObservable`. Rightmost character = qubit 0.
    Raises ProgramRejected for a bad label, unequal widths, no terms, and coefficients that are complex, not finite,
    or still hold parameters.
    """
    if isinstance(source, Observable):
        source = source.terms
    collected: dict[str, list[complex]] = {}
    for label, coeff in _pairs(source):
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

        convert = SparsePauliOp.from_sparse_observable if hasattr(source, "bit_terms") else SparsePauliOp
        return _pairs(convert(cast(Any, source)))
    try:
        return [(label, coeff) for label, coeff in cast(Any, source)]
    except (TypeError, ValueError):
        wanted = "give a SparsePauliOp, a label such as 'ZZ', or a list of (label, coefficient)"
        raise ProgramRejected(f"cannot read an observable from {type(source).__name__}; {wanted}") from None


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
    """One Pauli term of one observable; `observable` is its place in the list that was grouped."""

    label: str
    coeff: float
    observable: int = 0


@dataclass(frozen=True)
class Group:
    """Terms that one measurement setting serves. `basis` holds X, Y or Z per needed qubit and I elsewhere."""

    basis: str
    members: tuple[Member, ...]

    @property
    def needs_measurement(self) -> bool:
        """False only for a group of nothing but identities: its value is known without a job."""
        return bool(self.basis.strip("I"))


def group_qubitwise(observables: object) -> tuple[Group, ...]:
    """Measurement groups in which all terms agree qubit by qubit.

    `observables` is one observable (anything `observable()` reads) or a list of `Observable`, which then share
    settings. Greedy by falling weight (Crawford et al., Quantum 5, 385 (2021): heavy terms measured together have
    the smaller error), ties by label, so equal input gives equal groups. Identity terms ride in the first group.
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
        x, z = _masks(label)
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


def _masks(label: str) -> tuple[int, int]:
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


@dataclass(frozen=True)
class TermEstimate:
    """Mean of one Pauli string, from -1 to 1 and without its coefficient, and the error of that mean alone."""

    label: str
    coeff: float
    mean: float
    std_error: float


@dataclass(frozen=True)
class Expectation:
    """An estimated expectation value, in the units of the coefficients.

    `variance` is that of one shot in every group, summed; `std_error` = sqrt(variance / shots). For exact
    probabilities `std_error` is 0 and `variance` says what sampling would cost. From shots, `std_error` is 0 for
    multiples of the identity alone, and never infinite.
    """

    value: float
    std_error: float
    variance: float
    per_term: tuple[TermEstimate, ...]
    shots: int | None = None


def estimate_from_counts(
    groups: Sequence[Group], results: Sequence[Mapping[str, float]], shots: int | None = None
) -> Expectation:
    """The expectation of the one observable behind `groups`; see `estimate_each_from_counts`."""
    estimates = estimate_each_from_counts(groups, results, shots)
    if len(estimates) != 1:
        raise ValueError(f"the groups serve {len(estimates)} observables; use estimate_each_from_counts")
    return estimates[0]


def estimate_each_from_counts(
    groups: Sequence[Group], results: Sequence[Mapping[str, float]], shots: int | None = None
) -> tuple[Expectation, ...]:
    """One Expectation per grouped observable, in the order they were given.

    `results` holds one histogram per group that needs measurement, in group order; keys are n_qubits characters,
    qubit 0 rightmost. With `shots` they are counts, each summing to `shots`; without, exact probabilities.
    Groups are independent. Within one, the error is the standard deviation of the posterior of its weighted sum
    (covariances between terms included) under a Dirichlet prior with the weight of two shots, spread evenly over all
    outcomes; for a single Pauli string that is the flat prior of `characterize.proportion`. The sample variance would
    be 0 near eigenstates, where it is most wrong (Brown, Cai, DasGupta, Statistical Science 16, 101 (2001)).
    `value` is the plain, unbiased mean. Raises ValueError if shapes or sums do not fit.
    """
    measured = [group for group in groups if group.needs_measurement]
    if len(measured) != len(results):
        raise ValueError(f"{len(results)} histograms for {len(measured)} groups that need measurement")
    remaining = iter(results)
    parts = [_group_estimates(group, next(remaining) if group.needs_measurement else None, shots) for group in groups]
    n_observables = 1 + max(member.observable for group in groups for member in group.members)
    merged: list[Expectation] = []
    for place in range(n_observables):
        own = [part[place] for part in parts if place in part]
        terms = tuple(sorted((term for estimate in own for term in estimate.per_term), key=lambda term: term.label))
        value = math.fsum(term.coeff * term.mean for term in terms)
        error = math.sqrt(math.fsum(estimate.std_error**2 for estimate in own))
        merged.append(Expectation(value, error, math.fsum(estimate.variance for estimate in own), terms, shots))
    return tuple(merged)


def _group_estimates(group: Group, result: Mapping[str, float] | None, shots: int | None) -> dict[int, Expectation]:
    """Per observable place, the part of its expectation that this group measures."""
    if result is None:
        signs, weights = np.ones((len(group.members), 1)), np.ones(1)
        shots = None
    else:
        bits, weights = _histogram(result, len(group.basis), shots)
        signs = _signs([member.label for member in group.members], bits)
    # sums of sign * count are integers below 2**53, hence exact
    means = (signs * weights).sum(axis=1) / (shots or 1.0)
    estimates: dict[int, Expectation] = {}
    for place in sorted({member.observable for member in group.members}):
        rows = [row for row, member in enumerate(group.members) if member.observable == place]
        coeffs = np.array([group.members[row].coeff for row in rows])
        varying = np.array([bool(group.members[row].label.strip("I")) for row in rows])
        coeffs = np.where(varying, coeffs, 0.0)  # a constant has no error
        variance = _variance((np.ascontiguousarray(signs[rows].T) * coeffs).sum(axis=1), weights, shots, coeffs)
        terms = tuple(
            TermEstimate(group.members[row].label, group.members[row].coeff, float(means[row]), error)
            for row, error in zip(rows, _term_errors(means[rows], shots, varying), strict=True)
        )
        error = math.sqrt(variance / shots) if shots else 0.0
        estimates[place] = Expectation(0.0, error, variance, terms, shots)
    return estimates


def _histogram(
    result: Mapping[str, float], width: int, shots: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(bits by outcome and label position, weights), outcomes sorted so that sums do not depend on dict order."""
    keys = sorted(result)
    if not keys or any(len(key) != width or set(key) - set("01") for key in keys):
        raise ValueError(f"counts keys must be {width} characters of 0 and 1; got {[str(k)[:80] for k in keys[:3]]}")
    weights = np.array([result[key] for key in keys], dtype=float)
    total = math.fsum(weights)
    if weights.min() < (0.0 if shots else -_PROBABILITY_SLACK):
        raise ValueError("a count or probability is negative")
    if shots is not None and (total != shots or shots <= 0 or (weights % 1.0).any()):
        raise ValueError(f"counts sum to {total:g}, not to {shots} shots; pass shots=None for probabilities")
    if shots is None and abs(total - 1.0) > _PROBABILITY_SLACK:
        raise ValueError(f"probabilities sum to {total:g}, not to 1; pass shots= for counts")
    bits = np.frombuffer("".join(keys).encode("ascii"), dtype=np.uint8).reshape(len(keys), width) - ord("0")
    return bits.astype(float), weights


def _signs(labels: Sequence[str], bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eigenvalue +1 or -1 of each label (row) on each measured outcome (column)."""
    support = np.array([[letter != "I" for letter in label] for label in labels], dtype=float)
    return 1.0 - 2.0 * ((support @ bits.T) % 2.0)


# weight of the prior in shots; two, spread over the two signs of one Pauli string, are the flat prior of a proportion
_PRIOR_SHOTS = 2.0


def _variance(
    values: NDArray[np.float64], weights: NDArray[np.float64], shots: int | None, coeffs: NDArray[np.float64]
) -> float:
    """Variance of one shot of a group's weighted sum, such that variance / shots is that of the mean.

    Over evenly spread outcomes every Pauli string averages to 0 and different ones are uncorrelated: the prior adds
    nothing to the first moment and the sum of squared coefficients to the second.
    """
    total = float(weights.sum())
    if shots is None:
        deviations = values - float((values * weights).sum()) / total
        return max(float((deviations**2 * weights).sum()) / total, 0.0)
    prior = _PRIOR_SHOTS * float((coeffs**2).sum())
    mean = float((values * weights).sum()) / (total + _PRIOR_SHOTS)
    second = (float((values**2 * weights).sum()) + prior) / (total + _PRIOR_SHOTS)
    return max(second - mean**2, 0.0) * total / (total + _PRIOR_SHOTS + 1.0)


def _term_errors(means: NDArray[np.float64], shots: int | None, varying: NDArray[np.bool_]) -> list[float]:
    if shots is None:
        return [0.0] * len(means)
    smoothed = means * shots / (shots + _PRIOR_SHOTS)
    errors = np.sqrt((1.0 - smoothed**2) / (shots + _PRIOR_SHOTS + 1.0))
    return [float(error) for error in np.where(varying, errors, 0.0)]


def expectation_exact(statevector: NDArray[Any], target: Observable) -> float:
    """⟨ψ|O|ψ⟩ for a normalized statevector of 2**n amplitudes, qubit 0 the least significant index bit.

    Small observables keep their tables of phases. Raises ValueError for a vector of another length or norm.
    """
    psi = np.asarray(statevector).astype(np.complex128).ravel()
    if psi.size != 1 << target.n_qubits:
        raise ValueError(f"{psi.size} amplitudes do not fit an observable on {target.n_qubits} qubits")
    bra = psi.conj()
    norm = float((bra * psi).real.sum())
    if abs(norm - 1.0) > _PROBABILITY_SLACK:
        raise ValueError(f"the statevector has squared norm {norm:g}; normalize it")
    flips = len({_masks(label)[0] for label, _ in target})
    rows = _cached_flip_rows(target) if flips * psi.size <= _CACHED_ENTRIES else _flip_rows(target)
    return math.fsum(float((bra[flipped] * phases * psi).real.sum()) for flipped, phases in rows)


def _flip_rows(target: Observable) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Per distinct bit flip x: the flipped indices, and the summed coefficient * phase of all terms with that flip.

    A string acts as P|b⟩ = i**n_y (-1)**popcount(b & z) |b ^ x⟩.
    """
    index = np.arange(1 << target.n_qubits)
    by_flip: dict[int, list[tuple[complex, int]]] = {}
    for label, coeff in target:
        x, z = _masks(label)
        by_flip.setdefault(x, []).append((coeff * (1.0, 1j, -1.0, -1j)[label.count("Y") % 4], z))
    for x, terms in by_flip.items():
        phases = np.zeros(index.size, dtype=np.complex128)
        for factor, z in terms:
            odd = index & z
            for shift in (32, 16, 8, 4, 2, 1):  # folds the parity of all bits into bit 0
                odd ^= odd >> shift
            phases += factor * (1 - 2 * (odd & 1))
        yield index ^ x, phases


@lru_cache(maxsize=8)
def _cached_flip_rows(target: Observable) -> tuple[tuple[NDArray[Any], NDArray[Any]], ...]:
    return tuple(_flip_rows(target))
