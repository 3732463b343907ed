"""What one IBM Quantum account shows of what the documents leave open. Jobs are capped by max_execution_time, and
sessions stay empty, which costs nothing."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from qiskit import QuantumCircuit

from qflows.errors import ProviderError, Refused
from qflows.protocol import Bench, Bought, Fact, Phase
from qflows.protocol.probing import ALL_ONES, ENDED, REPEATS, Seen, barriers, bit_order, seconds, until
from qflows.providers.ibm import wire
from qflows.providers.ibm.runtime import Runtime, job_path

LastSent = Callable[[], tuple[str, bytes]]
"""Id and body of the last job sent."""
_SHOTS = 20
_CAP = {"max_execution_time": 5}
_LOOK_S = 0.3
_MANY_SHOTS = 200
_MORE = 8  # times REPEATS: IBM's cz errs in some thousandths
_DELAY_US = 400  # longer than T1, a quarter of a millisecond
_DECAYED, _UNTOUCHED = 0.6, 0.85
_NO_JOB = "d0000000000000000000"


def measure(runtime: Runtime, last_sent: LastSent, bench: Bench) -> Iterator[Fact]:
    """Facts from reading and from an empty batch, then from three jobs and repeats of the first."""
    probe = _Probe(runtime, last_sent, bench)
    yield from probe.reading()
    device_id = bench.cheapest(_CAP)
    if device_id is None:
        yield Fact("bit_order", None, bench.why or "no device can be afforded now")
        return
    yield from probe.empty_batch(device_id)
    first = bench.buy([_asymmetric()], device_id=device_id, shots=_SHOTS, options=_CAP)
    if first is None:
        yield Fact("bit_order", None, bench.why)
        return
    yield from probe.tags(first)
    yield probe.repeat(first)
    yield from probe.life(first)
    found = bench.finish(first)
    yield bit_order(found[0].counts or {}, right=_RIGHT, left=_LEFT) if found else Fact("bit_order", None, bench.why)
    second = bench.buy([_asymmetric("to be cancelled")], device_id=device_id, shots=_SHOTS, options=_CAP)
    if second is not None:
        yield from probe.cancel(second)
    yield probe.joining_closed(first)
    yield probe.unreadable_program(first)
    yield from _kept(bench, device_id)


def _asymmetric(name: str = "probe") -> QuantumCircuit:
    """A circuit with x on qubit 0 of three."""
    circuit = QuantumCircuit(3, 3, name=name)
    circuit.x(0)
    circuit.measure(range(3), range(3))
    return circuit


def _kept(bench: Bench, device_id: str) -> Iterator[Fact]:
    """Whether a device keeps barriers and delays, from three circuits in one job."""
    repeated = QuantumCircuit(2, 2, name="cz between barriers")
    repeated.x([0, 1])
    for _ in range(REPEATS * _MORE):
        repeated.cz(0, 1)
        repeated.barrier()
    repeated.measure([0, 1], [0, 1])
    reference = QuantumCircuit(2, 2, name="reference")
    reference.x([0, 1])
    reference.measure([0, 1], [0, 1])
    waiting = QuantumCircuit(2, 2, name="delay")
    waiting.x([0, 1])
    waiting.delay(_DELAY_US, [0, 1], unit="us")
    waiting.measure([0, 1], [0, 1])
    circuits = [reference, repeated, waiting]
    bought = bench.buy(circuits, device_id=device_id, shots=_MANY_SHOTS, options=_CAP)
    found = bench.finish(bought) if bought is not None else None
    if found is None or len(found) != len(circuits):
        yield Fact("barriers", None, bench.why)
        yield Fact("delays", None, bench.why)
        return
    counts = [item.counts or {} for item in found]
    yield barriers(counts[0], counts[1])
    left = counts[2].get(ALL_ONES, 0) / (sum(counts[2].values()) or 1)
    word = "kept" if left < _DECAYED else "dropped" if left > _UNTOUCHED else None
    yield Fact("delays", word, f"|11> is found in {left:.2f} of the shots after {_DELAY_US} us")


_RIGHT = ("qubit0_right", "x on qubit 0 of three")
_LEFT = ("qubit0_left", "NOT what the adapter assumes: do not trust bit strings, report this")


class _Probe:
    """Questions about one instance."""

    def __init__(self, runtime: Runtime, last_sent: LastSent, bench: Bench) -> None:
        self._runtime, self._last_sent, self._bench = runtime, last_sent, bench
        self._sent = b""
        self._closed: str | None = None

    def _get(self, path: str) -> Any:
        return self._runtime.read(path, lambda client: client._session.get(path).json())

    def _tagged(self, tag: str) -> list[Mapping[str, Any]]:
        body = self._runtime.read("the job list", lambda client: client.jobs_get(limit=200, job_tags=[tag]))
        return list((body or {}).get("jobs") or ())

    def _until(self, ask: Callable[[], bool]) -> Seen | None:
        return until(ask, patience_s=self._bench.patience_s, every_s=_LOOK_S)

    def reading(self) -> Iterator[Fact]:
        """Lifetime of tokens, form of errors, limit of the instance, status words of devices."""
        _ = self._runtime.crn  # connects
        manager = self._runtime._token()._manager
        # the manager renews when a fifth of the token's life is left (ibm-cloud-sdk-core 3.28.0, jwt_token_manager.py)
        lives_s = round((manager.expire_time - manager.refresh_time) / 0.2)
        yield Fact("token_lifetime_s", lives_s if lives_s > 0 else None)
        try:
            self._get(job_path(_NO_JOB))
        except Refused as error:
            yield Fact("error_body", "both" if '"error":' in (error.body or "") else "errors", f"{error.vendor_code}")
        usage = self._get("/instances/usage")
        limit = usage.get("usage_limit_seconds") if isinstance(usage, dict) else None
        yield Fact("usage_limit_s", limit, "" if limit is not None else "nothing is said")
        entries = self._runtime.read("the device list", lambda client: client.list_backends())
        words = {str((one.get("status") or {}).get("name")) for one in entries if isinstance(one.get("status"), dict)}
        yield Fact("backend_status", " ".join(sorted(words)) or None)

    def empty_batch(self, device_id: str) -> Iterator[Fact]:
        """A batch closed without a job; IBM bills nothing for it."""
        crn = self._runtime.crn
        try:
            made = self._runtime.post_once(
                "the opening of a batch", lambda client: client.create_session(device_id, crn, 60, "batch")
            )
        except ProviderError as error:
            yield Fact("session_backend", None, str(error))
            return
        where = f"/sessions/{made['id']}"
        body: Mapping[str, Any] = {}
        try:
            body = self._get(where)
            yield Fact("session_backend", "named" if body.get("backend_name") else "null", f"state {body.get('state')}")
            yield Fact("session_created_at", "created_at" in body)
            yield Fact("interactive_ttl_s", body.get("interactive_ttl"))
        finally:
            self._runtime.read("the closing", lambda client: client.close_session(made["id"]))
        self._closed = str(made["id"])
        state = self._get(where).get("state")
        yield Fact("close_empty", "at_once" if state == "closed" else "pending", f"state {state}")
        if state != "closed":
            self._runtime.read("the cancel", lambda client: client.cancel_session(made["id"]))

    def tags(self, bought: Bought) -> Iterator[Fact]:
        """How long until a job is found by its tag, and whether the filter works."""
        tag = wire.key_tag(bought.key)
        found = self._until(lambda: any(str(one.get("id")) == bought.vendor_id for one in self._tagged(tag)))
        yield seconds("listing_lag_s", found, never="never found within the patience")
        if self._tagged(f"qflows:{secrets.token_hex(20)}"):
            yield Fact(
                "tag_filter", "ignored", "a tag that no job has still finds jobs: the list is read by time instead"
            )
        else:
            yield Fact("tag_filter", "works" if found is not None else None)

    def repeat(self, bought: Bought) -> Fact:
        """Whether sending the same bytes twice gives the same job."""
        if not self._bench.may_repeat(bought):
            return Fact("dedupe", None, self._bench.why)
        vendor_id, content = self._last_sent()
        if vendor_id != bought.vendor_id:
            self._bench.did_not(bought)
            return Fact("dedupe", None, "another process sent the job")
        self._sent = content
        try:
            body = self._post("a repeat", content)
        except ProviderError as error:
            return Fact("dedupe", None, str(error))
        if body.get("id") == bought.vendor_id:
            self._bench.did_not(bought)
            return Fact("dedupe", True, f"{time.monotonic() - bought.answered_at:.1f} s after the first")
        extra = str(body.get("id"))
        self._runtime.read("the cancel", lambda client: client.job_cancel(extra))
        return Fact("dedupe", False, "a second job was created; it is cancelled")

    def _post(self, what: str, content: bytes) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/json"}
        return self._runtime.post_once(
            what, lambda client: client._session.post("/jobs", data=content, headers=headers).json()
        )

    def _changed(self, bought: Bought, name: str, **changes: Any) -> Mapping[str, Any] | Fact:
        """Send the first job once more with changed members: the answer, or the fact that follows from none."""
        if not self._sent:
            return Fact(name, None, "what was sent is not known")
        if not self._bench.may_repeat(bought):
            return Fact(name, None, self._bench.why)
        content = json.dumps({**json.loads(self._sent), **changes}).encode()
        try:
            return self._post("a changed repeat", content)
        except ProviderError as error:
            self._bench.did_not(bought)
            return Fact(name, error.http_status, str(error)[:200])

    def joining_closed(self, bought: Bought) -> Fact:
        """The answer to a job that joins a closed batch."""
        name = "session_closed_status"
        if self._closed is None:
            return Fact(name, None, "no batch was opened")
        answer = self._changed(bought, name, session_id=self._closed)
        if isinstance(answer, Fact):
            return answer
        extra = str(answer.get("id"))
        self._runtime.read("the cancel", lambda client: client.job_cancel(extra))
        return Fact(name, None, "the job was accepted; it is cancelled")

    def unreadable_program(self, bought: Bought) -> Fact:
        """What a job costs whose OpenQASM cannot be read: it is accepted, and fails."""
        name = "bad_qasm_charge_s"
        if self._sent and json.loads(self._sent).get("program_id") != "sampler":
            return Fact(name, None, "the job was not one of the sampler")
        params = {**json.loads(self._sent or b"{}").get("params", {}), "pubs": [["OPENQASM 3.0; not a program"]]}
        answer = self._changed(bought, name, params=params)
        if isinstance(answer, Fact):
            return answer
        made = str(answer.get("id"))
        if self._until(lambda: self._phase(made) in ENDED) is None:
            self._runtime.read("the cancel", lambda client: client.job_cancel(made))
            return Fact(name, None, "it did not fail in time; it is cancelled")
        usage = self._get(job_path(made, "/metrics")).get("usage") or {}
        return Fact(name, usage.get("qpu_charge_time_seconds"), f"the job is {self._state(made)}")

    def _state(self, vendor_id: str) -> str:
        job = self._runtime.read(vendor_id, lambda client: client.job_get(vendor_id))
        state = job.get("state")
        return str(state.get("status") if isinstance(state, dict) else state)

    def _phase(self, vendor_id: str) -> Phase:
        job = self._runtime.read(vendor_id, lambda client: client.job_get(vendor_id))
        return wire.observation(job).phase

    def life(self, bought: Bought) -> Iterator[Fact]:
        """Status words until the job is over, then the number of reads until its result is available."""
        words: list[str] = []

        def is_over() -> bool:
            word = self._state(bought.vendor_id)
            if word not in words:
                words.append(word)
            return self._phase(bought.vendor_id) in ENDED

        is_done = self._until(is_over) is not None
        yield Fact("status_words", " | ".join(words), "in the order in which they were seen")
        if not is_done or self._phase(bought.vendor_id) is not Phase.DONE:
            return
        where = job_path(bought.vendor_id, "/results")
        found = self._until(lambda: self._runtime.document("the result", where) is not None)
        yield Fact("results_204_reads", None if found is None else found[1] - 1)
        usage = self._get(job_path(bought.vendor_id, "/metrics")).get("usage") or {}
        yield Fact("cost_fields", ",".join(sorted(usage)))

    def cancel(self, bought: Bought) -> Iterator[Fact]:
        """How long until a cancel shows."""
        try:
            self._runtime.read("the cancel", lambda client: client.job_cancel(bought.vendor_id))
        except Refused as error:
            yield Fact("cancel", None, f"too late: {error.http_status}")
            return
        over = self._until(lambda: self._phase(bought.vendor_id) in ENDED)
        yield Fact("cancel", self._state(bought.vendor_id))
        yield Fact("cancel_lag_s", None if over is None else over[0])
