"""The short form of `make doors`: counts of one program through every door, on every vendor's sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.doors import written
from acceptance.doors.compare import DEVICES, DYNAMIC, VENDORS, compare, compare_dynamic, prepare
from acceptance.doors.written import complaint, distribution, random_program
from qflows.core.client import Client
from qflows.programs import Feature
from qflows.sandbox import Sandbox
from qflows.settings import Settings

pytest.importorskip("braket.circuits")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a sandbox whose processors make no errors."""
    with Sandbox(vendors=VENDORS) as sandbox:
        for vendor in sandbox.admin.info()["vendors"].values():
            for name, value in vendor["env"].items():
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
        monkeypatch.setenv("USAGE_DATA_OPT_OUT", "True")
        prepare(sandbox)
        made = Client(Settings(settle_s=0.2, poll_min_s=0.001))
        yield made
        made.ledger.close()


def test_counts_are_the_same_through_every_door_on_every_vendor(core: Client) -> None:
    told = compare(core, 2, first=1, clients_every=2)
    assert told.disagreements == []
    assert {device: told.compared[device] >= 2 for device in DEVICES} == dict.fromkeys(DEVICES, True)
    clients = {where.partition(",")[0] for where in told.compared if where.endswith("vendor's client")}
    assert {one.partition("-")[0] for one in clients} == set(VENDORS)


def test_dynamic_programs_have_their_exact_distributions_where_they_run(core: Client) -> None:
    told = compare_dynamic(core, 4)
    assert told.disagreements == []
    assert {device: told.compared[device] >= 2 for device in DYNAMIC} == dict.fromkeys(DYNAMIC, True)
    refused = {tuple(where.split(": ")) for where in told.refused}
    assert ("ionq-simulator", Feature.FEED_FORWARD.value) in refused
    assert not any(device.startswith(("local", "ibm")) for device, _ in refused)


def test_comparison_notices_exchanged_bits_and_rare_outcomes() -> None:
    noticed = 0
    for seed in range(20):
        expected = distribution(random_program(seed))
        swapped = {key[::-1]: p for key, p in expected.items()}
        if any(abs(swapped.get(key, 0) - p) > 0.2 for key, p in expected.items()):
            assert complaint({key: round(1000 * p) for key, p in swapped.items()}, expected, 1000)
            noticed += 1
    assert noticed >= 5
    assert complaint({"0": 900, "1": 100}, {"0": 0.999, "1": 0.001}, 1000)
    assert not complaint({"0": 998, "1": 2}, {"0": 0.999, "1": 0.001}, 1000)
    assert complaint({"0": 1000}, {"0": 0.5, "1": 0.5}, 999)


def test_every_door_has_words_for_its_programs() -> None:
    names = {door.name for seed in range(12) for door in written.doors(random_program(seed))}
    dynamic = {door.name for seed in range(12) for door in written.doors(random_program(seed, dynamic=True))}
    assert names == {"qiskit", "qasm2", "qasm3", "braket-ir", "braket-circuit", "braket-to-ir", "ionq-json", "qbraid"}
    assert {"qiskit", "qasm2", "qasm3", "braket-ir"} <= dynamic
