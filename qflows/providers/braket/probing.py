"""What one AWS account shows of what Braket's documents leave open, measured with the smallest tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from qiskit import QuantumCircuit

from qflows.errors import Ambiguous, ProviderError, Refused
from qflows.protocol import Bench, Bought, Fact, JobSpec, Phase, Prepared
from qflows.protocol.probing import ENDED, Seen, bit_order, seconds, until
from qflows.providers.braket import bulk, wire
from qflows.providers.braket.aws import Aws

Prepare = Callable[[JobSpec, str], Prepared]
_SHOTS = 10
_NO_BUCKET = "amazon-braket-qflows-doctor-0000-absent"


def measure(aws: Aws, prepare: Prepare, bench: Bench) -> Iterator[Fact]:
    """Facts from at most four tasks, and from repeats of one of them."""
    device_id = bench.cheapest()
    if device_id is None:
        yield Fact("bit_order", None, bench.why or "no device can be afforded now")
        return
    first = bench.buy([_asymmetric()], device_id=device_id, shots=_SHOTS)
    if first is None:
        yield Fact("bit_order", None, bench.why)
        return
    probe = _Probe(aws, str(wire.region_of(first.vendor_id)), prepare, bench)
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
    yield probe.cancel_of_ended(first)
    third = bench.buy([_asymmetric("to be cancelled")], device_id=device_id, shots=_SHOTS)
    if third is not None:
        yield probe.cancel(third)
    yield probe.missing_bucket(first)
    yield probe.token_after_all(first)


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

    def __init__(self, aws: Aws, region: str, prepare: Prepare, bench: Bench) -> None:
        self._aws, self._region, self._prepare, self._bench = aws, region, prepare, bench
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

    def cancel(self, bought: Bought) -> Fact:
        """Status words after a cancel directly after the submission."""
        words: list[str] = []
        if self._until(lambda: self._is_cancelled(bought.vendor_id)) is None:
            return Fact("cancel", None, "refused for as long as the patience lasted")

        def has_ended() -> bool:
            task = self._get(bought.vendor_id)
            if task["status"] not in words:
                words.append(str(task["status"]))
            return wire.observation(task).phase in ENDED

        self._until(has_ended)
        return Fact("cancel", words[-1], f"words after it: {' '.join(words)}")

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
