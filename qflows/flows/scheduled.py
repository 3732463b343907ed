"""What the shipped flows share: the check of missed slots, and jobs that are cancelled with their run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow, flow
from prefect.utilities.hashing import file_hash

from qflows.prefect.slots import missed_slot

P = ParamSpec("P")
R = TypeVar("R")


def scheduled_flow(
    name: str, *, flow_run_name: str | Callable[[], str], on_cancellation: Sequence[Any] = ()
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """A flow with a parameter `missed`, which may be put on a schedule: a slot that came too late runs nothing.

    The policy is asked before anything of the flow runs; then the run ends as `qflows.missed_slot` says.
    """

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            skipped = missed_slot(given.arguments["missed"])
            # a state in place of a result: Prefect takes either
            return cast(R, skipped) if skipped is not None else function(*args, **kwargs)

        source = inspect.getsourcefile(function)
        return flow(
            name=name,
            version=file_hash(source) if source else None,  # Prefect would take the file of `guarded`
            flow_run_name=flow_run_name,
            validate_parameters=False,
            on_cancellation=list(on_cancellation) or None,
        )(guarded)

    return decorate
