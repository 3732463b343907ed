"""What one AWS account shows of what Braket's documents leave open, measured with the smallest tasks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from qiskit import QuantumCircuit

from qflows.errors import Ambiguous, ProviderError, Refused
from qflows.protocol import Bench, Bought, Fact, JobSpec, Phase, Prepared
from qflows.protocol.probing import ENDED, REPEATS, Seen, barriers, bit_order, seconds, until
from qflows.providers.braket import bulk, wire
from qflows.providers.braket.aws import Aws
from qflows.providers.braket.devices import Device

Describe = Callable[[str], Device]
Prepare = Callable[[JobSpec, str], Prepared]
_SHOTS = 10
_QPU_SHOTS = 80
_UNLISTED = {"barrier": "barrier {};", "delay": "delay[100ns] {};"}
_NO_BUCKET = "amazon-braket-qflows-doctor-0000-absent"


def measure(aws: Aws, prepare: Prepare, device: Describe, bench: Bench) -> Iterator[Fact]:
    """Facts from three tasks on the cheapest device and one on a processor, and from repeats of them."""
    device_id = bench.cheapest()
    if device_id is None:
        yield Fact("bit_order", None, bench.why or "no device can be afforded now")
        return
    first = bench.buy([_asymmetric()], device_id=device_id, shots=_SHOTS)
    if first is None:
        yield Fact("bit_order", None, bench.why)
        return
    probe = _Probe(aws, str(wire.region_of(first.vendor_id)), prepare, bench, device)
    yield from probe.lags(first)
    yield from probe.tokens(first)
    found = bench.finish(first)
    if found is None:
        yield Fact("bit_order", None, bench.why)
        return
    yield bit_order(found[0].counts or {}, right=_RIGHT, left=_LEFT)
    second = bench.buy([_asymmetric("second")], device_id=device_id, shots=_SHOTS)
    if second is not None:
        yield from probe.searches([first, second], device_id)
        bench.finish(second)
    yield probe.cancel_of_ended(first)
    third = bench.buy([_asymmetric("to be cancelled")], device_id=device_id, shots=_SHOTS)
    if third is not None:
        yield from probe.cancel(third)
    yield probe.missing_bucket(first)
    yield from probe.unlisted(first)
    yield probe.token_after_all(first)
    yield from probe.on_qpu()


def _on_qpu() -> list[QuantumCircuit]:
    """x on qubit 0 of three; two qubits in |1>; the same with many cz gates, each behind a barrier."""
    reference, repeated = QuantumCircuit(2, 2, name="reference"), QuantumCircuit(2, 2, name="cz between barriers")
    for circuit in (reference, repeated):
        circuit.x([0, 1])
    for _ in range(REPEATS):
        repeated.barrier()
        repeated.cz(0, 1)
    for circuit in (reference, repeated):
        circuit.measure([0, 1], [0, 1])
    return [_asymmetric("on a processor"), reference, repeated]


def _form_of(documents: Mapping[str, bytes]) -> str | None:
    """Whether the results of a program set name other files, or hold all themselves."""
    for body in documents.values():
        try:
            found = json.loads(body).get("programResults")
        except (ValueError, AttributeError):
            continue
        if isinstance(found, list) and found:
            return "tree" if isinstance(found[0], str) else "inline"
    return None


def _first_qubit(source: str) -> str:
    """The name of the program's first qubit."""
    found = re.search(r"qubit\[\d+\] (\w+);", source)
    return f"{found[1]}[0]" if found else "$0"


def _asymmetric(name: str = "probe") -> QuantumCircuit:
    """A circuit with x on qubit 0 of three."""
    circuit = QuantumCircuit(3, 3, name=name)
    circuit.x(0)
    circuit.cz(1, 2)  # every qubit is used
    circuit.measure(range(3), range(3))
    return circuit


_RIGHT = ("qubit0_right", "x on qubit 0 of three, read through the adapter")
_LEFT = ("qubit0_left", "NOT what the adapter assumes: do not trust bit strings, report this")


