"""Folders and files for one user alone: 0700 and 0600, from creation and also where an older version left them
wider."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXO
_GROUP = stat.S_IRWXG
_BESIDE = ("-wal", "-shm", "-journal")  # SQLite creates these with the mode of the database


def private_folder(folder: Path) -> Path:
    """Create the folder, or close it to others if it is ours; parents get the system's default mode. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        close_to_others(folder)
    return folder


def private_text(path: Path, text: str) -> None:
    """Write a file that is never readable by others, not even briefly; complete or not at all."""
    partial = path.with_name(f"{path.name}.part")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def private_database(path: Path) -> None:
    """Create a missing SQLite file as an empty one for us alone, or close an existing one to others."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        for one in (path, *(path.with_name(path.name + ending) for ending in _BESIDE)):
            close_to_others(one)
    except OSError:
        return  # SQLite reports what is wrong with it


def close_to_others(path: Path) -> None:
    """Remove the permissions of group and others on what is ours.

    A group that may write keeps its permissions: no system sets that by default, so it is intended, for a ledger shared
    in a lab. What belongs to somebody else, is a link, or cannot be changed stays as it is.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            return
        mode = stat.S_IMODE(found.st_mode)
        wide = _OTHERS if mode & stat.S_IWGRP else _OTHERS | _GROUP
        if mode & wide:
            path.chmod(mode & ~wide)
    except OSError:
        return
