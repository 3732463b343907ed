"""Append-only memory of a sandbox, so that it can be killed and started again on the same directory."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_NAME = "sandbox.jsonl"


class StateLog:
    """Lines of `[kind, key, document]`; the last line of a kind and key counts. Without a directory there is no log.

    Survives a kill of the process (each line is one write to the page cache); does not claim to survive power loss.
    """

    def __init__(self, state_dir: Path | None) -> None:
        self._fd: int | None = None
        self._path: Path | None = None
        if state_dir is not None:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._path = state_dir / FILE_NAME

    def load(self) -> Iterator[tuple[str, str, Any]]:
        """Every remembered line in order, except a torn last one, whose answer nobody got.

        Raises OSError if another sandbox uses the directory.
        """
        if self._path is None:
            return
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{self._path} is in use by another sandbox; give each its own state directory") from None
        whole = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                kind, key, doc = json.loads(line)
                yield kind, key, doc
        os.truncate(self._path, whole)

    def append(self, kind: str, key: str, doc: Any) -> None:
        """Remember a document; None forgets it. A function is called for its document only if there is a log."""
        if self._fd is None:
            return
        doc = doc() if callable(doc) else doc
        line = json.dumps([kind, key, doc], separators=(",", ":")).encode() + b"\n"
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]

    def clear(self) -> None:
        """Forget everything."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
