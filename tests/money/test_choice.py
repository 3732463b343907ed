"""Devices chosen by rule from what four emulated vendors say: queues, prices, calibrations, and devices that go."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from qiskit import QuantumCircuit

from qflows.core.choice import asking
from qflows.core.choice.deciding import content_of
from qflows.core.client import Client
from qflows.core.scope import Scope
from qflows.errors import NoDeviceFits, OverBudget, ProgramRejected, UnknownDevice
from qflows.ledger import budgets, choices
from qflows.ledger.choice_tables import choice_purchases
from qflows.ledger.tables import events
from qflows.pages import own_page
from qflows.sandbox import Sandbox
from qflows.settings import Settings
from qflows.states import JobStatus

BRAKET = "braket-garnet, braket-emerald, braket-forte-1"


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


@pytest.fixture
def core(sandbox: Sandbox, tmp_path: Path) -> Client:
    return made(tmp_path)


@pytest.fixture
def anywhere(sandbox: Sandbox, tmp_path: Path, ledger_url: str) -> Client:
    """A client on each kind of database, for what the database has to guard."""
    return made(tmp_path, ledger_url=ledger_url)


def made(home: Path, **more: Any) -> Client:
    return Client(Settings(home=home, **more))


def at(attempt: str = "a", caller: str = "flow", run_key: str = "night") -> Scope:
    return Scope(run_key, attempt, caller)


def look(core: Client, rule: str, *, shots: int = 100) -> tuple[list[str], dict[str, str]]:
    """Devices that fit, best first, and why the others do not."""
    read = core.rule(rule)
    assert read is not None
    fitting, everyone = core.chooser.look(read, asking.for_programs(bell(), shots, {}))
    return [one.device for one in fitting], {one.device: one.out for one in everyone if one.out}


def moved(core: Client) -> list[dict[str, Any]]:
    with core.ledger.read() as connection:
        query = sa.select(events.c.detail).where(events.c.kind == "choice-moved").order_by(events.c.id)
        return list(connection.execute(query).scalars())


def test_price_of_the_very_program_decides(core: Client) -> None:
    assert look(core, f"cheapest({BRAKET})")[0] == ["braket-garnet", "braket-emerald", "braket-forte-1"]
    fits, why = look(core, f"cheapest({BRAKET}; price<1)", shots=500)
    assert fits == []
    assert why["braket-garnet"] == "price<1 is not met: 1.025"


def test_unit_without_a_rate_is_unknown_and_a_rate_puts_it_in_its_place(
    core: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    rule = "cheapest(ibm-phoenix, ionq-forte-1, qbraid-garnet)"
    fits, _ = look(core, rule, shots=400)
    assert fits[0] == "ionq-forte-1"
    _, why = look(core, "cheapest(ibm-phoenix, ionq-forte-1; price<100)", shots=400)
    assert "QFLOWS_RATES has no rate from that to usd" in why["ibm-phoenix"]
    known = made(tmp_path / "rates", rates={"credits": Decimal("0.01"), "qpu_s": Decimal("1.60")})
    assert look(known, rule, shots=400)[0] == ["qbraid-garnet", "ibm-phoenix", "ionq-forte-1"]


def test_scripted_queues_decide_in_seconds_then_in_jobs(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("ionq", queue_times="qpu.forte-1=7200000,qpu.forte-enterprise-1=60000")
    sandbox.admin.switches("braket", queue_sizes="Garnet=12,Emerald=3")
    rule = "least_busy(braket-garnet, braket-emerald, ionq-forte-1, ionq-forte-enterprise-1)"
    expected = ["ionq-forte-enterprise-1", "ionq-forte-1", "braket-emerald", "braket-garnet"]
    assert look(core, rule)[0] == expected
    fits, why = look(core, "least_busy(ionq-*, braket-garnet; qpu, queue<1h)")
    assert fits == ["ionq-forte-enterprise-1"]
    assert why["ionq-forte-1"] == "queue<1h is not met: 2.0 h"
    assert "queue is not known" in why["braket-garnet"]
    assert "simulator" not in why["ionq-simulator"]
    assert "qpu is not met" in why["ionq-simulator"]
    assert "braket-garnet" in look(core, "least_busy(ionq-*, braket-garnet; qpu, queue<1h?)")[0]
    sandbox.admin.switches("ibm", queue_lengths="ibm_fez=40,ibm_kingston=2,ibm_marrakesh=7")
    assert look(core, "least_busy(ibm-fez, ibm-kingston, ibm-marrakesh; pending<10)")[0] == [
        "ibm-kingston",
        "ibm-marrakesh",
    ]


def test_scripted_calibrations_decide_and_a_device_without_one_is_left_out(core: Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", fidelities="Garnet=0.991,Emerald=0.995")
    fits, why = look(core, f"best({BRAKET}, ionq-forte-1; error<1%)")
    assert fits == ["ionq-forte-1", "braket-emerald", "braket-garnet"]
    assert "error is not known" in why["braket-forte-1"]
    sandbox.admin.switches("braket", fidelities="Garnet=0.999,Emerald=0.995")
    fits, why = look(core, f"best({BRAKET}; error<1%, readout<0.5%)")
    assert fits == ["braket-garnet"]
    assert why["braket-emerald"] == "readout<0.5% is not met: 1 %"


def test_closed_window_leaves_a_device_out(core: Client, sandbox: Sandbox) -> None:
    assert look(core, f"cheapest({BRAKET}; opens=0)")[0] == ["braket-garnet", "braket-emerald", "braket-forte-1"]
    sandbox.admin.switches("braket", windows="weekdays")
    open_now, why = look(core, "cheapest(braket-garnet; opens=0)")
    fits, _ = look(core, "cheapest(braket-garnet; opens<73h)")
    assert fits == ["braket-garnet"]
    assert bool(open_now) is not bool(why)


def test_offline_gone_too_wide_and_without_credentials_each_have_their_reason(
    core: Client, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.admin.switches("braket", offline="Garnet", retired="Emerald")
    monkeypatch.delenv("QBRAID_API_KEY")
    monkeypatch.setenv("HOME", os.devnull)
    rule = "cheapest(braket-garnet, braket-emerald, qbraid-ibex-q1, local-noisy, local-exact; qubits>2)"
    fits, why = look(core, rule)
    assert fits == ["local-noisy", "local-exact"]
    assert "OFFLINE" in why["braket-garnet"]
    assert "does not list it" in why["braket-emerald"]
    assert "QBRAID_API_KEY" in why["qbraid-ibex-q1"]
    with pytest.raises(NoDeviceFits, match="local-noisy: qubits>500 is not met: 5"):
        core.run(bell(), at(), device="best(local-noisy; qubits>500)", shots=10)
    with pytest.raises(UnknownDevice, match="did you mean"):
        core.run(bell(), at(), device="best(local-noisi)", shots=10)
    with pytest.raises(ProgramRejected, match="did you mean cheapest"):
        core.run(bell(), at(), device="cheapst(local-*)", shots=10)
    assert sandbox.admin.count_jobs() == 0


def test_replay_takes_the_same_device_whatever_the_queues_are_by_then(anywhere: Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("braket", queue_sizes="Garnet=12,Emerald=3")
    rule = "least_busy(braket-garnet, braket-emerald)"
    first = anywhere.run(bell(), at("a"), device=rule, shots=100, timeout=60)
    sandbox.admin.switches("braket", queue_sizes="Garnet=0,Emerald=300", offline="Emerald")
    again = anywhere.run(bell(), at("b"), device=rule, shots=100, timeout=60)
    assert (first.job.device, again.job.key) == ("braket-emerald", first.job.key)
    assert sandbox.admin.count_jobs("braket") == 1
    sandbox.admin.switches("braket", offline="")
    other = anywhere.run(bell(), at("b"), device=rule, shots=100, timeout=60)  # another place of the run
    assert other.job.device == "braket-garnet"
    page = own_page.compose(anywhere.ledger, [first.job, other.job], "a night")
    assert page.count("chose **braket\\-") == 0
    assert "chose **braket-emerald**" in page
    assert "chose **braket-garnet**" in page


def test_device_that_retires_between_the_choice_and_the_purchase_gives_way(anywhere: Client, sandbox: Sandbox) -> None:
    rule = "cheapest(braket-garnet, braket-emerald, braket-forte-1)"
    asked = asking.for_programs(bell(), 100, {})
    scope = at("a")
    read = anywhere.rule(rule)
    assert read is not None
    content = content_of(read, asked)
    assert anywhere.chooser.choose(read, scope.want(content), asked).device == "braket-garnet"
    sandbox.admin.switches("braket", retired="Garnet", offline="Emerald")
    job = anywhere.submit_one(bell(), at("b"), device=rule, shots=100)
    assert job.device == "braket-forte-1"
    assert [(one["was"], one["to"]) for one in moved(anywhere)] == [
        ("braket-garnet", "braket-emerald"),
        ("braket-emerald", "braket-forte-1"),
    ]
    assert sandbox.admin.count_jobs("braket") == 1


@pytest.mark.parametrize("verb", ["submit", "run", "batch"])
def test_device_that_refuses_gives_way_to_the_next_and_nothing_is_bought_twice(
    anywhere: Client, sandbox: Sandbox, verb: str
) -> None:
    sandbox.admin.fault("status", "braket.submit", status=410, times=1)
    rule = "cheapest(braket-garnet, braket-emerald)"
    for attempt in ("a", "b"):
        scope = at(attempt)
        if verb == "submit":
            devices = {anywhere.submit_one(bell(), scope, device=rule, shots=100).device}
        elif verb == "run":
            devices = {anywhere.run(bell(), scope, device=rule, shots=100, timeout=60).job.device}
        else:
            batch = anywhere.submit_list([bell(), bell()], scope, device=rule, shots=100)
            devices = {job.device for job in batch.sub_jobs()}
        assert devices == {"braket-emerald"}
    assert sandbox.admin.count_jobs("braket") == 1
    assert len(moved(anywhere)) == 1


def test_lost_answer_keeps_the_device(anywhere: Client, sandbox: Sandbox) -> None:
    sandbox.admin.fault("drop_after", "braket.submit", times=1)
    job = anywhere.submit_one(bell(), at(), device="cheapest(braket-garnet, braket-emerald)", shots=100)
    assert (job.device, job.status) == ("braket-garnet", JobStatus.IN_DOUBT)
    known = choices.of_subject(anywhere.ledger, job.key)
    assert known is not None
    assert choices.advance(anywhere.ledger, known, why="a test") is None
    assert moved(anywhere) == []


def test_choice_that_moved_on_cannot_be_bought_for_on_the_old_device(anywhere: Client, sandbox: Sandbox) -> None:
    rule = "cheapest(braket-garnet, braket-emerald)"
    read = anywhere.rule(rule)
    assert read is not None
    asked = asking.for_programs(bell(), 100, {})
    stands = anywhere.chooser.choose(read, at("a").want(content_of(read, asked)), asked)
    behind = Scope("night", "a", "flow", choice=stands.mark)
    assert choices.advance(anywhere.ledger, stands, why="another process saw it go") is not None
    specs = anywhere.specs(bell(), device="braket-garnet", shots=100)
    with pytest.raises(choices.ChoiceMoved):
        anywhere.submit(specs, device="braket-garnet", scope=behind)
    assert sandbox.admin.count_jobs("braket") == 0


def _race(home: str, url: str, barrier: Any, seen: Any, rule: str) -> None:
    core = made(Path(home), ledger_url=url)
    barrier.wait()
    seen.put(core.submit_one(bell(), Scope("night", f"twin {os.getpid()}", "flow"), device=rule, shots=100).device)


def test_processes_that_decide_at_once_agree(anywhere: Client, sandbox: Sandbox, tmp_path: Path) -> None:
    anywhere.ledger.close()  # forked processes must not share its connections
    context = multiprocessing.get_context("fork")
    barrier, seen = context.Barrier(4), context.Queue()
    rule = "least_busy(ionq-simulator, braket-sv1, braket-dm1)"
    twins = [
        context.Process(target=_race, args=(str(tmp_path), anywhere.settings.ledger_url, barrier, seen, rule))
        for _ in range(4)
    ]
    for one in twins:
        one.start()
    devices = {seen.get(timeout=60) for _ in twins}
    for one in twins:
        one.join()
    assert len(devices) == 1
    assert sandbox.admin.count_jobs() == 1
    with anywhere.ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(choice_purchases)).scalar() == 1


def _killed(home: str, url: str, rule: str) -> None:
    core = made(Path(home), ledger_url=url)
    core.submitter.submit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # pyright: ignore
    core.submit_one(bell(), at("a"), device=rule, shots=100)


def test_kill_between_decision_and_purchase_leaves_the_decision(
    anywhere: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.admin.switches("braket", queue_sizes="Garnet=12,Emerald=3")
    rule = "least_busy(braket-garnet, braket-emerald)"
    anywhere.ledger.close()  # forked processes must not share its connections
    dying = multiprocessing.get_context("fork").Process(
        target=_killed, args=(str(tmp_path), anywhere.settings.ledger_url, rule)
    )
    dying.start()
    dying.join()
    assert dying.exitcode == -signal.SIGKILL
    sandbox.admin.switches("braket", queue_sizes="Garnet=0,Emerald=300")
    assert anywhere.submit_one(bell(), at("b"), device=rule, shots=100).device == "braket-emerald"
    assert [one.device for one in choices.of_runs(anywhere.ledger, ["night"])] == ["braket-emerald"]


def test_session_and_batch_stay_on_one_device(anywhere: Client, sandbox: Sandbox) -> None:
    sandbox.admin.switches("ibm", queue_lengths="ibm_fez=40,ibm_kingston=2")
    rule = "least_busy(ibm-fez, ibm-kingston)"
    with anywhere.open_session(rule, "night", max_time_s=600) as session:
        assert session.device == "ibm-kingston"
        sandbox.admin.switches("ibm", queue_lengths="ibm_fez=0,ibm_kingston=200")
        jobs = [anywhere.submit_one(bell(), at(), device=session.device, session=session, shots=10) for _ in range(2)]
    assert {job.device for job in jobs} == {"ibm-kingston"}
    again = anywhere.open_session(rule, "night", max_time_s=600)
    assert again.device == "ibm-kingston"
    again.close()
    batch = anywhere.submit_list([bell()] * 3, at(), device=rule, shots=10, max_circuits=1)
    assert {job.device for job in batch.sub_jobs()} == {"ibm-fez"}


def test_budget_reserves_for_the_chosen_device(anywhere: Client, sandbox: Sandbox) -> None:
    budgets.put(anywhere.ledger, budgets.Budget("garnet", budgets.micro(Decimal("0.50")), "usd", scope="device"))
    rule = "cheapest(braket-garnet, braket-emerald)"
    job = anywhere.submit_one(bell(), at(), device=rule, shots=100)
    assert job.device == "braket-garnet"
    with pytest.raises(OverBudget, match="garnet"):
        anywhere.submit_one(bell(), at(caller="other"), device=rule, shots=100)
    assert sandbox.admin.count_jobs("braket") == 1


def test_looking_buys_and_records_nothing_and_says_all_numbers(core: Client, sandbox: Sandbox) -> None:
    price = core.price(bell(), device="cheapest(braket-emerald, braket-garnet)", shots=100)
    assert (price.device, price.expected) == ("braket-garnet", Decimal("0.445"))
    assert "ledger" not in vars(core.parts)
    rule = core.rule("cheapest(braket-garnet)")
    assert rule is not None
    (one,), _ = core.chooser.look(rule, asking.for_programs(bell(), 100, {}))
    assert json.loads(json.dumps(one.row(1)))["values"]["price"] == "0.445"
    assert sandbox.admin.count_jobs() == 0


def test_cheapest_without_a_program_says_what_to_do(core: Client) -> None:
    with pytest.raises(ProgramRejected, match=r"qflows\.choose"):
        core.open_session("cheapest(ibm-fez)", "night", max_time_s=60)
