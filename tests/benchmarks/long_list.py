"""A long list of circuits on an emulated vendor: parts fail, jobs vanish, the client is killed, only holes are re-run.

    python tests/benchmarks/long_list.py --vendor ionq --circuits 20000
    python tests/benchmarks/long_list.py --vendor ibm --circuits 1000 5000 20000 --calm     # growth, without faults

Every circuit has an answer of its own (its number modulo 2^width), so a result at a wrong index shows.
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

WIDTH = 5
DEVICES = {"ionq": ("ionq-simulator", 200), "ibm": ("ibm:{device}", 250), "qbraid": ("qbraid:{device}", 100)}

CLIENT = textwrap.dedent(
    """
    import json, os, resource, signal, sys, time
    from pathlib import Path
    from qflows.client import Client, Scope
    from qflows.programs import Program
    from qflows.settings import Settings
    home, device, size, die = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    began = time.monotonic()
    core = Client(Settings(home=home, settle_s=0.5, poll_min_s=0.05))
    programs = [Program.from_text(t) for t in (home / "programs.txt").read_text().splitlines()]
    seen = 0
    def count(kind, key, detail):
        global seen
        seen += kind in ("queued", "completed")
        if die and seen == die:
            os.kill(os.getpid(), signal.SIGKILL)
    core.ledger.listeners.append(count)
    planned = core.plan_batch(programs, device=device, shots=10, max_circuits=size)
    batch = core.create_batch(planned, device=device, scope=Scope("long", str(os.getpid()), "f"))
    core.submit_batch(batch)
    reruns = []
    while True:
        batch.wait()
        holes = batch.rerun_failed()
        if not holes:
            break
        reruns.append(len(holes))
    result = batch.result()
    width = int(sys.argv[5])
    wrong = [i for i, item in enumerate(result) if max(item.counts, key=item.counts.get) != f"{i % 2**width:0{width}b}"]
    print(json.dumps({
        "wrong": wrong[:10], "circuits": len(result), "parts": len(batch.parts),
        "re-run": [len(p.indices) for p in batch.parts if p.generation],
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))
    """
)


def programs(n: int, path: Path) -> None:
    """One text a line; built once per answer, because a text is the same whatever its name."""
    from qiskit import QuantumCircuit

    from qflows.programs import to_program

    texts = []
    for value in range(2**WIDTH):
        circuit = QuantumCircuit(WIDTH, WIDTH)
        for bit in range(WIDTH):
            if value >> bit & 1:
                circuit.x(bit)
        circuit.measure(range(WIDTH), range(WIDTH))
        texts.append(to_program(circuit).text)
    path.write_text("\n".join(texts[i % 2**WIDTH] for i in range(n)))


def client(home: Path, device: str, size: int, die: int, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One life of the client; with `die` it kills itself at that event."""
    return subprocess.run(
        [sys.executable, "-c", CLIENT, str(home), device, str(size), str(die), str(WIDTH)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def run(vendor: str, n: int, *, calm: bool) -> None:
    """One list; prints one JSON line."""
    from qflows.sandbox import Sandbox

    with Sandbox(vendors=(vendor,)) as sandbox, tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        programs(n, home / "programs.txt")
        env = dict(sandbox.env)
        device, size = DEVICES[vendor]
        if "{device}" in device:
            os.environ.update(env)
            from qflows import providers

            info = next(d for d in providers.connect(vendor).devices() if (d.n_qubits or 0) >= WIDTH and d.is_available)
            device = device.format(device=info.device_id)
        if not calm:
            # seven parts fail wholly, among the first; two jobs vanish at the vendor
            sandbox.admin.fault("fail_job", f"{vendor}.submit", skip=3, times=7, code="InternalError", message="boom")
        deaths = [] if calm else [5, n // size // 3 + 5, n // size // 2 + 9]
        began = time.monotonic()
        for die in deaths:
            done = client(home, device, size, die, env)
            assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
        done = client(home, device, size, 0, env)
        assert done.returncode == 0, done.stderr[-3000:]
        found = json.loads(done.stdout.strip().splitlines()[-1])
        bought = sandbox.admin.count_jobs(vendor)
        total = time.monotonic() - began
        assert not found["wrong"], found
        assert bought == found["parts"], (bought, found)
        print(
            json.dumps({"vendor": vendor, "jobs bought": bought, "all lives s": round(total, 1), **found}), flush=True
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vendor", default="ionq", choices=sorted(DEVICES))
    parser.add_argument("--circuits", type=int, nargs="+", default=[20_000])
    parser.add_argument("--calm", action="store_true", help="no faults and no kills: time and memory alone")
    chosen = parser.parse_args()
    for n in chosen.circuits:
        run(chosen.vendor, n, calm=chosen.calm)


if __name__ == "__main__":
    main()
