"""Who buys, where, and for which run: what a primitive keeps from its construction."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypedDict, get_args

from qflows.core import ambient
from qflows.core.arguments import check_names, shown
from qflows.core.batches.batch import Batch
from qflows.core.batches.planning import Planned
from qflows.core.choice import asking
from qflows.core.choice.deciding import content_of
from qflows.core.client import Client, default_client
from qflows.core.compile_choice import choose
from qflows.core.devices import Device
from qflows.core.scope import Scope
from qflows.core.sessions import Session
from qflows.errors import ProgramRejected
from qflows.primitives.errors import also_qiskit
from qflows.primitives.replay import REPLAYS, OnChange
from qflows.programs import Program


class Holder:
    """A client that is left behind when its owner is pickled: the other process creates its own."""

    def __init__(self, client: Client | None) -> None:
        mine = client or _here()
        self._client: Client | None = mine
        self._factory = mine.verbs.client_factory()

    @property
    def client(self) -> Client:
        """The client of this process."""
        found = self._client or self._factory()
        self._client = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"_client": None, "_factory": self._factory}

    def __deepcopy__(self, memo: dict[int, Any]) -> Holder:
        return self


def _here() -> Client:
    """The client that knows saved blocks and flows if Prefect is in use, otherwise the plain one."""
    if "prefect" in sys.modules:  # by name: this package does not know Prefect, and works without it
        return import_module("qflows.prefect.client").client()
    return default_client()


class Purchases(TypedDict, total=False):
    """The purchase arguments that `SamplerV2`, `EstimatorV2` and `Backend` share. See `SamplerV2`."""

    run_key: str | None
    label: str
    options: Mapping[str, Any] | None
    session: Session | None
    tags: Mapping[str, str] | None
    on_change: OnChange | None
    compile: Any
    physical_qubits: Sequence[int] | None
    client: Client | None


@dataclass
class Origin:
    """The device, the run and the options of a primitive.

    Inside a flow the scope is that of the construction, because algorithms call primitives from threads that do not
    know the flow; outside, the run key names the run and every call belongs to the attempt in which it is made.
    """

    device: str
    run_key: str | None = None
    label: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    session: Session | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    client: Client | None = None
    on_change: OnChange | None = None
    compile: Any = None
    physical_qubits: Sequence[int] | None = None

    @classmethod
    def of(cls, kind: type, device: str, wanted: Purchases, *, label: str, own: Sequence[str]) -> Origin:
        """The origin that a caller's arguments name; `label` is the default for callers that give none.

        `kind`: what the caller constructs, with its `own` arguments. Raises PubRejected for others.
        """
        with also_qiskit():
            check_names(kind.__name__, wanted, (*own, *Purchases.__annotations__))
            for name in ("options", "tags"):
                if not isinstance(wanted.get(name) or {}, Mapping):
                    raise ProgramRejected(
                        f"{kind.__name__}: {name} must be a mapping such as {{'name': 'value'}}, not "
                        f"{shown(wanted.get(name))}"
                    )
        given: dict[str, Any] = {"label": label, **wanted}
        given |= {name: dict(given.get(name) or {}) for name in ("options", "tags")}
        return cls(device, **given)

    def __post_init__(self) -> None:
        self.holder = Holder(self.client)
        self.client = None  # the holder's, which pickles
        if self.on_change is not None and self.on_change not in get_args(OnChange):
            with also_qiskit():
                choices = ", ".join(map(repr, get_args(OnChange)))
                raise ProgramRejected(f"on_change is one of {choices}, not {shown(self.on_change)}")
        verbs = self.holder.client.verbs
        found = verbs.scope(self.run_key)
        self.run_key = found.run_key
        self._bound = found if verbs.in_flow() else None
        if rule := self.core.rule(self.device):  # one device for everything that this primitive buys
            asked = asking.for_a_place("primitive", self.label)
            self.device = self.core.chooser.choose(rule, found.want(content_of(rule, asked)), asked).device
        device = self.core.device(self.device)  # a misspelled name is answered where it is written
        known = device.provider.options_model(device.profile.device).model_fields
        for name in self.options:
            if name not in known:
                near = get_close_matches(str(name), known, n=1)
                meant = f"did you mean {near[0]}?" if near else f"the options are {', '.join(sorted(known))}"
                if str(name).startswith("default_"):  # as in qiskit-ibm-runtime
                    meant = f"pass {str(name).removeprefix('default_')[:40]}= to the primitive itself"
                with also_qiskit():
                    raise ProgramRejected(f"{self.device} has no option {name!r:.80}; {meant}")

    def purchases(self, label: str) -> Purchases:
        """The arguments that make the same purchases under another label."""
        return {
            "run_key": self.run_key,
            "label": label,
            "options": self.options,
            "session": self.session,
            "tags": self.tags,
            "on_change": self.on_change,
            "compile": self.compile,
            "physical_qubits": self.physical_qubits,
            "client": self.core,
        }

    @property
    def core(self) -> Client:
        """The client of this process."""
        return self.holder.client

    @property
    def target(self) -> Device:
        """The device. Raises UnknownDevice, CredentialsMissing."""
        return self.core.device(self.device)

    @property
    def _on_change(self) -> OnChange:
        if self.on_change is not None:
            return self.on_change
        return "raise" if self.target.profile.simulator is False else "warn"

    def scope(self) -> Scope:
        """The origin of a call made now."""
        if self._bound is None:
            return self.core.verbs.scope(self.run_key)
        return replace(self._bound, group=ambient.joined(self._bound.run_key))

    def options_with_memory(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The options, with single shots in order requested if the device has them and nothing else was set."""
        mine = dict(self.options if options is None else options)
        known = self.known_options
        chosen = {**self.target.profile.options, **mine}
        return mine | ({"memory": True} if "memory" in known and "memory" not in chosen else {})

    @property
    def known_options(self) -> Collection[str]:
        """Names of the device's options."""
        return self.target.provider.options_model(self.target.profile.device).model_fields

    @property
    def compiles_here(self) -> bool:
        """True if circuits are compiled before they are recorded, each as it is measured."""
        chosen = choose(self.target, self.options, compile=self.compile, physical_qubits=self.physical_qubits)
        return chosen.is_here

    def plan(self, programs: Sequence[Program], shots: Sequence[int | None], options: Mapping[str, Any]) -> Planned:
        """The jobs for these programs; nothing is recorded or sent. Raises ProgramRejected."""
        numbers: Any = list(shots)  # None where values are exact
        return self.core.plan_batch(
            list(programs),
            device=self.device,
            shots=numbers,
            options=options,
            label=self.label,
            tags=self.tags,
            compile=self.compile,
            physical_qubits=self.physical_qubits,
        )

    def buy(self, planned: Planned, note: Mapping[str, Any], name: str) -> Batch:
        """Make the plan durable, with what is needed to read its results, and send what was not sent before.

        Raises ProgramRejected if a replay asks for something else, according to `on_change`: on QPUs by default.
        """
        noted = replace(planned, sweep={"shape": None, "observable_shape": None, "estimates": None, "pubs": dict(note)})
        scope = self.scope()
        REPLAYS.check(self.core.ledger, scope, self.label, noted, self._on_change)
        batch = self.core.create_batch(noted, device=self.device, scope=scope, name=name, tags=self.tags)
        REPLAYS.met(self.core.ledger, scope, self.label, batch.id)
        if self.session is not None:
            batch.submit(session_id=self.session.id)
        else:
            self.core.submit_batch(batch)
        return batch


class OnDevice:
    """What everything that buys through an `Origin` exposes of it."""

    _origin: Origin

    @property
    def device(self) -> str:
        """The device's name."""
        return self._origin.device

    @property
    def run_key(self) -> str | None:
        """The run that calls belong to."""
        return self._origin.run_key


def by_shots(shots: Sequence[int | None]) -> list[int]:
    """An order in which programs of equal shots are adjacent, so that they share jobs."""
    return sorted(range(len(shots)), key=lambda place: (shots[place] or 0, place))
