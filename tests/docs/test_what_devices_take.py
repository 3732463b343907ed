"""The page that says what devices take is what the adapters say, and what they do."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected
from qflows.pages import takes
from qflows.programs import Feature
from qflows.sandbox import Sandbox
from qflows.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
WRITER = runpy.run_path(str(DOCS / "what_devices_take.py"), run_name="writer")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(vendors=WRITER["VENDORS"]) as running:
        yield running


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    for vendor in sandbox.admin.info()["vendors"].values():
        for name, value in vendor["env"].items():
            monkeypatch.setenv(name, value)
    made = Client(Settings(settle_s=0.2, poll_min_s=0.001))
    yield made
    made.ledger.close()


def test_page_is_what_the_devices_say_now(core: Client) -> None:
    rows = [takes.row(core.device(name)) for name in WRITER["DEVICES"]]
    assert WRITER["PAGE"].read_text(encoding="utf-8") == WRITER["HEAD"] + takes.markdown(rows), "run `make takes`"


def probe(feature: Feature) -> Any:
    """A circuit that has this feature, and those that it cannot be without."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    if feature is Feature.BARRIER:
        circuit.barrier(0)
        circuit.x(0)
    elif feature is Feature.DELAY:
        circuit.delay(1000, 0, "ns")
    elif feature is Feature.RESET:
        circuit.reset(0)
    elif feature is Feature.MID_CIRCUIT:
        circuit.measure(0, 0)
        circuit.x(0)
    elif feature is Feature.FEED_FORWARD:
        circuit.measure(0, 0)
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(1)
    elif feature is Feature.PHYSICAL:
        return 'OPENQASM 3.0; include "stdgates.inc"; bit[1] b; x $1; b[0] = measure $1;'
    circuit.measure([0, 1], [0, 1])
    return circuit


# on IonQ barriers stand between native gates only, and a noise model is what takes measurements in the middle
ON_TERMS = {("ionq-forte-1", Feature.BARRIER)}
OPTIONS = {"ionq-simulator": {"noise_model": "aria-1"}}
# and the outcome of its probe
PROBED = {
    Feature.BARRIER: "00", Feature.DELAY: "01", Feature.RESET: "00", Feature.MID_CIRCUIT: "00",
    Feature.FEED_FORWARD: "11", Feature.PHYSICAL: "1",
}  # fmt: skip


@pytest.mark.parametrize("device", WRITER["DEVICES"])
def test_devices_take_what_the_page_says_and_refuse_with_the_vendors_words(core: Client, device: str) -> None:
    target = core.device(device)
    told = takes.row(target)
    shots = None if target.limits.exact else 100
    for feature in PROBED:
        if (device, feature) in ON_TERMS or (device == "ionq-simulator" and feature is Feature.BARRIER):
            continue
        if device == "ionq-simulator" and feature is Feature.PHYSICAL:
            continue  # free where nothing is noisy, and refused with a noise model
        why = ""
        try:
            for spec in core.specs(probe(feature), device=device, shots=shots, options=OPTIONS.get(device)):
                target.provider.check(spec)
        except ProgramRejected as error:
            why = str(error)
        assert (not why) == told[feature.value]["taken"], (feature, why)
        if not why:
            scope = script_scope(f"{device} {feature}")
            options = OPTIONS.get(device)
            item = core.run(probe(feature), scope, device=device, shots=shots, options=options, timeout=60).items[0]
            found = item.counts or item.probabilities
            assert max(found, key=found.__getitem__) == PROBED[feature], feature
        if why:
            assert told[feature.value]["terms"], feature
            assert told[feature.value]["terms"] in why
