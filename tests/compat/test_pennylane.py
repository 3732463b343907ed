"""PennyLane on our device: its own numbers, its gradients as one batch, and refusals in place of wrong values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from .conftest import Place

qml = pytest.importorskip("pennylane")
At = Callable[[str], Place]


def circuit(a: float, b: float) -> None:
    qml.RX(a, wires=0)
    qml.RY(b, wires=1)
    qml.CNOT([0, 1])


def many(a: float, b: float) -> tuple:
    circuit(a, b)
    return qml.expval(qml.Z(0) @ qml.Z(1) + 0.5 * qml.X(0)), qml.probs(wires=[1, 0]), qml.var(qml.X(1))


def one(a: float, b: float) -> object:
    circuit(a, b)
    return qml.expval(qml.Z(1))


def on(device: str, shots: int | None, function: Callable, **given: object) -> Callable:
    """The function on our device, found by PennyLane through its entry point."""
    made = qml.device("qflows", device=device, wires=2, run_key="study", **given)
    return qml.set_shots(qml.QNode(function, made), shots)


@pytest.mark.parametrize("device", ["local-exact", "local-aer", "ionq-simulator"])
def test_values_are_those_of_pennylane_itself(at: At, device: str) -> None:
    at(device)
    shots, wide = (None, 1e-9) if device == "local-exact" else (4000, 0.08)
    theirs = qml.QNode(many, qml.device("default.qubit", wires=2))(0.3, 0.7)
    for mine, other in zip(on(device, shots, many)(0.3, 0.7), theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=wide)


@pytest.mark.parametrize("device", ["local-aer", "ionq-simulator"])
def test_a_gradient_is_one_job(at: At, device: str) -> None:
    place = at(device)
    point = [qml.numpy.array(x, requires_grad=True) for x in (0.3, 0.7)]
    tapes, read = qml.gradients.param_shift(qml.workflow.construct_tape(on(device, 4000, one))(*point))
    found = read(qml.device("qflows", device=device, wires=2, run_key="study").execute(tapes))
    np.testing.assert_allclose(found, [-np.sin(0.3) * np.cos(0.7), -np.cos(0.3) * np.sin(0.7)], atol=0.08)
    assert (len(tapes), place.count_jobs()) == (4, 1)
    np.testing.assert_allclose(qml.grad(on(device, 4000, one))(*point), found, atol=0.1)
    assert place.count_jobs() == 3  # the value, and the gradient


def test_parts_of_the_shots_are_parts_of_one_job(at: At) -> None:
    place = at("local-aer")
    made = qml.device("qflows", device="local-aer", wires=2, run_key="study")
    parts = qml.set_shots(qml.QNode(one, made), (100, 200))(0.3, 0.7)
    assert len(parts) == 2
    assert place.count_jobs() == 1


def test_what_would_be_wrong_is_refused_before_anything_is_bought(at: At) -> None:
    place = at("local-aer")

    def hermitian() -> object:
        circuit(0.1, 0.2)
        return qml.expval(qml.Hermitian(np.eye(2), wires=0))

    def projected() -> object:
        circuit(0.1, 0.2)
        return qml.expval(qml.Projector([1], wires=0) @ qml.Z(1))

    def state() -> object:
        circuit(0.1, 0.2)
        return qml.state()

    for wrong in (hermitian, projected, state):
        with pytest.raises(qml.exceptions.DeviceError, match="not accepted|not supported"):
            on("local-aer", 100, wrong)()
    with pytest.raises(qml.exceptions.DeviceError, match="local-aer samples; pass shots"):
        on("local-aer", None, one)(0.1, 0.2)
    assert place.count_jobs() == 0
