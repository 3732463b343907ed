"""A device as Qiskit's backend: for code that runs circuits itself, and for Qiskit's own primitives on a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, Unpack

from qiskit import QuantumCircuit
from qiskit.providers import BackendV2, JobV1, Options
from qiskit.result import Result
from qiskit.transpiler import Target

from qflows.core.batches.batch import Batch
from qflows.errors import ProgramRejected, UnknownJob
from qflows.primitives.backend_results import KIND, experiment_note, own_header, read
from qflows.primitives.durable import Handle, find, id_of
from qflows.primitives.errors import also_qiskit
from qflows.primitives.origin import OnDevice, Origin, Purchases
from qflows.primitives.pubs import checked_shots, circuits_of
from qflows.primitives.targets import fits, target_of
from qflows.programs import Feature, Program, to_program

_CLASSIFIED = 2
_MANY = 1_000_000  # circuits in a call; the planner splits them


class Backend(OnDevice, BackendV2):
    """A device of qflows behind Qiskit's backend interface; every call of `run` is bought once, adopted on replay.

    `target`: what `transpile(circuit, backend)` may use, instead of the device's own. All other arguments are those of
    `SamplerV2`. Circuits run as given if they fit the device's gates. Raises RunKeyMissing, UnknownDevice.
    """

    def __init__(
        self,
        device: str,
        *,
        shots: int = 1024,
        target: Target | None = None,
        **purchases: Unpack[Purchases],
    ) -> None:
        self._origin = Origin.of(type(self), device, purchases, label="backend", own=["shots", "target"])
        profile = self._origin.target.profile
        super().__init__(name=self._origin.device, description=profile.description, backend_version=version("qflows"))
        self.set_options(shots=checked_shots(shots))
        self._target = target

    @classmethod
    def _default_options(cls) -> Any:  # qiskit's abstract methods do not declare what they return
        return Options(shots=1024, memory=False)

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Gates, couplers and durations of the device; may ask the vendor, once."""
        if self._target is None:
            self._target = target_of(self._origin.target, self._origin.options)
        return self._target

    @property
    def max_circuits(self) -> None:
        """None: a list of any length becomes as many jobs as it needs."""
        return

    def configuration(self) -> SimpleNamespace:
        """What libraries ask a backend of Qiskit's first version for, such as mthree: `num_qubits`, `max_shots`,
        `max_experiments`, `simulator`."""
        limits, profile = self._origin.target.limits, self._origin.target.profile
        return SimpleNamespace(
            backend_name=self.name,
            num_qubits=self.target.num_qubits or limits.max_qubits,
            max_shots=limits.max_shots,
            max_experiments=_MANY,
            simulator=profile.simulator is not False,
        )

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, run_input: QuantumCircuit | Sequence[QuantumCircuit], *, shots: int | None = None, **options: Any
    ) -> BackendJob:
        """Buy one batch of circuits and return at once. Values must be bound.

        `memory`: keep single shots, in the order of execution if the device reports it. Other `options` are the
        vendor's. Raises PubRejected, which is a QiskitError, before anything is recorded or sent; also for
        `seed_simulator`, because a durable job draws by its key, and for measurement levels other than 2.
        """
        circuits = circuits_of(run_input)
        with also_qiskit():
            default: Any = self.options
            wants_memory = bool(options.pop("memory", default.memory))
            number = checked_shots(default.shots if shots is None else shots)
            if "job_tags" not in self._origin.known_options:  # IBM's; others' libraries pass them everywhere
                options.pop("job_tags", None)
            vendor = dict(self._origin.options) | _vendor_options(options)
            if wants_memory:
                vendor = self._origin.options_with_memory(vendor)
            programs = [self._program(circuit) for circuit in circuits]
            bought = [program for program in programs if program.measured]
            note = {
                "kind": KIND,
                "pubs": [experiment_note(*pair) for pair in zip(circuits, programs, strict=True)],
                "shots": number,
                "memory": wants_memory,
            }
            batch = None
            if bought:
                planned = self._origin.plan(bought, [number] * len(bought), vendor)
                batch = self._origin.buy(planned, note, f"backend: {len(bought)} circuits")
        return BackendJob(self, note, [own_header(circuit) for circuit in circuits], batch)

    def _program(self, circuit: QuantumCircuit) -> Program:
        """The circuit; on the device's qubits of the same numbers if it fits their gates and couplings.

        A circuit that was transpiled for the first few qubits of a device may be narrower than the device (those of
        qiskit-experiments are) and is meant for these qubits: compiling would move it to others.
        """
        program = to_program(circuit)
        limits = self._origin.target.limits
        is_said = self._origin.compile is not None or self._origin.physical_qubits is not None
        is_numbered = limits.labels is None and Feature.PHYSICAL in (limits.takes or ())
        if program.labels is not None or is_said or not is_numbered or not fits(circuit, self.target):
            return program
        return program.rewritten(program.ops(), labels=range(program.n_qubits))

    def retrieve_job(self, job_id: str) -> BackendJob:
        """The job of an earlier call, by its id or a unique prefix of it, from any process.

        Its circuits have the names and metadata stored in the ledger. Raises UnknownJob.
        """
        batch, note = find(self._origin.holder, job_id)
        if note.get("kind") != KIND:
            raise UnknownJob(f"batch {batch.id[:12]} was not bought by a backend; read it with qflows.attach")
        programs = iter(batch.programs)
        headers = [{"metadata": dict(next(programs).metadata)} if one["is_measured"] else {} for one in note["pubs"]]
        return BackendJob(self, note, headers, batch)


