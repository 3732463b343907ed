"""A long list of circuits on an emulated vendor: parts fail, jobs vanish, the client is killed, only holes are re-run.

    python tests/benchmarks/long_list.py --vendor ionq --circuits 20000
    python tests/benchmarks/long_list.py --vendor ibm --circuits 1000 4000 20000 --calm     # growth, without faults

No two circuits have the same answer (circuit i gives i in binary), so a result at a wrong index shows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

WIDTH, SHOTS = 15, 10
FAILING, SKIPPED, VANISHING = 7, 3, 2
# device, circuits a job, options; level 0, because every circuit is another one to the compiler
VENDORS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "ionq": ("ionq-simulator", 200, {}),
    "ibm": ("ibm:{device}", 200, {"optimization_level": 0}),
}

CLIENT = textwrap.dedent(
    """
    import json, os, resource, signal, sys, time
    from pathlib import Path
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.programs import Program
    from qflows.settings import Settings
    home, device, size, die = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    width, shots, options = int(sys.argv[5]), int(sys.argv[6]), json.loads(sys.argv[7])
    def peak_mb():
        return round(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
    def cpu_s():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime
    began, imported = time.monotonic(), peak_mb()
    # the emulator runs all jobs of an IBM session inside one answer, once its clock is let go
    core = Client(Settings(home=home, settle_s=0.5, poll_min_s=0.05, http_timeout_s=300, lease_s=900))
    programs = [Program.from_text(t) for t in (home / "programs.txt").read_text().splitlines()]
    seen = 0
    def count(kind, key, *detail):
        global seen
        seen += kind in ("queued", "completed")
        if die and seen >= die:  # several threads count
            os.kill(os.getpid(), signal.SIGKILL)
    core.ledger.listeners.append(count)
    spent = {"read": time.monotonic() - began}
    def lap(name):
        spent[name] = time.monotonic() - began - sum(spent.values())
    planned = core.plan_batch(programs, device=device, shots=shots, max_circuits=size, options=options)
    lap("plan")
    batch = core.create_batch(planned, device=device, scope=Scope("long", str(os.getpid()), "f"))
    lap("record")
    core.submit_batch(batch)
    lap("send")
    reruns = []
    while True:
        batch.wait()
        holes = batch.rerun_failed()
        if not holes:
            break
        reruns += holes
    lap("wait")
    result = batch.result()
    lap("gather")
    wrong = [i for i, item in enumerate(result) if dict(item.counts) != {f"{i:0{width}b}": shots}]
    print(json.dumps({
        "wrong": len(wrong), "first wrong": wrong[:5], "circuits": len(result), "parts": len(batch.parts),
        "circuits re-run": len(reruns), "re-run twice": len(reruns) - len(set(reruns)),
        "last life s": round(time.monotonic() - began, 1), "last life CPU s": round(cpu_s(), 1),
        "by stage s": {k: round(v, 1) for k, v in spent.items()},
        "peak MB": peak_mb(), "after imports MB": imported,
    }))
    """
)


def write_programs(n: int, path: Path) -> None:
    """One canonical text a line; circuit i flips the qubits that are 1 in i."""
    from qflows.programs.program import seal

    if n > 2**WIDTH:
        raise SystemExit(f"{n} circuits need more than {WIDTH} qubits to have answers of their own")
    qubits = range(WIDTH)
    measures = [["measure", [], [qubit], [qubit]] for qubit in qubits]
    with path.open("w") as file:
        for i in range(n):
            ops = [["x", [], [qubit], []] for qubit in qubits if i >> qubit & 1] + measures
            program = seal(
                n_qubits=WIDTH, n_clbits=WIDTH, registers=[("c", qubits)], phase=0.0, ops=ops, name=f"circuit {i}"
            )
            file.write(program.text + "\n")


class Client:
    """Lives of one client on one home: each is a new process that is told to go on with the same list."""

    def __init__(self, home: Path, device: str, size: int, options: dict[str, Any], env: dict[str, str]) -> None:
        self._arguments = [str(home), device, str(size)]
        self._rest = [str(WIDTH), str(SHOTS), json.dumps(options)]
        self._env = {**os.environ, **env}

    def dies_at(self, event: int) -> None:
        """Lives until so many jobs were queued or completed, then kills itself."""
        done = self._life(event)
        assert done.returncode == -signal.SIGKILL, f"exit {done.returncode}: {done.stderr[-3000:]}"

    def finishes(self) -> dict[str, Any]:
        """Lives to the end and reports."""
        done = self._life(0)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-3000:]}"
        return json.loads(done.stdout.strip().splitlines()[-1])

    def _life(self, die: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CLIENT, *self._arguments, str(die), *self._rest]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)


def calm(client: Client, sandbox: Any, vendor: str, n_parts: int) -> dict[str, Any]:
    """No faults and no kills: time and memory alone."""
    return {"vendor": vendor, **client.finishes()}


def stormy(client: Client, sandbox: Any, vendor: str, n_parts: int) -> dict[str, Any]:
    """Seven jobs fail wholly, two vanish while they are queued, the client is killed in three lives of four."""
    if n_parts < 30:
        raise SystemExit("a storm needs 30 parts or more; ask for more circuits, or --calm")
    sandbox.admin.fault(
        "fail_job", f"{vendor}.submit", skip=SKIPPED, times=FAILING, code="InternalError", message="boom"
    )
    sandbox.admin.clock("frozen")
    client.dies_at(5)
    client.dies_at(n_parts // 3)
    queued = sandbox.admin.jobs(vendor)[SKIPPED + FAILING :]
    assert sandbox.admin.forget([job["id"] for job in queued[:VANISHING]]) == VANISHING
    sandbox.admin.clock("instant")
    client.dies_at(n_parts // 3 + n_parts // 2)
    return {"vendor": vendor, **client.finishes()}


def run(vendor: str, n: int, *, is_calm: bool) -> None:
    """One list; prints one JSON line. Fails when a result is wrong, or a job was bought that filled no hole."""
    from qflows.sandbox import Sandbox

    with Sandbox(vendors=(vendor,)) as sandbox, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_programs(n, home / "programs.txt")
        os.environ.update(sandbox.env)
        device, size, options = VENDORS[vendor]
        if vendor == "ibm":
            sandbox.admin.switches("ibm", noise=False)
        if "{device}" in device:
            from qflows import providers

            info = next(d for d in providers.connect(vendor).devices() if (d.n_qubits or 0) >= WIDTH and d.is_available)
            device = device.format(device=info.device_id)
        n_parts = -(-n // size)
        began = time.monotonic()
        scenario = calm if is_calm else stormy
        found = scenario(Client(home, device, size, options, dict(sandbox.env)), sandbox, vendor, n_parts)
        bought = sandbox.admin.count_jobs(vendor)
        holes = 0 if is_calm else FAILING + VANISHING
        print(
            json.dumps({**found, "jobs bought": bought, "all lives s": round(time.monotonic() - began, 1)}), flush=True
        )
        assert not found["wrong"], found
        assert bought == found["parts"] == n_parts + holes, (bought, found["parts"], n_parts, holes)
        assert is_calm or found["re-run twice"] == 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vendor", default="ionq", choices=sorted(VENDORS))
    parser.add_argument("--circuits", type=int, nargs="+", default=[20_000])
    parser.add_argument("--calm", action="store_true", help="no faults and no kills: time and memory alone")
    chosen = parser.parse_args()
    for n in chosen.circuits:
        run(chosen.vendor, n, is_calm=chosen.calm)


if __name__ == "__main__":
    main()
