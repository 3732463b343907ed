"""Whatever is sent to the emulated IonQ, it answers on purpose: never an unintended 500, never a broken job."""

from __future__ import annotations

import copy
import json
import random

import pytest

JUNK = [None, True, 0, -1, 2.5, 1e308, 10**30, "", "x", [], {}, [[]], [None], {"a": 1}, "é\0", [0, 0], float("inf")]
NATIVE = [{"gate": "ms", "targets": [0, 1], "phases": [0, 0.1], "angle": 0.2}, {"gate": "gpi", "target": 0, "phase": 1}]
PAULI = [
    {"gate": "pauliexp", "targets": [0, 2], "terms": ["XX", "IZ"], "coefficients": [1, 2], "time": 0.3},
    {"gate": "rx", "rotation": 1, "target": 0},
]
SESSION = {
    "backend": "qpu.forte-1",
    "settings": {"job_count_limit": 3, "duration_limit_min": 3, "cost_limit": {"unit": "usd", "value": 3}},
}


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The path of every member."""
    found = [path] if path else []
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        found += places(member, (*path, name))
    return found


def mutated(document: dict, rng: random.Random) -> dict:
    """The document with one to three members replaced by junk or removed."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if not (found := places(document)):
            break
        *above, last = rng.choice(found)
        owner = document
        for name in above:
            owner = owner[name]
        if rng.random() < 0.8:
            owner[last] = copy.deepcopy(rng.choice(JUNK))
        else:
            del owner[last]
    return document


@pytest.mark.parametrize("kind", ["single", "multi", "native", "pauli", "session"])
def test_mutated_body_is_refused_or_run_but_never_breaks_the_sandbox(sandbox, ionq, bell, pair, kind):
    full = bell | {"noise": {"model": "ideal", "seed": 1}, "settings": {"error_mitigation": {}}, "session_id": None}
    native = {"gateset": "native", "qubits": 2, "circuit": NATIVE}
    base = {
        "single": full,
        "multi": pair,
        "native": full | {"input": native},
        "pauli": full | {"input": {"gateset": "qis", "qubits": 3, "circuit": PAULI}},
        "session": SESSION,
    }[kind]
    rng = random.Random(f"fuzz {kind}")
    for _ in range(150):
        body = mutated(base, rng)
        answer = ionq.post("/sessions" if kind == "session" else "/jobs", content=json.dumps(body))
        assert answer.status_code in (201, 400), body
        if answer.status_code == 201 and kind != "session":
            found = ionq.get(f"/jobs/{answer.json()['id']}").json()
            assert found["status"] in ("completed", "failed"), body
            assert not found["failure"] or found["failure"]["code"] != "InternalError", body
            for entry in (found["results"] or {}).values():
                if "id" in entry:
                    assert ionq.get(f"/jobs/{found['id']}/artifacts/{entry['id']}").status_code == 200, body
    assert not [status for status in sandbox.admin.counts()["statuses"] if status.endswith(" 500")]
