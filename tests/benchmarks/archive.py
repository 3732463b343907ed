"""A sweep, a VQE and a group over five vendors in one archive, verified in an environment that has only qflows and it.

`make archive-show`, or `python tests/benchmarks/archive.py --points 1000 --validator`. Prints seconds and bytes. The
environment is made by pip, or uv where it is at hand, from the wheel of this checkout, with the extra that the docs
name. `--here` verifies with this interpreter instead, in an empty home. `--validator` also lets the official validator
of RO-Crates (PyPI: roc-validator) look at it, from one more environment. `--flips` flips one bit in a member of each
kind of a study with 20 points, and prints which check finds it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "ionq-simulator"
RATES = {"credits": "0.01", "qpu_s": "1.6"}  # US dollars
DEVICES = ("ionq-forte-1", "braket-garnet", "ibm-sandbox", "qbraid-qir-sv", "local-aer")


def study(folder: Path, points: int, shots: int) -> Path:
    """Buys a sweep, a VQE and a group over five vendors from the sandbox, and archives them; returns the file."""
    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    from qflows.algorithms.problems import problem
    from qflows.algorithms.vqe import solve
    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.ledger import budgets
    from qflows.ledger.intents import touch_run
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    angles = ParameterVector("a", 2)
    circuit = QuantumCircuit(2, 2, name="sweep")
    circuit.ry(angles[0], 0)
    circuit.ry(angles[1], 1)
    circuit.cx(0, 1)
    values = np.linspace(0, np.pi, 2 * points).reshape(points, 2)
    member = QuantumCircuit(3, 3, name="member")
    member.x(0)
    member.h(2)
    member.measure(range(3), range(3))
    with Sandbox(vendors=("ionq", "qbraid", "braket", "ibm")) as running:
        os.environ |= running.env
        core = Client(Settings(home=folder / "home", poll_min_s=0.05))
        limit = budgets.Budget("study", 10**11, "usd", allow_unknown=True, rates=RATES)  # millionths
        budgets.put(core.ledger, limit)
        touch_run(core.ledger, "study", flow_name="archive", flow_run_id=None)
        began = time.perf_counter()
        batch = core.submit_list(
            (circuit, values), Scope("study", "1", "sweep"), device=DEVICE, shots=shots, observables=[("ZZ", 1.0)]
        )
        found = batch.result(600)
        solved = solve(
            core, Scope("study", "1", "vqe"), problem("h2-0.735"), device="local-aer", shots=200, max_evaluations=8,
            seed=1,
        )  # fmt: skip
        with core.new_group("five", run_key="study") as group:
            scope = Scope("study", "1", "five", group=group.id)
            jobs = [
                core.submit(core.specs(member, device=name, shots=shots), device=name, scope=scope)[0]
                for name in DEVICES
            ]
        with core.open_session("ionq-forte-1", "study", max_time_s=600.0) as session:
            session.run(member, shots=shots + 1)
        core.wait([job.key for job in jobs], timeout=300)
        told(
            "bought and measured", points=found.expectation_values.size, evaluations=solved.n_evaluations,
            group=len(jobs), seconds=since(began), jobs=core.jobs(limit=None).total,
        )  # fmt: skip
        began = time.perf_counter()
        made = core.archive(folder / "study.zip", run="study", title="A study", author="A. N. Author", license="CC0")
        told("archived", seconds=since(began), bytes=made.size, members=made.members)
        core.ledger.close()
    return made.path


def kinds_of(members: dict[str, bytes]) -> dict[str, str]:
    """One member of every kind: a record or table by its own name, programs, plans and answers by their endings."""
    found: dict[str, str] = {}
    for name in sorted(members):
        folder, _, rest = name.partition("/")
        kind = f"{folder}/*.{rest.rpartition('.')[2]}" if folder in ("programs", "plans") else name
        if members[name]:
            found.setdefault("answers/*" if folder == "answers" else kind, name)
    return found


def flips(folder: Path, archive: Path) -> bool:
    """Flips one bit in a member of each kind, and prints which check finds it.

    First as it is: the manifest names the member. Then with a manifest written anew, as one who means it would.
    """
    from qflows.core.archiving import container
    from qflows.core.archiving.verify import verify
    from qflows.core.archiving.write import MANIFEST, manifest

    with zipfile.ZipFile(archive) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    are_found = True
    for kind, name in kinds_of(members).items():
        text, at = members[name], len(members[name]) // 2
        altered = members | {name: text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]}
        found = []
        for is_rewritten in (False, True):
            if is_rewritten and name == MANIFEST:
                continue
            if is_rewritten:
                altered[MANIFEST] = manifest(altered)
            place = folder / "altered.zip"
            place.write_bytes(container.write(altered))
            done = verify(place)
            are_found = are_found and not done.is_whole
            checks = dict.fromkeys(one.check for one in done.findings)
            found.append(", ".join(checks) or "NOT FOUND")
        print(f"  {kind:<36} {found[0]:<24} {' | '.join(found[1:])[:70]}", flush=True)
    told("one flipped bit", kinds=len(kinds_of(members)), found=are_found)
    return are_found


def environment(folder: Path, *packages: str) -> Path:
    """A new environment with these packages; returns its folder of programs."""
    place = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = str(place / "bin" / "python")
    uv = Path(sys.executable).with_name("uv")
    pip = [str(uv), "pip", "install", "--python", python] if uv.exists() else [python, "-m", "pip", "install"]
    subprocess.run([*pip, "--quiet", *packages], check=True)
    return place / "bin"


def wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    uv = Path(sys.executable).with_name("uv")
    if uv.exists():
        subprocess.run([str(uv), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)], check=True)
    else:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
        subprocess.run(build, check=True)
    return next(folder.glob("qflows-*.whl"))


def verified(program: list[str], archive: Path, home: Path) -> dict[str, Any]:
    """What `qflows verify --json` says, with nothing in the environment but PATH and an empty home."""
    began = time.perf_counter()
    done = subprocess.run(
        [*program, "verify", str(archive), "--json"],
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    if not done.stdout:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout) | {"seconds": since(began)}


def validate(folder: Path, archive: Path) -> bool:
    """Whether the official validator finds nothing that RO-Crate 1.1 requires to be otherwise."""
    place = folder / "validator"
    place.mkdir()
    programs = environment(place, "roc-validator", "rocrate==0.13.0")
    crate = place / "crate"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(crate)
    ask = ["validate", "--profile-identifier", "ro-crate-1.1", "--requirement-severity", "REQUIRED", "--no-cache"]
    ask += ["--output-format", "json", "--output-file", str(place / "found.json"), str(crate)]
    script = Path(__file__).with_name("ro_crate_validator.py")
    command = [str(programs / "python"), str(script), "-y", *ask]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if not (place / "found.json").exists():
        raise SystemExit(done.stdout + done.stderr)
    found = json.loads((place / "found.json").read_text())
    told("official validator", passed=found.get("passed"), issues=len(found.get("issues", ())))
    for issue in found.get("issues", ())[:20]:
        print("  ", json.dumps(issue)[:600])
    return bool(found.get("passed"))


def since(began: float) -> float:
    return round(time.perf_counter() - began, 1)


def told(what: str, **numbers: Any) -> None:
    print(f"{what:>24}  " + ", ".join(f"{name} {value}" for name, value in numbers.items()), flush=True)


def main() -> int:
    """Exit code 0 if all is whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--shots", type=int, default=100)
    parser.add_argument("--here", action="store_true", help="verify with this interpreter")
    parser.add_argument("--validator", action="store_true", help="ask the official RO-Crate validator too")
    parser.add_argument("--flips", action="store_true", help="flip one bit in each kind of member")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qflows-archive-"))
    try:
        archive = study(folder, chosen.points, chosen.shots)
        alone = folder / "alone"
        alone.mkdir()
        if chosen.here:
            program = [sys.executable, "-m", "qflows.cli"]
        else:
            began = time.perf_counter()
            program = [str(environment(alone, f"{wheel(folder / 'dist')}[parquet]") / "qflows")]
            told("environment", seconds=since(began))
        done = verified(program, archive, alone)
        told("verified", whole=done["whole"], seconds=done["seconds"], **done["checked"])
        for line in (*done["findings"], *done["notes"]):
            print("  ", line)
        is_whole = bool(done["whole"])
        if chosen.validator:
            is_whole = validate(folder, archive) and is_whole
        if chosen.flips:
            small = folder / "small"
            small.mkdir()
            is_whole = flips(small, study(small, 20, chosen.shots)) and is_whole
        return 0 if is_whole else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
