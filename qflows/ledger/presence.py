"""Whether the SQLite file that is written is still the ledger: a deleted file takes writes that nobody will read.

Beside each ledger file stands a note that it was made. Where the note is and the ledger is not, an empty one is not
begun by itself: a run would buy again what it had bought.
"""

from __future__ import annotations

import os
from pathlib import Path

from qflows.errors import LedgerUnavailable
from qflows.privacy.files import private_text

_NOTE = """A ledger of qflows was made beside this file. While this file is here and the ledger is not, qflows does not
begin an empty one by itself, because runs would buy again what they had bought. `qflows ledger upgrade` begins one.
"""
REMEDY = (
    "put it back from a backup, or begin an empty one with `qflows ledger upgrade`, then get its jobs back from the "
    "vendors with `qflows ledger rebuild`: a run that is started before that buys its jobs again"
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
        """Raises LedgerUnavailable when the path no longer leads to that file."""
        now = self._now()
        if self._first is None:
            self._first = now
        elif now != self._first:
            raise LedgerUnavailable(
                f"the ledger {self.path} was deleted or replaced while it was in use, so nothing more is recorded or "
                f"sent. Stop what uses it. If it is not meant to be the file that is there now, {REMEDY}"
            )

    def _now(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def refuse_if_lost(self) -> None:
        """For a file without a ledger in it. Raises LedgerUnavailable when there was one."""
        if self.note.exists():
            raise LedgerUnavailable(f"the ledger {self.path} is gone, and there was one: {REMEDY}")

    def note_it(self) -> None:
        """Notes that there is a ledger; a folder that cannot be written goes without."""
        if not self.note.exists():
            try:
                private_text(self.note, _NOTE)
            except OSError:
                return
