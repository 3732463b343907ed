"""Buys every program through every door on every vendor's sandbox, and compares what comes back with what must."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acceptance.doors.clients import CLIENTS
from acceptance.doors.written import Door, Told, Written, complaint, distribution, doors, random_program
from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected, QflowsError
from qflows.programs import Program, to_program
from qflows.sandbox import Sandbox

SHOTS = 500
VENDORS = ("ionq", "ibm", "braket", "qbraid")
QUIET = {"ibm": {"noise": False}, "braket": {"qpu_noise": False}, "ionq": {"qpu_noise": False},
         "qbraid": {"qpu_noise": False}}  # fmt: skip
DEVICES = (
    "local-exact", "local-aer", "local-noisy", "local-braket", "ionq-simulator", "ionq-forte-1", "braket-sv1",
    "braket-garnet", "braket-forte-1", "ibm-sandbox", "ibm-kingston", "qbraid-bell-1", "qbraid-qir-sv", "qbraid-garnet",
)  # fmt: skip
RARELY = {"qbraid-qir-sv": 20, "qbraid-garnet": 20}
"""Every so many programs only: they take one circuit a job, and qBraid 1,000 requests in 15 minutes."""
DYNAMIC = ("local-aer", "local-noisy", "ibm-sandbox", "ibm-kingston", "braket-garnet", "ionq-simulator")
_PART = 50  # circuits in one batch
_PATIENCE_S = 1_200.0  # longer than the 15 minutes after which qBraid takes requests again
# compiled for the gates and couplings of the snapshot, without its errors
_OPTIONS: dict[str, dict[str, Any]] = {"local-noisy": {"noise_model": {"errors": [], "roerrors": []}}}
# IonQ runs mid-circuit measurement with a noise model only; its readout and gate errors spoil a share of the shots
NOISY = {"ionq-simulator": ({"noise_model": "aria-1"}, 0.12)}


@dataclass(frozen=True)
class Entrance:
    """A distinct program behind one or several doors of the same written program."""

    written: Written
    door: Door
    program: Program
    expected: Mapping[str, float]

    @property
    def title(self) -> str:
        """For messages."""
        return f"{self.written.name} by {self.door.name}"

    def source_for(self, provider: str) -> Any:
        """What the user has in hand; where only another vendor reads that, the program it became."""
        return self.door.source if self.door.vendor in ("", provider) else self.program


def prepare(sandbox: Sandbox) -> None:
    """An empty sandbox whose processors make no errors, so that every difference is a fault."""
    sandbox.admin.reset()
    for vendor, positions in QUIET.items():
        sandbox.admin.switches(vendor, **positions)


def entrances(core: Client, written: Written, told: Told) -> Iterator[Entrance]:
    """One for each distinct program, after all doors were compared exactly."""
    expected = distribution(written)
    read = {"ionq": core.device("ionq-simulator").provider, "qbraid": core.device("qbraid-qir-sv").provider}
    seen: set[tuple[str, str]] = set()
    for door in doors(written):
        program = read[door.vendor].read(door.source) if door.vendor else to_program(door.source)
        assert program is not None
        # equal programs that a vendor reads from its own form are sent in that form too
        if (program.digest, door.vendor) not in seen:
            seen.add((program.digest, door.vendor))
            yield Entrance(written, door, program, expected)
        told.count("read", "", written.name)


def compare(
    core: Client,
    n: int,
    *,
    devices: Sequence[str] = DEVICES,
    first: int = 0,
    clients_every: int = 10,
    tell: Callable[[str], None] = lambda text: None,
) -> Told:
    """`n` programs without dynamic parts, in batches.

    Every `clients_every`-th is also bought alone, and read back by the vendor's own client.
    """
    told = Told(programs=n)
    found = [one for seed in range(first, first + n) for one in entrances(core, random_program(seed), told)]
    for device in devices:
        tell(f"{device} ...")
        target = core.device(device)
        shots = None if target.limits.exact else SHOTS
        vendor = target.provider.name
        options = _OPTIONS.get(device, {})
        taken = [one for one in found if _is_taken(core, one, device, shots, told, options=options)]
        seeds = sorted({one.written.seed for one in taken})[:: RARELY.get(device, 1)]
        taken = [one for one in taken if one.written.seed in seeds]
        for start in range(0, len(taken), _PART):
            part = taken[start : start + _PART]
            sources = [one.source_for(vendor) for one in part]
            scope = script_scope(f"doors {device} {first} {start}")
            batch = core.submit_list(sources, scope, device=device, shots=shots, options=options)
            for one, item in zip(part, batch.result(_PATIENCE_S).results, strict=True):
                _judge(told, device, one, item, shots)
        if vendor in CLIENTS:
            alone = [one for one in taken if one.written.seed in seeds[::clients_every]]
            for one in alone:
                _alone(core, told, device, one)
    return told


def _is_taken(core: Client, one: Entrance, device: str, shots: int | None, told: Told, **wishes: Any) -> bool:
    """Whether the device takes it; nothing without a feature may be refused."""
    try:
        provider = core.device(device).provider
        source = one.source_for(provider.name) if one.door.vendor else one.program  # texts are slow to read
        for spec in core.specs(source, device=device, shots=shots, **wishes):
            provider.check(spec)
    except ProgramRejected as error:
        if not one.program.features:
            told.disagreements.append(f"{device} refuses {one.title}: {error}")
        for feature in one.program.features:
            told.refused[f"{device}: {feature}"] = told.refused.get(f"{device}: {feature}", 0) + 1
        return False
    return True


def _judge(told: Told, device: str, one: Entrance, item: Any, shots: int | None, slack: float = 0.0) -> None:
    if item is None or item.error is not None:
        told.count(device, f"no result: {item.error if item else None}", one.title)
    elif shots is None:
        found = _merged(item.probabilities, one)
        names = found.keys() | one.expected.keys()
        far = max(abs(found.get(key, 0.0) - one.expected.get(key, 0.0)) for key in names)
        told.count(device, f"{found} instead of {one.expected}" if far > 1e-9 else "", one.title)
    else:
        told.count(device, complaint(_merged(item.counts, one), one.expected, shots, slack=slack), one.title)


def _merged(values: Mapping[str, Any], one: Entrance) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        short = one.door.key(key)
        found[short] = found.get(short, 0) + value
    return found


def _alone(core: Client, told: Told, device: str, one: Entrance) -> None:
    target = core.device(device)
    scope = script_scope(f"alone {device} {one.title}")
    result = core.run(one.source_for(target.provider.name), scope, device=device, shots=SHOTS, timeout=_PATIENCE_S)
    _judge(told, f"{device}, one job", one, result.items[0], SHOTS)
    if one.door.name == "qiskit":  # their keys are told apart by the clbits of the written program
        theirs = CLIENTS[target.provider.name](result.job.vendor_id or "", target.profile.device, one.written)
        told.count(f"{device}, vendor's client", complaint(theirs, one.expected, SHOTS), one.title)
        ours = _merged(result.counts, one)
        # IonQ's ideal simulator gives shares, of which each client draws shots of its own
        if theirs != ours and device != "ionq-simulator":
            told.disagreements.append(f"{device}, {one.title}: the vendor's client reads {theirs}, qflows {ours}")


def compare_dynamic(
    core: Client,
    n: int,
    *,
    devices: Sequence[str] = DYNAMIC,
    first: int = 0,
    tell: Callable[[str], None] = lambda text: None,
) -> Told:
    """`n` programs with measurements, resets and branches in the middle, one job each."""
    told = Told(programs=n)
    found = [
        one for seed in range(first, first + n) for one in entrances(core, random_program(seed, dynamic=True), told)
    ]
    for device in devices:
        tell(f"{device}, dynamic ...")
        options, slack = NOISY.get(device, (_OPTIONS.get(device, {}), 0.0))
        for one in found:
            if _is_taken(core, one, device, SHOTS, told, options=options):
                source = one.source_for(core.device(device).provider.name)
                scope = script_scope(f"dynamic {device} {one.title}")
                try:
                    result = core.run(source, scope, device=device, shots=SHOTS, options=options, timeout=_PATIENCE_S)
                except QflowsError as error:
                    told.count(device, str(error), one.title)
                else:
                    _judge(told, device, one, result.items[0], SHOTS, slack)
    return told
