"""What one IonQ account shows of what its documents leave open. Costs nothing: the simulator and dry runs are free."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence

from qiskit import QuantumCircuit

from qflows.errors import Refused
from qflows.protocol import Bench, Bought, Fact
from qflows.protocol.probing import ENDED, until
from qflows.providers.ionq import wire
from qflows.providers.ionq.doctor import ESTIMATE
from qflows.providers.ionq.dry_runs import FreeProbe
from qflows.providers.ionq.http import IonQHttp, path
from qflows.providers.ionq.options import SIMULATOR

_QPU = "qpu.forte-1"
_ALL_DIGITS = 12  # unrounded floating point numbers have more


def measure(http: IonQHttp, bench: Bench) -> Iterator[Fact]:
    """Facts from reading and from dry runs on a QPU, then from three jobs on the simulator."""
    yield from _by_reading(http)
    free = FreeProbe(http, bench)
    yield from free.on_simulator()
    yield from free.on_qpu(_QPU)
    first = bench.buy([_asymmetric()], device_id=SIMULATOR, shots=100)
    if first is None:
        yield Fact("bit_order", None, bench.why)
        return
    yield _lag(http, bench, first)
    words = _words(http, bench, first)
    yield Fact("status_words", " ".join(words), "in the order in which they were seen")
    found = bench.finish(first)
    if found is None:
        yield Fact("bit_order", None, bench.why)
        return
    yield _bit_order(found[0].counts or {})
    yield from _of_completed(http, first, bench.raw(first))
    several = bench.buy([_asymmetric("first"), _asymmetric("second")], device_id=SIMULATOR, shots=100)
    if several is not None and bench.finish(several) is not None:
        yield from _of_children(http, several)
        yield _list_order(http, [first, several])
    yield _cancel_finished(http, first)
    yield from _cancel(http, bench)


def _asymmetric(name: str = "probe") -> QuantumCircuit:
    """A circuit with x on qubit 0 of three; qubit 1 at an angle whose probabilities have many digits."""
    circuit = QuantumCircuit(3, 3, name=name)
    circuit.x(0)
    circuit.ry(math.pi / 7, 1)
    circuit.measure(range(3), range(3))
    return circuit


def _by_reading(http: IonQHttp) -> Iterator[Fact]:
    yield Fact("page_overflow", _accepted(http, "/jobs", [("limit", "30")], "clamp", "refuse"))
    yield Fact("unknown_status_filter", _accepted(http, "/jobs", [("status", "queued")], "empty", "refuse"))
    body = http.get(path("backends", SIMULATOR, "characterizations"))
    inside = body.get("characterizations") if isinstance(body, dict) else body
    yield Fact("no_characterizations", "null" if inside is None else "list")
    backends = http.get("/backends")
    entries = backends if isinstance(backends, list) else wire.mapping(backends).get("backends") or []
    gone = [str(one.get("backend")) for one in entries if one.get("status") == "unavailable"]
    yield Fact("unavailable", ",".join(gone))
    yield Fact("qpu_qubits", next((one.get("qubits") for one in entries if one.get("backend") == _QPU), None))
    try:
        told = wire.mapping(http.get("/jobs/estimate", ESTIMATE))
    except Refused as error:
        yield Fact("estimate_status", error.http_status, error.vendor_message or "")
    else:
        yield Fact("estimate_status", 200)
        shapes = [name for name in ("rate_card", "rate_information") if name in told]
        yield Fact("estimate_shape", shapes[0] if shapes else None, "" if shapes else f"has {', '.join(told)[:200]}")


def _accepted(http: IonQHttp, where: str, params: Sequence[tuple[str, str]], yes: str, no: str) -> str:
    try:
        http.get(where, params)
    except Refused:
        return no
    return yes


def _lag(http: IonQHttp, bench: Bench, bought: Bought) -> Fact:
    deadline, n = time.monotonic() + bench.patience_s, 0
    while time.monotonic() < deadline:
        asked_at, n = time.monotonic(), n + 1
        page = wire.mapping(http.get("/jobs", [("target", SIMULATOR), ("limit", "25")]))
        if any(str(job.get("id")) == bought.vendor_id for job in page.get("jobs") or ()):
            lag = 0.0 if n == 1 else asked_at - bought.answered_at
            return Fact("listing_lag_s", round(lag, 2), f"shown at look {n}")
        time.sleep(0.1)
    return Fact("listing_lag_s", None, f"not listed within {bench.patience_s:g} s")


def _words(http: IonQHttp, bench: Bench, bought: Bought) -> list[str]:
    """Status words of a job, each once, until it is over."""
    words: list[str] = []

    def is_over() -> bool:
        job = http.get_object(path("jobs", bought.vendor_id))
        if (word := str(job.get("status"))) not in words:
            words.append(word)
        return wire.observation(job).phase in ENDED

    until(is_over, patience_s=bench.patience_s, every_s=0.1)
    return words


def _bit_order(counts: Mapping[str, float]) -> Fact:
    ones = {key for key, n in counts.items() if n}
    if ones and all(key.endswith("1") and key.startswith("0") for key in ones):
        return Fact("bit_order", "qubit0_right", "x on qubit 0 of three, read through the adapter")
    if ones and all(key.startswith("1") and key.endswith("0") for key in ones):
        return Fact("bit_order", "qubit0_left", "NOT what the adapter assumes: do not trust bit strings, report this")
    return Fact("bit_order", None, f"unclear: {sorted(ones)[:8]}")


def _of_completed(http: IonQHttp, bought: Bought, documents: Mapping[str, bytes]) -> Iterator[Fact]:
    job = http.get_object(path("jobs", bought.vendor_id))
    results = wire.mapping(job.get("results"))
    has_urls = any(isinstance(one, dict) and "url" in one for one in results.values())
    formats = [name for name in results if name.startswith("ionq.result")]
    profile = None
    if has_urls:
        profile = "both" if formats else "legacy"
    elif formats:
        profile = "v2" if all(name.endswith("v2") for name in formats) else "spec"
    yield Fact("result_profile", profile, ", ".join(results)[:200])
    yield Fact("sparse_completed", not job.get("stats") and job.get("completed_at") is None)
    bodies = [body for name, body in documents.items() if "probabilities" in name]
    values = [text.partition(".")[2] for body in bodies for text in _numbers(body)]
    digits = max(map(len, values), default=0)
    yield Fact("probability_digits", 0 if digits >= _ALL_DIGITS else digits, "0: as many as a number has")
    try:
        cost = wire.mapping(http.get(path("jobs", bought.vendor_id, "cost")))
        yield Fact("cost_fields", ",".join(sorted(cost)))
    except Refused as error:
        yield Fact("cost_fields", f"status {error.http_status}")


def _numbers(body: bytes) -> list[str]:
    """Probabilities of a result as written."""
    try:
        found = json.loads(body, parse_float=str)
    except ValueError:
        return []
    texts, inside = [], [found]
    while inside:
        one = inside.pop()
        if isinstance(one, str) and one[:2] in ("0.", "1."):
            texts.append(one)
        elif isinstance(one, dict):
            inside += one.values()
    return texts


def _of_children(http: IonQHttp, bought: Bought) -> Iterator[Fact]:
    job = http.get_object(path("jobs", bought.vendor_id))
    children = [http.get_object(path("jobs", str(one))) for one in job.get("child_job_ids") or ()]
    if not children:
        yield Fact("children_order", None, "the job shows no children")
        return
    names = [str(child.get("name")) for child in children]
    yield Fact("children_order", "input" if names == sorted(names) else "reversed", ", ".join(names))
    yield Fact("child_metadata", "copy" if any(child.get("metadata") for child in children) else "null")
    page = wire.mapping(http.get("/jobs", [("limit", "25")]))
    listed = {str(one.get("id")) for one in page.get("jobs") or ()}
    yield Fact("list_children", any(str(child.get("id")) in listed for child in children))


def _list_order(http: IonQHttp, bought: Sequence[Bought]) -> Fact:
    """The order of the list. All pages are read: the oldest of an old account may be far away."""
    places: dict[str, int] = {}
    cursor, n = None, 0
    for _ in range(40):
        page = wire.mapping(http.get("/jobs", [("limit", "25"), *([("next", cursor)] if cursor else [])]))
        for job in page.get("jobs") or ():
            places[str(job.get("id"))] = n = n + 1
        cursor = page.get("next")
        if not cursor or all(one.vendor_id in places for one in bought):
            break
    ours = [places.get(one.vendor_id) for one in bought]
    if None in ours:
        return Fact("list_order", None, "our jobs are not within 1,000 of the list")
    first, second = ours[0] or 0, ours[1] or 0
    return Fact("list_order", "newest_first" if second < first else "oldest_first")


def _cancel_finished(http: IonQHttp, bought: Bought) -> Fact:
    """The effect of cancelling a finished job: its counts are in the ledger and it cost nothing, so no harm is done."""
    try:
        http.put(path("jobs", bought.vendor_id, "status", "cancel"))
    except Refused as error:
        return Fact("cancel_finished", "keep", f"refused with {error.http_status}")
    word = http.get_object(path("jobs", bought.vendor_id)).get("status")
    return Fact("cancel_finished", "canceled" if word == "canceled" else "keep", f"status {word} afterwards")


def _cancel(http: IonQHttp, bench: Bench) -> Iterator[Fact]:
    bought = bench.buy([_asymmetric("to be canceled")], device_id=SIMULATOR, shots=200)
    if bought is None:
        return
    http.put(path("jobs", bought.vendor_id, "status", "cancel"))
    words = _words(http, bench, bought)
    yield Fact("cancel", words[-1] if words else None, f"words after it: {' '.join(words)}")
