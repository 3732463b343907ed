"""qflows beside prefect-qiskit 0.2.1 on the same emulated IBM Quantum: what one fault makes each of them buy.

    python tests/benchmarks/peer_prefect_qiskit.py            # makes the peer's own environment in a temporary folder
    python tests/benchmarks/peer_prefect_qiskit.py --venv DIR # keeps it there for the next time

The peer is installed unchanged, with the pins without which its Prefect server cannot start. It runs with
max_retry=2, retry_delay=1. Same circuit, same device, same fault, one call of each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

PEER = ["prefect-qiskit==0.2.1", "prefect>=3.8,<3.9", "fastapi>=0.139,<0.151", "sqlalchemy>=2.0,<2.1", "setuptools<81"]

FAULTS: list[tuple[str, dict]] = [
    ("none", {}),
    ("one 503 on a status poll", {"kind": "status", "route": "ibm.get", "status": 503}),
    ("one 429 on a status poll", {"kind": "status", "route": "ibm.get", "status": 429}),
    ("503 three times on a status poll", {"kind": "status", "route": "ibm.get", "status": 503, "times": 3}),
    ("one 503 on the result", {"kind": "status", "route": "ibm.results", "status": 503}),
    ("accepted, then 502 on submit", {"kind": "status", "route": "ibm.submit", "status": 502, "accepted": True}),
    ("accepted, then dropped on submit", {"kind": "drop_after", "route": "ibm.submit"}),
]
# what a status poll is differs: the peer reads each job, qflows reads a list
POLLS = {"peer": "ibm.get", "qflows": "ibm.list"}

PEER_CODE = textwrap.dedent(
    """
    import sys
    from prefect import flow
    from prefect_qiskit import QuantumRuntime
    from prefect_qiskit.vendors.ibm_quantum import IBMQuantumCredentials
    from qiskit import QuantumCircuit
    from qiskit.transpiler.preset_passmanagers import generate_preset_pass_manager
    url, crn, device, iam = sys.argv[1:5]
    credentials = IBMQuantumCredentials(api_key="sandbox", crn=crn, auth_url=iam, runtime_url=url + "/api/v1/")
    runtime = QuantumRuntime(resource_name=device, credentials=credentials, max_retry=2, retry_delay=1)

    @flow
    def experiment():
        circuit = QuantumCircuit(2)
        circuit.h(0); circuit.cx(0, 1); circuit.measure_all()
        pm = generate_preset_pass_manager(optimization_level=1, target=runtime.get_target())
        return runtime.sampler([(pm.run(circuit), None, 100)])

    result = experiment()
    print("OK", sum(result[0].data.meas.get_counts().values()))
    """
)
OUR_CODE = textwrap.dedent(
    """
    import sys
    import qflows
    from qiskit import QuantumCircuit
    circuit = QuantumCircuit(2)
    circuit.h(0); circuit.cx(0, 1); circuit.measure_all()
    result = qflows.run(circuit, device=f"ibm:{sys.argv[3]}", shots=100, run_key="peer")
    print("OK", result.counts.shots)
    """
)


def environment(folder: Path) -> Path:
    """The peer's own virtual environment; returns its python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PEER], check=True)
    return python


def one(python: str, code: str, who: str, fault: dict, home: Path) -> tuple[int, str]:
    """Jobs bought and what the caller saw."""
    from qflows.sandbox import Sandbox

    with Sandbox(vendors=("ibm",), clock="count:2") as sandbox:
        if fault:
            script = dict(fault)
            route = POLLS[who] if script.pop("route") == "ibm.get" else fault["route"]
            sandbox.admin.fault(script.pop("kind"), route, **script)
        device = next(
            entry["name"] for entry in _devices(sandbox) if entry.get("status", {}).get("name", "online") == "online"
        )
        env = {
            **os.environ,
            **sandbox.env,
            "PREFECT_HOME": str(home / "prefect"),
            "QFLOWS_HOME": str(home / f"ledger-{who}-{len(list(home.iterdir()))}"),
            "QFLOWS_SETTLE_S": "1",
            "QFLOWS_POLL_MIN_S": "0.3",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "DO_NOT_TRACK": "1",
        }
        done = subprocess.run(
            [python, "-c", code, sandbox.url, sandbox.env["QISKIT_IBM_INSTANCE"], device, sandbox.env["IAM_URL"]],
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        last = (done.stdout.strip().splitlines() or [""])[-1]
        saw = "counts" if last.startswith("OK") else (done.stderr.strip().splitlines() or ["?"])[-1][:60]
        return sandbox.admin.count_jobs("ibm"), saw


def _devices(sandbox) -> list[dict]:  # noqa: ANN001
    import httpx

    headers = {"Authorization": f"Bearer {_token(sandbox)}", "Service-CRN": sandbox.env["QISKIT_IBM_INSTANCE"]}
    return httpx.get(f"{sandbox.url}/api/v1/backends", headers=headers).json()["devices"]


def _token(sandbox) -> str:  # noqa: ANN001
    import httpx

    form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": "sandbox", "response_type": "cloud_iam"}
    return httpx.post(f"{sandbox.env['IAM_URL']}/identity/token", data=form).json()["access_token"]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="folder of the peer's environment; made if it is not there")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the faults to try")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        peer = environment(chosen.venv or home / "venv")
        print(f"{'fault':<36} {'prefect-qiskit 0.2.1':<36} qflows")
        for number, (name, fault) in enumerate(FAULTS):
            if chosen.only and number not in chosen.only:
                continue
            theirs, they_saw = one(str(peer), PEER_CODE, "peer", fault, home)
            ours, we_saw = one(sys.executable, OUR_CODE, "qflows", fault, home)
            print(f"{name:<36} {f'{theirs} jobs, {they_saw}':<36.36} {ours} jobs, {we_saw}", flush=True)


if __name__ == "__main__":
    main()
