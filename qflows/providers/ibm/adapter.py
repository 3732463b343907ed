"""IBM Quantum behind the provider protocol: the real client's REST layer, every request sent once.

A job carries the tag `qflows:<key>` and is found again by it. The client's own repeats of POSTs are switched off, and a
lost answer is settled by look-up. Jobs are built like those of the client's SamplerV2 and EstimatorV2 (`program_id`
sampler and estimator: IBM prepares and post-processes), or, with the option `primitives: executor`, like those of its
executor_sampler and executor_estimator (`program_id` executor: the client does). Points of a sweep are sent as one PUB.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from qflows.errors import Ambiguous, ProgramRejected, ProviderError, Refused, Throttled
from qflows.model import Quote
from qflows.programs import Feature, Program, to_program
from qflows.programs.placement import compact
from qflows.programs.rebuild import placed
from qflows.programs.steps import walk
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
from qflows.providers.ibm import decoding, options, usage, wire
from qflows.providers.ibm.access import Access, find_access
from qflows.providers.ibm.doctor import Doctor
from qflows.providers.ibm.imports import Imports
from qflows.providers.ibm.listing import PAGE, Listing
from qflows.providers.ibm.options import IBMOptions
from qflows.providers.ibm.runtime import JOB_ID, Runtime, job_path
from qflows.providers.ibm.sessions import Sessions
from qflows.providers.ibm.tags import Tags

if TYPE_CHECKING:
    from qflows.providers.ibm.compile import Compiler

# `max_experiments` of the device configurations; IBM no longer enforces it (guide "Job limits", read 2026-11), but a
# job with more would occupy a device for hours
_NOT_IN_BRANCHES = {"if_else": "another branch", "measure": "a measurement", "reset": "a reset"}
_MAX_PUBS = 300
# IBM takes 26.8 million control-system instructions a qubit (the same guide, weights 1 to 50); one of our gates becomes
# some fifty of them on one qubit at worst. IBM's limit on two-qubit gates depends on options and is not published
_MAX_GATES = 500_000
_HOLD_S = 12.0  # after a 429 without Retry-After: 5 submissions a minute (OpenAPI 0.45.3, create_job)
_REMEMBERED = 2_000
_KEPT_BODY = 1_000_000  # bytes; the doctor's jobs are far smaller, and those of long lists far larger
_TAKES = (Feature.BARRIER, Feature.DELAY, Feature.PHYSICAL, Feature.VERBATIM)
MEASURED = "lost on the way to the device, as `qflows doctor --spend` measured with this account"
_JSON = {"Content-Type": "application/json"}
_RESULT_MARKS = (b'"pub_results"', b'"semantic_role"', b'"results"')
_CAPABILITIES = Capabilities(
    lookup=Lookup.QUERY,
    settle_s=15.0,  # how long lists lag behind a POST is not documented; two look-ups this far apart
    poll_page=PAGE,
    pace=Pace(first_s=0.1, rate=2.0, burst=20),  # no limit of reads is documented; IBM's client polls as often
    max_programs=_MAX_PUBS,
    max_job_gates=_MAX_GATES,
    max_job_shots=wire.MAX_EXECUTIONS,
    estimator=True,
    repeats_posts=False,  # http.py sends each POST once, whatever the client asks for
    sessions=frozenset({"dedicated", "batch"}),
    retags=True,
    imports=True,
    sends_inputs=True,
)


def _terms(names: set[str]) -> dict[Feature, str]:
    """Why a feature is not taken, from the device's configuration; and how delays are kept."""
    found = {
        Feature.DELAY: "rounded to the device's clock, with a note",
        Feature.NATIVE: "IBM's gates are standard ones; other vendors' native gates have no meaning there",
    }
    said = "its configuration, read now, has no"
    if "reset" not in names:
        found |= dict.fromkeys(
            (Feature.RESET, Feature.MID_CIRCUIT), f"{said} reset, as devices without dynamic circuits"
        )
    if "if_else" not in names:
        found[Feature.FEED_FORWARD] = f"{said} if_else"
    return found


