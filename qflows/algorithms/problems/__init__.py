"""Problems with a known answer: frozen molecules, Ising chains of any length, and any operator of the user.

No chemistry package is needed at run time: the Pauli lists under `data/` were computed once, and each file says how.
Labels have qubit 0 rightmost. Ansatz circuits and starting points are in `circuits`, re-exported here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from qflows.algorithms.problems.circuits import Rotation, ansatz, initial_point
from qflows.errors import ProgramRejected

if TYPE_CHECKING:
    from qiskit.quantum_info import SparsePauliOp

__all__ = ["PROBLEMS", "Problem", "Rotation", "ansatz", "initial_point", "problem", "problem_from_operator"]

_MOLECULES = ("h2-0.735", "h2-0.7414", "lih-1.5949")
_CHAIN = re.compile(r"tfim-([1-9][0-9]{0,2})")
# names for --help; every tfim-N with 2 <= N <= 999 works
PROBLEMS = (*_MOLECULES, "tfim-4", "tfim-6", "tfim-8")
# exact diagonalisation of a user's operator is a convenience; above this it would take longer than it is worth
_DIAGONALISED_QUBITS = 10


@dataclass(frozen=True)
class Problem:
    """A Hamiltonian and what is known about it.

    `hamiltonian` holds (label, coefficient) pairs, qubit 0 rightmost; the total energy is its expectation value plus
    `offset`, the sum of `constants` (nuclear repulsion, frozen core). `reference_energy` and `hartree_fock_energy`
    are totals; `unit` is theirs. `rotations` acting on `reference_state` (0, 1 or + per qubit, qubit 0 rightmost)
    make the ansatz; without them it is hardware-efficient.
    """

    name: str
    hamiltonian: tuple[tuple[str, float], ...]
    n_qubits: int
    reference_energy: float | None
    source: str
    title: str = ""
    unit: str = "hartree"
    constants: tuple[tuple[str, float], ...] = ()
    hartree_fock_energy: float | None = None
    reference_state: str = ""
    rotations: tuple[Rotation, ...] = ()

    @property
    def offset(self) -> float:
        """Constant to add to the expectation value, in `unit`."""
        return math.fsum(value for _, value in self.constants)

    @property
    def offset_hartree(self) -> float:
        """`offset` of a molecule; 0 for problems in other units, which have none."""
        return self.offset


def problem(name: str) -> Problem:
    """The problem with this name: a frozen molecule of `PROBLEMS`, or `tfim-N`.

    Raises ProgramRejected for any other name, listing the known ones.
    """
    if name in _MOLECULES:
        return _molecule(name)
    chain = _CHAIN.fullmatch(name) if isinstance(name, str) else None
    if chain and int(chain[1]) >= 2:
        return _ising_chain(int(chain[1]))
    raise ProgramRejected(
        f"unknown problem {str(name)[:80]!r}; choose from {', '.join(_MOLECULES)} and tfim-N (N from 2 to 999), "
        "or pass a SparsePauliOp"
    )


@lru_cache(maxsize=len(_MOLECULES))
def _molecule(name: str) -> Problem:
    text = resources.files("qflows.algorithms.problems").joinpath("data", f"{name}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return Problem(
        name=name,
        title=data["title"],
        unit=data["unit"],
        hamiltonian=tuple((label, coeff) for label, coeff in data["hamiltonian"]),
        n_qubits=data["n_qubits"],
        constants=tuple(data["constants"].items()),
        reference_energy=data["reference_energy"],
        hartree_fock_energy=data["hartree_fock_energy"],
        source=data["source"],
        reference_state=data["ansatz"]["reference_state"],
        rotations=tuple(Rotation(*rotation) for rotation in data["ansatz"]["rotations"]),
    )


def _ising_chain(n: int) -> Problem:
    """H = -sum Z_i Z_(i+1) - sum X_i on an open chain, J = h = 1, where the ground energy has a closed form.

    The ansatz applies the halves of H in turn to |+...+>, ceil(n / 2) + 1 times, with one angle for each pair of
    mirror images: n angles a layer, bonds before fields, from the ends to the middle. Measured at n = 4: exact, with
    267 evaluations, where one angle per half and layer (the usual form) took 4 layers and about 700.
    """
    bonds = [_string(n, {site: "Z", site + 1: "Z"}) for site in range(n - 1)]
    fields = [_string(n, {site: "X"}) for site in range(n)]
    layers = [
        Rotation(label, layer * n + first + min(place, len(half) - 1 - place), -1.0)
        for layer in range((n + 1) // 2 + 1)
        for first, half in ((0, bonds), (n // 2, fields))
        for place, label in enumerate(half)
    ]
    return Problem(
        name=f"tfim-{n}",
        title=f"transverse-field Ising chain, {n} sites, open, J = h = 1",
        unit="J",
        hamiltonian=tuple(sorted((label, -1.0) for label in bonds + fields)),
        n_qubits=n,
        reference_energy=1.0 - 1.0 / math.sin(math.pi / (2 * (2 * n + 1))),
        source="closed form 1 - 1/sin(pi / (2 (2N + 1))) of the critical open chain; Pfeuty, Ann. Phys. 57, 79 (1970)",
        reference_state="+" * n,
        rotations=tuple(layers),
    )


def _string(n: int, letters: dict[int, str]) -> str:
    return "".join(letters.get(qubit, "I") for qubit in reversed(range(n)))


def problem_from_operator(
    operator: SparsePauliOp | Sequence[tuple[str, float]], *, name: str = "operator", unit: str = ""
) -> Problem:
    """A problem from a user's operator, or from an iterable of (label, coefficient) such as an Observable.

    The reference energy comes from diagonalisation up to 10 qubits, and is None above. Raises ProgramRejected for
    parameters, complex or infinite coefficients and an empty or uneven list.
    """
    if hasattr(operator, "paulis"):
        simplified = cast(Any, operator).simplify()
        pairs = list(zip(simplified.paulis.to_labels(), simplified.coeffs, strict=True))
    else:
        pairs = list(cast(Sequence[tuple[str, Any]], operator))
    terms = tuple(sorted((label, _real(label, coeff)) for label, coeff in pairs))
    widths = {len(label) for label, _ in terms}
    if len(widths) != 1 or 0 in widths or any(set(label) - set("IXYZ") for label, _ in terms):
        raise ProgramRejected("an operator needs Pauli labels of equal length, made of the letters I X Y Z")
    n_qubits = widths.pop()
    reference = ground_energy(terms) if n_qubits <= _DIAGONALISED_QUBITS else None
    return Problem(name, terms, n_qubits, reference, "operator given by the user", title=name, unit=unit)


def _real(label: str, coeff: Any) -> float:
    try:
        value = complex(coeff)
    except (TypeError, ValueError):
        raise ProgramRejected(f"the coefficient of {label} is not a number; bind its parameters first") from None
    if not math.isfinite(value.real) or abs(value.imag) > 1e-12 * max(abs(value), 1.0):
        raise ProgramRejected(f"the coefficient {value:g} of {label} is not real and finite; an operator is Hermitian")
    return value.real


def ground_energy(terms: Sequence[tuple[str, float]]) -> float:
    """Lowest eigenvalue of a Pauli sum by dense diagonalisation; 2**n by 2**n numbers, so for few qubits."""
    import numpy as np
    from qiskit.quantum_info import SparsePauliOp

    return float(np.linalg.eigvalsh(SparsePauliOp.from_list(list(terms)).to_matrix())[0])
