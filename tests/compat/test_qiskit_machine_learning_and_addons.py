"""Networks of qiskit-machine-learning, and the sampling step of qiskit-addon-sqd, on our primitives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from .conftest import EVERYWHERE, Place

At = Callable[[str], Place]


def circuit() -> tuple[QuantumCircuit, Parameter, Parameter]:
    x, w = Parameter("x"), Parameter("w")
    made = QuantumCircuit(1)
    made.ry(x, 0)
    made.ry(w, 0)
    return made, x, w


@pytest.mark.parametrize("device", [*EVERYWHERE, "local-exact"])
def test_networks_go_forward_and_backward(at: At, device: str) -> None:
    networks = pytest.importorskip("qiskit_machine_learning.neural_networks")
    gradients = pytest.importorskip("qiskit_machine_learning.gradients")
    place = at(device)
    made, x, w = circuit()
    estimator = place.estimator(None if device == "local-exact" else 2000)
    wide = 0.2 if place.noisy else 0.1
    network = networks.EstimatorQNN(
        circuit=made, input_params=[x], weight_params=[w], estimator=estimator,
        gradient=gradients.ParamShiftEstimatorGradient(estimator), default_precision=0.03,
    )  # fmt: skip
    assert network.forward([0.4], [0.5])[0, 0] == pytest.approx(np.cos(0.9), abs=wide)
    assert network.backward([0.4], [0.5])[1][0, 0, 0] == pytest.approx(-np.sin(0.9), abs=wide)
    sampler = place.sampler(2000)
    sampled = networks.SamplerQNN(
        circuit=made, input_params=[x], weight_params=[w], sampler=sampler,
        gradient=gradients.ParamShiftSamplerGradient(sampler),
    )  # fmt: skip
    np.testing.assert_allclose(sampled.forward([0.4], [0.5])[0], [np.cos(0.45) ** 2, np.sin(0.45) ** 2], atol=wide)
    assert sampled.backward([0.4], [0.5])[1][0, 1, 0] == pytest.approx(np.sin(0.9) / 2, abs=wide)


@pytest.mark.parametrize("device", [*EVERYWHERE, "local-exact"])
def test_the_samples_that_sqd_starts_from_are_read_in_its_order(at: At, device: str) -> None:
    counts = pytest.importorskip("qiskit_addon_sqd.counts")
    recovery = pytest.importorskip("qiskit_addon_sqd.subsampling")
    made = QuantumCircuit(4)
    made.x([0, 3])
    made.measure_all()
    place = at(device)
    bits = place.sampler(300).run([made]).result()[0].data.meas
    matrix, chances = counts.bit_array_to_arrays(bits)
    kept, _ = recovery.postselect_by_hamming_right_and_left(matrix, chances, hamming_right=1, hamming_left=1)
    right = [True, False, False, True]
    assert matrix[np.argmax(chances)].tolist() == right
    assert right in kept.tolist()
    assert sum(chances) == pytest.approx(1)
    assert place.count_jobs() == 1
