"""The verbs of a script: plain calls under an explicit run key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

from qflows.core import ambient
from qflows.core.batches.batch import Batch
from qflows.core.purchases import Purchases
from qflows.core.scope import Scope, script_scope
from qflows.core.sessions import Session
from qflows.core.verbs import BatchWishes, RunWishes, Wishes
from qflows.keys import in_namespace
from qflows.model import Job, Result


class ScriptVerbs:
    """The verbs outside any flow: plain calls under an explicit run key."""

    def __init__(self, core: Purchases, factory: Callable[[], Any]) -> None:
        self._core = core
        self._factory = factory

    def client_factory(self) -> Callable[[], Any]:
        """The default client."""
        return self._factory

    def scope(self, run_key: str | None) -> Scope:
        """The scope of a script. Raises RunKeyMissing."""
        made = script_scope(in_namespace(run_key, self._core.settings.namespace) if run_key else None)
        return replace(made, group=ambient.joined(made.run_key))

    def in_flow(self) -> bool:
        """False."""
        return False

    def is_pause(self, error: BaseException | None) -> bool:
        """False: a script never leaves its process to wait."""
        return False

    def as_step(self, call: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        """The function itself."""
        return call

    def submit(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[Wishes]) -> Job:
        """See `Client.submit_one`."""
        return self._core.submit_one(
            program, self.scope(wishes.get("run_key")), device=device, session=session, **wishes
        )

    def run(self, program: Any, *, device: str, session: Session | None = None, **wishes: Unpack[RunWishes]) -> Result:
        """See `Client.run`."""
        return self._core.run(program, self.scope(wishes.get("run_key")), device=device, session=session, **wishes)

    def batch(self, programs: Sequence[Any], *, device: str, **wishes: Unpack[BatchWishes]) -> Batch:
        """See `Client.submit_list`."""
        return self._core.submit_list(programs, self.scope(wishes.get("run_key")), device=device, **wishes)
