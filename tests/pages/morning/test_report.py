"""The morning report: what it says, in which order, and what it never lets through."""

from __future__ import annotations

import base64
import html.parser
import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qflows.core.client import Client
from qflows.core.scope import script_scope
from qflows.errors import ProgramRejected, QflowsError
from qflows.ledger import Ledger, budgets, claims, slots
from qflows.ledger.budgets import MICRO, Budget
from qflows.ledger.slots import SlotDecision
from qflows.pages import wall
from qflows.pages.morning import Report, RunTrouble, compose, gather, length, to_html, to_markdown, to_text, write
from qflows.pages.morning.page import Picture, Table, Tone
from qflows.sandbox import Admin, Sandbox
from qflows.settings import Settings

from .conftest import NIGHT, UNTIL, Remember

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
Make = Callable[..., Report]


def titles(report: Report) -> list[str]:
    return [section.title for section in compose(report).sections]


def words(report: Report) -> str:
    return " ".join(to_text(compose(report)).split())


# -- drift


def test_flag_comes_first_with_the_value_its_distance_and_the_calibration(
    remember: Remember, calm: list[float], report: Make
) -> None:
    remember("qpu", "ghz-3 fidelity", [*calm[:-1], 0.8], calibrations=["0.02"] * 30 + ["0.09"])
    remember("qpu", "readout error", calm)
    found = report()
    page = compose(found)
    assert page.tone is Tone.ALARM
    assert page.verdict.startswith("1 quantity drifted beyond 3σ")
    assert page.sections[0].title == "Drift"
    told = words(found)
    assert re.search(
        r"qpu: ghz-3 fidelity is 0\.800 ± 0\.010, -[6-9]\.\dσ from the mean 0\.\d{3,4} of 30 earlier values", told
    )
    assert "The calibration changed: qubits.0.readout_error 0.02 → 0.09." in told
    assert "2 values compared" in told
    assert "since then" not in told
    assert isinstance(page.sections[0].content[-1], Picture)


@pytest.mark.parametrize(
    ("calibrations", "sentence"),
    [
        (None, "The vendor published no calibration to compare."),
        (["0.02"] * 31, "The calibration is the same as before."),
    ],
)
def test_flag_says_so_when_the_calibration_explains_nothing(
    calibrations: list[str] | None, sentence: str, remember: Remember, calm: list[float], report: Make
) -> None:
    remember("qpu", "ghz-3 fidelity", [*calm[:-1], 0.8], calibrations=calibrations)
    assert sentence in words(report())


def test_detail_that_jumped_is_flagged_though_it_is_no_headline(
    remember: Remember, calm: list[float], report: Make
) -> None:
    remember("qpu", "readout p(1|0) q4", [*calm[:-1], 0.8], headline=False)
    remember("qpu", "readout p(1|0) q5", calm, headline=False)
    found = report()
    assert [trend.newest.name for trend in found.flagged] == ["readout p(1|0) q4"]
    assert "qpu" not in titles(found)


def test_flag_of_an_earlier_night_is_not_told_again(remember: Remember, calm: list[float], report: Make) -> None:
    remember("qpu", "ghz-3 fidelity", [*calm[:-2], 0.8, calm[-1]])
    assert report().flagged == []
    both = report(since=UNTIL - 2 * NIGHT)
    assert len(both.flagged) == 1
    assert "The 1 value since then is within 3σ." in words(both)


def test_new_level_is_told_where_the_device_is(remember: Remember, calm: list[float], report: Make) -> None:
    remember("qpu", "ghz-3 fidelity", [*calm, *(value - 0.1 for value in calm[:10])])
    found = report()
    assert found.flagged == []
    assert "level since 2026-06-06" in words(found)


def test_short_history_is_said_to_be_short_and_not_called_calm(remember: Remember, report: Make) -> None:
    remember("qpu", "ghz-3 fidelity", [0.9, 0.91, 0.4])
    found = report()
    assert found.n_compared == 0
    assert "Nothing was compared" in words(found)
    assert "2 of 7 earlier values" in words(found)


def test_quantity_of_an_old_night_is_shown_with_its_age_and_left_out_after_a_month(
    remember: Remember, calm: list[float], sqlite_ledger: Ledger
) -> None:
    remember("qpu", "ghz-3 fidelity", calm)
    later = gather(sqlite_ledger, UNTIL + 4 * NIGHT, UNTIL + 5 * NIGHT)
    assert "(5 d ago)" in words(later)
    assert later.trends[0].flagged == ()
    assert gather(sqlite_ledger, UNTIL + 40 * NIGHT, UNTIL + 41 * NIGHT).trends == ()


def test_bit_order_is_one_line_and_the_worst_of_its_circuits(
    remember: Remember, calm: list[float], report: Make
) -> None:
    for place, name in enumerate(("01", "001", "permuted")):
        remember("qpu", f"bit order {name}", [value - 0.1 * place for value in calm], family="bit order")
    remember("qpu", "ghz-3 fidelity", calm)
    [table] = [one for one in compose(report()).sections[-2].content if isinstance(one, Table)]
    assert [row[0] for row in table.rows] == ["bit order permuted (worst of 3)", "ghz-3 fidelity"]


