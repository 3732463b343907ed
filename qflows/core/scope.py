"""The origin of calls: the logical run, the attempt, and the caller inside it."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from qflows.errors import RunKeyMissing
from qflows.keys import MAX_RUN_KEY, in_namespace
from qflows.ledger.budgets import Buyer
from qflows.ledger.choices import Turn
from qflows.ledger.intents import Want
from qflows.settings import current_settings

_PROCESS_ATTEMPT = uuid.uuid4().hex

_calls: Counter[tuple[str, ...]] = Counter()
_calls_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Scope:
    """The origin of calls: the logical run, the attempt, and the caller inside it.

    `caller`: a task run, or the flow itself; `tries` counts its retries, so that a retried task starts counting its
    equal calls again and finds its own samples. `group`: everything bought becomes a member of it. `sample`: the number
    of the wanted sample, from 0, if the caller names it. `buyer`: whom purchases are counted for, as far as the caller
    says. `choice`: the choice by rule, and its turn, that everything is bought for.
    """

    run_key: str
    attempt: str
    caller: str
    tries: int = 0
    group: str | None = None
    sample: int | None = None
    buyer: Buyer = field(default_factory=Buyer)
    choice: Turn | None = None

    def want(self, content: str) -> Want:
        """The next call for `content` by this caller."""
        place = (self.run_key, self.attempt, self.caller, str(self.tries), content)
        with _calls_lock:
            n = _calls[place]
            _calls[place] += 1
        return Want(self.run_key, self.attempt, f"{self.caller}:{n}", self.group, self.sample, self.choice)


def named(run_key: str) -> str:
    """The run key as stored in the ledger: in the namespace of the settings, if one is set."""
    return in_namespace(run_key, _namespace(os.environ.get("QFLOWS_NAMESPACE")))


@lru_cache(maxsize=8)
def _namespace(said: str | None) -> str | None:
    return current_settings().namespace if said else None


def script_scope(run_key: str | None) -> Scope:
    """Scope outside any flow: the run key must be given, and this process, or this notebook cell, is the attempt.

    Raises RunKeyMissing. Forked workers share the attempt, so their equal calls are different samples.
    """
    if not run_key:
        raise RunKeyMissing(
            "outside a flow, a run needs a name: pass run_key='some-name'. The same name later continues the same run"
        )
    if not isinstance(run_key, str):
        raise RunKeyMissing(f"run_key must be text, not {run_key!r}; write run_key={str(run_key)!r}")
    run_key = named(run_key)
    if len(run_key) > MAX_RUN_KEY:
        raise RunKeyMissing(f"a run key has at most {MAX_RUN_KEY} characters")
    return Scope(run_key, _attempt(), f"pid{os.getpid()}")


def _attempt() -> str:
    """This process; in IPython one execution of a cell, so that running the cell again adopts what it bought."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    count = getattr(shell, "execution_count", None)
    return f"{_PROCESS_ATTEMPT}:{count}" if isinstance(count, int) else _PROCESS_ATTEMPT
