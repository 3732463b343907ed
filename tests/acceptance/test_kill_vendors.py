"""The kill matrix on the other vendors: named points and the wire, under the faults of a submission; one job each.

IBM's real client runs inside the victims. The points and faults of the IonQ matrix that are the same code for every
vendor (each commit, both databases) are not repeated here.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from qflows.ledger import Ledger
from qflows.sandbox import Sandbox

from .conftest import SHOTS, Forge

pytestmark = pytest.mark.slow(reason="real clients of three vendors in 220 cells of two or three processes")

WIDTH = 5  # the emulated IBM device has no more qubits
WIRE = {"wire in": ("before", "proceed"), "wire lost": ("before", "drop"), "wire out": ("after", "proceed")}
EVENTS = ("prepared", "claimed", "queued", "in-doubt", "absent", "completed")
MAX_RESTARTS = 5


def faults(vendor: str) -> dict[str, list[dict[str, Any]]]:
    """Scripts by name for one vendor's routes."""
    submit = f"{vendor}.submit"

    def status(code: int, **members: Any) -> dict[str, Any]:
        return {"kind": "status", "route": submit, "status": code, "accepted": True, **members}

    return {
        "none": [],
        "drop before": [{"kind": "drop_before", "route": submit}],
        "drop after": [{"kind": "drop_after", "route": submit}],
        "500 after": [status(500)],
        "502 after": [status(502, html=True)],
        "504 after": [status(504)],
        "502 three times": [status(502, times=3)],
        "429": [status(429, accepted=False, retry_after=1)],
        "truncated": [{"kind": "truncate", "route": submit}],
        "listing lag": [
            {"kind": "list_lag", "route": f"{vendor}.{'search' if vendor == 'braket' else 'list'}", "seconds": 0.06},
            {"kind": "drop_after", "route": submit},
        ],
    }


@dataclass(frozen=True)
class Place:
    """An emulated vendor, a maker of victims for it, and the device they use."""

    vendor: str
    device: str
    sandbox: Sandbox
    forge: Forge


VENDORS = {
    "ibm": (
        "ibm_manila",
        ("qiskit_ibm_runtime", "qiskit.transpiler.preset_passmanagers", "qflows.providers.ibm.adapter"),
    ),
    "braket": (
        "arn:aws:braket:::device/quantum-simulator/amazon/sv1",
        ("boto3", "qflows.providers.braket.adapter", "qiskit"),
    ),
    "qbraid": ("qbraid:qbraid:sim:qir-sv", ("qflows.providers.qbraid.adapter", "qiskit")),
}


@pytest.fixture(scope="module", params=VENDORS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    vendor = request.param
    device, imports = VENDORS[vendor]
    with Sandbox(vendors=(vendor,)) as sandbox:
        folder = tmp_path_factory.mktemp(vendor)
        forge = Forge(folder, sandbox.url, env={**sandbox.env, "VICTIM_WIDTH": str(WIDTH)}, imports=imports)
        yield Place(vendor, device, sandbox, forge)
        forge.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = f"sqlite:///{tmp_path_factory.mktemp('vendors') / 'ledger.db'}"
    Ledger.open(made).close()
    return made


# IBM's client is the one that re-sends by itself; the other two have the same core and quieter wires
_ONLY_IBM = {"500 after", "502 after", "502 three times", "truncated"}


@pytest.mark.parametrize("fault", list(faults("x")))
def test_process_killed_anywhere_on_any_vendor_leaves_one_job_and_its_counts(
    place: Place, url: str, fault: str, tables: dict[str, list[str]]
) -> None:
    if place.vendor != "ibm" and fault in _ONLY_IBM:
        pytest.skip("asked of IBM alone, to keep the suite short")
    rows = {point: kill_and_restart(place, url, point, fault) for point in ("no kill", *EVENTS, *WIRE)}
    lines = tables.setdefault(
        f"kill matrix, {place.vendor}: jobs at the vendor for one logical job (. not reached)", []
    )
    if not lines:
        lines.append(" " * 16 + " ".join(f"{point:>9}" for point in rows))
    lines.append(f"{fault:<16}" + " ".join(f"{count if count is not None else '.':>9}" for count, _ in rows.values()))
    wrong = {point: row for point, row in rows.items() if row[1] or row[0] not in (None, 1)}
    assert not wrong


def kill_and_restart(place: Place, url: str, point: str, fault: str) -> tuple[int | None, str]:
    """(jobs alive or done at the vendor, problem); (None, "") when the point was never reached."""
    admin, state = place.sandbox.admin, zlib.crc32(f"{point}/{fault}".encode()) % 2**WIDTH
    order = {
        "url": url,
        "run_key": f"run-{uuid.uuid4().hex}",
        "jobs": [(0, state)],
        "vendor": place.vendor,
        "device": place.device,
    }
    admin.reset()
    if place.vendor == "ibm":
        admin.switches("ibm", noise=False)
    scripts: Sequence[dict[str, Any]] = faults(place.vendor)[fault]
    if point in WIRE:
        when, verdict = WIRE[point]
        admin.fault("hold", f"{place.vendor}.submit", when=when)
        victim = place.forge.start(**order)
        admin.wait_held(1)
        victim.kill()
        for scripted in scripts:
            admin.fault(**scripted)
        admin.release_held(verdict=verdict)
    else:
        for scripted in scripts:
            admin.fault(**scripted)
        kill = {"event": point, "n": 1} if point != "no kill" else None
        if place.forge.run(kill=kill, **order) is not None and kill:
            return None, ""
    outcome = None
    for _ in range(MAX_RESTARTS):
        outcome = place.forge.run(**order)
        if outcome is not None and "jobs" in outcome:
            break
    if outcome is None or "jobs" not in outcome:
        return admin.count_jobs(place.vendor), str((outcome or {}).get("error", "killed"))[-1500:]
    counts = [job["counts"] for job in outcome["jobs"]]
    problem = "" if counts == [[{format(state, f"0{WIDTH}b"): SHOTS}]] else f"counts {counts} for state {state}"
    return admin.count_jobs(place.vendor), problem