class BackendJob(Handle, JobV1):
    """What `Backend.run` returns; pickles without waiting, and `Backend.retrieve_job` finds it by `job_id()`."""

    def __init__(
        self, backend: Backend, note: Mapping[str, Any], notes_of_circuits: Sequence[Any], batch: Batch | None
    ):
        JobV1.__init__(self, backend, id_of(note, batch))
        self._device = backend.device
        self._keep(backend._origin.holder, note, notes_of_circuits, batch)  # pyright: ignore[reportPrivateUsage]

    def submit(self) -> None:
        """Send what was not sent yet; buy nothing twice."""
        if self.batch is not None:
            self._holder.client.submit_batch(self.batch)

    def result(self, timeout: float | None = None) -> Result:
        """Wait and read counts, and single shots if requested, from the ledger; may be repeated.

        `timeout` in seconds. A circuit that failed has `success` False and the vendor's reason as its status. Raises
        WaitTimeout at the deadline, PubFailed if no circuit has counts.
        """
        items: list[Any] = []
        names: Sequence[str] = ()
        errors: Mapping[int, Any] = {}
        with also_qiskit():
            if self.batch is not None:
                found = self.batch.result(timeout, partial=True)
                if len(found.errors) == len(found):
                    self.batch.result(timeout)
                items, names, errors = list(found.results), found.names, found.errors
        experiments = read(self._note, items, names, errors, self.job_id(), self._notes_of_circuits)
        return Result.from_dict(
            {
                "backend_name": self._device,
                "backend_version": version("qflows"),
                "job_id": self.job_id(),
                "success": all(one["success"] for one in experiments),
                "results": experiments,
            }
        )


def _vendor_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call that remain for the vendor. Raises ProgramRejected."""
    said = {name: value for name, value in options.items() if value is not None and value != []}
    if "seed_simulator" in said:
        raise ProgramRejected(
            "seed_simulator: durable jobs draw their shots from their key, and processors "
            "take no seed; leave it out, the same run key gives the same shots again"
        )
    level = said.pop("meas_level", _CLASSIFIED)
    if int(level) != _CLASSIFIED:
        raise ProgramRejected(f"meas_level {int(level)}: devices return classified bits; leave it out, or pass 2")
    said.pop("meas_return", None)  # of levels 0 and 1 only
    return said