class IBMProvider(Doctor, Imports, Sessions, Tags):
    """One instance of an IBM Quantum account. Thread-safe. Makes no request until used."""

    name = "ibm"
    capabilities = _CAPABILITIES

    def __init__(self, access: Access, *, timeout_s: float) -> None:
        self.account = access.account
        self.job_page = "https://quantum.cloud.ibm.com/workloads?search={id}" if access.base_url is None else None
        self._runtime = Runtime(access, timeout_s=timeout_s)
        self._listing = Listing(self._runtime)
        self._compiler: Compiler | None = None
        self._records: OrderedDict[str, bytes] = OrderedDict()  # JSON, compressed: texts of hundreds of circuits each
        self._lock = Lock()
        self._held_until = 0.0
        self._last_sent = "", b""  # for the doctor; preparing again gives other bytes: circuits get new names

    def __repr__(self) -> str:
        return f"IBMProvider({self._runtime})"

    def read(self, source: Any) -> Program | None:
        """IBM has no program form of its own: circuits are Qiskit's."""
        return None

    def devices(self) -> Sequence[DeviceInfo]:
        """GET /backends, mock devices left out."""
        return self._runtime.read(
            "the device list",
            lambda client: [_device(entry) for entry in client.list_backends() if entry.get("class") != "mock"],
        )

    def limits(self, device_id: str) -> Limits:
        """From the device's own description, whose `max_shots` and `max_experiments` IBM does not enforce.

        Raises Refused for an unknown device.
        """
        backend = self._runtime.backend(device_id)
        names = set(backend.target.operation_names)
        takes = set(_TAKES)
        takes |= {Feature.RESET, Feature.MID_CIRCUIT} if "reset" in names else set()
        takes |= {Feature.FEED_FORWARD} if "if_else" in names else set()
        return Limits(
            max_qubits=int(backend.num_qubits),
            max_shots=None,
            max_programs=_MAX_PUBS,
            mid_circuit=Feature.MID_CIRCUIT in takes,
            max_total_shots=wire.MAX_EXECUTIONS,
            takes=frozenset(takes) - self._lost,
            terms=_terms(names) | dict.fromkeys(self._lost, MEASURED),
        )

    def condition(self, device_id: str) -> Condition:
        """Medians of the device's calibrated target, couplers out of order left out."""
        return Condition(*median_errors(self._runtime.backend(device_id).target), source="IBM's calibration, read now")

    def options_model(self, device_id: str) -> type[VendorOptions]:
        """The same for all devices; options that one device lacks are refused by `prepare`, which knows its
        description."""
        return IBMOptions

    def mitigation(
        self, device_id: str, technique: str, settings: Mapping[str, Any], *, is_estimate: bool
    ) -> Mapping[str, Any] | None:
        """IBM's options: all techniques for expectation values, twirling and decoupling for counts."""
        return options.mitigation(technique, settings, is_estimate=is_estimate)

    def check(self, spec: JobSpec) -> None:
        """Refuse wrong options and labels, missing shots, too many executions, and gates without a known matrix."""
        chosen = options.read(spec.options)
        self.check_tags(name=spec.name, tags=spec.tags)
        if spec.shots is None:
            raise ProgramRejected("ibm needs shots; pass shots= (exact evaluation: device='local-exact')")
        if len(spec.programs) > _MAX_PUBS:
            raise ProgramRejected(f"{len(spec.programs)} programs; an IBM job takes {_MAX_PUBS}")
        wants = [bool(spec.observables_of(i)) for i in range(len(spec.programs))]
        if any(wants) and not all(wants):
            raise ProgramRejected("an IBM job measures counts or expectation values, not both; make two jobs")
        if not any(wants) and spec.shots * len(spec.programs) > wire.MAX_EXECUTIONS:
            raise ProgramRejected(
                f"{spec.shots} shots of {len(spec.programs)} programs; an IBM job has at most "
                f"{wire.MAX_EXECUTIONS} executions (IBM docs, job limits)"
            )
        options.check_kind(chosen, is_estimate=any(wants), shots=spec.shots)
        for program, is_estimate in zip(spec.programs, wants, strict=True):
            _check_program(program, is_estimate=is_estimate)
            _check_branches(program)
        self._check_places(spec)

    def _check_places(self, spec: JobSpec) -> None:
        """Refuse programs that cannot run on the qubits that they or the options name, or as they are written.

        Only if the device was described before, as for `limits`; otherwise `prepare` refuses them. That with fractional
        gates is another description, and is read now.
        """
        backend = self._runtime.known(spec.device_id)
        if backend is not None and spec.options.get("use_fractional_gates"):
            try:
                backend = self._backend(spec)
            except ProviderError:
                return
        if backend is None:
            return
        from qflows.providers.ibm import preparing

        preparing.check_places(spec, backend, self._compile_with())

    def prepare(self, spec: JobSpec, key: str) -> Prepared:
        """Read the device's description, compile and encode; send nothing that buys.

        Raises ProgramRejected, Refused for an unknown device, NotSent if its description cannot be read.
        """
        self.check(spec)
        backend = self._backend(spec)
        from qflows.providers.ibm import preparing

        made = preparing.body(spec, key, backend, self._compile_with())
        return Prepared(spec, key, made, made.note)

    def compile(self, spec: JobSpec, wish: CompileWish) -> Program:
        """The single program of a spec as it would run, on the device's qubits. Buys nothing; raises as `prepare`."""
        if wish.level != "default":
            spec = replace(spec, options={**spec.options, "compile": wish.level})
        if wish.physical_qubits is not None:
            spec = replace(spec, options={**spec.options, "physical_qubits": list(wish.physical_qubits)})
        [(circuit, _)] = self.preview(spec)
        (asked,) = spec.programs
        found = compact(to_program(circuit, name=asked.name))
        bits: dict[str, Any] = {}
        if not any(spec.observables):  # the circuit that runs has one register of ours
            bits = {
                "n_clbits": asked.n_clbits,
                "registers": [(register.name, register.bits) for register in asked.registers],
            }
        return found.rewritten(found.ops(), is_verbatim=True, metadata=asked.metadata, **bits)

    def duration_s(self, device_id: str, options: Mapping[str, Any], program: Program) -> float | None:
        """Seconds of one shot, by the durations of the device's own target; None if it gives none."""
        from qiskit.exceptions import QiskitError

        backend = self._backend(JobSpec("ibm", device_id, (program,), None, options=options))
        try:
            return float(placed(program, backend.target.num_qubits).estimate_duration(backend.target))
        except QiskitError:  # the target has no duration for one of the instructions
            return None

    def preview(self, spec: JobSpec) -> tuple[tuple[Any, Mapping[str, Any]], ...]:
        """By program: the Qiskit circuit that would run, on the device's qubits, and a summary of it.

        The summary has `depth`, `gates` (counts by name), `layout` (device qubit of each program qubit), `as_written`,
        and `notes` if delays were rounded. Buys nothing; raises as `prepare`.
        """
        self.check(spec)
        backend = self._backend(spec)
        from qflows.providers.ibm import preparing

        return preparing.preview(spec, backend, self._compile_with())

    def send(self, prepared: Prepared) -> Accepted:
        """POST /jobs, once. Raises Throttled, with nothing sent, while a rate limit is known to be hit."""
        wait_s = self._held_until - time.monotonic()
        if wait_s > 0:
            raise Throttled("ibm's rate limit was hit; nothing was sent", provider="ibm", retry_after_s=wait_s)
        made = prepared.body
        try:
            body = self._runtime.post_once(
                "the submission",
                lambda client: client._session.post("/jobs", data=made.content, headers=_JSON).json(),
            )
        except ProviderError as error:
            if error.http_status == 429:
                told_s = error.retry_after_s
                self._held_until = time.monotonic() + (_HOLD_S if told_s is None else told_s)
            raise
        vendor_id = body.get("id") if isinstance(body, dict) else None
        if not isinstance(vendor_id, str) or not JOB_ID.fullmatch(vendor_id):
            raise Ambiguous("ibm accepted the submission but named no job", provider="ibm", body=str(body)[:4000])
        self._listing.submitted(vendor_id)
        if len(made.content) <= _KEPT_BODY:
            self._last_sent = vendor_id, made.content
        self._remember(vendor_id, made.record)
        return Accepted(vendor_id, made.record)

    def target(self, device_id: str, options: Mapping[str, Any]) -> Any:
        """The device's calibrated qiskit target, cached for a while. Raises Refused for an unknown device."""
        return self._runtime.backend(device_id, fractional=bool(options.get("use_fractional_gates"))).target

    def _backend(self, spec: JobSpec) -> Any:
        return self._runtime.backend(spec.device_id, fractional=bool(spec.options.get("use_fractional_gates")))

    def _compile_with(self) -> Compiler:
        from qflows.providers.ibm.compile import Compiler

        with self._lock:
            self._compiler = self._compiler or Compiler()
            return self._compiler

    def find_submitted(
        self, keys: Collection[str], *, since: datetime, device_ids: Collection[str]
    ) -> Mapping[str, Sequence[Found]]:
        """GET /jobs by tag, created since then."""
        return self._listing.bearing(keys, since=since)

    def poll(self, vendor_ids: Sequence[str]) -> Mapping[str, Observation]:
        """GET /jobs in windows of 200; stragglers one by one."""
        return self._listing.states(vendor_ids)

    def fetch(self, vendor_id: str, spec: JobSpec) -> RawAnswer:
        """Metrics, our note of what was compiled, and last the result: IBM gives a private one only once.

        Raises Throttled while IBM has no result of a finished job yet, Refused for a job that failed.
        """
        metrics = self._runtime.document(f"the metrics of {vendor_id}", job_path(vendor_id, "/metrics"))
        record = self._recalled(vendor_id)
        text = self._runtime.document(f"the result of {vendor_id}", job_path(vendor_id, "/results"))
        if not text:
            raise Throttled(
                f"ibm has no result for job {vendor_id} yet (204); qflows asks again", provider="ibm", http_status=204
            )
        if not any(mark in text for mark in _RESULT_MARKS):
            self._refuse_if_failed(vendor_id)
        documents = {
            decoding.METRICS: metrics or b"{}",
            decoding.SUBMISSION: record,
            decoding.RESULTS: text,
        }
        return RawAnswer(documents, is_only_copy=bool(spec.options.get("private")))

    def decode(self, raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
        """Counts or expectation values per PUB, with times and QPU seconds."""
        return decoding.decode(raw, spec)

    def _refuse_if_failed(self, vendor_id: str) -> None:
        """Raise the error text of a failed job, which IBM sends in place of its results (runtime_job_v2.py, client
        0.51.0)."""
        try:
            job = self._runtime.read(f"job {vendor_id}", lambda client: client.job_get(vendor_id))
        except ProviderError:
            return  # the original read error says more
        look = wire.observation(job if isinstance(job, dict) else {})
        if look.phase in (Phase.FAILED, Phase.CANCELLED):
            raise Refused(f"ibm job {vendor_id} has no results: it {look.phase}", provider="ibm", vendor_code=look.word)

    def _remember(self, vendor_id: str, record: Mapping[str, Any]) -> None:
        packed = zlib.compress(json.dumps(record).encode(), 1)
        with self._lock:
            self._records[vendor_id] = packed
            while len(self._records) > _REMEMBERED:
                self._records.popitem(last=False)

    def _recalled(self, vendor_id: str) -> bytes:
        """What was compiled, as JSON: noted at submission, otherwise read back from IBM; empty for a private job."""
        with self._lock:
            known = self._records.get(vendor_id)
        if known is not None:
            return zlib.decompress(known)
        from qflows.providers.ibm import recover

        try:
            record = recover.record(self._runtime, vendor_id)
        except ProviderError as error:
            record = {"target": None, "compiled": [], "note": str(error)[:300]}
        return json.dumps(record).encode()

    def exists(self, vendor_id: str) -> bool:
        """GET /jobs/{id}: False only for a 404 with IBM's own error body, and not that of a wrong region."""
        try:
            job_path(vendor_id)
            self._runtime.read(f"job {vendor_id}", lambda client: client.job_get(vendor_id))
        except Refused as error:
            from qflows.providers.ibm.http import is_gone

            if is_gone(error):
                return False
            raise
        return True

    def cancel(self, vendor_id: str) -> None:
        """POST /jobs/{id}/cancel; 409 (already ended) is not an error, and the next poll resolves a doubt."""
        job_path(vendor_id)
        try:
            self._runtime.read(f"the cancellation of {vendor_id}", lambda client: client.job_cancel(vendor_id))
        except Refused as error:
            if error.http_status != 409:
                raise

    def estimate(self, spec: JobSpec) -> Quote | None:
        """QPU seconds, from the device's own pause between shots; 1.5 to 2.5 times the charge, by 14 bills of 2026.

        A device that cannot be asked counts as one with the longest pause. IBM itself gives no estimate before a job is
        submitted, and then up to 20 times the charge. The bound is the time after which IBM ends the job.
        """
        pause_s, of = usage.LONGEST_PAUSE_S, "the longest pause between shots; the device was not asked"
        try:
            pause_s = usage.pause_s(self._backend(spec))
            of = f"the device's pause between shots of {pause_s * 1e6:g} us"
        except (ProviderError, ProgramRejected):
            pass  # sending reports what is wrong
        return usage.quote(spec, pause_s, of)


def _check_branches(program: Program) -> None:
    """Raise ProgramRejected for what IBM's branches cannot hold; nested ones end in a panic of the compiler."""
    if '["if_else",' not in program.text:  # quicker than reading the steps
        return
    for step in program.instructions:
        for inner in walk((*step.then, *step.otherwise)):
            if inner.name in _NOT_IN_BRANCHES:
                raise ProgramRejected(
                    f"{program.name}: a branch holds {_NOT_IN_BRANCHES[inner.name]}, which IBM's devices do not run: "
                    "IBM docs, dynamic circuits, 2026-09; put it before or after the branch, or use local-aer"
                )


# IBM docs, native gates, of processors of all ages; devices have some of them
_NATIVE = {
    "id", "x", "sx", "rx", "rz", "rzz", "cx", "cz", "ecr", "measure", "barrier", "delay", "reset", "if_else",
}  # fmt: skip


def _check_program(program: Program, *, is_estimate: bool) -> None:
    is_suspect = '["opaque:' in program.text  # quicker than reading the steps
    opaque = sorted(name for name in program.gate_counts() if name.startswith("opaque:")) if is_suspect else []
    if opaque:
        raise ProgramRejected(
            f"{program.name}: gate {opaque[0][7:]} is native to another vendor; give the circuit in standard gates"
        )
    if program.is_verbatim and (strangers := sorted(program.gate_counts().keys() - _NATIVE)):
        raise ProgramRejected(
            f"{program.name} is to run as it is written, and is not in the gate set of any device of IBM: "
            f"{', '.join(strangers)[:80]}; give it without a verbatim box"
        )
    if is_estimate and program.has_mid_circuit:
        raise ProgramRejected(f"{program.name}: expectation values need a circuit without mid-circuit measurement")
    if not is_estimate and not program.measured:
        raise ProgramRejected(f"{program.name} measures nothing; call circuit.measure_all()")


def _device(entry: Mapping[str, Any]) -> DeviceInfo:
    status = entry.get("status")
    word = status.get("name") if isinstance(status, dict) else status
    queued = entry.get("queue_length")
    wait_s = entry.get("wait_time_seconds")
    wait_s = wait_s.get("average") if isinstance(wait_s, dict) else wait_s
    is_number = isinstance(wait_s, int | float) and math.isfinite(wait_s)
    return DeviceInfo(
        device_id=str(entry.get("name")),
        n_qubits=entry.get("qubits") if isinstance(entry.get("qubits"), int) else None,
        is_simulator=bool(entry.get("is_simulator", False)),
        is_available=word == "online",
        queue_s=float(wait_s) if is_number and wait_s is not None else None,
        queue_length=queued if isinstance(queued, int) else None,
        note=str(word),
    )


def decode_kept(raw: RawAnswer, spec: JobSpec, key: str) -> VendorResult:
    """Read a stored answer without an account or the network; see `providers.decoder`."""
    return decoding.decode(raw, spec)


def connect(credentials: Mapping[str, Any] | None, *, timeout_s: float) -> IBMProvider:
    """From fields `token`, `instance`, `channel`, `region`, `url`, or the client's own environment or saved account.

    Makes no request and imports no vendor code. Raises CredentialsMissing naming what to set.
    """
    return IBMProvider(find_access(credentials), timeout_s=timeout_s)
