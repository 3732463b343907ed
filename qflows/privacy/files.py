"""Folders and files for one user alone: 0700 and 0600, from the start and where an older version left them wider."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXO
_GROUP = stat.S_IRWXG
_BESIDE = ("-wal", "-shm", "-journal")  # SQLite gives these the mode of the database when it makes them


def private_folder(folder: Path) -> Path:
    """Makes the folder, or closes it to others if it is ours; parents are made as the system does. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        close_to_others(folder)
    return folder


def private_text(path: Path, text: str) -> None:
    """Writes a file that was never readable for others, not even for a moment; complete or not at all."""
    partial = path.with_name(f"{path.name}.part")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)


def private_database(path: Path) -> None:
    """An SQLite file that is not there yet begins as an empty one for us alone; an existing one is closed to others."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        for one in (path, *(path.with_name(path.name + ending) for ending in _BESIDE)):
            close_to_others(one)
    except OSError:
        return  # SQLite says what is wrong with it


def close_to_others(path: Path) -> None:
    """Takes away what group and others may do with what is ours.

    A group that may write keeps what it may do: that is no default of any system but a wish, a ledger shared in a lab.
    What belongs to somebody else, is a link, or cannot be changed stays as it is.
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
