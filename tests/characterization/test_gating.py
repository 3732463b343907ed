"""The gate: what it holds back, what it lets pass, and how often it is wrong on a device that has not changed."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prefect.states import State

import qflows
from qflows.characterization import gating
from qflows.core.choice import asking
from qflows.core.client import Client
from qflows.errors import ProgramRejected
from qflows.ledger import gates, measurements, reads
from qflows.ledger.measurements import Measurement
from qflows.pages import choices
from qflows.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gate  # noqa: E402

SHOTS = 1000
QUANTITIES = {"readout error": ("readout", 0.02), "GHZ 3 fidelity": ("ghz", 0.93), "bit order": ("bit order", 0.97)}


def value(name: str, night: int, p: float, hits: int) -> Measurement:
    q = (hits + 1) / (SHOTS + 2)
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=night)
    error = float(np.sqrt(q * (1 - q) / (SHOTS + 3)))
    family = QUANTITIES[name][0]
    rest = ("suite", hits / SHOTS, error, "1", 3, SHOTS, True, at, (), None)
    return Measurement(f"night {night}", "qpu", name, family, "setup", *rest)


def nights(seed: int, n: int, bad: range = range(0)) -> list[bool]:
    """Whether each night's dear jobs would be bought; nights before the eighth have no history."""
    rng = np.random.default_rng(seed)
    series: dict[str, list[Measurement]] = {name: [] for name in QUANTITIES}
    bought = []
    for night in range(n):
        for name, (family, p) in QUANTITIES.items():
            real = p + rng.normal(0, 0.004)
            if night in bad:
                real += 0.08 if family == "readout" else -0.15
            series[name].append(value(name, night, real, int(rng.binomial(SHOTS, min(max(real, 0.0), 1.0)))))
        bought.append(gating.health([one[-40:] for one in series.values()]).is_good)
    return bought


@pytest.mark.parametrize("first", [8, 15, 22])
def test_noise_that_comes_in_the_night_holds_back_until_it_goes(first: int) -> None:
    bad = range(first, first + 4)
    held_else = 0
    for seed in range(5):
        bought = nights(seed, 30, bad)
        assert [bought[night] for night in bad] == [False] * 4
        held_else += sum(not one for night, one in enumerate(bought) if night not in bad)
    assert held_else <= 6  # of 130 good nights; 7 or more have a chance of 0.04 % at 1 % each


def test_stable_device_is_hardly_ever_held_back() -> None:
    bought = [one for seed in range(3) for one in nights(100 + seed, 110)[10:]]
    assert len(bought) == 300
    assert bought.count(False) <= 8  # 3 are expected at most; 9 or more have a chance below 0.4 % even at 1 % each


@pytest.mark.parametrize("kind", gate.KINDS)
def test_look_at_real_circuits_seldom_holds_a_stable_device_and_never_buys_on_a_bad_night(kind: str) -> None:
    """The short form of `make gate`."""
    n, held = gate.stable(kind, gate.STABLE["scattering"], 100, 300_000)
    assert n == 100
    assert held <= 5  # 6 or more have a chance below 0.06 % at 1 % each
    n_bad, bought, _, _ = gate.bad(kind, gate.STABLE["quiet"], 1, 500_000)
    assert (n_bad, bought) == (16, 0)


def test_rule_reads_drift_from_the_same_history(tmp_path: Path) -> None:
    core = Client(Settings(home=tmp_path))
    rule = core.rule("least_busy(local-aer, local-noisy; drift<3)")
    assert rule is not None
    asked = asking.for_a_place("test")
    start = (datetime.now(UTC) - timedelta(days=20)).replace(microsecond=0)
    for device, last in (("local-aer", 900), ("local-noisy", 700)):
        series = [value("GHZ 3 fidelity", night, 0.9, 900 + night % 5) for night in range(20)]
        series.append(value("GHZ 3 fidelity", 20, 0.9, last))
        moved = [replace(one, device=device, at=start + timedelta(days=n, hours=-1)) for n, one in enumerate(series)]
        measurements.record(core.ledger, moved, {})
    fitting, everyone = core.chooser.look(rule, asked)
    assert [one.device for one in fitting] == ["local-aer"]
    assert "drift<3.0 is not met" in everyone[1].out


def test_change_for_the_better_holds_nothing_back() -> None:
    series = [value("GHZ 3 fidelity", night, 0.9, 900 + night % 5) for night in range(20)]
    assert gating.health([[*series, value("GHZ 3 fidelity", 20, 0.99, 990)]]).is_good
    held = gating.health([[*series, value("GHZ 3 fidelity", 20, 0.8, 800)]])
    assert not held.is_good
    assert "GHZ 3 fidelity 0.8, worse than 0.902" in held.why
    assert held.evidence[0]["compared_with"] == 20


@pytest.mark.slow(reason="flow runs on a real server: nights of probes, one of them held back")
def test_gate_probes_once_a_run_and_a_run_that_is_held_back_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    core = Client(Settings(home=tmp_path))
    for night in range(9):
        assert qflows.gate("local-noisy", shots=400, run_key=f"night {night}") is None
    n_jobs = len(reads.listing(core.ledger, limit=1000))
    assert qflows.gate("local-noisy", shots=400, run_key="night 8") is None
    assert len(reads.listing(core.ledger, limit=1000)) == n_jobs
    with pytest.raises(ProgramRejected, match=r"qflows\.choose"):
        qflows.gate("best(local-noisy)", run_key="x")
    decision = gates.GateDecision(
        gates.key_of("bad", "probe", "local-noisy", 0), "bad", "probe", "local-noisy", 0, gates.NO, "a test", [],
        datetime.now(UTC),
    )  # fmt: skip
    assert gates.decide(core.ledger, decision).verdict == gates.NO
    assert "| buy |" in "".join(choices.gate_section(core.ledger, ["night 8"]))
    state = qflows.gate("local-noisy", run_key="bad")
    assert isinstance(state, State)
    assert (state.name, state.is_completed()) == ("HeldBack", True)
    assert "nothing expensive was bought: a test" in (state.message or "")
