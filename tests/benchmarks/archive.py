"""A sweep in one archive, opened and verified in an environment of its own that has only qflows and the file.

`make archive-show`, or `python tests/benchmarks/archive.py --points 1000 --validator`. Prints seconds and bytes. The
environment is made by pip, or uv where it is at hand, from the wheel of this checkout, with the extra that the docs
name. `--here` verifies with this interpreter instead, in an empty home. `--validator` also lets the official validator
of RO-Crates (PyPI: roc-validator) look at it, from one more environment.
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


def sweep(folder: Path, points: int, shots: int) -> Path:
    """Buys a sweep from the sandbox and archives it; returns the file."""
    import numpy as np
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    from qflows.core.client import Client
    from qflows.core.scope import Scope
    from qflows.sandbox import Sandbox
    from qflows.settings import Settings

    angles = ParameterVector("a", 2)
    circuit = QuantumCircuit(2, 2, name="sweep")
    circuit.ry(angles[0], 0)
    circuit.ry(angles[1], 1)
    circuit.cx(0, 1)
    values = np.linspace(0, np.pi, 2 * points).reshape(points, 2)
    with Sandbox(vendors=("ionq",)) as running:
        os.environ |= running.env
        core = Client(Settings(home=folder / "home", poll_min_s=0.05))
        began = time.perf_counter()
        batch = core.submit_list(
            (circuit, values), Scope("sweep", "1", "sweep"), device=DEVICE, shots=shots, observables=[("ZZ", 1.0)]
        )
        found = batch.result(600)
        told("bought and measured", points=found.expectation_values.size, seconds=since(began), jobs=len(batch.parts))
        began = time.perf_counter()
        made = core.archive(folder / "sweep.zip", batch=batch.id, title="A sweep", author="A. N. Author", license="CC0")
        told("archived", seconds=since(began), bytes=made.size, members=made.members)
        core.ledger.close()
    return made.path


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
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qflows-archive-"))
    try:
        archive = sweep(folder, chosen.points, chosen.shots)
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
        return 0 if is_whole else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
