"""What GetDevice says, as limits, gates and prices. Shapes: amazon-braket-schemas 1.32.1, device capabilities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qflows.errors import Unreadable
from qflows.model import Cost
from qflows.programs.to_openqasm import Dialect
from qflows.protocol import DeviceInfo, Limits
from qflows.providers.braket import wire

# aws.amazon.com/braket/pricing (stored copy, 2026): every QPU; not in the capabilities document
TASK_FEE_USD = 0.30
_MIN_SIMULATOR_MS = 3_000


@dataclass(frozen=True)
class Device:
    """One device as the vendor describes it now."""

    arn: str
    name: str
    status: str
    is_simulator: bool
    n_qubits: int | None
    shots: tuple[int, int]
    gates: Dialect
    max_executables: int  # 1: no program sets
    max_set_shots: int  # of all executables together
    price: float | None
    price_unit: str
    queue: str | None = None

    @staticmethod
    def read(body: Mapping[str, Any]) -> Device:
        """From GetDevice. Raises Unreadable for a capabilities text that is not JSON."""
        try:
            document = json.loads(body["deviceCapabilities"])
            service, action = document["service"], document.get("action") or {}
            low, high = service["shotsRange"]
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(
                f"braket: the capabilities of {body.get('deviceArn')} cannot be read: {error!r}",
                provider="braket",
                body=str(body)[:4000],
            ) from error
        sets = action.get(wire.PROGRAM_SET) or {}
        cost = service.get("deviceCost") or {}
        queues = body.get("deviceQueueInfo") or ()
        return Device(
            arn=str(body["deviceArn"]),
            name=str(body.get("deviceName")),
            status=str(body.get("deviceStatus")),
            is_simulator=body.get("deviceType") == "SIMULATOR",
            n_qubits=(document.get("paradigm") or {}).get("qubitCount"),
            shots=(int(low), int(high)),
            gates=wire.dialect((action.get(wire.OPENQASM) or {}).get("supportedOperations") or ()),
            max_executables=int(sets.get("maximumExecutables") or 100) if sets else 1,
            max_set_shots=int(sets.get("maximumTotalShots") or wire.MAX_SET_SHOTS),
            price=cost.get("price"),
            price_unit=str(cost.get("unit")),
            queue=next((str(q["queueSize"]) for q in queues if q.get("queue") == "QUANTUM_TASKS_QUEUE"), None),
        )

    def limits(self) -> Limits:
        """As the core checks them. Gates are left open: what the device lacks is compiled away."""
        return Limits(
            max_qubits=self.n_qubits,
            max_shots=self.shots[1],
            min_shots=max(self.shots[0], 1),
            max_programs=self.max_executables,
        )

    def refusal(self, programs: int, shots: int) -> str | None:
        """Why one task cannot carry so many programs with so many shots each; None if it can."""
        if programs > self.max_executables:
            most = self.max_executables
            return f"{self.name} takes {most} program(s) a task, not {programs}; submit them as single jobs"
        if programs > 1 and programs * shots > self.max_set_shots:
            return (
                f"{self.name} takes {self.max_set_shots} shots a program set, not {programs} x {shots}; lower "
                f"max_circuits to {max(self.max_set_shots // shots, 1)}"
            )
        return None

    def info(self) -> DeviceInfo:
        """As a list of devices shows it. A queue is a number, or a text such as ">4000" and then a note."""
        known = self.queue is not None and self.queue.isdecimal()
        return DeviceInfo(
            device_id=self.arn,
            n_qubits=self.n_qubits,
            is_simulator=self.is_simulator,
            is_available=self.status == "ONLINE",
            queue_length=int(self.queue) if known and self.queue else None,
            note=self.status if known or not self.queue else f"{self.status}, queue {self.queue}",
        )

    def cost(self, shots: int, *, duration_ms: float | None = None, is_reserved: bool = False) -> Cost | None:
        """What one task costs in USD, an estimate: AWS bills monthly. Simulators need the duration, from 3 s up."""
        if self.price is None:
            return None
        if self.is_simulator:
            if duration_ms is None:
                return None
            return Cost(max(duration_ms, _MIN_SIMULATOR_MS) / 60_000 * self.price, "usd", True)
        return Cost(0.0 if is_reserved else TASK_FEE_USD + self.price * shots, "usd", True)
