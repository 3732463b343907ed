"""QAOA for MaxCut and any Ising cost, as a loop of durable jobs; free of Prefect.

Farhi, Goldstone, Gutmann, arXiv:1411.4028. The cost is minimized: for MaxCut it is minus the cut, so that with
C = -cost the circuit is exp(-i beta_l sum X) exp(-i gamma_l C), l = 1..p, on |+...+>, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qflows.algorithms.optimizers import Method
from qflows.algorithms.problems import Problem
from qflows.algorithms.vqe import VqeResult, VqeStep, an_evaluation, solve
from qflows.core.choice import asking
from qflows.core.choice.deciding import Asked
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.model import uncertain
from qflows.programs.observables import Observable, observable

# all 2**n costs are computed for the best possible value; above this it takes too long
_ENUMERATED_QUBITS = 20
_OUTCOMES = 32


@dataclass(frozen=True)
class Ising:
    """A diagonal cost: `terms` of I and Z, qubit 0 rightmost, plus `constant`.

    `nodes`: the node of each qubit, qubit 0 first. `is_maxcut`: the cost is minus the weight of the cut.
    """

    terms: tuple[tuple[str, float], ...]
    constant: float
    nodes: tuple[Any, ...]
    is_maxcut: bool = False

    @property
    def n_qubits(self) -> int:
        return len(self.nodes)

    def cost(self, bits: str) -> float:
        """The cost of an outcome, qubit 0 rightmost."""
        return self.constant + math.fsum(
            coeff * (-1) ** sum(b == "1" for b, letter in zip(bits, label, strict=True) if letter == "Z")
            for label, coeff in self.terms
        )

    def lowest(self) -> float | None:
        """The lowest possible cost; None above 20 qubits."""
        if self.n_qubits > _ENUMERATED_QUBITS:
            return None
        index = np.arange(1 << self.n_qubits)
        total = np.full(index.size, self.constant)
        for label, coeff in self.terms:
            odd = index & int(label.translate(str.maketrans("IZ", "01")), 2)
            for shift in (16, 8, 4, 2, 1):
                odd = odd ^ (odd >> shift)
            total += coeff * (1 - 2 * (odd & 1))
        return float(total.min())


def maxcut(graph: Any) -> Ising:
    """The cost of MaxCut, minus the weight of the cut edges, so that its minimum is the largest cut.

    `graph`: a networkx graph (edge attribute `weight`, default 1), or a list of (node, node) or (node, node, weight).
    Nodes become qubits in the order of the graph, or sorted for a list of edges. Raises ProgramRejected.
    """
    nodes, edges = _graph(graph)
    if not edges:
        raise ProgramRejected("MaxCut needs a graph with at least one edge")
    place = {node: qubit for qubit, node in enumerate(nodes)}
    weights: dict[tuple[int, int], float] = {}
    for one, other, weight in edges:
        if one == other:
            raise ProgramRejected(f"the graph has an edge from {one!r} to itself, which cannot be cut")
        if not math.isfinite(weight):
            raise ProgramRejected(f"the weight of edge {one!r}, {other!r} is not a finite number")
        pair = (min(place[one], place[other]), max(place[one], place[other]))
        weights[pair] = weights.get(pair, 0.0) + weight
    n = len(nodes)
    terms = [("".join("Z" if q in pair else "I" for q in reversed(range(n))), w / 2) for pair, w in weights.items()]
    return Ising(tuple(sorted(terms)), -math.fsum(weights.values()) / 2, tuple(nodes), is_maxcut=True)


def _graph(graph: Any) -> tuple[list[Any], list[tuple[Any, Any, float]]]:
    if hasattr(graph, "nodes") and hasattr(graph, "edges"):
        if getattr(graph, "is_directed", lambda: False)():
            raise ProgramRejected("MaxCut needs an undirected graph; pass graph.to_undirected()")
        return list(graph.nodes), [(a, b, _weight(w, a, b)) for a, b, w in graph.edges(data="weight", default=1.0)]
    try:
        rows = [tuple(edge) for edge in graph]
    except TypeError:
        raise ProgramRejected(
            f"cannot read a graph from {type(graph).__name__}; give a networkx graph or a list of edges"
        ) from None
    if any(len(row) not in (2, 3) for row in rows):
        raise ProgramRejected("an edge is (node, node) or (node, node, weight)")
    found = {node for row in rows for node in row[:2]}
    try:
        nodes = sorted(found)
    except TypeError:
        nodes = sorted(found, key=str)
    return nodes, [(row[0], row[1], _weight(row[2] if len(row) == 3 else 1.0, row[0], row[1])) for row in rows]


def _weight(value: Any, one: Any, other: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ProgramRejected(f"the weight of edge {one!r}, {other!r} is not a number: {str(value)[:80]!r}") from None


def ising(operator: Any) -> Ising:
    """The cost of a diagonal operator: a SparsePauliOp, or anything `observable` reads, made of I and Z alone."""
    found = operator if isinstance(operator, Observable) else observable(operator)
    wrong = [label for label, _ in found if set(label) - set("IZ")]
    if wrong:
        raise ProgramRejected(
            f"an Ising cost contains only I and Z, and {wrong[0]} is not diagonal; use vqe for other operators"
        )
    constant = math.fsum(coeff for label, coeff in found if not label.strip("I"))
    terms = tuple((label, coeff) for label, coeff in found if label.strip("I"))
    if not terms:
        raise ProgramRejected("the operator is a constant; there is nothing to minimize")
    return Ising(terms, constant, tuple(range(found.n_qubits)))


def circuit(cost: Ising, layers: int) -> Any:
    """The ansatz, without measurement; parameters in order: beta[0..p-1], gamma[0..p-1], radians."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    if layers < 1:
        raise ProgramRejected(f"QAOA needs at least 1 layer, not {layers}")
    beta, gamma = ParameterVector("beta", layers), ParameterVector("gamma", layers)
    made = QuantumCircuit(cost.n_qubits, name=f"qaoa-{layers}")
    made.h(range(cost.n_qubits))
    for layer in range(layers):
        for label, coeff in cost.terms:
            qubits = [qubit for qubit, letter in enumerate(reversed(label)) if letter == "Z"]
            for first, second in pairwise(qubits):
                made.cx(first, second)
            made.rz(-2.0 * coeff * gamma[layer], qubits[-1])
            for first, second in reversed(list(pairwise(qubits))):
                made.cx(first, second)
        made.rx(2.0 * beta[layer], range(cost.n_qubits))
    return made


