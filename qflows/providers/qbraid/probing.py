"""What one qBraid account shows of what the documents leave open. Free simulators come first."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from qiskit import QuantumCircuit

from qflows.errors import Ambiguous, ProviderError, Refused
from qflows.protocol import Bench, Bought, Fact, Phase
from qflows.protocol.probing import Seen, bit_order, seconds, until
from qflows.providers.qbraid import wire
from qflows.providers.qbraid.groups import GroupCalls
from qflows.providers.qbraid.http import QbraidHttp, path_of

_SHOTS = 20
_PROGRAM = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nx q[0];\n{}\nc = measure q;\n'
_WORDS = {"barrier": "barrier q;", "delay": "delay[100ns] q[0];"}
_LOOK_S = 0.3


def measure(http: QbraidHttp, groups: GroupCalls, bench: Bench) -> Iterator[Fact]:
    """Facts from two jobs, repeats of one of them, and a group without jobs."""
    closed = yield from _of_groups(http, groups)
    device_id = bench.cheapest()
    first = bench.buy([_asymmetric()], device_id=device_id, shots=_SHOTS) if device_id else None
    if first is None:
        yield Fact("bit_order", None, bench.why or "no device can be afforded now")
        return
    probe = _Probe(http, bench)
    yield probe.early_result(first)
    yield probe.lag(first)
    yield from probe.tags(first)
    yield from probe.life(first)
    found = bench.finish(first)
    if found is None:
        yield Fact("bit_order", None, bench.why)
        return
    yield bit_order(found[0].counts or {}, right=_RIGHT, left=_LEFT)
    yield from _of_result(bench.raw(first))
    second = bench.buy([_asymmetric("to be cancelled")], device_id=first.spec.device_id, shots=_SHOTS)
    if second is not None:
        yield from probe.cancel(second)
        yield probe.order([first, second])
    yield from probe.refusals(first, closed)
    yield from probe.words(first)


def _asymmetric(name: str = "probe") -> QuantumCircuit:
    """A circuit with x on qubit 0 of three."""
    circuit = QuantumCircuit(3, 3, name=name)
    circuit.x(0)
    circuit.measure(range(3), range(3))
    return circuit


_RIGHT = ("c0_right", "x on qubit 0 of three")
_LEFT = ("c0_left", "pass options={'bit_order': 'c0_left'} on this device, and report it")


def _of_result(documents: Mapping[str, bytes]) -> Iterator[Fact]:
    try:
        body = json.loads(documents.get("result", b""), parse_float=str)["data"]
    except (ValueError, KeyError, TypeError):
        return
    cost = body.get("cost")
    if isinstance(cost, str) and isinstance(json.loads(documents["result"])["data"]["cost"], str):
        yield Fact("result_cost_form", "exponent" if "e" in cost.lower() else "text", cost)
    elif cost is not None:
        yield Fact("result_cost_form", "number", str(cost))
    data = body.get("resultData") or {}
    has = [name for name in ("measurementCounts", "measurementProbabilities") if data.get(name)]
    names = {"measurementCounts": "counts", "measurementProbabilities": "probabilities"}
    seen = "both" if len(has) == 2 else names[has[0]] if has else None
    yield Fact("result_data", seen, ", ".join(data))


def _of_groups(http: QbraidHttp, groups: GroupCalls) -> Generator[Fact, None, str | None]:
    """Facts about groups; returns the id of a closed one. One that stays empty costs nothing; it is closed anyway."""
    try:
        made = groups.create(secrets.token_hex(32), name="qflows doctor", tags={}, max_ttl_s=60)
    except ProviderError as error:
        yield Fact("group_no_jobs", None, str(error))
        return None
    where = path_of("jobs", "group", made.group_id)
    try:
        jobs = http.get(f"{where}/jobs")
        inside = jobs.get("jobs") if isinstance(jobs, dict) else jobs
        yield Fact("group_no_jobs", "null" if inside is None else "list")
    finally:
        http.post_repeatable(f"{where}/close")
    after = http.get(where)
    yield Fact("group_empty_closed", str(after.get("status")) if isinstance(after, dict) else None)
    try:
        http.post_repeatable(f"{where}/close")
    except Refused as error:
        yield Fact("close_twice", "refuse", f"status {error.http_status}")
    else:
        yield Fact("close_twice", "harmless")
    return made.group_id


class _Probe:
    """Questions about jobs."""

    def __init__(self, http: QbraidHttp, bench: Bench) -> None:
        self._http, self._bench = http, bench

    def _job(self, vendor_id: str) -> Mapping[str, Any]:
        found = self._http.get(path_of("jobs", vendor_id))
        return found if isinstance(found, dict) else {}

    def _listed(self, *filters: tuple[str, str]) -> list[Mapping[str, Any]]:
        return list(wire.jobs_of(self._http.get("/jobs", [*filters, ("limit", "100")])))

    def _until(self, ask: Callable[[], bool]) -> Seen | None:
        return until(ask, patience_s=self._bench.patience_s, every_s=_LOOK_S)

    def lag(self, bought: Bought) -> Fact:
        """Time until the plain list shows a job."""
        found = self._until(lambda: any(one.get("jobQrn") == bought.vendor_id for one in self._listed()))
        return seconds("listing_lag_s", found, never="never listed within the patience")

    def tags(self, bought: Bought) -> Iterator[Fact]:
        """How the tag filter matches: a job carries more tags than the requested one."""
        if self._listed(wire.tag_filter(qflows_key=secrets.token_hex(32))):
            yield Fact("tag_match", "ignored", "a key that no job has still finds jobs: lists are read instead")
            return
        found = self._listed(wire.tag_filter(qflows_key=bought.key))
        is_there = any(one.get("jobQrn") == bought.vendor_id for one in found)
        yield Fact("tag_match", "subset" if is_there else "exact", "" if is_there else "lists are read instead")

    def life(self, bought: Bought) -> Iterator[Fact]:
        """Until the job is over: status words, whether lists update by themselves, and whether its creation time
        does."""
        words: list[str] = []
        created: set[str] = set()
        before, moves = None, False

        def is_over() -> bool:
            nonlocal before, moves
            row = next((one for one in self._listed() if one.get("jobQrn") == bought.vendor_id), None)
            # a list read just before a job is read by id shows what the last read by id did, or updates itself
            if before is not None and row is not None and row.get("status") != before:
                moves = True
            job = self._job(bought.vendor_id)
            before = job.get("status")
            if before not in words:
                words.append(str(before))
            created.add(str((job.get("timeStamps") or {}).get("createdAt")))
            return wire.observation(job).phase in (Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.HELD)

        is_done = self._until(is_over) is not None
        yield Fact("status_words", " ".join(words), "in the order in which they were seen")
        if len(words) > 1:
            yield Fact("list_refreshes", moves)
            yield Fact("moving_created_at", len(created) > 1)
        else:
            yield Fact("list_refreshes", None, "the job ended before a second look")
        if is_done:
            yield Fact("finished_as", words[-1])

    def cancel(self, bought: Bought) -> Iterator[Fact]:
        """The answer to a cancel directly after the submission, and what happens to the job."""
        where = path_of("jobs", bought.vendor_id)
        refusals: list[int] = []

        def is_taken() -> bool:
            try:
                self._http.post_repeatable(f"{where}/cancel")
            except Refused as error:
                refusals.append(error.http_status or 0)
                return error.http_status != 409
            return True

        taken = self._until(is_taken)
        if taken is not None:
            yield Fact("initializing_s", taken[0] if 409 in refusals else 0.0, "until a cancel was taken")
        words: list[str] = []
        job: Mapping[str, Any] = {}

        def is_over() -> bool:
            nonlocal job
            job = self._job(bought.vendor_id)
            if job.get("status") not in words:
                words.append(str(job.get("status")))
            return wire.observation(job).phase in (Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.HELD)

        self._until(is_over)
        yield Fact("cancel", words[-1], f"words after it: {' '.join(words)}")
        if words[-1] == "CANCELLED":
            yield Fact("cancel_shows_cancelling", words[0] == "CANCELLING")
            yield Fact("final_costs", "null" if job.get("cost") is None else "given", f"cost {job.get('cost')!r}")

    def early_result(self, bought: Bought) -> Fact:
        """The answer to a request for the result of a job that runs."""
        try:
            self._http.get(path_of("jobs", bought.vendor_id, "result"))
        except Refused as error:
            return Fact("no_result_status", error.http_status, str(error.vendor_message)[:200])
        return Fact("no_result_status", None, "the job had ended already")

    def _again(self, bought: Bought, **changes: Any) -> Mapping[str, Any]:
        """Send a job once more with changed members; it carries our key, so that it is found. Raises Refused."""
        body = {**wire.payload(bought.spec, bought.key, secrets.token_hex(8)), **changes}
        made = self._http.post_once("/jobs", body, "jobQrn")
        job: Mapping[str, Any] = {}

        def is_over() -> bool:
            nonlocal job
            job = self._job(str(made["jobQrn"]))
            return wire.observation(job).phase in (Phase.DONE, Phase.FAILED, Phase.CANCELLED, Phase.HELD)

        self._until(is_over)
        return job

    def _refused_with(self, name: str, bought: Bought, **changes: Any) -> Fact:
        if not self._bench.may_repeat(bought):
            return Fact(name, None, self._bench.why)
        try:
            job = self._again(bought, **changes)
        except (Refused, Ambiguous) as error:
            self._bench.did_not(bought)
            return Fact(name, error.http_status, str(getattr(error, "vendor_message", error))[:200])
        return Fact(name, None, f"it was accepted, and is {job.get('status')}")

    def refusals(self, bought: Bought, closed_group: str | None) -> Iterator[Fact]:
        """Status codes of submissions that cannot be accepted."""
        absent = bought.spec.device_id + "-absent"
        yield self._refused_with("unknown_device_status", bought, deviceQrn=absent)
        device = self._http.get(path_of("devices", bought.spec.device_id))
        most = device.get("maxShots") if isinstance(device, dict) else None
        if isinstance(most, int):
            yield self._refused_with("shots_status", bought, shots=most + 1)
        if closed_group is not None:
            yield self._refused_with("group_not_open_status", bought, groupJobQrn=closed_group)

    def words(self, bought: Bought) -> Iterator[Fact]:
        """Whether this simulator runs programs with a barrier and with a delay."""
        for word, statement in _WORDS.items():
            name = f"simulator_{word}"
            if wire.is_qpu(bought.spec.device_id) or not self._bench.may_repeat(bought):
                yield Fact(name, None, self._bench.why or "measured on simulators only")
                continue
            program = {"format": wire.FORMAT, "data": _PROGRAM.format(statement)}
            try:
                job = self._again(bought, program=program)
            except (Refused, Ambiguous) as error:
                self._bench.did_not(bought)
                yield Fact(name, "fail", f"refused: {error}"[:200])
                continue
            is_run = wire.observation(job).phase is Phase.DONE
            yield Fact(name, "run" if is_run else "fail", str(job.get("statusMsg") or "")[:200])

    def order(self, bought: list[Bought]) -> Fact:
        """Order of the plain list."""
        found = [str(one.get("jobQrn")) for one in self._listed()]
        ours = [found.index(one.vendor_id) if one.vendor_id in found else None for one in bought]
        if None in ours:
            return Fact("list_order", None, "both jobs are not within a page")
        return Fact("list_order", "newest_first" if (ours[1] or 0) < (ours[0] or 0) else "oldest_first")
