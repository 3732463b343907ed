"""The ZIP file of an archive: identical bytes for identical members, and bounded reads.

Nothing is ever unpacked to disk. Names, sizes and ratios are checked before any member is read.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from qflows.errors import ProgramRejected

MOST_MEMBERS = 500_000
LARGEST_MEMBER = 512 * 1024 * 1024
LARGEST_WHOLE = 8 * 1024 * 1024 * 1024
_RATIO, _RATIO_FROM = 250, 4 * 1024 * 1024  # text of this size never compresses further
_LEVEL = 6
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that ZIP can store
_MODE = (stat.S_IFREG | 0o644) << 16
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    struct.error,
)


class Damaged(Exception):
    """A member, or the whole file, that cannot be read. `member`: its name, or empty for the file."""

    def __init__(self, member: str, why: object) -> None:
        super().__init__(str(why))
        self.member = member


def write(members: Mapping[str, bytes]) -> bytes:
    """A ZIP file of these members, sorted by name, without times or owners."""
    for name in members:
        _check_name(name)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as container:
        for name in sorted(members):
            about = zipfile.ZipInfo(name, _EPOCH)
            about.create_system, about.external_attr, about.compress_type = 3, _MODE, zipfile.ZIP_DEFLATED
            container.writestr(about, members[name], compresslevel=_LEVEL)
    return made.getvalue()


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file, in hex."""
    total = sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total.update(part)
    return total.hexdigest()


class Container:
    """An archive open for reading. Raises Damaged for what cannot be read, ProgramRejected for what is not safe to
    read."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise Damaged("", error) from error
        try:
            self._infos = self._checked()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """All members, sorted."""
        return sorted(self._infos)

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def read(self, name: str) -> bytes:
        """One member. Raises Damaged."""
        about = self._infos.get(name)
        if about is None:
            raise Damaged(name, "it is missing")
        try:
            with self._zip.open(about) as member:
                found = member.read(about.file_size + 1)
        except _BROKEN as error:
            raise Damaged(name, error) from error
        if len(found) != about.file_size:
            raise Damaged(name, "its size differs from the declared size")
        return found

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if len(infos) > MOST_MEMBERS:
            raise ProgramRejected(f"the archive has {len(infos):,} members; at most {MOST_MEMBERS:,} are read")
        found: dict[str, zipfile.ZipInfo] = {}
        total = 0
        for about in infos:
            name = about.filename
            _check_name(name)
            if name in found:
                raise ProgramRejected(f"the archive has two members named {name!r}; nothing was read")
            if about.flag_bits & 0x1:
                raise ProgramRejected(f"member {name!r} is encrypted; nothing was read")
            kind = stat.S_IFMT(about.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise ProgramRejected(f"member {name!r} is not a regular file; nothing was read")
            _check_size(about)
            total += about.file_size
            found[name] = about
        if total > LARGEST_WHOLE:
            raise ProgramRejected(f"the archive unpacks to {total:,} bytes; at most {LARGEST_WHOLE:,} are read")
        return found


def _check_size(about: zipfile.ZipInfo) -> None:
    name, size = about.filename, about.file_size
    if size > LARGEST_MEMBER:
        raise ProgramRejected(f"member {name!r} has {size:,} bytes; at most {LARGEST_MEMBER:,} are read")
    if size > _RATIO_FROM and size > _RATIO * max(about.compress_size, 1):
        raise ProgramRejected(
            f"member {name!r} would grow from {about.compress_size:,} to {size:,} bytes; nothing was read"
        )


def _check_name(name: str) -> None:
    parts = name.split("/")
    if (
        not 0 < len(name) <= 400
        or not name.isascii()
        or not name.isprintable()
        or "\\" in name
        or ":" in name
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ProgramRejected(f"an archive cannot have a member named {name[:80]!r}; nothing was read")
