"""A map on Ray: samples bought in Ray's processes, and adopted by the next life of the run.

`python tests/benchmarks/ray_maps.py` makes an environment of its own with prefect-ray and runs there; Ray is too large
for the suite's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOW = """
import os
import sys
from prefect import flow, task
from prefect_ray import RayTaskRunner
import qflows

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
# on the loopback address: Ray asks the network for one otherwise, which takes minutes where there is none
LOCAL = {"num_cpus": 2, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}

@task
def sample(index):
    return os.getpid(), qflows.run(BELL, device="ionq-simulator", shots=20, run_key="on-ray").job.key

@flow(task_runner=RayTaskRunner(init_kwargs=LOCAL))
def maps():
    return sample.map(range(8)).result()

if __name__ == "__main__":
    found = maps()
    print(len({pid for pid, _ in found} - {os.getpid()}), len({key for _, key in found}))
"""


def inside() -> int:
    """With Prefect, Ray and qflows at hand: two lives of one run against an emulated IonQ."""
    sys.path.insert(0, str(ROOT / "tests" / "prefect"))
    from prefect_server import running

    from qflows.sandbox import Sandbox

    home = Path(tempfile.mkdtemp(prefix="qf-ray-"))
    (home / "server").mkdir()
    script = home / "maps.py"
    script.write_text(FLOW)
    is_good = True
    with running(home / "server") as server, Sandbox(vendors=("ionq",)) as sandbox:
        env = os.environ | server.env | sandbox.env | {"QFLOWS_HOME": str(home / "q"), "RAY_AUTH_MODE": "disabled"}
        for life in (1, 2):
            done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=300)
            if done.returncode:
                print(done.stderr[-4000:])
                return 1
            processes, keys = done.stdout.split()[-2:]
            jobs = sandbox.admin.count_jobs("ionq")
            print(f"life {life}: 8 samples in {processes} processes of Ray, {keys} keys; {jobs} jobs at the vendor")
            is_good &= keys == "8" and jobs == 8
    return 0 if is_good else 1


def main() -> int:
    """Makes the environment and starts itself in it."""
    if "--inside" in sys.argv:
        return inside()
    with tempfile.TemporaryDirectory(prefix="qf-ray-venv-") as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-e", f"{ROOT}[ray]"], check=True)
        return subprocess.run([str(python), __file__, "--inside"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
