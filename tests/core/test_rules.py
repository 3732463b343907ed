"""Rules as text: one grammar, exact, and errors that say what, which and what next."""

from __future__ import annotations

import pytest

from qflows.core import rules
from qflows.errors import ProgramRejected

SAME = [
    (
        "cheapest(ibm-*,ionq-*;qubits>=20,queue<120m,error<0.01)",
        "cheapest(ibm-*, ionq-*; qubits>=20, queue<2h, error<1%)",
    ),
    (" least_busy ( a , b:c/d ; qpu , pending<=5? ) ", "least_busy(a, b:c/d; qpu, pending<=5?)"),
    ("best(*; vendor!=ionq, drift<3, price<5.50usd)", "best(*; vendor!=ionq, drift<3.0, price<5.50usd)"),
    ("best(a; opens=0, readout<2.5%)", "best(a; opens=0s, readout<2.5%)"),
]


@pytest.mark.parametrize(("text", "canonical"), SAME)
def test_equal_rules_are_one_text_and_reading_it_again_changes_nothing(text: str, canonical: str) -> None:
    read = rules.read(text)
    assert str(read) == canonical
    assert rules.read(canonical) == read


WRONG = [
    ("bst(a)", "did you mean best?"),
    ("cheapest(a; qubit>3)", "did you mean qubits?"),
    ("cheapest(a; colour=3)", "choose from qubits"),
    ("cheapest(a; error<200%)", "between 0 and 1"),
    ("cheapest(a; queue<2x)", "not a duration"),
    ("cheapest(a; qubits>few)", "a whole number"),
    ("cheapest(a; price<lots)", "an amount"),
    ("cheapest(a; vendor<ibm)", "compared with ="),
    ("cheapest(a; simulators)", "did you mean simulator?"),
    ("cheapest(;qpu)", "names no devices"),
    ("cheapest(a, queue<2h)", "after a semicolon"),
    ("cheapest(a", "not a device rule"),
    ("cheapest(a) or best(b)", "not a device rule"),
    ("best(" + "a" * 1000 + ")", "at most 1000"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_mistake_is_named_with_what_there_is_instead(text: str, told: str) -> None:
    with pytest.raises(ProgramRejected) as caught:
        rules.read(text)
    assert told in str(caught.value)


def test_name_of_a_device_is_no_rule() -> None:
    assert not rules.looks_like_one("braket:arn:aws:braket:::device/quantum-simulator/amazon/sv1")
    assert not rules.looks_like_one("ionq-forte-1")
    assert rules.looks_like_one("cheapest(a")
