"""Sweeps of the sizes that users run, on the limits that each real device states: planned, accepted, right."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qflows.core import devices, profiles
from qflows.core.client import Client
from qflows.core.profiles import DeviceProfile
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.protocol import Limits
from qflows.sandbox import Sandbox
from qflows.settings import Settings

VENDORS = ("braket", "ibm", "ionq", "qbraid")
POINTS, SHOTS = 100, 4_000
ANGLE = Parameter("angle")
NAMES = sorted(
    name for name, profile in profiles.shipped().items() if profile.provider in VENDORS and not profile.retired
)
NATIVE = {name for name in NAMES if profiles.shipped()[name].options.get("verbatim")}  # take native gates only
EU_DE = {"ibm-aachen", "ibm-berlin"}
# one for each shape of limits; all of them with QFLOWS_TEST_EVERY_DEVICE=1, which takes two minutes
BOUGHT = {
    "braket-garnet", "braket-ibex-q1", "braket-forte-enterprise-1", "ibm-miami", "ionq-forte-1", "ionq-simulator",
    "qbraid-bell-1", "qbraid-qir-sv",
}  # fmt: skip
if os.environ.get("QFLOWS_TEST_EVERY_DEVICE"):
    BOUGHT = set(NAMES) - NATIVE


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def core(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    vendors.admin.reset()
    for vendor in VENDORS:
        vendors.admin.switches(vendor, **{"noise" if vendor == "ibm" else "qpu_noise": False})
    # some devices were off line when they were captured; these are for planning and buying
    vendors.admin.switches("qbraid", offline_submit="accept", credits=1e9)
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.01))
    yield made
    made.ledger.close()


def point() -> QuantumCircuit:
    """One qubit that is 1 with probability sin²(angle / 2)."""
    circuit = QuantumCircuit(1, 1)
    circuit.rx(ANGLE, 0)
    circuit.measure(0, 0)
    return circuit


def in_its_region(name: str, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """IBM's instances see the devices of their own region."""
    if name in EU_DE:
        crn = vendors.env["QISKIT_IBM_INSTANCE"].replace("us-east", "eu-de").replace(":00000001-", ":00000002-")
        monkeypatch.setenv("QISKIT_IBM_INSTANCE", crn)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NATIVE])
def test_plan_keeps_to_what_the_device_says(
    core: Client, vendors: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_its_region(name, vendors, monkeypatch)
    limits = core.device(name).limits
    shots = min(SHOTS, limits.max_shots or SHOTS)
    angles = np.linspace(0.0, np.pi, POINTS)
    planned = core.plan_batch((point(), angles[:, None]), device=name, shots=shots)
    most = limits.max_programs or POINTS
    if limits.max_total_shots is not None:
        most = min(most, max(limits.max_total_shots // shots, 1))
    sizes = [len(indices) for indices, _ in planned.specs]
    assert sum(sizes) == POINTS
    assert max(sizes) <= most
    assert len(sizes) == -(-POINTS // min(most, POINTS))  # and no job more than it takes


@pytest.mark.parametrize("name", sorted(BOUGHT))
def test_hundred_points_with_thousands_of_shots_are_accepted_and_right(
    core: Client, vendors: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_its_region(name, vendors, monkeypatch)
    limits = core.device(name).limits
    shots = min(SHOTS, limits.max_shots or SHOTS)
    angles = np.linspace(0.0, np.pi, POINTS)
    made = core.submit_list((point(), angles[:, None]), script_scope("sweep"), device=name, shots=shots)
    found = made.result(timeout=120)
    assert vendors.admin.count_jobs() == len(made.sub_jobs())
    ones = np.array([result.counts.get("1", 0) for result in found]) / shots
    assert np.all(np.abs(ones - np.sin(angles / 2) ** 2) < 6 * np.sqrt(0.25 / shots))


@pytest.mark.parametrize(
    ("name", "shots", "says"),
    [
        ("braket-cepheus-1-108q", 9, "at least 10"),
        ("braket-forte-enterprise-1", 99, "at least 100"),
        ("braket-ibex-q1", 2_001, "at most 2000"),
        ("qbraid-forte-1", 5_001, "at most 5000"),
        ("ionq-forte-1", 1_000_001, "at most 1000000"),
    ],
)
def test_shots_outside_the_devices_own_bounds_are_refused_before_anything_is_sent(
    core: Client, vendors: Sandbox, name: str, shots: int, says: str
) -> None:
    bound = point().assign_parameters([0.5])
    with pytest.raises(ProgramRejected, match=says):
        core.submit_one(bound, script_scope("bounds"), device=name, shots=shots)
    assert vendors.admin.count_jobs() == 0


def test_profile_narrows_what_the_device_says_and_never_widens_it() -> None:
    told = Limits(max_qubits=20, max_shots=20_000, min_shots=10, max_programs=100, max_total_shots=200_000, exact=False)
    profile = DeviceProfile(name="mine", provider="braket", device="x", qubits=30, max_shots=1_000, max_programs=200)
    found = profile.narrowed(told)
    assert (found.max_qubits, found.max_shots, found.min_shots) == (20, 1_000, 10)
    assert (found.max_programs, found.max_total_shots) == (100, 200_000)
    wide = profile.model_copy(update={"exact": True, "mid_circuit": True, "gates": ("h", "cx")}).narrowed(
        Limits(gates=frozenset({"cx", "rz"}))
    )
    assert (wide.exact, wide.mid_circuit, wide.gates) == (False, False, frozenset({"cx"}))


def test_limits_of_a_vendor_that_is_down_are_those_of_the_profile_until_it_answers(
    core: Client, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_LIMITS_RETRY_S", 0.0)
    vendors.admin.switches("ionq", qpu_qubits=30)
    vendors.admin.fault("drop_before", "ionq.backend", times=1)
    named = core.device("ionq-forte-1")
    assert named.limits.max_qubits == 36  # the profile's
    assert named.limits.max_qubits == 30  # the device's


def test_limits_are_asked_for_again_by_age(core: Client, vendors: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    named = core.device("ionq-forte-1")
    assert named.limits.max_qubits == 36
    vendors.admin.switches("ionq", qpu_qubits=30)
    assert named.limits.max_qubits == 36
    assert vendors.admin.requests("ionq.backend") == 1
    monkeypatch.setattr(devices, "_LIMITS_AGE_S", 0.0)
    core.vendors._told.clear()
    assert named.limits.max_qubits == 30
