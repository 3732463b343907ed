"""Loops killed at every k-th evaluation, in scripts, kernels, flows and mapped tasks: `python -m acceptance.loops`.

Every life dies by SIGKILL; the next one starts from the top. Prints one line per case, and exits with 1 if a trace
changed by a bit or the vendor has another number of jobs than the loops have calls.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from qflows.sandbox import Sandbox

from .lives import COMPANY, killed, names_of
from .walks import MOST

PREFECT = Path(__file__).parents[2] / "prefect"


def main() -> int:
    """All cases, or those named."""
    parser = argparse.ArgumentParser(prog="acceptance.loops", description=__doc__)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 3, 7], metavar="K")
    parser.add_argument("--kinds", nargs="+", choices=MOST, default=list(MOST))
    parser.add_argument("--company", nargs="+", choices=COMPANY, default=list(COMPANY))
    parser.add_argument("--most", type=int, metavar="N", help="evaluations of VQE and QAOA, by default 12")
    chosen = parser.parse_args()
    if chosen.most is not None:
        os.environ["WALKS_MOST"] = str(chosen.most)
    failed = 0
    with tempfile.TemporaryDirectory() as home, Sandbox(vendors=("ionq",)) as sandbox:
        os.environ.update(sandbox.env | {"QFLOWS_POLL_MIN_S": "0.01", "QFLOWS_SETTLE_S": "0.3"})
        needs_server = bool({"flow", "seeds"} & set(chosen.company))
        with _server(Path(home, "prefect")) if needs_server else nullcontext():
            for company in chosen.company:
                for kind in chosen.kinds:
                    for every in chosen.every:
                        failed += not _case(company, kind, every, Path(home), sandbox)
    print("every trace is the same to the last bit, and every call is one job" if not failed else f"{failed} failed")
    return 1 if failed else 0


def _case(company: str, kind: str, every: int, home: Path, sandbox: Sandbox) -> bool:
    from qflows.core.client import default_client

    folder = home / f"{company}-{kind}-{every}"
    folder.mkdir()
    sandbox.admin.reset()
    sandbox.admin.clock("instant")
    env = {"QFLOWS_HOME": str(folder)}
    os.environ.update(env)
    if company in ("script", "notebook"):  # as for most people, no server
        env |= {"PREFECT_API_URL": "", "PREFECT_HOME": str(folder / "prefect")}
    began = time.monotonic()
    try:
        end = killed(COMPANY[company](kind, folder, env), folder, names_of(company, kind), every, sandbox.admin)
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"{company:<9} {kind:<10} k={every}: FAILED in {where.name}: {where.line} {error}", flush=True)
        return False
    finally:
        default_client().ledger.close()
    print(
        f"{company:<9} {kind:<10} k={every}: {end.lives:>3} lives, {end.evaluations:>3} evaluations, "
        f"{end.jobs:>3} jobs at the vendor, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return True


@contextmanager
def _server(home: Path) -> Iterator[None]:
    """A Prefect server, in force in this process and its children."""
    sys.path.insert(0, str(PREFECT))
    from prefect_server import running

    home.mkdir(parents=True)
    with running(home) as server:
        os.environ.update(server.env)
        yield


if __name__ == "__main__":
    sys.exit(main())
