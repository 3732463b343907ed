"""The verbs that sessions and groups buy with: plain calls in a script, Prefect tasks in a flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from qflows.core.batches.batch import Batch
from qflows.core.scope import Scope
from qflows.model import Job, Result

if TYPE_CHECKING:
    from qflows.core.sessions import Session


class Wishes(TypedDict, total=False):
    """What `submit`, `run` and the methods of sessions and groups take besides the program; see `qflows.submit`."""

    shots: int | None
    values: Any
    observables: Any
    options: Mapping[str, Any] | None
    name: str | None
    label: str
    tags: Mapping[str, str] | None
    run_key: str | None
    resubmit: int
    sample: int | None
    project: str | None
    compile: Any
    physical_qubits: Sequence[int] | None


class RunWishes(Wishes, total=False):
    """What `run` takes besides: `timeout` in seconds; `mitigate` as for `qflows.batch`."""

    timeout: float | None
    mitigate: Any


class BatchWishes(TypedDict, total=False):
    """What `batch` takes besides the programs; see `qflows.batch`."""

    shots: int | Sequence[int] | None
    observables: Any
    name: str
    tags: Mapping[str, str] | None
    label: str
    options: Mapping[str, Any] | None
    max_circuits: int | None
    as_batch: bool | None
    run_key: str | None
    mitigate: Any
    project: str | None
    compile: Any
    physical_qubits: Sequence[int] | None
    reference: Any
    max_time: str | float | None


class Verbs(Protocol):
    """How calls are made here."""

    def submit(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[Wishes]) -> Job:
        """Buy one job and return its handle."""
        ...

    def run(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[RunWishes]) -> Result:
        """Buy one job, wait, and read its result."""
        ...

    def batch(self, programs: Sequence[Any], *, device: str, **wishes: Unpack[BatchWishes]) -> Batch:
        """Buy a list of programs."""
        ...

    def client_factory(self) -> Callable[[], Any]:
        """An importable function that gives another process its own client, for handles that travel there."""
        ...

    def scope(self, run_key: str | None) -> Scope:
        """The origin of a call. Raises RunKeyMissing."""
        ...

    def in_flow(self) -> bool:
        """True inside a flow, where the run key is known."""
        ...

    def is_pause(self, error: BaseException | None) -> bool:
        """True if a block is left only because the run leaves its process to wait; it comes back."""
        ...

    def as_step(self, call: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        """A function to call once, as a visible step where steps exist."""
        ...
