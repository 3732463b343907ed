"""GetDevice answers as limits, gates, couplers and prices. Shapes: amazon-braket-schemas 1.32.1, capabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from qflows.display import plural
from qflows.errors import Unreadable
from qflows.model import Cost, Quote, exact
from qflows.programs.features import Feature
from qflows.programs.to_openqasm import BRAKET, Dialect
from qflows.protocol import DeviceInfo, Limits

DYNAMIC = frozenset({Feature.MID_CIRCUIT, Feature.FEED_FORWARD})
OPENQASM = "braket.ir.openqasm.program"
PROGRAM_SET = "braket.ir.openqasm.program_set"
# aws.amazon.com/braket/pricing (2026-09): every QPU; not in the capabilities document
TASK_FEE_USD = 0.30
_MIN_SIMULATOR_MS = 3_000
# docs.aws.amazon.com/braket, state vector simulator (2026): 35 tasks at once by default, per account and region
_SIMULATOR_TASKS = 35
# for devices whose document says nothing
_MAX_EXECUTABLES = 100  # AWS announcement of program sets
_MAX_SET_SHOTS = 200_000  # the smallest in captured documents of superconducting QPUs


@dataclass(frozen=True)
class Device:
    """One device as the vendor describes it now.

    `labels`: its own numbers of the qubits, None where they are 0 to n-1. `native`: gates of verbatim boxes in lower
    case. `pairs`: couplers, None where every pair is one. `measures_all`: it refuses programs that leave a declared
    qubit unmeasured.
    """

    arn: str
    name: str
    status: str
    is_simulator: bool
    n_qubits: int | None
    shots: tuple[int, int]
    operations: frozenset[str]
    labels: tuple[int, ...] | None
    native: frozenset[str]
    pairs: frozenset[frozenset[int]] | None
    measures_all: bool
    takes_physical: bool
    takes_verbatim: bool
    max_executables: int  # 1: no program sets
    max_set_shots: int  # of all executables together
    price: float | None
    price_unit: str
    queue: str | None = None
    keeps_barriers: bool = True  # outside of verbatim boxes, as far as an account has measured it

    @staticmethod
    def read(body: Mapping[str, Any]) -> Device:
        """From GetDevice. Raises Unreadable if capabilities do not have the documented shape."""
        try:
            return _read(body, json.loads(body["deviceCapabilities"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Unreadable(
                f"braket: the capabilities of {body.get('deviceArn')} cannot be read: {error!r:.300}",
                provider="braket",
                body=str(body)[:4000],
            ) from error

    @property
    def takes(self) -> frozenset[Feature]:
        """What programs may hold beyond gates and final measurements; no device lists delay or reset.

        A simulator compiles nothing away and has no distinct qubits, so barriers and labels change nothing there.
        """
        if self.is_simulator:
            return self.dialect.drops
        lost = frozenset() if self.keeps_barriers else frozenset({Feature.BARRIER})
        return (self.dialect.takes - lost) | ({Feature.NATIVE} if self.takes_verbatim else set())

    @property
    def terms(self) -> dict[Feature, str]:
        """Why features are not taken, from the device's own document; and that feed-forward is experimental."""
        words = {
            Feature.BARRIER: "barrier",
            Feature.DELAY: "delay",
            Feature.RESET: "reset",
            Feature.MID_CIRCUIT: "measure_ff",
            Feature.FEED_FORWARD: "if",
        }
        found = {
            feature: f"GetDevice, read now: its supportedOperations have no {word}"
            for feature, word in words.items()
            if word not in self.operations
        }
        if not self.keeps_barriers and not self.is_simulator:
            found[Feature.BARRIER] = (
                "AWS's compiler removed gates across barriers, as `qflows doctor braket --spend` measured; "
                "choose verbatim or compile="
            )
        if not self.takes_physical and not self.is_simulator:
            found[Feature.PHYSICAL] = "GetDevice, read now: its supportPhysicalQubits is false"
        if not self.takes_verbatim:
            said = "GetDevice, read now: its supportedPragmas have no verbatim box"
            found |= {Feature.VERBATIM: said, Feature.NATIVE: said}
        if self.is_simulator:
            for feature in self.dialect.drops:
                found[feature] = "changes nothing on a simulator that compiles nothing, and is left out"
        for feature in DYNAMIC & self.dialect.takes:
            found[feature] = "an experimental capability, which qflows asks for: AWS developer guide, dynamic circuits"
        if Feature.FEED_FORWARD in self.dialect.takes:
            found[Feature.FEED_FORWARD] += "; a qubit follows one measured qubit: amazon-braket-examples, 2025-06"
        return found

    @property
    def dialect(self) -> Dialect:
        """Braket's gate names that the device lists in `supportedOperations`; all of them if it lists none.

        What the device takes is written; what changes nothing on a simulator is left out; everything else is refused.
        """
        gates = {ours: theirs for ours, theirs in BRAKET.gates.items() if theirs in self.operations}
        written = {
            Feature.BARRIER: "barrier" in self.operations,
            Feature.PHYSICAL: self.takes_physical,
            Feature.VERBATIM: self.takes_verbatim,
        } | dict.fromkeys(DYNAMIC, {"if", "measure_ff"} <= self.operations)
        return replace(
            BRAKET,
            gates=gates or BRAKET.gates,
            takes=frozenset(feature for feature, is_taken in written.items() if is_taken),
            drops=frozenset({Feature.BARRIER, Feature.PHYSICAL} if self.is_simulator else ()),
        )

    def limits(self) -> Limits:
        """In the form the core checks. Gates are left open: those that the device lacks are compiled."""
        return Limits(
            max_qubits=self.n_qubits,
            max_shots=self.shots[1],
            min_shots=max(self.shots[0], 1),
            max_programs=self.max_executables,
            max_total_shots=self.max_set_shots if self.max_executables > 1 else None,
            max_unfinished=_SIMULATOR_TASKS if self.is_simulator else None,
            labels=self.labels,
            measures_all=self.measures_all,
            takes=self.takes,
            terms=self.terms,
        )

    def refusal(self, programs: int, shots: int) -> str | None:
        """Why one task cannot carry this many programs with this many shots each; None if it can."""
        low, high = self.shots
        if programs > self.max_executables:
            most = self.max_executables
            return f"{self.name} takes {plural(most, 'program')} per task, not {programs}; submit them as single jobs"
        if not low <= shots <= high:
            return f"{self.name}: shots must be in {max(low, 1)}..{high}, not {shots}"
        if programs > 1 and programs * shots > self.max_set_shots:
            return (
                f"{self.name} takes {self.max_set_shots} shots a program set, not {programs} x {shots}; put at most "
                f"{max(self.max_set_shots // shots, 1)} programs into one job"
            )
        return None

    def info(self) -> DeviceInfo:
        """As a list of devices shows it. A queue is a number, or a text such as ">4000", which becomes a note."""
        known = self.queue is not None and self.queue.isdecimal()
        return DeviceInfo(
            device_id=self.arn,
            n_qubits=self.n_qubits,
            is_simulator=self.is_simulator,
            is_available=self.status == "ONLINE",
            queue_length=int(self.queue) if known and self.queue else None,
            note=self.status if known or not self.queue else f"{self.status}, queue {self.queue}",
        )

    def tariff(self) -> dict[str, Any]:
        """What computing a price needs, as JSON."""
        return {"price": self.price, "is_simulator": self.is_simulator}

    def quote(self, shots: int, *, is_reserved: bool) -> Quote | None:
        """The cost of one task with this many shots in all, USD; None if the device's document has no price."""
        if is_reserved:
            return Quote(Decimal(0), Decimal(0), "usd", "tasks in a reservation have no fees of their own")
        if not isinstance(self.price, int | float) or isinstance(self.price, bool):
            return None
        if self.is_simulator:
            least = exact(self.price) * _MIN_SIMULATOR_MS / 60_000
            told = f"deviceCost read now: {self.price} USD a minute, 3 s at least ({least.normalize():f} USD)"
            return Quote(None, None, "usd", told)
        amount = exact(TASK_FEE_USD) + exact(self.price) * shots
        told = f"deviceCost read now: {self.price} USD a shot; task fee 0.30 USD: aws.amazon.com/braket/pricing"
        return Quote(amount, amount, "usd", told)


