"""qflows runs paid quantum experiments on Prefect, at any vendor: every job is bought exactly once, and none is lost.

Importing it loads no vendor SDK, and no Prefect until a task or flow is used.
"""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qflows import errors, flows, primitives
    from qflows.core.batches.batch import Batch
    from qflows.core.batches.results import BatchResult
    from qflows.core.cards import DeviceCard
    from qflows.core.client import Client
    from qflows.core.groups.handle import Group
    from qflows.core.groups.results import GroupResult
    from qflows.core.importing import Imported
    from qflows.core.money import Price
    from qflows.core.sessions import Session
    from qflows.core.tagging import Tagged
    from qflows.errors import QflowsError
    from qflows.model import Counts, Job, Result
    from qflows.prefect.archiving import archive, verify
    from qflows.prefect.attach import attach
    from qflows.prefect.gating import gate
    from qflows.prefect.importing import import_jobs
    from qflows.prefect.lists import batch_from, batches, device, groups, jobs, refresh, runs, sessions, status
    from qflows.prefect.minimizing import minimize
    from qflows.prefect.own_page import page
    from qflows.prefect.slots import missed_slot
    from qflows.prefect.suspend import wait_or_suspend
    from qflows.prefect.tasks import (
        batch,
        cancel,
        choose,
        compile,
        group,
        price,
        result,
        run,
        session,
        submit,
        tag,
        wait,
    )
    from qflows.primitives.backend import Backend
    from qflows.programs import Program
    from qflows.states import JobStatus

__version__ = "0.1.0"

_HOME = {
    "submit": "prefect.tasks",
    "compile": "prefect.tasks",
    "minimize": "prefect.minimizing",
    "price": "prefect.tasks",
    "Price": "core.money",
    "wait": "prefect.tasks",
    "wait_or_suspend": "prefect.suspend",
    "result": "prefect.tasks",
    "run": "prefect.tasks",
    "cancel": "prefect.tasks",
    "choose": "prefect.tasks",
    "tag": "prefect.tasks",
    "import_jobs": "prefect.importing",
    "jobs": "prefect.lists",
    "batches": "prefect.lists",
    "groups": "prefect.lists",
    "sessions": "prefect.lists",
    "runs": "prefect.lists",
    "refresh": "prefect.lists",
    "batch_from": "prefect.lists",
    "device": "prefect.lists",
    "DeviceCard": "core.cards",
    "archive": "prefect.archiving",
    "verify": "prefect.archiving",
    "status": "prefect.lists",
    "Imported": "core.importing",
    "Tagged": "core.tagging",
    "attach": "prefect.attach",
    "gate": "prefect.gating",
    "group": "prefect.tasks",
    "Group": "core.groups.handle",
    "missed_slot": "prefect.slots",
    "page": "prefect.own_page",
    "GroupResult": "core.groups.results",
    "session": "prefect.tasks",
    "batch": "prefect.tasks",
    "Batch": "core.batches.batch",
    "BatchResult": "core.batches.results",
    "Session": "core.sessions",
    "Client": "core.client",
    "Job": "model",
    "Result": "model",
    "Counts": "model",
    "Program": "programs",
    "Backend": "primitives.backend",
    "JobStatus": "states",
    "QflowsError": "errors",
}
__all__ = [
    "Backend",
    "Batch",
    "BatchResult",
    "Client",
    "Counts",
    "DeviceCard",
    "Group",
    "GroupResult",
    "Imported",
    "Job",
    "JobStatus",
    "Price",
    "Program",
    "QflowsError",
    "Result",
    "Session",
    "Tagged",
    "archive",
    "attach",
    "batch",
    "batch_from",
    "batches",
    "cancel",
    "choose",
    "compile",
    "device",
    "errors",
    "flows",
    "gate",
    "group",
    "groups",
    "import_jobs",
    "jobs",
    "minimize",
    "missed_slot",
    "page",
    "price",
    "primitives",
    "refresh",
    "result",
    "run",
    "runs",
    "session",
    "sessions",
    "status",
    "submit",
    "tag",
    "verify",
    "wait",
    "wait_or_suspend",
]


def __getattr__(name: str) -> object:
    """Loads a public name on first use."""
    if name in _HOME:
        return getattr(import_module(f"qflows.{_HOME[name]}"), name)
    if name in ("errors", "flows", "primitives"):
        return import_module(f"qflows.{name}")
    if name[:1].isupper() and name in _block_types():  # modules are lower case and must not end up here
        return getattr(import_module("qflows.prefect.blocks.collection"), name)
    alike = difflib.get_close_matches(name, __all__, n=1)
    meant = f"did you mean {alike[0]}? " if alike else ""
    raise AttributeError(f"qflows has no {name!r}; {meant}public names: {', '.join(__all__)}")


def _block_types() -> list[str]:
    """Names of the block classes; empty until Prefect, which is slow to import, has been loaded."""
    if "prefect.blocks.core" not in sys.modules:
        return []
    return [block.__name__ for block in import_module("qflows.prefect.blocks.collection").BLOCK_TYPES.values()]


def __dir__() -> list[str]:
    # `prefect block register -m qflows` registers the block types it finds here
    return sorted([*__all__, "__version__", *_block_types()])
