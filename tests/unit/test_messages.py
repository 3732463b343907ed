"""A hundred mistakes of people's first days. Each answer says what is wrong, with which thing, and what next.

A row: what was done, the text that names the thing, and the text that names the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

import qflows
from qflows.algorithms.vqe import to_problem
from qflows.cli.screen import _CODES
from qflows.core.arguments import device_names
from qflows.errors import QflowsError
from qflows.primitives import EstimatorV2, SamplerV2
from qflows.settings import Settings

BELL = QuantumCircuit(1, 1, name="bell")
BELL.h(0)
BELL.measure(0, 0)
OPEN = QuantumCircuit(1, 1, name="open")
OPEN.rx(Parameter("theta"), 0)
OPEN.measure(0, 0)
BARE = QuantumCircuit(1, name="bare")
BARE.h(0)
TEXT = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; {} measure q -> c;'


def run(program: Any = BELL, **given: Any) -> Any:
    return qflows.run(program, **({"device": "local-aer", "shots": 10, "run_key": "m"} | given))


def batch(programs: Any, **given: Any) -> Any:
    return qflows.batch(programs, **({"device": "local-aer", "shots": 10, "run_key": "m"} | given))


def session(device: str = "local-aer", **given: Any) -> Any:
    return qflows.session(device, **({"run_key": "m"} | given)).__enter__()


def setting(name: str, value: str) -> Settings:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(name, value)
        return Settings()


def group(**given: Any) -> Any:
    return qflows.group(**({"name": "g", "run_key": "m"} | given)).__enter__()


MISTAKES: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: run([BELL, BELL]), "a list of 2", "qflows.batch"),
    (lambda: run(5), "int", "pass a qiskit QuantumCircuit"),
    (lambda: run(None), "NoneType", "pass a qiskit QuantumCircuit"),
    (lambda: run("bel.qasm"), "no file 'bel.qasm'", "give the path"),
    (lambda: run(Path("nowhere/bel.qasm")), "bel.qasm", "file"),
    (lambda: run(""), "''", "begin the text with OPENQASM"),
    (lambda: run("hello world"), "hello world", "begin the text with OPENQASM"),
    (lambda: run(TEXT.format("foo q[0];")), "'foo'", "correct the text"),
    (lambda: run(TEXT.format("h q[3];")), "line 1", "correct the text"),
    (lambda: run(BARE), "bare", "measure_all"),
    (lambda: run(OPEN), "theta", "pass (circuit, values)"),
    (lambda: run(OPEN, values=[]), "theta", "give one value each"),
    (lambda: run(OPEN, values={"x": 1.0}), "unknown: x", "missing: theta"),
    (lambda: run(device="local-aerr"), "local-aerr", "did you mean local-aer"),
    (lambda: run(device="ionk:simulator"), "ionk:simulator", "did you mean ionq-simulator"),
    (lambda: run(device="ibm-torino"), "ibm-torino", "qflows devices"),
    (lambda: run(device=None), "None", "qflows devices"),
    (lambda: run(device=5), "5", "qflows devices"),
    (lambda: run(shots=0), "not 0", "at least 1"),
    (lambda: run(shots=-3), "not -3", "at least 1"),
    (lambda: run(shots="many"), "'many'", "whole number"),
    (lambda: run(shots=1.5), "1.5", "whole number"),
    (lambda: run(shots=10**9), "1000000000", "split"),
    (lambda: run(run_key=None), "run", "run_key='some-name'"),
    (lambda: run(run_key=""), "run", "run_key='some-name'"),
    (lambda: run(run_key=5), "not 5", "run_key='5'"),
    (lambda: run(run_key="k" * 5000), "run key", "at most"),
    (lambda: run(options={"noise_modl": "x"}), "noise_modl", "the options are"),
    (lambda: run(device="local-noisy", options={"optimization_level": "x"}), "optimization_level", "0, 1, 2 or 3"),
    (lambda: run(options="x"), "'x'", "{'name': value}"),
    (lambda: run(BARE, observables="ZZZ"), "acts on 3", "pad with I"),
    (lambda: run(BARE, observables="Q"), "'Q'", "letters I X Y Z"),
    (lambda: run(BARE, observables=5), "int", "give a SparsePauliOp"),
    (lambda: run(sample=-1), "-1", "sample must be a whole number of at least 0"),
    (lambda: run(resubmit=-1), "-1", "resubmit must be a whole number of at least 0"),
    (lambda: run(timeout="soon"), "'soon'", "timeout=600"),
    (lambda: run(device="ionq-simulator"), "IonQ", "set IONQ_API_KEY"),
    (lambda: run(device="ibm-kingston"), "IBM", "set QISKIT_IBM_TOKEN"),
    (lambda: run(device="qbraid-qir-sv"), "qBraid", "set QBRAID_API_KEY"),
    (lambda: qflows.result("abcdef0123"), "abcdef0123", "qflows jobs ls"),
    (lambda: qflows.cancel("deadbeef00"), "deadbeef00", "qflows jobs ls"),
    (lambda: qflows.tag("deadbeef00", {"a": "b"}), "deadbeef00", "qflows jobs ls"),
    (lambda: qflows.wait(["deadbeef00"]), "deadbeef00", "qflows jobs ls"),
    (lambda: qflows.attach("abcdef0123"), "abcdef0123", "jobs ls"),
    (lambda: qflows.attach(None), "None", "qflows jobs ls"),  # type: ignore[call-overload]
    (lambda: batch("bell.qasm"), "a text", "[circuit]"),
    (lambda: batch(BELL), "one QuantumCircuit", "[circuit]"),
    (lambda: batch([]), "at least one", "a list of programs"),
    (lambda: batch([BELL, BELL], shots=[5]), "1 shot numbers for 2 programs", "one per program"),
    (lambda: batch([BELL, 5]), "circuit 1", "pass a qiskit QuantumCircuit"),
    (lambda: session("ibm-kingstn"), "ibm-kingstn", "did you mean ibm-kingston"),
    (lambda: session(max_time="30 parsecs"), "30 parsecs", "write '30m'"),
    (lambda: session(mode="fast"), "'fast'", "mode must be 'dedicated' or 'batch'"),
    (lambda: session(run_key=None), "run", "run_key='some-name'"),
    (lambda: group(max_ttl="3 days"), "3 days", "write '30m'"),
    (lambda: group(max_ttl=0), "not 0", "max_ttl="),
    (lambda: group(run_key=None), "run", "run_key='some-name'"),
    (lambda: SamplerV2("local-arr", run_key="p").run([BELL]), "local-arr", "did you mean local-aer"),
    (lambda: SamplerV2("local-aer", run_key="p").run(5), "int 5", "run([(circuit, values, shots)])"),  # type: ignore[arg-type]
    (lambda: SamplerV2("local-aer", run_key="p").run(BELL), "one circuit", "run([(circuit, values, shots)])"),  # type: ignore[arg-type]
    (lambda: SamplerV2("local-aer", run_key="p").run([BELL, 5]), "PUB 1 is int 5", "(circuit, values, shots)"),  # type: ignore[list-item]
    (lambda: EstimatorV2("local-aer", run_key="p").run("ZZ"), "str 'ZZ'", "run([(circuit, observables, values)])"),  # type: ignore[arg-type]
    (lambda: EstimatorV2("local-aer", run_key="p").run([None]), "PUB 0", "(circuit, observables, values)"),  # type: ignore[list-item]
    (lambda: EstimatorV2("local-aer", run_key="p").run([BARE]), "pub-like", "wrap it with"),
    (lambda: run().counts.marginal([7]), "bit 7", "bits 0 to 0"),
    (lambda: run().expectation, "observables", "pass observables="),
    (lambda: run(shotz=5), "'shotz'", "did you mean shots?"),
    (lambda: run(colour="red"), "'colour'", "it takes"),
    (lambda: run(device="LOCAL-AER"), "LOCAL-AER", "did you mean local-aer"),
    (lambda: run(device=["local-aer"]), "['local-aer']", "qflows devices"),
    (lambda: run(name=5), "not 5", "name='5'"),
    (lambda: run(project=5), "not 5", "project='5'"),
    (lambda: run(label=5), "not 5", "must be text"),
    (lambda: run(tags=["a"]), "['a']", "{'study': 'a'}"),
    (lambda: run(timeout=-1), "not -1", "timeout=600"),
    (lambda: run(OPEN, values="1"), "open", "a mapping"),
    (lambda: run(OPEN, values=[[1], [2]]), "open", "qflows.batch"),
    (lambda: run(OPEN, values=[float("nan")]), "nan", "give finite values"),
    (lambda: qflows.submit(BELL, device="local-aer", shots=10, run_key="m", name=[]), "not []", "must be text"),
    (lambda: qflows.result(None), "not None", "qflows jobs ls"),  # type: ignore[arg-type]
    (lambda: qflows.result([BELL]), "a list", "qflows jobs ls"),  # type: ignore[arg-type]
    (lambda: qflows.result(run()), "a Result", "result.counts"),  # type: ignore[arg-type]
    (lambda: qflows.result(batch([BELL])), "a Batch", "batch.result()"),  # type: ignore[arg-type]
    (lambda: qflows.wait(None), "not None", "qflows jobs ls"),  # type: ignore[arg-type]
    (lambda: qflows.wait(5), "not 5", "qflows jobs ls"),  # type: ignore[arg-type]
    (lambda: qflows.wait([], every="x"), "'x'", "every=600"),  # type: ignore[arg-type]
    (lambda: qflows.wait([run().job], timeout=float("nan")), "nan", "timeout=600"),
    (lambda: qflows.cancel(None), "not None", "qflows jobs ls"),  # type: ignore[arg-type]
    (lambda: qflows.tag(None, {"a": "b"}), "not None", "qflows jobs ls"),  # type: ignore[arg-type]
    (lambda: qflows.tag(run().job, "study"), "'study'", "{'study': 'a'}"),  # type: ignore[arg-type]
    (lambda: qflows.jobs(status="quued"), "'quued'", "did you mean queued?"),
    (lambda: qflows.jobs(limit="ten"), "'ten'", "limit must be a whole number"),  # type: ignore[arg-type]
    (lambda: qflows.jobs(order="price"), "'price'", "there are cost"),
    (lambda: qflows.jobs(since="lately"), "'lately'", "'7d'"),
    (lambda: batch([BELL], name=["a"]), "['a']", "must be text"),
    (lambda: batch([BELL], as_batch="yes"), "'yes'", "True, False or None"),
    (lambda: session(max_time=-1), "-1", "write '30m'"),
    (lambda: session(max_time=[]), "[]", "write '30m'"),
    (lambda: qflows.group(5, run_key="m"), "not 5", "name='5'"),  # type: ignore[arg-type]
    (lambda: qflows.minimize(5, [0.1], run_key="m"), "not 5", "minimize(energy, x0"),  # type: ignore[arg-type]
    (lambda: qflows.minimize(len, "x", run_key="m"), "'x'", "one per parameter"),
    (lambda: qflows.minimize(lambda x: "low", [0.1], run_key="m"), "'low'", "return a number"),
    (lambda: qflows.minimize(lambda x: float("nan"), [0.1], run_key="m"), "nan", "finite numbers"),
    (lambda: qflows.minimize(lambda x: 0.0, [0.1], method="NELDER", run_key="m"), "'NELDER'", "choose from"),  # type: ignore[arg-type]
    (lambda: qflows.import_jobs("ionk", since="1d"), "'ionk'", "did you mean ionq?"),
    (lambda: qflows.verify("nowhere.zip"), "nowhere.zip", "qflows archive"),
    (lambda: run().counts.marginal("a"), "'a'", "marginal([0, 2])"),  # type: ignore[arg-type]
    (lambda: qflows.missed_slot("skip after"), "'skip after'", "skip after 2h"),
    (lambda: qflows.runn, "runn", "did you mean run"),
    (lambda: qflows.flows.sweeep, "sweeep", "did you mean sweep"),
    (lambda: to_problem("h2-0.7"), "h2-0.7", "choose from h2-0.735"),
    # names of arguments that other clients have, and calls that do not fit
    (lambda: qflows.run(BELL, backend="local-aer", run_key="m"), "'backend'", "did you mean device?"),
    (lambda: qflows.submit(BELL, shots=10, run_key="m"), "'device'", "it takes program, device"),
    (lambda: qflows.batch([BELL], backend="local-aer", shots=10, run_key="m"), "'backend'", "did you mean device?"),
    (lambda: qflows.session("local-aer", max_tme="1m", run_key="m"), "'max_tme'", "did you mean max_time?"),
    (lambda: qflows.group("g", max_tll="1m", run_key="m"), "'max_tll'", "did you mean max_ttl?"),
    (lambda: qflows.import_jobs("ionq", ["a"]), "import_jobs: too many positional arguments", "it takes source, ids"),
    (lambda: qflows.flows.sweep([BELL], device="local-aer", shot=10), "'shot'", "did you mean shots?"),
    (lambda: qflows.flows.sweep(circuits=[BELL], backend="local-aer"), "'backend'", "did you mean device?"),
    (
        lambda: qflows.flows.vqe("h2-0.735", "local-exact", "local-aer", optimzer="SPSA"),
        "'optimzer'",
        "did you mean optimizer?",
    ),
    (lambda: qflows.flows.wall(devices="local-aer"), "'devices'", "it takes none"),
    # choices
    (
        lambda: qflows.flows.vqe.fn("h2-0.735", device="local-exact", mode="sesion"),
        "'sesion'",
        "did you mean 'session'?",
    ),
    (lambda: qflows.flows.vqe.fn("h2-0.735", device="local-exact", gradient="spsa"), "'spsa'", "'parameter-shift'"),
    (lambda: session(max_time=0), "not 0", "leave it out"),
    (lambda: session(mode="dedicatd"), "'dedicatd'", "did you mean 'dedicated'?"),
    (lambda: session(on_exception="keeep"), "'keeep'", "did you mean 'keep'?"),
    (lambda: group(on_exception="stop"), "'stop'", "'close' or 'cancel'"),
    (lambda: group(name=None), "None", "must be text"),
    (lambda: device_names(None), "None", "devices=['local-aer']"),
    (lambda: device_names([5]), "[5]", "devices=['local-aer']"),
    (lambda: run(shots="1000"), "'1000'", "write shots=1000"),
    (lambda: run(shots=1e3), "1000.0", "write shots=1000"),
    (lambda: batch([BELL], max_circuits=0), "not 0", "leave it out"),
    (lambda: run(Path("/")), "is a folder", "give the path of an OpenQASM file"),
    (lambda: run(Path("no/such.qasm")), "no/such.qasm does not exist", "give the path of an OpenQASM file"),
    # what Qiskit says about a PUB comes with its place and how to write it
    (lambda: SamplerV2("local-aer", run_key="m").run([BELL], shots="many"), "PUB 0", "write (circuit, values, shots)"),
    (lambda: EstimatorV2("local-aer", run_key="m").run([(BARE, "ZZ")]), "PUB 0", "write (circuit, observables"),
    (lambda: EstimatorV2("local-aer", run_key="m").run([(BARE, "Z")], precision=-0.1), "PUB 0", "write (circuit"),
    # settings
    (lambda: setting("QFLOWS_LEASE_S", "long"), "QFLOWS_LEASE_S='long'", "correct it or unset it"),
    (lambda: setting("QFLOWS_LEASE_S", "-1"), "QFLOWS_LEASE_S='-1'", "correct it or unset it"),
    (lambda: setting("QFLOWS_RATES", "credits=0.01"), "QFLOWS_RATES is not JSON", """for example QFLOWS_RATES='{"c"""),
    (lambda: setting("QFLOWS_RATES", '{"credits": "much"}'), "QFLOWS_RATES", "for example"),
    (lambda: setting("QFLOWS_CURRENCY", "€"), "QFLOWS_CURRENCY='€'", "QFLOWS_CURRENCY=eur"),
    (lambda: setting("QFLOWS_NAMESPACE", "a/b"), "QFLOWS_NAMESPACE='a/b'", "correct it or unset it"),
    (lambda: setting("QFLOWS_LEDGERURL", "sqlite:///x"), "QFLOWS_LEDGERURL", "did you mean QFLOWS_LEDGER_URL?"),
    (
        lambda: setting("QFLOWS_HOME", "/proc/q") and Settings(home=Path("/proc/q")).make_home(),
        "/proc/q",
        "you may write",
    ),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_mistake_is_answered_with_what_which_and_next(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QFLOWS_HOME", str(tmp_path))
    mistake, which, following = MISTAKES[number]
    with pytest.raises((QflowsError, AttributeError, ValueError, TypeError)) as raised:
        mistake()
    said = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
    assert which in said
    assert following in said
    assert len(said) < 900


def test_there_are_a_hundred_and_every_error_says_what_to_do() -> None:
    assert len(MISTAKES) >= 100

    def below(kind: type[QflowsError]) -> list[type[QflowsError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in below(child))]

    assert all(one.remedy.endswith((".", "`.")) and len(one.remedy) > 20 for one in below(QflowsError))
    assert _CODES[-1][0] is QflowsError