def cost_of(tariff: Mapping[str, Any], shots: int, *, duration_ms: float | None, is_reserved: bool) -> Cost | None:
    """The cost of one task in USD by a device's tariff; None if it cannot be computed."""
    price = tariff.get("price")
    if not isinstance(price, int | float) or isinstance(price, bool):
        return None
    if tariff.get("is_simulator"):
        if duration_ms is None:
            return None
        return Cost(max(duration_ms, _MIN_SIMULATOR_MS) / 60_000 * price, "usd", True)
    return Cost(0.0 if is_reserved else TASK_FEE_USD + price * shots, "usd", True)


def _read(body: Mapping[str, Any], document: Mapping[str, Any]) -> Device:
    service, action = document["service"], document.get("action") or {}
    low, high = service["shotsRange"]
    program, sets = action.get(OPENQASM) or {}, action.get(PROGRAM_SET) or {}
    paradigm = document.get("paradigm") or {}
    connectivity = paradigm.get("connectivity") or {}
    pairs = _pairs(connectivity.get("connectivityGraph") or {})
    is_simulator = body.get("deviceType") == "SIMULATOR"
    nodes = sorted({label for pair in pairs for label in pair})
    width = paradigm.get("qubitCount")
    cost = service.get("deviceCost") or {}
    return Device(
        arn=str(body["deviceArn"]),
        name=str(body.get("deviceName")),
        status=str(body.get("deviceStatus")),
        is_simulator=is_simulator,
        # a graph may have fewer nodes than qubitCount: the missing ones are out of order
        n_qubits=min(int(width), len(nodes)) if width and nodes else width,
        shots=(int(low), int(high)),
        operations=frozenset(str(name).lower() for name in program.get("supportedOperations") or ()),
        labels=tuple(nodes) if nodes and nodes != list(range(len(nodes))) else None,
        native=frozenset(str(name).lower() for name in paradigm.get("nativeGateSet") or ()),
        pairs=None if is_simulator or connectivity.get("fullyConnected") or not pairs else frozenset(pairs),
        # IonQ's documents say no and the service refuses all the same (integration tests of amazon-braket-sdk, 2026-08)
        measures_all=bool(program.get("requiresAllQubitsMeasurement") or is_simulator or "/ionq/" in body["deviceArn"]),
        takes_physical=bool(program.get("supportPhysicalQubits")),
        takes_verbatim="verbatim" in (program.get("supportedPragmas") or ()),
        max_executables=int(sets.get("maximumExecutables") or _MAX_EXECUTABLES) if sets else 1,
        max_set_shots=int(sets.get("maximumTotalShots") or _MAX_SET_SHOTS),
        price=cost.get("price"),
        price_unit=str(cost.get("unit")),
        queue=_queue(body.get("deviceQueueInfo") or ()),
    )


def _pairs(graph: Mapping[str, Iterable[Any]]) -> set[frozenset[int]]:
    return {frozenset((int(a), int(b))) for a, others in graph.items() for b in others}


def _queue(queues: Iterable[Mapping[str, Any]]) -> str | None:
    """The size of the queue for ordinary tasks."""
    sizes = {
        str(q.get("queuePriority")): str(q.get("queueSize")) for q in queues if q.get("queue") == "QUANTUM_TASKS_QUEUE"
    }
    return sizes.get("Normal") or next(iter(sizes.values()), None)
