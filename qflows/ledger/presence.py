"""Whether the SQLite file being written is still the ledger: a deleted file takes writes that nobody will read.

A note beside each ledger file says that it was created. If the note is there and the ledger is not, no empty one is
started automatically: a run would buy again what it had bought.
"""

from __future__ import annotations

import os
from pathlib import Path

from qflows.errors import LedgerUnavailable
from qflows.privacy.files import private_text

_NOTE = """qflows created a ledger next to this file. While this file exists and the ledger does not, qflows does not
start an empty one on its own, because runs would buy again what they had bought. `qflows ledger upgrade` starts one.
"""
REMEDY = (
    "restore it from a backup, or start an empty one with `qflows ledger upgrade` and restore "
    "its jobs from the vendors with `qflows ledger rebuild`. A run that starts before that buys its jobs again"
)


class LedgerFile:
    """The file behind an engine, as its first connection found it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._first: tuple[int, int] | None = None

    @property
    def note(self) -> Path:
        """The note beside it."""
        return self.path.with_name(f".{self.path.name}.made")

    def check(self) -> None:
        """Raise LedgerUnavailable if the path no longer leads to that file."""
        now = self._now()
        if self._first is None:
            self._first = now
        elif now != self._first:
            raise LedgerUnavailable(
                f"the ledger {self.path} was deleted or replaced while it was in use, so "
                "nothing more is recorded or sent. Stop everything that uses it. If the file "
                f"that is there now is not the right one, {REMEDY}"
            )

    def _now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def refuse_if_lost(self) -> None:
        """Raise LedgerUnavailable if this file has no ledger but there was one."""
        if self.note.exists():
            raise LedgerUnavailable(f"the ledger {self.path} is missing, although there was one: {REMEDY}")

    def note_it(self) -> None:
        """Write the note that there is a ledger; a read-only folder goes without."""
        if not self.note.exists():
            try:
                private_text(self.note, _NOTE)
            except OSError:
                return
