"""Observables: canonical form, groups, rotations and estimates, checked against qiskit's own algebra."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import Pauli, PauliList, SparseObservable, SparsePauliOp, Statevector, random_statevector

from qflows.characterization.characterize import proportion
from qflows.core.orders import listed_observables
from qflows.errors import ProgramRejected
from qflows.programs import grid
from qflows.programs.expectations import estimate_each_from_counts, estimate_from_counts, expectation_exact
from qflows.programs.observables import (
    Observable,
    basis_rotations,
    group_qubitwise,
    measurement_circuit,
    observable,
)


@st.composite
def observables(draw, max_qubits=4, width=None):
    n = width or draw(st.integers(1, max_qubits))
    label = st.text("IXYZ", min_size=n, max_size=n)
    coeff = st.floats(-3, 3, allow_nan=False).filter(lambda c: c == 0.0 or abs(c) > 1e-6)
    return observable(draw(st.lists(st.tuples(label, coeff), min_size=1, max_size=12)))


def exact_histograms(state: Statevector, groups) -> list[dict[str, float]]:
    """Probabilities of each measured group, computed by qiskit from the rotated state."""
    histograms = []
    for group in groups:
        if group.needs_measurement:
            circuit = QuantumCircuit(state.num_qubits)
            for gate, qubit in basis_rotations(group.basis):
                getattr(circuit, gate)(qubit)
            histograms.append(state.evolve(circuit).probabilities_dict())
    return histograms


def sampled_histograms(state, groups, shots, rng) -> list[dict[str, int]]:
    histograms = []
    for exact in exact_histograms(state, groups):
        keys = sorted(exact)
        p = np.array([exact[key] for key in keys])
        drawn = rng.multinomial(shots, p / p.sum())
        histograms.append({key: int(c) for key, c in zip(keys, drawn, strict=True) if c})
    return histograms


def qiskit_value(state: Statevector, target: Observable) -> float:
    return float(state.expectation_value(SparsePauliOp.from_list(list(target))).real)


def test_terms_in_any_order_give_one_canonical_value():
    pairs = [("ZI", 0.1), ("XX", -2.0), ("ZI", 0.2), ("II", 0.0), ("YY", 0.3), ("ZI", 1e17), ("ZI", -1e17)]
    shuffled = list(pairs)
    random.Random(3).shuffle(shuffled)
    assert observable(pairs) == observable(shuffled)
    assert observable(pairs).terms == (("XX", -2.0), ("YY", 0.3), ("ZI", math.fsum([0.1, 0.2])))


def test_every_accepted_source_gives_the_same_observable():
    expected = Observable((("IZ", -0.5), ("XY", 2.0)))
    operator = SparsePauliOp.from_list([("XY", 2.0), ("IZ", -0.5)])
    for source in (operator, SparseObservable.from_sparse_pauli_op(operator), dict(expected), list(expected), expected):
        assert observable(source) == expected
    assert observable("XY").terms == (("XY", 1.0),)
    assert observable(Pauli("-XY")).terms == (("XY", -1.0),)


@pytest.mark.parametrize("label", ["0", "1", "+Z", "-0", "rl", "0I1", "XYZ+"])
def test_projectors_mean_what_they_mean_to_qiskit(label):
    wanted = SparsePauliOp.from_sparse_observable(SparseObservable.from_label(label)).to_matrix()
    found = SparsePauliOp.from_list(list(observable([(label, 2), ("I" * len(label), 0.5)])))
    assert np.allclose(found.to_matrix(), 2 * wanted + 0.5 * np.eye(2 ** len(label)))
    assert observable({label: 1}) == observable(SparseObservable.from_label(label))


@pytest.mark.parametrize("source", ["0" * 17, SparseObservable("+" * 60), [("01" * 8, 1.0), ("10" * 8, 1.0)]], ids=repr)
def test_projectors_that_would_fill_the_memory_are_refused(source):
    with pytest.raises(ProgramRejected, match="Pauli strings"):
        observable(source)


@pytest.mark.parametrize(
    "source",
    [
        ["ZZ", "-0"],
        ObservablesArray(["ZZ", "-0"]),
        ObservablesArray([["ZZ"], ["-0"]]),
        np.array(["ZZ", "-0"]),
        np.array([["ZZ", "-0"]], dtype=object),
        [np.array(["ZZ"]), ObservablesArray("-0")],
        [SparsePauliOp("ZZ"), SparseObservable.from_label("-0")],
    ],
    ids=["list", "array of qiskit", "column", "texts", "objects", "mixed", "operators"],
)
def test_arrays_of_observables_are_read_alike(source):
    assert listed_observables(source) == (observable("ZZ"), observable("-0"))
    assert listed_observables(PauliList(["ZZ", "-XX"])) == (observable("ZZ"), observable({"XX": -1}))


def test_shape_of_an_array_of_observables_is_that_of_the_result_of_a_sweep():
    array = ObservablesArray([["ZZ", "XX"], ["YY", "-0"]])
    for source in (array, array.tolist(), np.array([["ZZ", "XX"], ["YY", "-0"]])):
        assert grid.read([QuantumCircuit(2)], source)[1] == grid.Sweep(
            (1,), tuple(map(observable, ("ZZ", "XX", "YY", "-0"))), (2, 2)
        )


def test_labels_without_coefficients_are_no_observable():
    with pytest.raises(ProgramRejected, match="list of labels"):
        observable(["ZZ", "XX"])
    with pytest.raises(ProgramRejected, match="list of labels"):
        observable(label for label in ("ZZ", "XX"))


def test_zero_operator_keeps_its_width():
    zero = observable([("XX", 1.0), ("XX", -1.0)])
    assert zero.terms == (("II", 0.0),)
    assert estimate_from_counts(group_qubitwise(zero), []).value == 0.0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ([("XX", 1j)], "imaginary"),
        (SparsePauliOp(["X"], [1 + 1e-3j]), "imaginary"),
        ([("XQ", 1.0)], "bad Pauli label"),
        ([("", 1.0)], "bad Pauli label"),
        ([("X", 1.0), ("XX", 1.0)], "different lengths"),
        ([], "at least one term"),
        ([("X", float("nan"))], "finite"),
        ([("X", float("inf"))], "finite"),
        ([("X", "1.0")], "finite"),
        ([("X", 1e308), ("X", 1e308)], "above 1e\\+150"),
        ([("X", None)], "not a number"),
        (3.5, "cannot read"),
    ],
)
def test_bad_observable_is_rejected_with_the_reason(source, reason):
    with pytest.raises(ProgramRejected, match=reason):
        observable(source)


def test_unbound_coefficient_is_rejected_with_the_remedy():
    from qiskit.circuit import Parameter

    with pytest.raises(ProgramRejected, match="bind its parameters"):
        observable(SparsePauliOp(["Z"], np.array([Parameter("a")])))


def test_imaginary_dust_of_operator_arithmetic_is_tolerated():
    x = SparsePauliOp("X")
    y = SparsePauliOp("Y")
    assert observable((-1j * (x @ y)).simplify()).terms == (("Z", 1.0),)


@given(observables())
def test_json_form_is_exact(target):
    assert Observable.from_json(target.to_json()) == target


@pytest.mark.parametrize("value", [[["X", "zz"]], [["X"]], 7, [["Q", "0x1p+0"]]])
def test_foreign_json_is_rejected(value):
    with pytest.raises(ProgramRejected):
        Observable.from_json(value)


@given(st.lists(observables(width=3), min_size=1, max_size=3))
def test_groups_cover_every_term_once_and_agree_qubit_by_qubit(many):
    groups = group_qubitwise(many)
    members = sorted((m.observable, m.label, m.coeff) for group in groups for m in group.members)
    assert members == sorted((i, *term) for i, target in enumerate(many) for term in target)
    for group in groups:
        for member in group.members:
            assert all(a in ("I", b) for a, b in zip(member.label, group.basis, strict=True))


def test_identity_alone_needs_no_measurement():
    (group,) = group_qubitwise([("II", 1.5)])
    assert not group.needs_measurement
    estimate = estimate_from_counts([group], [])
    assert (estimate.value, estimate.std_error) == (1.5, 0.0)


def test_h2_shaped_operator_needs_two_settings():
    groups = group_qubitwise([("II", -1.0), ("IZ", 0.4), ("ZI", -0.4), ("ZZ", -0.01), ("XX", 0.2)])
    assert [group.basis for group in groups] == ["ZZ", "XX"]


def test_groups_do_not_depend_on_hash_seed():
    code = (
        "from qflows.programs.observables import group_qubitwise as g\n"
        "print([(x.basis, x.members) for x in g({'XX':1.,'ZZ':1.,'YI':1.,'IY':1.,'ZX':1.,'II':2.})])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_rotations_are_listed_from_qubit_zero():
    assert basis_rotations("XIYZ") == [("sdg", 1), ("h", 1), ("h", 3)]


@settings(deadline=None, max_examples=60)
@given(observables(), st.integers(0, 10**6))
def test_exact_probabilities_give_qiskit_expectation(target, seed):
    state = random_statevector(2**target.n_qubits, seed=seed)
    groups = group_qubitwise(target)
    estimate = estimate_from_counts(groups, exact_histograms(state, groups))
    assert estimate.value == pytest.approx(qiskit_value(state, target), abs=1e-10)
    assert estimate.std_error == 0.0
    for term in estimate.per_term:
        assert term.mean == pytest.approx(qiskit_value(state, observable(term.label)), abs=1e-10)


@settings(deadline=None, max_examples=60)
@given(observables(), st.integers(0, 10**6))
def test_statevector_expectation_equals_qiskit(target, seed):
    state = random_statevector(2**target.n_qubits, seed=seed)
    assert expectation_exact(state.data, target) == pytest.approx(qiskit_value(state, target), abs=1e-10)


def test_wide_statevector_takes_the_uncached_path_and_agrees():
    rng = random.Random(5)
    target = observable([("".join(rng.choice("IXYZ") for _ in range(16)), rng.uniform(-1, 1)) for _ in range(20)])
    state = random_statevector(2**16, seed=2)
    assert expectation_exact(state.data, target) == pytest.approx(qiskit_value(state, target), abs=1e-10)


@pytest.mark.parametrize(("vector", "reason"), [(np.ones(3), "do not fit"), (np.ones(4), "norm")])
def test_unfit_statevector_is_an_error(vector, reason):
    with pytest.raises(ValueError, match=reason):
        expectation_exact(vector, observable("ZZ"))


def test_asymmetric_state_reads_qubit_zero_rightmost():
    counts = [{"001": 100}]
    estimate = estimate_from_counts(group_qubitwise([("IIZ", 1.0), ("ZII", 10.0)]), counts, 100)
    assert estimate.value == 9.0
    assert estimate.std_error == pytest.approx(
        math.sqrt(101) * math.sqrt(2) / 101, rel=0.1
    )  # Jeffreys: each is sure to sqrt(2) / n


def test_measurement_circuit_reads_the_right_qubit():
    state = QuantumCircuit(3)
    state.h(0)
    state.s(0)  # qubit 0 in +Y
    state.x(1)
    state.h(1)  # qubit 1 in -X
    circuit = measurement_circuit(state, "ZXY")
    assert [register.name for register in circuit.cregs] == ["m"]
    circuit.remove_final_measurements()
    assert Statevector(circuit).probabilities_dict()["010"] == pytest.approx(1.0)


def test_measured_state_circuit_is_rejected():
    state = QuantumCircuit(2, 2)
    with pytest.raises(ProgramRejected, match="classical bits"):
        measurement_circuit(state, "ZZ")


def test_error_bar_includes_covariance_inside_a_group():
    # Z0 and Z1 of a Bell state are equal shot by shot: the difference has next to no noise, the sum has twice the error
    counts = [{"00": 480, "11": 520}]
    difference = estimate_from_counts(group_qubitwise([("IZ", 1.0), ("ZI", -1.0)]), counts, 1000)
    total = estimate_from_counts(group_qubitwise([("IZ", 1.0), ("ZI", 1.0)]), counts, 1000)
    assert 0 < difference.std_error < 0.003  # two of a thousand shots may have been otherwise
    assert total.std_error == pytest.approx(2 * total.per_term[0].std_error, rel=2e-3)
    assert total.std_error == pytest.approx(math.sqrt(total.variance / 1000))


def test_error_bars_cover_the_truth_as_often_as_promised():
    target = observable([("ZZI", 0.7), ("IZZ", -0.4), ("XXX", 0.9), ("YIY", 0.5), ("IIX", 0.3), ("III", 2.0)])
    state = random_statevector(8, seed=11)
    truth = qiskit_value(state, target)
    groups = group_qubitwise(target)
    rng = np.random.Generator(np.random.PCG64(7))
    pulls = []
    for _ in range(600):
        estimate = estimate_from_counts(groups, sampled_histograms(state, groups, 400, rng), 400)
        pulls.append((estimate.value - truth) / estimate.std_error)
    inside = np.mean(np.abs(pulls) < 1)
    assert 0.62 < inside < 0.745  # 0.683 expected, three binomial sigmas
    assert abs(np.mean(pulls)) < 0.13
    assert 0.91 < np.std(pulls) < 1.09


def test_order_of_the_histogram_changes_no_bit_of_the_estimate():
    target = observable([("ZZI", 0.7), ("IZZ", -0.41), ("IIZ", 1 / 3)])
    groups = group_qubitwise(target)
    state = random_statevector(8, seed=4)
    (exact,) = exact_histograms(state, groups)
    backwards = dict(reversed(list(exact.items())))
    assert estimate_from_counts(groups, [exact]) == estimate_from_counts(groups, [backwards])


def test_several_observables_share_settings_and_keep_their_order():
    many = [observable([("ZZ", 1.0), ("XX", 1.0)]), observable([("II", 4.0), ("ZI", 2.0)]), observable([("II", 0.0)])]
    groups = group_qubitwise(many)
    assert len(groups) == 2
    state = Statevector.from_label("0+")
    values = [e.value for e in estimate_each_from_counts(groups, exact_histograms(state, groups))]
    assert values == pytest.approx([0.0, 6.0, 0.0], abs=1e-12)
    with pytest.raises(ValueError, match="estimate_each_from_counts"):
        estimate_from_counts(groups, exact_histograms(state, groups))


def test_single_shot_has_a_finite_error_no_smaller_than_it_knows():
    found = estimate_from_counts(group_qubitwise([("Z", 3.0), ("I", 100.0)]), [{"1": 1}], 1)
    assert found.value == 97.0
    # Jeffreys' prior: one hit of one gives a share of 3/4 with variance 3/16/3, twice that share is the mean
    assert found.std_error == pytest.approx(3 * 2 * math.sqrt(3 / 16 / 3))
    assert [math.isfinite(term.std_error) for term in found.per_term] == [True, True]


def test_one_string_has_the_error_of_a_proportion():
    for hits in (0, 1, 37, 100):
        counts = {key: n for key, n in (("1", hits), ("0", 100 - hits)) if n}
        found = estimate_from_counts(group_qubitwise([("Z", -2.0)]), [counts], 100)
        assert found.std_error == pytest.approx(4 * proportion(hits, 100)[1], rel=1e-12)
        assert found.per_term[0].std_error == pytest.approx(2 * proportion(hits, 100)[1], rel=1e-12)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-700, 2.0**400])
def test_error_grows_and_shrinks_with_the_coefficients_whatever_their_size(scale):
    terms = [("ZZ", 0.6), ("IZ", 0.4), ("XX", -0.3), ("II", -1.0)]
    counts = [{"11": 90, "01": 10}, {"00": 100}]
    plain = estimate_from_counts(group_qubitwise(terms), counts, 100)
    scaled = estimate_from_counts(group_qubitwise([(label, c * scale) for label, c in terms]), counts, 100)
    assert scaled.std_error == plain.std_error * scale > 0
    assert scaled.value == plain.value * scale


def test_identity_adds_no_error_and_unmeasured_doubt():
    with_constant = estimate_from_counts(group_qubitwise([("ZZ", 0.5), ("II", 7.0)]), [{"11": 50}], 50)
    without = estimate_from_counts(group_qubitwise([("ZZ", 0.5)]), [{"11": 50}], 50)
    assert with_constant.std_error == pytest.approx(without.std_error, rel=1e-12)
    assert with_constant.std_error > 0


@pytest.mark.parametrize("terms", [[("Z", 1.0)], [("ZZ", 0.6), ("IZ", 0.4), ("ZI", -0.3), ("II", -1.0)]])
def test_error_bars_near_eigenstates_cover_as_often_as_promised(terms):
    """Error rates of 0.3 to 5 % a qubit and 100 shots, where a third of the samples have no spread at all."""
    target = observable(terms)
    groups = group_qubitwise(target)
    rng = np.random.Generator(np.random.PCG64(3))
    inside, zeros, tries = 0, 0, 3000
    for _ in range(tries):
        p = rng.uniform(0.003, 0.05)
        n = target.n_qubits
        flips = rng.random((100, n)) < p
        keys, times = np.unique(flips, axis=0, return_counts=True)
        counts = {"".join("01"[int(b)] for b in key): int(k) for key, k in zip(keys, times, strict=True)}
        truth = sum(c * (1 - 2 * p) ** (n - label.count("I")) for label, c in target)
        found = estimate_from_counts(groups, [counts], 100)
        zeros += found.std_error == 0.0
        inside += abs(found.value - truth) <= found.std_error
    assert zeros == 0
    assert 0.60 <= inside / tries <= 0.76


@pytest.mark.parametrize(
    ("results", "shots", "reason"),
    [
        ([], 10, "0 histograms for 1"),
        ([{"00": 9}], 10, "sum to 9"),
        ([{"0": 10}], 10, "keys must be 2"),
        ([{"0 0": 10}], 10, "keys must be 2"),
        ([{}], 10, "keys must be 2"),
        ([{"00": 11, "01": -1}], 10, "negative"),
        ([{"00": 10}], None, "probabilities sum to 10"),
        ([{"00": 0.5, "01": 0.5}], 1, "sum to 1"),
    ],
)
def test_histogram_that_does_not_fit_is_an_error(results, shots, reason):
    with pytest.raises(ValueError, match=reason):
        estimate_from_counts(group_qubitwise("ZZ"), results, shots)
