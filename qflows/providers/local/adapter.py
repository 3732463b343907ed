"""Local devices as a vendor without a wire.

A local job is a pure function of its spec and its key: the sampler's seed comes from the key, so a job that runs again
after a crash draws the same shots. Submitting records nothing outside the ledger.

Devices: `exact` (state vector; probabilities and expectation values without sampling error), `aer` (shots, ideal),
`noisy:<name>` (shots, with the noise of a snapshot of an IBM device, e.g. `noisy:manila`), `braket` (shots, on
Amazon Braket's local state vector simulator).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from qflows.errors import ProgramRejected
from qflows.model import Cost, Quote
from qflows.programs import Feature, Program, to_program
from qflows.programs.gates import OPAQUE
from qflows.programs.observables import Observable
from qflows.programs.placement import compact, on_qubits
from qflows.programs.target_errors import median_errors
from qflows.protocol import (
    Accepted,
    Capabilities,
    CompileWish,
    Condition,
    DeviceInfo,
    Found,
    JobSpec,
    Limits,
    Lookup,
    Observation,
    Pace,
    Phase,
    Prepared,
    RawAnswer,
    VendorOptions,
    VendorResult,
)
from qflows.providers.local import simulate
from qflows.providers.local.compact import active_qubits
from qflows.providers.local.compile import duration_s, is_bound, method_of, snapshot_name
from qflows.providers.local.noise import noise_of, noise_text, snapshot
from qflows.providers.local.options import AerOptions, NoisyOptions, model_of, read_options

_TERMS: dict[Feature, str] = dict.fromkeys(
    (Feature.RESET, Feature.MID_CIRCUIT, Feature.FEED_FORWARD),
    "it computes one state for all shots, without measurements before the end; local-aer can",
)
_TAKES = frozenset(Feature) - {Feature.RESET, Feature.MID_CIRCUIT, Feature.FEED_FORWARD}  # by every local device


class LocalProvider:
    """Runs jobs in the process that waits for them."""

    name = "local"
    account = "here"
    job_page = None
    capabilities = Capabilities(
        lookup=Lookup.LOCAL,
        settle_s=0.0,
        poll_page=1_000_000,
        pace=Pace(0.0, 0.0),
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

        No bound on the width: idle qubits are removed, and `check` counts the others.
        """
        simulate.width(device_id)
        return Limits(
            max_shots=10_000_000,
            max_programs=1_000,
            exact=device_id == "exact",
            mid_circuit=simulate.takes_mid_circuit(device_id),
            takes=frozenset(Feature) if simulate.takes_mid_circuit(device_id) else _TAKES,
            terms={} if simulate.takes_mid_circuit(device_id) else _TERMS,
        )

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """`memory`; on devices with shots also the method and the noise; on noisy ones also how to compile."""
        return model_of(device_id)

    def check(self, spec: JobSpec) -> None:
        """Refuse what the simulators cannot do, and options they do not have."""
        options = read_options(spec)
        limit = simulate.width(spec.device_id)
        if isinstance(options, NoisyOptions) and options.snapshot is not None:
            limit = simulate.width(f"noisy:{options.snapshot}")
        for index, program in enumerate(spec.programs):
            _check_program(program, spec, spec.observables_of(index), limit)
            if spec.shots is None and spec.device_id != "exact":
                raise ProgramRejected(f"{spec.device_id} samples; pass shots=, or choose the device exact")
            if isinstance(options, NoisyOptions) and is_bound(program, spec.device_id, options):
                simulate.ready(spec, program)  # the snapshot is at hand: refuse before anything is recorded
            if isinstance(options, AerOptions):
                if noise := noise_text(options):
                    noise_of(noise)
                if spec.device_id == "aer":
                    method_of(program, options)

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """The program as the device runs it: on a snapshot's qubits, or unchanged if nothing is compiled."""
        is_noisy = spec.device_id.startswith("noisy:")
        if is_noisy and wish.level != "default":
            spec = replace(spec, options={**spec.options, "compile": wish.level})
        if is_noisy and wish.physical_qubits is not None:
            spec = replace(spec, options={**spec.options, "physical_qubits": list(wish.physical_qubits)})
        (program,) = spec.programs
        if not is_noisy and wish.level not in ("default", "none"):
            raise ProgramRejected(
                f"{program.name}: the device {spec.device_id} is ideal and compiles nothing; leave compile out, or "
                "choose a noisy one"
            )
        self.check(spec)
        if is_noisy:
            return _as_run(program, spec)
        return program if wish.physical_qubits is None else on_qubits(program, wish.physical_qubits)

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """Seconds of one shot by the durations of the snapshot; None for devices without one."""
        read = model_of(device_id).model_validate(dict(options))
        return duration_s(program, snapshot_name(device_id, read)) if isinstance(read, NoisyOptions) else None

    def condition(self, device_id: str) -> Condition:
        """Medians of the snapshot that a noisy device takes its errors from; empty for an ideal one."""
        read = model_of(device_id).model_validate({})
        if not isinstance(read, NoisyOptions):
            return Condition(0.0, 0.0, 0.0, "ideal")
        name = snapshot_name(device_id, read)
        two_qubits, readout = median_errors(snapshot(name).target)
        return Condition(two_qubits, readout, 0.0, f"IBM snapshot {name}")

    def target(self, device_id: str, options: Mapping[str, Any]) -> Any:
        """The snapshot's qiskit target; None for devices that are ideal."""
        read = model_of(device_id).model_validate(dict(options))
        return snapshot(snapshot_name(device_id, read)).target if isinstance(read, NoisyOptions) else None

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """Check the job, and compile it if that may fail."""
        self.check(spec)
        if not spec.device_id.startswith("noisy:"):
            return Prepared(spec, key, None)
        made = [simulate.ready(spec, program)[0] for program in spec.programs]
        return Prepared(spec, key, None, note="; ".join(dict.fromkeys(note for one in made for note in one.notes)))

    def send(self, prepared: Prepared) -> Accepted:
        """Name the job; it runs when it is waited for."""
        return Accepted(f"local-{prepared.key[:20]}")

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """Every key names its job."""
        return {key: [Found(f"local-{key[:20]}", None)] for key in keys}

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """Always ready: `decode` does the work."""
        return {vendor_id: Observation(Phase.DONE, "ready") for vendor_id in vendor_ids}

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """The time of the request; the outcome follows from the spec and the key."""
        return RawAnswer({"started": datetime.now(UTC).isoformat().encode()})

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Run every program of the job, in order. Raises Refused for an unknown device."""
        started = datetime.fromisoformat(raw.documents["started"].decode())
        return replace(decode_kept(raw, spec, key), started_at=started)

    def exists(self, vendor_id: str) -> bool:
        """True: every local job can be run again."""
        return True

    def cancel(self, vendor_id: str) -> None:
        """Do nothing: nothing runs that could be stopped."""

    def estimate(self, spec: JobSpec) -> Quote:
        """Free."""
        return Quote(Decimal(0), Decimal(0), "usd", "runs on this machine")


def _check_program(program: Program, spec: JobSpec, wanted: tuple[Observable, ...], limit: int) -> None:
    opaque = sorted(name for name in program.gate_counts() if name.startswith(OPAQUE))
    if opaque:
        raise ProgramRejected(
            f"{program.name}: {spec.device_id} does not know the vendor-native gate {opaque[0][7:]}; "
            "run it on that vendor's device, or give the circuit in standard gates"
        )
    if spec.device_id != "exact" and wanted:
        raise ProgramRejected(f"{spec.device_id} samples; it cannot take observables directly")
    if any(one.n_qubits != program.n_qubits for one in wanted):
        raise ProgramRejected(f"{program.name} has {program.n_qubits} qubits, an observable another number; pad with I")
    used = program.n_qubits if wanted else len(active_qubits(program))
    if used > limit:
        raise ProgramRejected(
            f"{program.name} uses {used} qubits; {spec.device_id} simulates {limit}; choose a wider device"
        )
    if program.has_mid_circuit and not simulate.takes_mid_circuit(spec.device_id):
        raise ProgramRejected(
            f"{program.name} resets a qubit or continues after a measurement; {spec.device_id} cannot do that, "
            "the device aer can"
        )


def _as_run(program: Program, spec: JobSpec) -> Program:
    made, _ = simulate.ready(spec, program)
    found = compact(to_program(made.circuit, name=program.name))
    return found.rewritten(found.ops(), is_verbatim=True, metadata=program.metadata)


def decode_kept(raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
    """Run a job again, which needs no answer; see `providers.decoder`."""
    return VendorResult(items=tuple(simulate.run(spec, key)), cost=Cost(0.0, "usd", False))


RUNS_HERE = True


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> LocalProvider:
    """Connect; local devices need no credentials and have no timeouts."""
    return LocalProvider()
