"""Whether a restarted run asks for what it asked before, checked before anything is bought.

An unseeded optimizer or other shots silently make every call of a replay a new purchase. So a call whose content no
earlier attempt of the run had, while earlier calls have not been found again yet, is reported or refused.
"""

from __future__ import annotations

import logging
import threading
from typing import Literal

from qflows.core.batches.batch import content_of
from qflows.core.batches.planning import Planned
from qflows.core.scope import Scope
from qflows.errors import ProgramRejected
from qflows.ledger import batches
from qflows.ledger.store import Ledger

log = logging.getLogger("qflows.primitives")
OnChange = Literal["warn", "raise", "ignore"]
_Life = tuple[str, str, str, str]


class Replays:
    """The calls of this process's attempts that matched earlier ones."""

    def __init__(self) -> None:
        self._earlier: dict[_Life, set[str]] = {}
        self._told: set[_Life] = set()
        self._lock = threading.Lock()

    def check(self, ledger: Ledger, scope: Scope, label: str, planned: Planned, on_change: OnChange) -> None:
        """Check a call that is about to be bought. Raises ProgramRejected for `on_change="raise"`."""
        if on_change == "ignore":
            return
        life = _life(ledger, scope, label)
        with self._lock:
            if life not in self._earlier:
                self._earlier[life] = batches.earlier(ledger, *life[1:])
            left = self._earlier[life]
            if not left:
                return
            content = content_of(planned)
            ids = (batches.id_of(scope.run_key, content, ordinal) for ordinal in range(len(left) + 1))
            if any(one in left for one in ids):
                return
            is_new = life not in self._told
            self._told.add(life)
            number = len(left)
        what = (
            f"run {scope.run_key!r} ({label}) differs from its earlier attempt, and {number} "
            "of its earlier calls were not repeated. To continue it, seed the algorithm and "
            "keep the shots; otherwise use another run_key for another experiment, another "
            "label= for another loop of this run, or on_change="
        )
        if on_change == "raise":
            raise ProgramRejected(f"{what}'warn' to buy it anyway")
        if is_new:
            log.warning("%s'ignore' to silence this warning. It is bought as new", what)

    def met(self, ledger: Ledger, scope: Scope, label: str, batch_id: str) -> None:
        """Note that a call was made, so that the next check knows what is left."""
        with self._lock:
            self._earlier.get(_life(ledger, scope, label), set()).discard(batch_id)


def _life(ledger: Ledger, scope: Scope, label: str) -> _Life:
    # in a notebook every cell is an attempt, and all cells of a kernel count as one life
    return str(ledger.engine.url), scope.run_key, label, scope.attempt.partition(":")[0]


REPLAYS = Replays()
