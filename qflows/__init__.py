"""qflows runs paid quantum experiments on Prefect: every job is bought once, none is lost, any vendor.

Importing this loads no vendor SDK and, until a task or flow is used, no Prefect.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qflows import errors, flows
    from qflows.batch_results import BatchResult
    from qflows.batches import Batch
    from qflows.client import Client
    from qflows.detached import wait_or_suspend
    from qflows.errors import QflowsError
    from qflows.group_results import GroupResult
    from qflows.grouping import Group, attach, group
    from qflows.missed import missed_slot
    from qflows.model import Counts, Job, Result
    from qflows.programs import Program
    from qflows.tagging import Tagged
    from qflows.tasks import Session, batch, cancel, result, run, session, submit, tag, wait
    from qflows.transitions import JobStatus

__version__ = "0.1.0"

_HOME = {
    "submit": "tasks",
    "wait": "tasks",
    "wait_or_suspend": "detached",
    "result": "tasks",
    "run": "tasks",
    "cancel": "tasks",
    "tag": "tasks",
    "Tagged": "tagging",
    "attach": "grouping",
    "group": "grouping",
    "Group": "grouping",
    "missed_slot": "missed",
    "GroupResult": "group_results",
    "session": "tasks",
    "batch": "tasks",
    "Batch": "batches",
    "BatchResult": "batch_results",
    "Session": "tasks",
    "Client": "client",
    "Job": "model",
    "Result": "model",
    "Counts": "model",
    "Program": "programs",
    "JobStatus": "transitions",
    "QflowsError": "errors",
}
__all__ = [
    "Batch",
    "BatchResult",
    "Client",
    "Counts",
    "Group",
    "GroupResult",
    "Job",
    "JobStatus",
    "Program",
    "QflowsError",
    "Result",
    "Session",
    "Tagged",
    "attach",
    "batch",
    "cancel",
    "errors",
    "flows",
    "group",
    "missed_slot",
    "result",
    "run",
    "session",
    "submit",
    "tag",
    "wait",
    "wait_or_suspend",
]


def __getattr__(name: str) -> object:
    """Loads a public name on first use."""
    if name in _HOME:
        return getattr(import_module(f"qflows.{_HOME[name]}"), name)
    if name in ("errors", "flows"):
        return import_module(f"qflows.{name}")
    if name[:1].isupper() and name in _block_types():  # modules are lower case and must not end up here
        return getattr(import_module("qflows.collection"), name)
    raise AttributeError(f"qflows has no {name!r}; public names: {', '.join(__all__)}")


class _Package(ModuleType):
    """Keeps `qflows.submit` the task: the import system would set the submodule of that name over it, once loaded."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # cloudpickle knows plain modules only, and flows that name this one travel to process pools and Dask
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package


def _block_types() -> list[str]:
    """Names of the block classes; none while Prefect, which is slow to import, is not there to ask for them."""
    if "prefect.blocks.core" not in sys.modules:
        return []
    return [block.__name__ for block in import_module("qflows.collection").BLOCK_TYPES.values()]


def __dir__() -> list[str]:
    # `prefect block register -m qflows` registers the block types it finds here
    return sorted([*__all__, "__version__", *_block_types()])
