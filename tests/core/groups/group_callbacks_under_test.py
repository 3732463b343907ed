"""Functions that groups call; a module of its own, because other processes import them by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from qflows.core.groups.results import GroupResult


def note(found: GroupResult) -> None:
    """Appends one line to the file that `GROUP_NOTES` names."""
    with Path(os.environ["GROUP_NOTES"]).open("a") as notes:
        notes.write(f"{found.group_id} {len(found.successful())}\n")


def note_and_die(found: GroupResult) -> None:
    """Takes effect, then dies before anybody can write that down."""
    note(found)
    os.kill(os.getpid(), signal.SIGKILL)


def fail(found: GroupResult) -> None:
    """Always raises."""
    raise ValueError(f"no room for {len(found)} results")
