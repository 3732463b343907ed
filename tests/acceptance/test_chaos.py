"""The short form of `make chaos`: two people, two accounts, an emulator and one ledger, killed at many points."""

from __future__ import annotations

from pathlib import Path

import pytest

from qflows.ledger import Ledger

from .chaos.cells import COMPANY, VENDORS, all_cells, play, town
from .chaos.reruns import reruns
from .chaos.storm import storm

CELLS, SEED = 16, 7


@pytest.fixture
def urls(tmp_path: Path, postgres_url: str) -> dict[str, str]:
    made = {"sqlite": f"sqlite:///{tmp_path / 'ledger.db'}", "postgresql": postgres_url}
    for url in made.values():
        Ledger.open(url).close()
    return made


@pytest.mark.slow(reason="IBM's, Braket's and qBraid's clients in two processes a cell, sixteen cells")
def test_a_kill_in_any_company_buys_what_is_wanted_and_touches_nothing_else(
    tmp_path: Path, urls: dict[str, str], tables: dict[str, list[str]]
) -> None:
    cells = all_cells(SEED, CELLS)
    assert {cell.vendor for cell in cells} == set(VENDORS)
    assert {cell.company for cell in cells} == set(COMPANY)
    with town(tmp_path, urls) as place:
        found = [done for cell in cells if (done := play(place, cell)) is not None]
    tables["chaos: cells, jobs wanted, bought"] = [
        f"{company:<24}{len(part)} cells, wanted {[sum(n) for n in zip(*(one.wanted for one in part), strict=True)]}, "
        f"bought {[sum(n) for n in zip(*(one.bought for one in part), strict=True)]} (ours, another's)"
        for company in COMPANY
        if (part := [one for one in found if one.cell.company == company])
    ]
    assert not [(one.cell, one.problems) for one in found if one.problems]
    assert len(found) >= CELLS - 4
    meddled = [one for one in found if one.cell.company in ("other's reconciler", "emulator's environment")]
    assert all("belongs to another account" in text or "another account of" in text for o in meddled for text in o.told)
    assert sum(bool(one.told) for one in meddled) >= len(meddled) // 2


@pytest.mark.slow(reason="twenty-one lives of a process with the clients of four vendors")
def test_random_kills_over_mixed_flows_leave_every_job_once(
    tmp_path: Path, urls: dict[str, str], tables: dict[str, list[str]]
) -> None:
    done = storm(tmp_path, urls, kills=20, jobs=12, seed=5)
    tables["chaos: random kills"] = str(done).splitlines()
    assert not done.problems
    assert (done.kills, done.bought, done.other_bought) == (20, done.wanted, done.other_wanted)


@pytest.mark.slow(reason="two processes race four times over")
def test_two_processes_that_re_run_a_batch_at_once_leave_no_job_outside_a_part(
    tmp_path: Path, urls: dict[str, str], tables: dict[str, list[str]]
) -> None:
    done = reruns(tmp_path, urls, trials=4, seed=3, vendors=("ionq", "qbraid"))
    tables["chaos: two re-runs at once"] = str(done).splitlines()
    assert not done.problems
    assert (done.bought, done.strays) == (done.wanted, 0)
