"""Which files of qflows a purchase goes through: `files_passed.py [circuit] [batch] [group] [session]`.

Each is bought on local-aer in a script with an empty ledger, and its results are read. Files are in the order of their
first call; being imported does not count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
WHERE: dict[str, Any] = {"device": "local-aer", "shots": 10}


def circuit() -> None:
    import qflows

    qflows.run(BELL, run_key="circuit", **WHERE)


def batch() -> None:
    import qflows

    qflows.batch([BELL, BELL], run_key="batch", **WHERE).result()


def group() -> None:
    import qflows

    with qflows.group("g", max_ttl="1h", run_key="group") as opened:
        opened.submit(BELL, **WHERE)
    opened.results()


def session() -> None:
    import qflows

    with qflows.session("local-aer", max_time="1m", run_key="session") as opened:
        opened.run(BELL, shots=10)


KINDS: dict[str, Callable[[], None]] = {
    "circuit": circuit, "batch": batch, "group": group, "session": session,
}  # fmt: skip


def passed(kind: str) -> list[str]:
    """The files, in the order of their first call, as paths in the package."""
    found: dict[str, None] = {}

    def note(frame: Any, event: str, arg: object) -> None:
        if "/qflows/" in (name := frame.f_code.co_filename) and frame.f_code.co_name != "<module>":
            found.setdefault(name.rsplit("/qflows/", 1)[1])

    sys.setprofile(note)
    try:
        KINDS[kind]()
    finally:
        sys.setprofile(None)
    return list(found)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    kinds = asked.parse_args().kinds or list(KINDS)
    with tempfile.TemporaryDirectory() as home:
        os.environ["QFLOWS_HOME"] = home
        os.environ.pop("PREFECT_API_URL", None)
        circuit()  # what is loaded once does not count for the first kind
        for kind in kinds:
            files = passed(kind)
            sys.stdout.write(f"{kind}: {len(files)} files\n" + "".join(f"  {file}\n" for file in files))


if __name__ == "__main__":
    main()
