"""More mistakes, each made for real: in Python, on the command line, in documents, flows, accounts and environments.

A row: a kind, what somebody writes, and three texts that the answer holds: what happened, with which thing, and what
to do next. A line that begins with `qflows`, or with variables before it, is a command; anything else is Python.
`make mistakes` prints them all with their answers.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Mistake:
    """What is written, and what its answer must hold. `files`: what lies in the folder, by name."""

    kind: str
    written: str
    what: str
    which: str
    following: str
    files: dict[str, str] = field(default_factory=dict)

    def ticks(self, said: str) -> tuple[bool, bool, bool]:
        """Whether an answer says what, which and next."""
        return self.what in said, self.which in said, self.following in said


BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
SPOILED = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; hh q[0]; measure q -> c;'
RUN = "device='local-aer', shots=10, run_key='m'"
NEAR = "did you mean"


def _document(name: str, text: str, what: str, which: str, following: str, kind: str = "documents") -> Mistake:
    return Mistake(kind, f"qflows apply --dry-run {name}", what, which, following, {name: text})


def _rows() -> list[Mistake]:
    m = Mistake
    return [
        # verbs of Python
        m("verbs", "qflows.rnu(bell)", "qflows has no 'rnu'", "rnu", NEAR),
        m("verbs", "qflows.archive('a.zip', 'm')", "too many positional", "archive", "it takes path, tag"),
        m("verbs", "qflows.gate()", "missing a required argument", "'device'", "it takes device"),
        m("verbs", "qflows.gate('local-aer', otherwise=5)", "gate has no argument", "'otherwise'", "it takes device"),
        m("verbs", "qflows.verify(pth='a.zip')", "verify has no argument", "'pth'", "did you mean path?"),
        m("verbs", "qflows.page(titel='x')", "page has no argument", "'titel'", "did you mean title?"),
        m("verbs", "qflows.page()", "outside a flow", "qflows.page", "run_key="),
        m("verbs", "qflows.missed_slot(None)", "not a policy for missed slots", "None", "'skip after 2h'"),
        m("verbs", "qflows.missed_slot(policy='skip')", "not a policy", "'skip'", "'skip after 2h'"),
        m("verbs", "qflows.wait_or_suspend(5)", "expected a job", "not 5", "qflows jobs ls"),
        m("verbs", "qflows.refresh(5)", "a job, or its id", "not 5", "qflows jobs ls"),
        m("verbs", "qflows.status(5)", "a job, or its id", "not 5", "qflows jobs ls"),
        m("verbs", "qflows.attach('')", "the ledger has no job", "''", "qflows jobs ls"),
        m("verbs", "qflows.batch_from([])", "needs at least one job", "batch_from", "qflows jobs ls"),
        m("verbs", "qflows.import_jobs(5, since='1d')", "takes a vendor or a device", "not 5", "ionq"),
        m("verbs", "qflows.import_jobs('ionq')", "give ids=", "'ionq'", "since="),
        m("verbs", "qflows.import_jobs('ionq', ids=5)", "ids must be", "not 5", "write ids=['...']"),
        m("verbs", "qflows.import_jobs('ionq', ids=[5])", "ids must be", "not [5]", "write ids=['...']"),
        m("verbs", "qflows.import_jobs('ionq', ids=['a'], since='1d')", "names the jobs", "['a']", "leave out since="),
        m("verbs", "qflows.import_jobs('ionq', since='lately')", "neither a date", "'lately'", "'7d'"),
        m("verbs", "qflows.import_jobs('ionq', since='1d', tag=5)", "tag must be text", "not 5", "write tag='5'"),
        m("verbs", "qflows.import_jobs('local', since='1d')", "no jobs bought elsewhere", "local", "another vendor"),
        m("verbs", f"qflows.run(bell, mitigate=5, {RUN})", "not a technique", "5", "choose from readout"),
        m("verbs", f"qflows.run(bell, mitigate='zn', {RUN})", "unknown technique", "'zn'", "choose from readout, zne"),
        m("verbs", f"qflows.run(bell, mitigate={{'zne': {{'scal': 1}}}}, {RUN})", "setting", "zne.scal", "factors"),
        m("verbs", f"qflows.run(bell, mitigate={{'zne': {{'factors': [2, 4]}}}}, {RUN})", "odd", "factors", "1 to"),
        m("verbs", "qflows.jobs(tags={'a': 'b'})", "there is no filter", "'tags'", "did you mean tag?"),
        m("verbs", "qflows.batches(stats='failed')", "there is no filter", "'stats'", "did you mean status?"),
        m("verbs", "qflows.runs(since='x')", "neither a date", "'x'", "'7d'"),
        # primitives
        m("primitives", "SamplerV2(mode='local-aer', run_key='p')", "no argument", "'mode'", "did you mean device?"),
        m("primitives", "EstimatorV2(run_key='p')", "missing a required argument", "'device'", "it takes device"),
        m("primitives", "EstimatorV2('local-aer', run_key='p', precison=0.1)", "no argument", "'precison'", NEAR),
        m("primitives", "EstimatorV2('local-aer', run_key='p', options={'default_precision': 0.1})", "no option",
          "'default_precision'", "pass precision="),
        m("primitives", "EstimatorV2('ionq-simulator', run_key='p', options={'noise_modl': 'aria-1'})", "no option",
          "'noise_modl'", "did you mean noise_model?"),
        m("primitives", "SamplerV2('local-aer', run_key='p', options='x')", "must be a mapping", "'x'", "such as {"),
        m("primitives", "SamplerV2('local-aer', run_key='p', on_change='x')", "on_change is one of", "'x'", "'warn'"),
        # programs
        m("programs", f"qflows.batch([(open_, [1.0]), (open_, [1.0, 2.0])], {RUN})", "2 values for 1 parameters",
          "circuit 1: program 'open'", "give one value each"),
        m("programs", f"qflows.run((open_, [[1], [2, 3]]), {RUN})", "one flat sequence", "'open'", "qflows.batch"),
        m("programs", f"qflows.batch(open_, values=[[1.0]], {RUN})", "batch has no argument", "'values'", "it takes"),
        m("programs", "qflows.run(wide, device='ionq-simulator', shots=10, run_key='m')", "it has 40 qubits", "'wide'",
          "choose a wider device"),
        m("programs", "qflows.run(mid, device='braket-sv1', shots=10, run_key='m')", "does not take mid-circuit",
          "'mid'", "measure each qubit once"),
        m("programs", "qflows.run(branch, device='ionq-simulator', shots=10, run_key='m')", "feed-forward", "'branch'",
          "choose a device that does"),
        m("programs", f"qflows.run(bell, reference=5, {RUN})", "run has no argument", "'reference'", "it takes"),
        m("programs", f"qflows.batch([bell], reference=5, {RUN})", "cannot make a program", "reference 1",
          "a mapping with 'circuit'"),
        m("programs", "qflows.run('x.qasm', device='local-aer', shots=10, run_key='m')", "no file", "'x.qasm'",
          "give the path"),
        m("programs", "qflows.run(bell, device='ibm-kingston', shots=10, run_key='m', physical_qubits=[0, 9999])",
          "physical_qubits must name", "9999", "from 0 to 155"),
        m("programs", "qflows.run(bell, device='ibm-kingston', shots=10, run_key='m', compile='fast')", "compile=",
          "'fast'", "'default', 'none'"),
        # devices and rules
        m("devices", "qflows.device('ionq-simulater')", "no device", "'ionq-simulater'", "did you mean ionq-simulator"),
        m("devices", "qflows.run(bell, device='ionq:', shots=10, run_key='m')", "no device", "'ionq:'",
          "vendor:device-id"),
        m("devices", "qflows.run(bell, device='ionq:qpu.nope', shots=10, run_key='m')", "ionq has no backend",
          "'qpu.nope'", "qflows devices --live ionq"),
        m("devices", "qflows.run(bell, device='braket:arn:bad', shots=10, run_key='m')", "is not the ARN", "'arn:bad'",
          "qflows devices --live braket"),
        m("devices", "qflows.run(bell, device='best(ibm-*, price)', shots=10, run_key='m')", "not a device", "price",
          "conditions come after a semicolon"),
        m("devices", "qflows.run(bell, device='best(ibm-*; price)', shots=10, run_key='m')", "is not a condition",
          "'price'", "price<5"),
        m("devices", "qflows.run(bell, device='besst(ibm-*)', shots=10, run_key='m')", "unknown verb", "'besst'",
          "did you mean best?"),
        m("devices", "qflows.run(bell, device='cheapest(imb-*)', shots=10, run_key='m')", "no device name matches",
          "'imb-*'", "qflows devices"),
        m("devices", "qflows.run(bell, device='cheapest(ibm-*; queue<soon)', shots=10, run_key='m')", "not a value of",
          "'soon'", "queue<2h"),
        m("devices", "qflows.run(bell, device='cheapest(ibm-*; qubits>=9999)', shots=10, run_key='m')", "no device",
          "qubits>=9999", "Loosen"),
        m("devices", "qflows devices choose 'best of nothing'", "is not a rule", "'best of nothing'", "cheapest("),
        m("devices", "qflows devices --live ionk", "no vendor", "'ionk'", "installed: braket"),
        # limits
        m("limits", "qflows.run(bell, device='ionq-simulator', shots=10_000_000, run_key='m')", "at most", "10000000",
          "split them"),
        m("limits", f"qflows.batch([bell], max_circuits='x', {RUN})", "whole number", "'x'", "leave it out"),
        m("limits", f"qflows.batch([bell] * 2, {RUN}).sub_job(7)", "out of range", "circuit 7", "pass 0 to 1"),
        m("limits", f"qflows.batch([bell] * 2, {RUN}).sub_job('a')", "selected by its number", "'a'", "pass 0 to 1"),
        m("limits", f"qflows.batch([bell] * 2, {RUN}).result().counts(3)", "out of range", "circuit 3", "pass 0 to 1"),
        m("limits", f"qflows.run(bell, label='x' * 300, {RUN})", "a label must be text of at most", "xxx", "255"),
        # batch, group and session
        m("sets", "with qflows.group('g', run_key='m') as g: g.results(timeout='soon')", "timeout must be", "'soon'",
          "timeout=600"),
        m("sets", "with qflows.group('g', run_key='m') as g: g.on_all_complete(5)", "give a function", "not 5",
          "'module:function'"),
        m("sets", "with qflows.group('a', run_key='m'), qflows.group('b', run_key='m'): pass",
          "cannot be opened inside",
          "'b'", "ambient=False"),
        m("sets",
          "g = qflows.group('g', run_key='m').__enter__(); g.close(); g.submit(bell, device='local-aer', shots=5)",
          "accepts no more jobs", "'g'", "Open another group"),
        m("sets", "with qflows.session('ibm-kingston', run_key='m') as s: s.run(bell, shots=5, device='local-aer')",
          "cannot be chosen here", "'local-aer'", "leave out device="),
        m("sets", "with qflows.session('ibm-kingston', run_key='m') as s: s.submit(bell, shots=5, session=None)",
          "cannot be chosen here", "None", "leave out session="),
        m("verbs", "qflows.result(vanished(), timeout=120)", "the vendor no longer has this job", "ionq",
          "qflows jobs resolve"),
        m("sets", "with qflows.group('g', run_key='m', tags=5): pass", "tags map text to text", "not 5",
          "{'study': 'a'}"),
        m("sets", "with qflows.group('g', run_key='m', native='ionq-simulator'): pass", "group", "ionq", "native"),
        # documents
        m("documents", "qflows apply --dry-run nowhere.yaml", "no YAML documents", "nowhere.yaml", "give the path"),
        _document("d.yaml", "kind: devise\nname: x\n", "key 'kind'", "d.yaml, line 1", "device"),
        _document("d.yaml", "kind: device\nname: x\nprovider: ionk\ndevice: q\n", "line 3", "ionk",
                  "did you mean 'ionq'"),
        _document("d.yaml", "kind: device\nname: x\nprovider: ionq\n", "is missing", "'device'", "add it"),
        _document("d.yaml", "kind: device\nname: x\nprovider: ionq\ndevise: q\n", "unknown key", "line 4, key 'devise'",
                  "did you mean 'device'?"),
        _document("d.yaml", "a: [1\n", "did not find", "d.yaml, line", "']'"),
        _document("d.yaml", "kind: device\nkind: device\n", "twice", "'kind'", "line 2"),
        _document("b.yaml", "kind: budget\nname: b\namont: 5\n", "unknown key", "'amont'", "did you mean 'amount'?"),
        _document("b.yaml", "kind: budget\nname: b\namount: much\n", "b.yaml, line 3", "'amount'", "decimal"),
        _document("a.yaml", "kind: automation\nname: a\nwhen: [faild]\nnotify: slack\n", "line 3", "'when.0'",
                  "failed"),
        _document("r.yaml", "kind: rule\nname: r\nrule: best of them\n", "not a device rule", "best of them",
                  "cheapest("),
        # blocks and credentials
        _document("c.yaml", "kind: credentials\nname: lab\nblock: qflows-ionq-credentials\nfields: {api_key: abc}\n",
                  "must not contain a secret", "'fields.api_key'", "${NAME_OF_A_VARIABLE}", "credentials"),
        _document("c.yaml", "kind: credentials\nname: lab\nblock: qflows-ionq-credentials\nfields: {api_ky: $X}\n",
                  "unknown key", "'fields.api_ky'", "did you mean 'api_key'?", "credentials"),
        _document("c.yaml", "kind: credentials\nname: lab\nblock: qflows-ionk\nfields: {}\n", "key 'block'",
                  "c.yaml, line 3",
                  "qflows-ionq-credentials", "credentials"),
        _document("c.yaml", "kind: credentials\nname: lab\nblock: qflows-ionq-credentials\n"
                  "fields: {api_key: '${NO_SUCH}'}\n", "not set in the environment", "NO_SUCH", "export it",
                  "credentials"),
        m("credentials", "qflows apply credentials/ionq.yaml", "no API is configured", "PREFECT_API_URL",
          "prefect server start"),
        m("credentials", "IONQ_API_KEY=wrong qflows run bell.qasm --device ionq-simulator", "unknown API key", "ionq",
          "IONQ_API_KEY", {"bell.qasm": BELL}),
        m("credentials", "IONQ_API_KEY= qflows run bell.qasm --device ionq-simulator", "no IonQ API key", "IonQ",
          "set IONQ_API_KEY", {"bell.qasm": BELL}),
        m("credentials", "IONQ_API_URL=http://example.org qflows run bell.qasm --device ionq-simulator", "is not https",
          "http://example.org", "correct the variable", {"bell.qasm": BELL}),
        m("credentials", "qflows accounts same ionk a b", "no vendor", "'ionk'", "installed: braket"),
        # the command line
        m("commands", "qflows rum bell.qasm", "No such command", "'rum'", "Did you mean 'run'?"),
        m("commands", "qflows money", "No such command", "'money'", "There are run, price"),
        m("commands", "qflows runs describe x", "No such command", "'describe'", "There are stop, ls"),
        m("commands", "qflows jobs shw x", "No such command", "'shw'", "Did you mean 'show'?"),
        m("commands", "qflows run", "Missing argument", "FILE.qasm", "qflows run --help"),
        m("commands", "qflows run a.qasm --shot 5", "No such option", "--shot", "--shots"),
        m("commands", "qflows run nowhere.qasm", "no such file", "nowhere.qasm", "give the path"),
        m("commands", "qflows run bad.qasm", "hh", "line 1", "correct the text", {"bad.qasm": SPOILED}),
        m("commands", "qflows run bell.qasm --option seed", "write name=value", "'seed'", "noise_model=",
          {"bell.qasm": BELL}),
        m("commands", "qflows run bell.qasm --shots 0", "needs shots", "local-aer", "shots=1000", {"bell.qasm": BELL}),
        m("commands", "qflows jobs ls --status quued", "no status of jobs", "'quued'", "did you mean queued?"),
        m("commands", "qflows jobs ls --device local-arr", "no device of jobs", "'local-arr'", "qflows ledger where"),
        m("commands", "qflows jobs resolve 1234abcd", "give either", "1234abcd", "--absent"),
        m("commands", "qflows sessions resolve 1234abcd", "give either", "1234abcd", "--absent"),
        m("commands", "qflows batches show zzz", "the ledger has no batch", "'zzz'", "qflows batches ls"),
        m("commands", "qflows budgets set nobudget --amount 5", "no budget", "'nobudget'", "qflows budgets ls"),
        m("commands", "qflows budgets set nobudget --amount much", "not an amount", "'much'", "250"),
        m("commands", "qflows ledger backup nowhere/x.db", "there is no folder", "nowhere", "make it"),
        m("commands", "qflows archive a.zip", "select jobs with", "--tag", "--since"),
        m("commands", "qflows archive nowhere/a.zip --tag a", "there is no folder", "nowhere", "make it"),
        m("commands", "qflows verify bell.qasm", "not a complete archive", "bell.qasm", "zip", {"bell.qasm": BELL}),
        m("commands", "qflows report --since lately", "not a length of time", "'lately'", "'24h'"),
        m("commands", "qflows report --out /proc/x", "cannot be written", "/proc/x", "choose a folder"),
        m("commands", "qflows sandbox start --vendors ionk", "no vendor", "'ionk'", "it has braket"),
        m("commands", "qflows vqe h3", "unknown problem", "'h3'", "choose from h2-0.735"),
        m("commands", "qflows vqe h2-0.735 --optimizer SPSAA", "unknown optimizer", "'SPSAA'", "SPSA"),
        # settings and the environment
        m("settings", "QFLOWS_LEDGER_URL=mysql://x qflows jobs ls", "cannot hold a ledger", "mysql",
          "postgresql+psycopg"),
        m("settings", "QFLOWS_LEDGER_URL=postgresql+psycopg://a:b@127.0.0.1:1/x qflows jobs ls", "cannot be reached",
          "127.0.0.1:1/x", "correct QFLOWS_LEDGER_URL"),
        m("settings", "QFLOWS_LEDGER_URL=sqlite:////proc/nowhere/x.db qflows jobs ls", "cannot be", "/proc/nowhere",
          "folder"),
        m("settings", "QFLOWS_POLL_MIN_S=fast qflows jobs ls", "QFLOWS_POLL_MIN_S", "'fast'", "correct it or unset it"),
        m("settings", "QFLOWS_POL_MIN_S=1 qflows jobs ls", "is not a setting", "QFLOWS_POL_MIN_S", NEAR),
        m("settings", "PREFECT_API_URL=http://127.0.0.1:1/api qflows run bell.qasm --flow", "cannot be reached",
          "127.0.0.1:1",
          "PREFECT_API_URL", {"bell.qasm": BELL}),
        # parameters of flows, in real flow runs
        m("flows", "qflows.flows.sweep([bell], device='local-arr', shots=10)", "no device", "'local-arr'",
          "did you mean local-aer"),
        m("flows", "qflows.flows.sweep([bell], device='local-aer', shots='x')", "shots", "'x'", "whole number"),
        m("flows", "qflows.flows.run_circuits([], device='local-aer')", "is empty", "circuits", "a list of programs"),
        m("flows", "qflows.flows.vqe('h3', device='local-exact')", "unknown problem", "'h3'", "choose from h2-0.735"),
        m("flows", "qflows.flows.vqe('h2-0.735', device='local-exact', optimizer='SPSAA')", "unknown optimizer",
          "'SPSAA'", "choose from"),
        m("flows", "qflows.flows.benchmark(devices=['local-arr'])", "no device", "'local-arr'",
          "did you mean local-aer"),
        m("flows", "qflows.flows.report(since='lately')", "not a length of time", "'lately'", "'24h'"),
        m("flows", "qflows.flows.probe('local-arr')", "no device", "'local-arr'", "did you mean local-aer"),
    ]  # fmt: skip


MISTAKES = _rows()


def main() -> int:
    """Makes them all and prints each with its answer and three ticks, then the score."""
    import pytest

    class Printer:
        told: list[dict[str, Any]] = []

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" and (about := dict(report.user_properties)):
                self.told.append(about)
                ticks = "".join("✓" if one else "·" for one in about["ticks"])
                print(f"\n{ticks} [{about['kind']}] {about['written']}\n      {about['said']}")

    printer = Printer()
    here = str(Path(__file__).with_name("test_mistakes.py"))
    code = pytest.main([here, "-q", "-s", "--tb=no", "--no-header", "--no-summary", "-p", "no:warnings"], [printer])
    whole = sum(all(about["ticks"]) for about in printer.told)
    each = [sum(about["ticks"][one] for about in printer.told) for one in range(3)]
    print(f"\n{len(printer.told)} mistakes: {each[0]} answers say what happened, {each[1]} with which thing, "
          f"{each[2]} what to do next; {whole} say all three")  # fmt: skip
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