class _Probe:
    """Questions about tasks of one region."""

    def __init__(self, aws: Aws, region: str, prepare: Prepare, bench: Bench, device: Describe) -> None:
        self._aws, self._region, self._prepare, self._bench = aws, region, prepare, bench
        self._device = device
        self._token_known: bool | None = None

    def _get(self, arn: str) -> Mapping[str, Any]:
        return self._aws.call("braket", self._region, "GetQuantumTask", quantumTaskArn=arn)

    def _search(self, *filters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        page = self._aws.call("braket", self._region, "SearchQuantumTasks", filters=list(filters), maxResults=bulk.PAGE)
        return list(page.get("quantumTasks", ()))

    def _until(self, ask: Callable[[], bool]) -> Seen | None:
        return until(ask, patience_s=self._bench.patience_s, every_s=0.1)

    def lags(self, bought: Bought) -> Iterator[Fact]:
        """Lags of GetQuantumTask, of the search, and of the result in S3; status words on the way."""
        arn, words, task = bought.vendor_id, [], {}
        hour = _created_after(datetime.now(UTC) - timedelta(hours=1))

        def is_there() -> bool:
            try:
                self._get(arn)
            except Refused:
                return False
            return True

        asked = {
            "get_lag_s": is_there,
            "listing_lag_s": lambda: any(one["quantumTaskArn"] == arn for one in self._search(hour)),
        }
        seen: dict[str, tuple[float, int]] = {}
        looks = 0

        def both() -> bool:
            nonlocal looks
            looks += 1
            for name, ask in asked.items():
                if name not in seen and ask():
                    seen[name] = (0.0 if looks == 1 else round(time.monotonic() - bought.answered_at, 2)), looks
            return len(seen) == len(asked)

        self._until(both)
        for name in asked:
            yield seconds(name, seen.get(name))

        def has_ended() -> bool:
            nonlocal task
            task = dict(self._get(arn))
            if task["status"] not in words:
                words.append(str(task["status"]))
            return wire.observation(task).phase in ENDED

        ended = self._until(has_ended)
        yield Fact("status_words", " ".join(words), "in the order in which they were seen")
        if ended is None or wire.observation(task).phase is not Phase.DONE:
            return
        place = f"{task['outputS3Directory']}/results.json"

        def is_written() -> bool:
            try:
                self._aws.read_object(self._region, str(task["outputS3Bucket"]), place)
            except Refused as error:
                if error.vendor_code not in ("NoSuchKey", "404"):
                    raise
                return False
            return True

        yield seconds("result_lag_s", self._until(is_written))

    def _again(self, bought: Bought, **changes: Any) -> str:
        """The ARN that the same client token gives now, with changed parameters. Any task other than the one bought is
        cancelled at once."""
        parameters = {**self._prepare(bought.spec, bought.key).body.parameters, **changes}
        arn = str(self._aws.create(self._region, parameters)["quantumTaskArn"])
        if arn != bought.vendor_id:
            self._until(lambda: self._is_cancelled(arn))
        return arn

    def _is_cancelled(self, arn: str) -> bool:
        """Request a cancel. False while the task is not shown yet; a task that has ended counts as cancelled."""
        try:
            self._aws.call("braket", self._region, "CancelQuantumTask", quantumTaskArn=arn)
        except Refused as error:
            return error.http_status == 409
        return True

    def tokens(self, bought: Bought) -> Iterator[Fact]:
        """Whether a repeat with the same token is recognized, and a repeat with other parameters."""
        if not self._bench.may_repeat(bought):
            yield Fact("token", None, self._bench.why)
            return
        try:
            again = self._again(bought)
        except ProviderError as error:
            yield Fact("token", None, str(error))
            return
        self._token_known = again == bought.vendor_id
        if self._token_known:
            self._bench.did_not(bought)
        yield Fact("token", "dedupe" if self._token_known else "ignore")
        if not self._token_known:
            return
        try:
            other = self._again(bought, shots=_SHOTS + 1)
        except (Ambiguous, Refused) as error:
            self._bench.did_not(bought)
            is_conflict = error.vendor_code == "ConflictException"
            yield Fact("token_mismatch", "conflict" if is_conflict else "refuse", str(error.vendor_message)[:200])
            return
        if other == bought.vendor_id:
            self._bench.did_not(bought)
            yield Fact("token_mismatch", "same_arn", "the other parameters were ignored")
        else:
            yield Fact("token_mismatch", None, "a second task was created; it is cancelled")

    def token_after_all(self, bought: Bought) -> Fact:
        """Whether the token is still known at the end."""
        age_s = round(time.monotonic() - bought.answered_at, 1)
        if not self._token_known or not self._bench.may_repeat(bought):
            return Fact("token_known_after_s", None, self._bench.why or "tokens are not recognized")
        if self._again(bought) == bought.vendor_id:
            self._bench.did_not(bought)
            return Fact("token_known_after_s", age_s, "it may be known for longer")
        return Fact("token_forgotten_after_s", age_s, "at the latest; a repeat then buys again")

    def searches(self, bought: Sequence[Bought], device_id: str) -> Iterator[Fact]:
        """How filters are interpreted, and the order of their results. Needs both tasks in the index."""
        arns = [one.vendor_id for one in bought]
        hour = _created_after(datetime.now(UTC) - timedelta(hours=1))
        found: list[str] = []

        def both_listed() -> bool:
            found[:] = [str(one["quantumTaskArn"]) for one in self._search(hour)]
            return set(arns) <= set(found)

        if self._until(both_listed) is None:
            yield Fact("search_order", None, "both tasks were never listed")
            return
        newest_first = found.index(arns[1]) < found.index(arns[0])
        yield Fact("search_order", "newest_first" if newest_first else "oldest_first")
        named = self._search({"name": "quantumTaskArn", "operator": "EQUAL", "values": arns})
        yield Fact("search_values", "or" if len(named) == 2 else "first", f"{len(named)} of 2 found")
        elsewhere = {"name": "deviceArn", "operator": "EQUAL", "values": [device_id + "-absent"]}
        both = self._search(hour, elsewhere)
        yield Fact("search_combine", "or" if any(one["quantumTaskArn"] in arns for one in both) else "and")

    def cancel_of_ended(self, bought: Bought) -> Fact:
        """The answer to a cancel of a completed task; it changes nothing."""
        try:
            self._aws.call("braket", self._region, "CancelQuantumTask", quantumTaskArn=bought.vendor_id)
        except Refused as error:
            return Fact("cancel_terminal", "conflict", f"{error.http_status} {error.vendor_code}")
        return Fact("cancel_terminal", "ignore")

    def cancel(self, bought: Bought) -> Iterator[Fact]:
        """Status words after a cancel directly after the submission."""
        words: list[str] = []
        if self._until(lambda: self._is_cancelled(bought.vendor_id)) is None:
            yield Fact("cancel", None, "refused for as long as the patience lasted")
            return

        def has_ended() -> bool:
            task = self._get(bought.vendor_id)
            if task["status"] not in words:
                words.append(str(task["status"]))
            return wire.observation(task).phase in ENDED

        self._until(has_ended)
        yield Fact("cancel", words[-1], f"words after it: {' '.join(words)}")
        is_cancelled = words[-1] == "CANCELLED"
        yield Fact(
            "cancelling_shown", "CANCELLING" in words if is_cancelled else None, "" if is_cancelled else "too late"
        )

    def unlisted(self, bought: Bought) -> Iterator[Fact]:
        """Whether Create takes a barrier and a delay that the device does not list. What is accepted is cancelled."""
        action = json.loads(self._prepare(bought.spec, bought.key).body.parameters["action"])
        device = self._device(bought.spec.device_id)
        for place, (word, statement) in enumerate(_UNLISTED.items()):
            name = f"unlisted_{word}"
            if word in device.operations:
                yield Fact(name, None, f"{device.name} lists {word}")
                continue
            if not self._bench.may_repeat(bought):
                yield Fact(name, None, self._bench.why)
                continue
            head, line_end, measured = action["source"].partition("\nb[0] = measure")
            source = f"{head}\n{statement.format(_first_qubit(head))}{line_end}{measured}"
            token = f"{bought.key[:-8]}{place:08x}"
            try:
                arn = self._again(bought, action=json.dumps({**action, "source": source}), clientToken=token)
            except (Refused, Ambiguous) as error:
                self._bench.did_not(bought)
                yield Fact(name, "refuse", str(error.vendor_message)[:200])
            else:
                yield Fact(name, "accept", f"{arn} was accepted; it is cancelled")

    def on_qpu(self) -> Iterator[Fact]:
        """What only a processor shows: the form of a program set's results, their bits, and whether barriers count."""
        names = ("program_set_results", "probabilities_only", "qpu_bit_order", "barriers", "program_set_shots")
        device_id = self._bench.cheapest(shots=_QPU_SHOTS * len(_on_qpu()), is_qpu=True)
        bought = self._bench.buy(_on_qpu(), device_id=device_id, shots=_QPU_SHOTS) if device_id else None
        found = self._bench.finish(bought) if bought is not None else None
        if bought is None or found is None or len(found) != len(_on_qpu()):
            why = self._bench.why or "no processor is available, or none can be afforded"
            yield from (Fact(name, None, why) for name in names)
            return
        documents = self._bench.raw(bought)
        yield Fact("program_set_results", _form_of(documents), device_id or "")
        only = not any(b'"measurements"' in body for body in documents.values())
        yield Fact("probabilities_only", only, device_id or "")
        counts = [item.counts or {} for item in found]
        order = bit_order(counts[0], right=_RIGHT, left=_LEFT)
        yield Fact("qpu_bit_order", order.seen, f"{order.note}, {device_id}")
        yield barriers(counts[1], counts[2])
        yield self._indivisible(bought)

    def _indivisible(self, bought: Bought) -> Fact:
        """The answer to a program set whose shots do not divide by its programs. What is accepted is cancelled."""
        name = "program_set_shots"
        if not self._bench.may_repeat(bought):
            return Fact(name, None, self._bench.why)
        region, token = str(wire.region_of(bought.vendor_id)), bought.key[:-8] + "0000d1f7"
        probe = _Probe(self._aws, region, self._prepare, self._bench, self._device)
        try:
            probe._again(bought, shots=_QPU_SHOTS * len(_on_qpu()) - 1, clientToken=token)
        except (Refused, Ambiguous) as error:
            self._bench.did_not(bought)
            return Fact(name, "refuse", str(error.vendor_message)[:200])
        return Fact(name, "floor", "it was accepted; it is cancelled")

    def missing_bucket(self, bought: Bought) -> Fact:
        """What happens to a task whose results bucket does not exist. It carries our key, so that it is found."""
        if not self._bench.may_repeat(bought):
            return Fact("missing_bucket", None, self._bench.why)
        token = bought.key[:-8] + "deadbeef"
        try:
            arn = self._again(bought, outputS3Bucket=_NO_BUCKET, clientToken=token)
        except (Refused, Ambiguous) as error:
            self._bench.did_not(bought)
            denied = error.vendor_code in ("AccessDeniedException", "AccessDenied")
            return Fact("missing_bucket", "access_denied" if denied else "validation", str(error.vendor_message)[:200])
        return Fact("missing_bucket", "fail_task", f"{arn} was accepted")


def _created_after(moment: datetime) -> dict[str, Any]:
    return {"name": "createdAt", "operator": "GTE", "values": [moment.isoformat(timespec="seconds")]}
