"""An empty ledger in a temporary folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qflows.core.parts import Parts
from qflows.settings import Settings


@contextmanager
def scratch() -> Iterator[Parts]:
    """Parts of a core with a private, empty ledger."""
    with tempfile.TemporaryDirectory(prefix="qflows-archive-") as folder:
        parts = Parts(Settings(home=Path(folder), ledger_url=f"sqlite:///{Path(folder) / 'ledger.db'}"))
        try:
            yield parts
        finally:
            parts.ledger.close()
