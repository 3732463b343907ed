"""Local devices as a vendor without a wire.

A local job is a pure function of its spec and its key: the sampler's seed comes from the key, so a job that runs
again after a crash draws the same shots. Submitting records nothing anywhere but in the ledger.

Devices: `exact` (state vector; probabilities and expectation values without sampling error), `aer` (shots, ideal),
`noisy:<name>` (shots, with the noise of a snapshot of an IBM device, e.g. `noisy:manila`), `braket` (shots, on
Amazon Braket's local state vector simulator).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from qflows.errors import ProgramRejected
from qflows.model import Cost
from qflows.programs import Program
from qflows.protocol import (
    Accepted,
    Capabilities,
    DeviceInfo,
    Found,
    JobSpec,
    Limits,
    Lookup,
    Observation,
    Pace,
    Phase,
    VendorResult,
)
from qflows.providers.local import simulate
from qflows.providers.local.compact import active_qubits

OPTIONS = frozenset({"memory"})  # keep the outcome of every shot: as many words in the ledger as there are shots


class LocalProvider:
    """Runs jobs in the process that waits for them."""

    name = "local"
    account = "here"
    job_page = None
    capabilities = Capabilities(
        lookup=Lookup.LOCAL,
        settle_s=0.0,
        poll_page=1_000_000,
        pace=Pace(0.0, 1.0, 0.0),
        max_programs=1_000,
        estimator=True,
    )

    def read(self, source: Any) -> Program | None:
        """Local devices have no program form of their own."""
        return None

    def devices(self) -> Sequence[DeviceInfo]:
        """The fixed devices; `noisy:<name>` exists for every IBM snapshot and is listed once."""
        return [
            DeviceInfo("exact", simulate.WIDTHS["exact"], True, True, note="state vector, no sampling error"),
            DeviceInfo("aer", simulate.WIDTHS["aer"], True, True, note="ideal, with shots"),
            DeviceInfo("noisy:manila", 5, True, True, note="noise of an IBM device snapshot; noisy:<name>"),
            DeviceInfo("braket", simulate.WIDTHS["braket"], True, True, note="Amazon Braket local simulator"),
        ]

    def limits(self, device_id: str) -> Limits:
        """Limits of a local device. Raises Refused for an unknown one.

        No bound on the width: idle qubits are taken out, and `check` counts the others.
        """
        simulate.width(device_id)
        return Limits(
            max_shots=10_000_000,
            max_programs=1_000,
            exact=device_id == "exact",
            mid_circuit=simulate.takes_mid_circuit(device_id),
        )

    def check(self, spec: JobSpec) -> None:
        """Refuses what the simulators cannot do, and options they do not have."""
        unknown = sorted(set(spec.options) - OPTIONS)
        if unknown:
            raise ProgramRejected(f"local devices have no option {unknown[0]!r}; there is memory")
        limit = simulate.width(spec.device_id)
        for index, program in enumerate(spec.programs):
            opaque = sorted(name for name in program.gate_counts() if name.startswith("opaque:"))
            if opaque:
                raise ProgramRejected(
                    f"{program.name}: {spec.device_id} does not know the vendor-native gate {opaque[0][7:]}; "
                    "run it on that vendor's device, or give the circuit in standard gates"
                )
            if spec.device_id != "exact" and spec.observables_of(index):
                raise ProgramRejected(f"{spec.device_id} samples; it cannot take observables directly")
            used = program.n_qubits if spec.observables_of(index) else len(active_qubits(program))
            if used > limit:
                raise ProgramRejected(
                    f"{program.name} uses {used} qubits; {spec.device_id} simulates {limit}; choose a wider device"
                )
            if program.has_mid_circuit and not simulate.takes_mid_circuit(spec.device_id):
                raise ProgramRejected(
                    f"{program.name} resets a qubit or goes on after a measurement; {spec.device_id} cannot do that, "
                    "the device aer can"
                )
            if spec.shots is None and spec.device_id != "exact":
                raise ProgramRejected(f"{spec.device_id} samples; pass shots=, or choose the device exact")

    def submit(self, spec: JobSpec, key: str) -> Accepted:
        """Names the job; it runs when it is waited for."""
        return Accepted(f"local-{key[:20]}")

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Every key names its job."""
        return {key: [Found(f"local-{key[:20]}", None)] for key in keys}

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """Always ready: `result` does the work."""
        return {vendor_id: Observation(Phase.DONE, "ready") for vendor_id in vendor_ids}

    def result(self, vendor_id: str, spec: JobSpec, key: str) -> VendorResult:
        """Runs every program of the job, in order. Raises Refused for an unknown device."""
        started = datetime.now(UTC)
        items = simulate.run(spec, key)
        return VendorResult(items=tuple(items), cost=Cost(0.0, "usd", False), started_at=started)

    def exists(self, vendor_id: str) -> bool:
        """Every local job can be run again."""
        return True

    def cancel(self, vendor_id: str) -> None:
        """Nothing runs that could be stopped."""

    def estimate(self, spec: JobSpec) -> Cost:
        """Free."""
        return Cost(0.0, "usd", False)


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> LocalProvider:
    """Local devices need no credentials and have no timeouts."""
    return LocalProvider()
