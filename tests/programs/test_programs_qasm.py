"""OpenQASM text and files: equal circuits from every notation, and hostile text refused in bounded time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qasm2, qasm3
from qiskit.circuit.random import random_circuit
from qiskit.quantum_info import Operator

from qflows.errors import ProgramRejected
from qflows.programs import to_program

HEAD2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
HEAD3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
BELL2 = HEAD2 + "qreg q[2];\ncreg c[2];\nh q[0];\nrx(pi/7) q[1];\ncx q[0],q[1];\nmeasure q -> c;\n"
BELL3 = HEAD3 + "qubit[2] q;\nbit[2] c;\nh q[0];\nrx(pi/7) q[1];\ncx q[0],q[1];\nc = measure q;\n"


def test_qasm2_qasm3_and_circuit_of_the_same_content_share_a_digest() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.rx(np.pi / 7, 1)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    assert to_program(BELL2) == to_program(BELL3) == to_program(circuit)


@pytest.mark.parametrize("seed", range(6))
def test_exported_random_circuits_come_back_with_the_same_unitary(seed: int) -> None:
    circuit = random_circuit(3, 4, seed=seed)
    for text in (qasm2.dumps(circuit), qasm3.dumps(circuit)):
        again = to_program(text).circuit()
        assert Operator(again).equiv(Operator(circuit))


def test_files_by_path_and_by_name_are_read_and_label_the_program(tmp_path: Path) -> None:
    path = tmp_path / "bell.qasm"
    path.write_text(BELL3, encoding="utf-8")
    assert to_program(path) == to_program(str(path)) == to_program(BELL3)
    assert to_program(path).name == "bell"
    path.write_bytes(b"\xef\xbb\xbf" + BELL2.replace("\n", "\r\n").encode())
    assert to_program(path) == to_program(BELL3)


def test_inputs_of_openqasm_3_take_values() -> None:
    text = (
        'OPENQASM 3.0;\ninput float[64] theta;\ninclude "stdgates.inc";\nqubit q;\nbit c;\nrx(theta) q;\nc = measure q;'
    )
    assert to_program((text, {"theta": 0.5})).instructions[0].params == (0.5,)
    with pytest.raises(ProgramRejected, match="unbound parameters: theta"):
        to_program(text)


def test_text_without_a_version_is_recognised_by_its_declarations() -> None:
    assert to_program("qreg q[1]; creg c[1]; measure q -> c;") == to_program("qubit[1] q; bit[1] c; c = measure q;")


@pytest.mark.parametrize("name", ["rzz", "h", "sx"])
def test_a_gate_defined_in_the_text_wins_over_the_standard_gate_of_that_name(name: str) -> None:
    wires = "a, b" if name == "rzz" else "a"
    angle = "(t)" if name == "rzz" else ""
    call = "rzz(0.5) q[0], q[1];" if name == "rzz" else f"{name} q[0];"
    text = f"OPENQASM 2.0; gate {name}{angle} {wires} {{ U(0,0,pi) a; }} qreg q[2]; {call}"
    assert to_program(text).gate_counts() == {"u": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OPENQASM 2.0;\nqreg q[1];\nfoo q[0];", "line 3, column 0: 'foo' is not defined"),
        ("OPENQASM 2.0;\nqreg q[1]\nx q[0];", "line 3, column 0"),
        (HEAD3 + "qubit q;\nfoo q;", "line 4, column 0: gate 'foo' is not defined"),
        ("OPENQASM 3.0;\nqubit[2 q;", "OpenQASM 3 .*line 2|line 2, column"),
        ("OPENQASM 4.0;\nqubit q;", "OpenQASM 4 is unknown"),
        ("no such file.qasm", "there is no file 'no such file.qasm'"),
        ("", "neither OpenQASM text"),
        ("\0", "neither OpenQASM text"),
        (HEAD3 + "qubit q;\nbit c;\nwhile (c) { x q; }", "line 5, column 0: it has control flow"),
        (HEAD3 + "qubit q;\nbit c;\nswitch (c) { case 0 { x q; } }", "control flow"),
        (HEAD3 + "qubit q;\ninput int n;\nfor int i in [0:n] { x q; }", "line 5, column 0: control flow"),
        (HEAD3 + "qubit q;\nint n = 2;\nif (n == 2) { x q; }", "OpenQASM 3"),
    ],
)
def test_a_wrong_text_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ProgramRejected, match=message):
        to_program(text)


@pytest.mark.parametrize("head", ["OPENQASM 2.0;", "OPENQASM 3.0;"])
def test_a_text_can_include_no_file(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.inc"
    secret.write_text("canary gate x a { U(0,0,0) a; }", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for target in (secret, Path("secret.inc")):
        with pytest.raises(ProgramRejected) as caught:
            to_program(f'{head} include "{target}"; qreg q[1];')
        assert "canary" not in str(caught.value)


def test_constants_of_openqasm_3_are_put_in() -> None:
    text = HEAD3 + (
        "const int n = 2; const float[64] half = pi / 2; const uint m = n + 1; qubit[m - 1] q; bit[n] c;\n"
        "gate turn(half) a { rx(half) a; } rx(half) q[n - 1]; turn(0.25) q[0]; c = measure q;"
    )
    plain = HEAD3 + "qubit[2] q; bit[2] c; rx(pi / 2) q[1]; rx(0.25) q[0]; c = measure q;"
    assert to_program(text) == to_program(plain)
    with pytest.raises(ProgramRejected, match="the constant n is not made of known numbers"):
        to_program("OPENQASM 3.0; input int m; const int n = m; qubit[2] q;")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("// Bell pair\n" + BELL3, "Bell-pair"),
        ("/* ghz_3 */ " + BELL3, "ghz_3"),
        ("// " + "x" * 50 + "\n" + BELL2, "q2-c2"),
        (BELL2, "q2-c2"),
        (BELL3, "q2-c2"),
        ("OPENQASM 3.0; qubit anc; bit flag;", "anc-flag"),
    ],
)
def test_a_text_is_named_by_its_comment_or_its_registers(text: str, name: str) -> None:
    assert to_program(text).name == name


def doubling(version: int, levels: int = 60) -> str:
    gates = ["gate g0 a { U(0,0,0) a; }"]
    gates += [f"gate g{k} a {{ g{k - 1} a; g{k - 1} a; }}" for k in range(1, levels)]
    declared = "qreg q[1];" if version == 2 else "qubit[1] q;"
    return f"OPENQASM {version}.0; " + "\n".join(gates) + f" {declared} g{levels - 1} q[0];"


@pytest.mark.parametrize(
    "text",
    [
        doubling(2),
        doubling(3),
        doubling(3).replace("g59 q[0];", "inv @ g59 q[0];"),
        doubling(3, 15).replace("g14 q[0];", "ctrl(12) @ g14 q[0];"),
        "OPENQASM 3.0; " + "".join(f"gate g{k} a {{ {f'g{k - 1} a;' if k else ''} }}" for k in range(300)) + "qubit q;",
        "OPENQASM 2.0; qreg q[1000000000];",
        "OPENQASM 2.0; qreg /* x */ q /* y */ [ 1000000000 ];",
        "OPENQASM 2.0; creg q[99999999999999999999999999];",
        "OPENQASM 3.0; qubit[1000000000] q;",
        "OPENQASM 3.0; qreg q[1000000000];",
        "OPENQASM 3.0; qubit[1000*1000000] q;",
        "OPENQASM 3.0; bit[1000000000] c; qubit q;",
        "OPENQASM 3.0; qubit[8] q; ctrl(1000000000) @ U(0,0,0) q[0];",
        "OPENQASM 3.0; qubit q; U(" + "9" * 6000 + ",0,0) q;",
        "OPENQASM 3.0; qubit q; U(2.0**9999.0,0,0) q;",
        "OPENQASM 3.0; qubit q; U(1/0,0,0) q;",
        *(
            f"OPENQASM {version}.0; {declared} q[0]; U({bomb},0,0) q[0];".replace("q[0]; U", "q; U", 1)
            for version, declared in ((2, "qreg"), (3, "qubit"))
            for bomb in (
                "(" * 100_000 + "1" + ")" * 100_000,
                "-" * 100_000 + "1",
                "^".join(["2"] * 50_000),
                "+".join(["2"] * 50_000),
                "sin(" * 50_000 + "1" + ")" * 50_000,
            )
        ),
        "OPENQASM 3.0; qubit q; " + "{" * 50_000,
        'OPENQASM 3.0; include "stdgates.inc"; qubit[4000] q; ' + "h q; " * 200,
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[4000]; ' + "h q; " * 200,
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[4000]; qreg a[4000]; ' + "cx q, a; " * 200,
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[4000]; ' + "rx (pi) q; " * 200,
        'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; for int i in [0:100000000] { x q[0]; }',
        'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; ' + "for int i in [0:999] { " * 4 + "x q[0];" + "}" * 4,
        "OPENQASM 3.0; bit c; qubit q; " + "if (c) { " * 40 + "}" * 40,
        "OPENQASM 2.0; qreg q[1]; U(1/0,0,0) q[0];",
        "OPENQASM 2.0; qreg q[1]; U(ln(0),0,0) q[0];",
        "OPENQASM 2.0; " + "x" * (4 * 1024 * 1024),
    ],
    ids=lambda text: f"{text[:40]}...{len(text)}",
)
def test_a_hostile_text_is_refused_before_it_costs_memory_or_time(text: str) -> None:
    with pytest.raises(ProgramRejected):
        to_program(text)


def test_a_file_that_is_too_long_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    big = tmp_path / "big.qasm"
    with big.open("wb") as stream:
        stream.truncate(4 * 1024 * 1024 + 1)
    binary = tmp_path / "binary.qasm"
    binary.write_bytes(b"OPENQASM 2.0;\xff\xfe")
    pipe = tmp_path / "pipe.qasm"
    os.mkfifo(pipe)
    for path, message in (
        (big, "longer than"),
        (binary, "not UTF-8"),
        (pipe, "is not a regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "absent.qasm", "does not exist"),
    ):
        with pytest.raises(ProgramRejected, match=message):
            to_program(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([BELL2, BELL3]), st.data())
def test_a_damaged_text_is_a_program_or_a_refusal_never_another_error(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    insert = data.draw(st.text(alphabet='[](){};,->=@."/*pi qc0129hxcimeasurctrlpow\n\0é', max_size=10))
    with contextlib.suppress(ProgramRejected):
        to_program(text[:start] + insert + text[end:])
