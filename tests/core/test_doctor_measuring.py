"""`qflows doctor --spend`: it finds the positions of the switches, keeps to its amount, and leaves nothing behind.

The long form, every two positions of every two switches, is `make doctor`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import doctor_cases as cases

from qflows.core.client import Client
from qflows.core.doctor.bench import Amount
from qflows.core.doctor.measuring import measure
from qflows.errors import ProgramRejected
from qflows.ledger import facts
from qflows.sandbox import Sandbox
from qflows.settings import Settings

VENDORS = tuple(cases.CASES)


@pytest.fixture(scope="module")
def vendors() -> Iterator[Sandbox]:
    with Sandbox(vendors=VENDORS) as running:
        yield running


@pytest.fixture
def core(vendors: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    vendors.admin.reset()
    for name, value in vendors.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.05))
    yield made
    made.ledger.close()


@pytest.mark.parametrize("positions", [cases.first_positions, cases.last_positions], ids=["first", "last"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_positions_of_all_switches_are_found(core: Client, vendors: Sandbox, vendor: str, positions) -> None:
    report, untold, visible = cases.run(core, vendors.admin, vendor, positions(vendor))
    assert report.is_ok, (report.trouble, report.left_behind)
    assert untold == [], [fact for fact in report.facts if fact.name in untold]
    assert visible >= 9
    assert cases.within(report)
    assert cases.left_running(vendors.admin, vendor) + cases.open_sessions(vendors.admin, vendor) == []
    kept = facts.known(core.ledger, vendor, report.account)
    assert {name: fact.seen for name, (fact, _) in kept.items()} == {
        fact.name: fact.seen for fact in report.facts if fact.seen is not None
    }


def test_settle_time_follows_the_measured_lag(core: Client, vendors: Sandbox) -> None:
    provider = core.provider("braket")
    before = core.submitter.settle_time_s(provider)
    cases.run(core, vendors.admin, "braket", {"search_lag_s": 1.0, **_others("braket", "search_lag_s")})
    assert core.submitter.settle_time_s(provider) >= 2 * 0.9 > before


def _others(vendor: str, but: str) -> dict:
    return {name: value for name, value in cases.first_positions(vendor).items() if name != but}


@pytest.mark.parametrize(("vendor", "switch"), [("qbraid", "tag_match"), ("ibm", "tag_filter")])
def test_look_up_uses_what_was_measured_in_a_later_process(
    core: Client, vendors: Sandbox, vendor: str, switch: str, tmp_path: Path
) -> None:
    cases.run(core, vendors.admin, vendor, {switch: "ignored", **_others(vendor, switch)})
    later = Client(Settings(home=tmp_path, settle_s=0.3, poll_min_s=0.05))
    provider = later.vendors.teach(later.provider(vendor))
    relies = provider._watch.filter_finds_subsets if vendor == "qbraid" else provider._listing.filter_works  # type: ignore[attr-defined]
    later.ledger.close()
    assert relies is False


@pytest.mark.parametrize(("vendor", "amount"), [("braket", "0.001 usd"), ("ibm", "1 usd"), ("ibm", "2 qpu_s")])
def test_amount_that_buys_nothing_is_kept_and_what_costs_nothing_is_still_told(
    core: Client, vendors: Sandbox, vendor: str, amount: str
) -> None:
    report = measure(core, vendor, Amount.parse(amount), patience_s=5)
    assert report.is_ok
    assert vendors.admin.count_jobs() == 0
    assert report.at_most == 0
    told = {fact.name: fact for fact in report.facts}
    assert told["bit_order"].seen is None
    assert told["bit_order"].note
    assert vendor != "ibm" or told["error_body"].seen == "errors"


def test_bench_never_sets_aside_more_than_it_was_given(core: Client, vendors: Sandbox) -> None:
    vendors.admin.clock(cases.CLOCKS["braket"])
    report = measure(core, "braket", Amount.parse("0.03 usd"), patience_s=10)
    assert 0 < vendors.admin.count_jobs() < 5
    assert cases.within(report)


@pytest.mark.parametrize("text", ["1", "usd", "-1 usd", "1 usd!", "nan usd"])
def test_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProgramRejected, match="number and a unit"):
        Amount.parse(text)


def test_job_that_hangs_is_cancelled_at_the_end(core: Client, vendors: Sandbox) -> None:
    vendors.admin.clock("frozen")
    report = measure(core, "ionq", Amount.parse("0 usd"), patience_s=0.5)
    assert report.left_behind == []
    assert report.jobs == 1  # besides free ones: dry runs, and jobs on the simulator
    assert cases.left_running(vendors.admin, "ionq") == []
