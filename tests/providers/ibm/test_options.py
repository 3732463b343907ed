"""Options of an IBM job: wrong names and values are refused before anything is sent, explicit false is sent."""

from __future__ import annotations

from typing import Any

import pytest

from qflows.errors import ProgramRejected
from qflows.programs.observables import observable
from qflows.protocol import JobSpec, Provider
from qflows.providers.ibm.options import IBMOptions
from qflows.sandbox import Sandbox
from qflows.testing import bell, key_of, send_job

WRONG: dict[str, Any] = {
    "memory": "no",
    "opt": "banana",
    "compile": "banana",
    "max_execution_time": 0,
    "seed_transpiler": "x",
    "initial_layout": 5,
    "physical_qubits": [0, 0],
    "use_fractional_gates": 1,
    "optimization_level": True,
    "private": "false",
    "primitives": "both",
    "resilience_level": 1,
    "twirling": {"enable_gates": "yes"},
    "dynamical_decoupling": {"enabled": True},
    "execution": {"meas_type": "kerneled"},
    "experimental": "x",
}


def spec(**options: Any) -> JobSpec:
    return JobSpec("ibm", "ibm_manila", (bell(),), 100, options=options)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_option_is_named_before_anything_is_sent(sandbox: Sandbox, provider: Provider, name: str) -> None:
    with pytest.raises(ProgramRejected, match=name):
        provider.check(spec(**{name: WRONG[name]}))
    assert sandbox.admin.journal() == []


@pytest.mark.parametrize(
    "options",
    [
        {"compile": 1, "optimization_level": 2},
        {"initial_layout": [0, 1], "physical_qubits": [0, 1]},
        {"use_fractional_gates": True, "twirling": {"enable_gates": True}},
        {"twirling": {"group": "pauli"}},
        {"execution": {"scheduler_timing": True}},
        {"twirling": {"enable_gates": True, "num_randomizations": 4, "shots_per_randomization": 20}},
        {"primitives": "executor", "twirling": {"num_randomizations": 3, "shots_per_randomization": 33}},
    ],
    ids=str,
)
def test_options_that_contradict_each_other_or_lose_shots_are_refused(
    provider: Provider, options: dict[str, Any]
) -> None:
    with pytest.raises(ProgramRejected):
        provider.check(spec(**options))


def test_shots_that_are_reached_exactly_are_taken(provider: Provider) -> None:
    provider.check(spec(twirling={"enable_gates": True, "num_randomizations": 4, "shots_per_randomization": 25}))


def test_false_and_zero_are_sent_and_what_is_not_set_is_not(sandbox: Sandbox, provider: Provider) -> None:
    wanted = spec(
        private=False,
        execution={"init_qubits": False, "rep_delay": 0.0},
        dynamical_decoupling={"enable": False},
        twirling={"enable_measure": False},
    )
    send_job(provider, wanted, key_of("false"))
    (job,) = sandbox.admin.jobs("ibm")
    body = sandbox.admin.job(job["id"])["request"]
    assert body["params"]["options"] == {
        "execution": {"init_qubits": False, "rep_delay": 0.0},
        "dynamical_decoupling": {"enable": False},
        "twirling": {"enable_measure": False},
    }
    assert body["private"] is False
    assert body["cost"] == 600  # nothing that hangs is billed for hours


def test_estimators_false_reaches_the_wire(sandbox: Sandbox, provider: Provider) -> None:
    wanted = JobSpec(
        "ibm",
        "ibm_manila",
        (bell(),),
        100,
        observables=((observable("ZZ"),),),
        options={"resilience": {"measure_mitigation": False}, "resilience_level": 0},
    )
    send_job(provider, wanted, key_of("estimator false"))
    (job,) = sandbox.admin.jobs("ibm")
    params = sandbox.admin.job(job["id"])["request"]["params"]
    assert params["resilience_level"] == 0
    assert params["options"]["resilience"]["measure_mitigation"] is False


def test_fractional_gates_of_a_device_without_them_are_a_rejection_and_no_doubt(
    sandbox: Sandbox, provider: Provider
) -> None:
    with pytest.raises(ProgramRejected, match="fractional"):
        provider.prepare(spec(use_fractional_gates=True), key_of("fractional"))
    assert sandbox.admin.requests("ibm.submit") == 0


def test_layout_that_does_not_fit_the_circuit_is_a_rejection(sandbox: Sandbox, provider: Provider) -> None:
    for layout in ([0], [0, 5], [0, 1, 2]):
        with pytest.raises(ProgramRejected, match="initial_layout"):
            provider.prepare(spec(initial_layout=layout), key_of("layout", layout))
    assert sandbox.admin.requests("ibm.submit") == 0


def test_options_that_cost_money_say_so(provider: Provider) -> None:
    assert provider.options_model("ibm_manila") is IBMOptions
    costly = {
        name: field.json_schema_extra["vendor_default"]
        for name, field in IBMOptions.model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    }
    assert costly["resilience_level"] == 1
    assert "600 s" in str(costly["max_execution_time"])