# -- nothing, and a lot


def test_empty_ledger_makes_an_honest_page(report: Make) -> None:
    found = report()
    page = compose(found)
    assert page.verdict == "Nothing ran in this period, and nothing needs your attention."
    assert page.tone is Tone.CALM
    assert titles(found) == ["Drift", "What ran", "Money", "How the numbers are made"]
    assert ("paid", "nothing") in page.numbers
    assert not any(isinstance(one, Picture) for section in page.sections for one in section.content)
    assert json.loads(json.dumps(found.to_json()))["quantities"] == []


@pytest.fixture
def core(tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the emptied IonQ sandbox."""
    for name, value in sandbox.env.items():
        monkeypatch.setenv(name, value)
    made = Client(Settings(home=tmp_path / "home", settle_s=0.2, poll_min_s=0.01))
    yield made
    made.ledger.close()


def buy(core: Client, run_key: str, device: str = "ionq-simulator", n: int = 1) -> list[str]:
    specs = [core.specs(BELL, device=device, shots=50, name="bell", label=str(k))[0] for k in range(n)]
    try:
        return [job.key for job in core.submit(specs, device=device, scope=script_scope(run_key))]
    except QflowsError:
        return []


def of_today(core: Client, **more: list[RunTrouble]) -> Report:
    now = datetime.now(UTC)
    return gather(core.ledger, now - NIGHT, now + timedelta(minutes=1), **more)


def test_night_with_everything_in_it_is_told_by_what_needs_a_person(core: Client, sandbox: Sandbox) -> None:
    admin: Admin = sandbox.admin
    core.wait(buy(core, "good", n=2))
    core.wait(buy(core, "local", device="local-aer"))
    admin.fault("status", "ionq.submit", status=400)
    buy(core, "refused")
    admin.clock("frozen")
    queued = buy(core, "queued")
    cancelled = buy(core, "cancelled")
    core.cancel(cancelled, timeout=30)
    admin.fault("status", "ionq.submit", status=502, accepted=True)
    doubtful = buy(core, "doubt") or [job.job.key for job in of_today(core).doubts]
    claims.looked(core.ledger, core.find(doubtful[0]), again_in_s=None)
    found = of_today(core, runs=[RunTrouble("nightly", "Crashed", "exit 137", datetime.now(UTC))])
    page = compose(found)
    assert page.verdict == "1 thing waits for a person, 1 job without counts, 1 flow run failed or crashed."
    assert [one.title for one in page.sections[:5]] == ["Drift", "Needs you", "What failed", "What ran", "Money"]
    numbers = dict(page.numbers)
    assert (numbers["jobs"], numbers["completed"], numbers["failed"]) == ("7", "3", "1")
    assert (numbers["cancelled"], numbers["under way"]) == ("1", "2")
    told = words(found)
    assert f"qflows jobs resolve {doubtful[0][:12]} --submitted ID" in told
    assert "nothing ran and nothing was charged" in told
    assert "cancelled on request" in told
    assert "exit 137" in told
    body = json.loads(json.dumps(found.to_json()))
    assert {job["status"] for job in body["failed"]} == {"FAILED", "CANCELLED"}
    assert body["in_doubt"][0]["needs_person"] is True
    assert len(queued) == 1


def test_cancel_that_was_asked_for_is_no_work(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.clock("frozen")
    core.cancel(buy(core, "cancelled"), timeout=30)
    page = compose(of_today(core))
    assert page.verdict == "Nothing needs your attention."
    assert page.tone is Tone.CALM


def test_unknown_costs_are_said_to_be_unknown(core: Client, sandbox: Sandbox) -> None:
    [key] = buy(core, "good")
    core.wait([key])
    with core.ledger.write() as connection:
        connection.exec_driver_sql("update jobs set cost = null, cost_unit = null, qpu_s = null")
    numbers = dict(compose(of_today(core)).numbers)
    assert (numbers["paid"], numbers["QPU time"]) == ("1 job not reported", "not reported")


def test_budget_that_is_nearly_used_up_needs_a_person_and_projects_are_summed(core: Client) -> None:
    budgets.put(core.ledger, Budget("team", 30 * MICRO, "usd", period="total"))
    budgets.put(core.ledger, Budget("year", 1000 * MICRO, "usd", period="total", policy="ask"))
    core.run(BELL, script_scope("night"), device="ionq-forte-1", shots=50, project="chemistry")
    page = compose(of_today(core))
    assert page.verdict == "1 budget nearly used up."
    assert page.tone is Tone.WORK
    told = words(of_today(core))
    assert "Budget team (total): 86% of 30 usd is spent or reserved. qflows budgets set team --amount" in told
    assert "team total 86% 25.79 usd 0 usd 4.21 usd 30 usd refuse" in told
    assert "year total 3% 25.79 usd 0 usd 974.21 usd 1000 usd ask" in told
    assert "chemistry 1 25.79 usd" in told
    body = json.loads(json.dumps(of_today(core).to_json()))
    assert [one["left"] for one in body["budgets"]] == ["4.21", "974.21"]
    assert body["projects_this_month"][0]["of"] == "chemistry"
    assert "**budget team (total): 86% of 30 usd used**" in wall.compose(core.ledger)


def test_open_sessions_and_groups_are_listed(core: Client) -> None:
    hold = core.open_session("ionq-forte-1", "night", max_time_s=600, name="held")
    core.new_group("comparison", run_key="night", max_ttl=600, ambient=False).open()
    told = words(of_today(core))
    assert "Open sessions and groups" in told
    assert "held" in told
    assert "comparison" in told
    hold.close()


def test_skipped_slots_are_told_with_the_reason(sqlite_ledger: Ledger, report: Make) -> None:
    at = UNTIL - timedelta(hours=2)
    slots.decide(sqlite_ledger, SlotDecision("k", "d", at, "benchmark", "r", at, "it started 3 h late"))
    slots.decide(sqlite_ledger, SlotDecision("k2", "d", at, "benchmark", "r", at, None))
    assert "Skipped schedule slots" in titles(report())
    assert "benchmark 2026-06-15 04:00 it started 3 h late" in words(report())


# -- what it is made into


class Tags(html.parser.HTMLParser):
    """Names and attributes of the elements of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


EVIL = "</p><script>alert(1)</script><img src=http://evil/x>[you](http://evil) `qflows jobs` \x1b[31m| a | b"


def test_text_of_vendors_and_people_is_shown_as_text(remember: Remember, calm: list[float], report: Make) -> None:
    remember("dev$ice" + EVIL, "ghz $\\bad{ fidelity" + EVIL[:60], [*calm[:-1], 0.8], unit=EVIL[:30])
    found = report(runs=[RunTrouble(EVIL, "Failed", EVIL * 50, UNTIL)])
    page = compose(found)
    made = to_html(page)
    tags = Tags(made)
    assert {name for name, _ in tags.found} <= {
        "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "dl", "div", "dt", "dd",
        "section", "table", "thead", "tbody", "tr", "th", "td", "code", "img",
    }  # fmt: skip
    assert all((attrs["src"] or "").startswith("data:image/png;base64,") for name, attrs in tags.found if name == "img")
    assert "\x1b" not in made
    markdown = to_markdown(page)
    assert not re.search(r"(?<!\\)<", markdown)
    assert "http://" not in markdown
    assert "[you](" not in markdown
    assert "\x1b" not in to_text(page)
    assert max(map(len, to_text(page).splitlines())) < 1500


def test_html_loads_nothing_and_carries_its_plots(remember: Remember, calm: list[float], report: Make) -> None:
    remember("qpu", "ghz-3 fidelity", calm)
    made = to_html(compose(report()))
    [picture] = re.findall(r'src="data:image/png;base64,([^"]+)"', made)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert "default-src 'none'" in made
    assert not re.search(r'(?:href|src)="(?!data:)', made)
    assert "url(" not in made


def test_markdown_has_the_verdict_on_top_and_a_plot(remember: Remember, calm: list[float], report: Make) -> None:
    remember("qpu", "ghz-3 fidelity", calm)
    made = to_markdown(compose(report()))
    assert made.startswith("# Nothing needs your attention.")
    assert "](data:image/png;base64," in made
    assert "| ghz-3 fidelity |" in made


def test_three_files_are_written(report: Make, tmp_path: Path) -> None:
    paths = write(report(), tmp_path / "a" / "b")
    assert [path.name for path in paths] == ["report.html", "report.md", "report.json"]
    assert json.loads(paths[2].read_text())["compared"] == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(ProgramRejected, match="cannot be written"):
        write(report(), tmp_path / "file")


def test_lists_that_are_long_say_what_they_leave_out(report: Make) -> None:
    runs = [RunTrouble(f"run {n}", "Failed", "", UNTIL) for n in range(40)]
    assert "28 more flow runs" in words(report(runs=runs))


@pytest.mark.parametrize(("text", "hours"), [("24h", 24), ("90m", 1.5), ("7d", 168), ("1d 12h", 36)])
def test_time_to_look_back_is_a_length(text: str, hours: float) -> None:
    assert length(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "0h", "yesterday", "-3h", "999999999d"])
def test_other_times_are_rejected_with_an_example(text: str) -> None:
    with pytest.raises(ProgramRejected, match="7d"):
        length(text)


@pytest.mark.parametrize("error", [math.inf, 0.0])
def test_values_without_an_error_bar_from_older_versions_do_not_stop_the_report(
    remember: Remember, calm: list[float], report: Make, tmp_path: Path, error: float
) -> None:
    remember("qpu", "energy x", [0.9, *calm[:-1]], error=error)
    remember("other", "energy x", calm)
    found = report()
    assert not found.flagged
    text = words(found)
    assert "nan" not in text
    assert "inf" not in text.replace("information", "")
    write(found, tmp_path)
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
