"""What the shipped flows share: missed slots, gates, and jobs that are cancelled with their run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

import httpx
from prefect import Flow
from prefect.settings import PREFECT_API_URL
from prefect.utilities.hashing import file_hash

from qflows.characterization.gating import Gate
from qflows.core.arguments import check_call
from qflows.errors import PrefectMissing
from qflows.prefect.gating import Held
from qflows.prefect.slots import missed_slot

P = ParamSpec("P")
R = TypeVar("R")


class ShippedFlow(Flow[P, R]):
    """A flow that says what to do if Prefect's temporary server, used when no API is configured, does not start."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Runs the flow. Raises PrefectMissing when Prefect's server does not come up or cannot be reached."""
        own = {name: value for name, value in kwargs.items() if name not in ("wait_for", "return_state")}
        check_call(self.name, self.fn, args, own)
        try:
            return cast(R, super().__call__(*args, **kwargs))
        except (RuntimeError, httpx.TransportError) as error:
            # the first is what Prefect makes of the second when it asks for the server's version
            if isinstance(error, httpx.TransportError) or "Failed to reach API" in str(error):
                raise PrefectMissing(
                    f"the Prefect API at {PREFECT_API_URL.value()} cannot be reached; start it, for example with "
                    "`qflows up`, or correct or unset PREFECT_API_URL, and run this again"
                ) from error
            if "ephemeral" not in str(error):
                raise
            raise PrefectMissing(
                "without PREFECT_API_URL, Prefect starts a temporary server for a flow, which "
                "did not start in time; nothing was sent. Set "
                "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120 and call again, or "
                "start a permanent server with `qflows up`"
            ) from error


def scheduled_flow(
    name: str, *, flow_run_name: str | Callable[[], str], on_cancellation: Sequence[Any] = ()
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A flow for schedules, with a parameter `missed`: a slot that comes too late runs nothing.

    The policy is checked before anything in the flow runs; the run then ends as described in `qflows.missed_slot`. A
    parameter `gate` is checked before that, and reaches the flow as a Gate or None; a run that it holds back ends as it
    says.
    """

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            if "gate" in given.arguments:
                given.arguments["gate"] = Gate.read(given.arguments["gate"])
            skipped = missed_slot(given.arguments["missed"])
            # a state in place of a result: Prefect takes either
            if skipped is not None:
                return cast(R, skipped)
            try:
                return function(*given.args, **given.kwargs)
            except Held as held:
                return cast(R, held.state)

        source = inspect.getsourcefile(function)
        return ShippedFlow(
            fn=guarded,
            name=name,
            version=file_hash(source) if source else None,  # Prefect would take the file of `guarded`
            flow_run_name=flow_run_name,
            validate_parameters=False,
            on_cancellation=list(on_cancellation) or None,
        )

    return decorate