def ramp(cost: Ising, layers: int) -> list[float]:
    """The starting point: beta falling, gamma rising, as in annealing; gamma in units of the root mean square
    coefficient.

    For 3-regular graphs and p = 1 this is near the optimum (Sureshbabu et al., Quantum 8, 1231 (2024), for the scale).
    """
    scale = 2 * math.sqrt(math.fsum(coeff**2 for _, coeff in cost.terms) / len(cost.terms))
    steps = (np.arange(layers) + 0.5) / layers
    betas = 0.75 * (1 - steps) if layers > 1 else np.array([0.375])
    gammas = 0.9 * steps / scale if layers > 1 else np.array([0.6 / scale])
    return [float(x) for x in (*betas, *gammas)]


@dataclass(frozen=True)
class Outcome:
    """One outcome of the final sample: qubit 0 rightmost, with its cost, its share and the standard error of the
    share."""

    bits: str
    cost: float
    share: float
    std_error: float


@dataclass(frozen=True)
class QaoaResult:
    """Where the loop ended: the mean cost there, and the best outcome of a sample of the final state.

    `cost` ± `std_error`: expectation at the end point, with shots a new sample. `lowest`: the lowest possible cost,
    None above 20 qubits. `bits`: the best outcome, qubit 0 rightmost; `best`: its cost. For MaxCut costs are minus
    cuts, and `parts` holds the nodes on either side. `outcomes`: the 32 most frequent, in that order.
    """

    cost: float
    std_error: float
    lowest: float | None
    bits: str
    best: float
    parts: tuple[tuple[Any, ...], tuple[Any, ...]]
    is_maxcut: bool
    layers: int
    loop: VqeResult
    sample_job: str
    outcomes: tuple[Outcome, ...]

    @property
    def ratio(self) -> float | None:
        """Approximation ratio: mean cost over the lowest; None if that is unknown or not below 0."""
        return self.cost / self.lowest if self.lowest is not None and self.lowest < 0 else None

    @property
    def ratio_text(self) -> str:
        """The ratio with its uncertainty; empty without one."""
        if self.ratio is None or self.lowest is None:
            return ""
        return uncertain(self.ratio, self.std_error / abs(self.lowest))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and texts."""
        body = asdict(self) | {"ratio": self.ratio, "ratio_text": self.ratio_text, "loop": self.loop.to_json()}
        body["parts"] = [[str(node) for node in part] for part in self.parts]
        return body


def _problem(cost: Ising) -> Problem:
    kind = "maxcut" if cost.is_maxcut else "ising"
    return Problem(
        name=f"{kind}-{cost.n_qubits}",
        hamiltonian=cost.terms,
        n_qubits=cost.n_qubits,
        reference_energy=None,
        source="given by the user",
        unit="",
        constants=(("constant", cost.constant),),
    )


def a_mean_cost(cost: Ising, layers: int, *, shots: int | None, options: Mapping[str, Any] | None = None) -> Asked:
    """What one evaluation asks of a device, for a rule to choose by."""
    priced = an_evaluation(_problem(cost), shots=shots, options=options, circuit=circuit(cost, layers))
    return Asked(asking.for_a_place("choose").content, priced.specs)


def solve_qaoa(
    core: Client,
    scope: Scope,
    cost: Ising,
    *,
    device: str,
    shots: int | None,
    layers: int = 1,
    optimizer: Method | None = None,
    maxiter: int | None = None,
    max_evaluations: int | None = None,
    seed: int | None = None,
    start: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    gradient: str | None = None,
    on_step: Callable[[VqeStep], None] = lambda step: None,
) -> QaoaResult:
    """Run the loop, and sample the state where it ends. Restarted with the same run key, it buys nothing twice.

    `layers`: p. `start`: betas, then gammas, in radians. Other arguments and errors as in `vqe.solve`: `on_step` may
    raise StopIteration, and the state is then sampled where the loop ended.
    """
    ansatz, problem = circuit(cost, layers), _problem(cost)
    found = solve(
        core,
        scope,
        problem,
        device=device,
        shots=shots,
        optimizer=optimizer,
        maxiter=maxiter,
        max_evaluations=max_evaluations,
        seed=seed,
        start=list(start) if start is not None else ramp(cost, layers),
        options=options,
        on_step=on_step,
        circuit=ansatz,
        gradient=gradient,
    )
    measured = ansatz.copy(f"qaoa-{layers} sample")
    measured.measure_all()
    specs = core.specs((measured, found.point), device=device, shots=shots, options=options, label="qaoa-sample")
    (job,) = core.submit(specs, device=device, scope=scope)
    sampled = core.result([job.key])
    histogram = dict(sampled.probabilities if shots is None else sampled.counts)
    bits = _best(cost, (bits for bits, weight in histogram.items() if weight > 1e-9))
    sides: tuple[list[Any], list[Any]] = ([], [])
    for node, bit in zip(cost.nodes, reversed(bits), strict=True):
        sides[bit == "1"].append(node)
    return QaoaResult(
        cost=found.energy,
        std_error=found.std_error,
        lowest=cost.lowest(),
        bits=bits,
        best=cost.cost(bits),
        parts=(tuple(sides[0]), tuple(sides[1])),
        is_maxcut=cost.is_maxcut,
        layers=layers,
        loop=found,
        sample_job=job.key,
        outcomes=_outcomes(cost, histogram, shots),
    )


def _outcomes(cost: Ising, histogram: Mapping[str, float], shots: int | None) -> tuple[Outcome, ...]:
    ranked = sorted(histogram.items(), key=lambda pair: (-pair[1], pair[0]))[:_OUTCOMES]
    if shots is None:
        return tuple(Outcome(bits, cost.cost(bits), share, 0.0) for bits, share in ranked)
    total = sum(histogram.values())
    # the posterior with Jeffreys' prior, as for every proportion
    smooth = [((n + 0.5) / (total + 1)) for _, n in ranked]
    return tuple(
        Outcome(bits, cost.cost(bits), n / total, math.sqrt(q * (1 - q) / (total + 2)))
        for (bits, n), q in zip(ranked, smooth, strict=True)
    )


def _best(cost: Ising, outcomes: Iterable[str]) -> str:
    return min(outcomes, key=lambda bits: (cost.cost(bits), bits))
