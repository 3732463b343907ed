"""PennyLane's own tests of devices (`pl-device-test`) on ours: `pennylane_devices.py [--device D] [--only WORD]`.

PennyLane ships them; nothing of them is kept here. Counts what passes, what our device refuses and why, and what fails;
ends with 1 if a test fails that is not written below, or if one with an observable that must be refused passes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pennylane

SHOTS = 20_000
EXPECTED = {
    "-Snapshot]": "a snapshot is a state in the middle of a circuit, which no device reports; refused",
    "test_custom_sample_measurement": "a measurement of the user's own needs raw samples inside PennyLane; refused",
}
"""Tests that fail, by a part of their name, and why."""
REFUSED = ("Hermitian", "Projector")
"""Observables that are no Pauli operators."""


def tests(device: str, only: str | None) -> Iterator[tuple[str, str, str]]:
    """(name, outcome, message) of every test."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"),
            *(
                f"--rootdir={folder}",
                f"--junitxml={report}",
                str(Path(pennylane.__file__).parent / "devices" / "tests"),
            ),
            *("--device=qflows", f"--shots={SHOTS}", "--skip-ops"),
            *("--device-kwargs", f"device={device}", "run_key=tests"),
            *(("-k", only) if only else ()),
        ]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "QFLOWS_HOME": folder}, capture_output=True, text=True
        )
        if not report.exists():
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            name = f"{case.get('classname', '').rsplit('.', 1)[-1]}::{case.get('name')}"
            found = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            if found is None:
                yield name, "passed", ""
            elif found.tag != "skipped":
                yield name, "failed", (found.get("message") or "").strip()
            else:
                kind = "refused" if found.get("type") == "pytest.xfail" else "skipped"
                yield name, kind, (found.get("message") or "").strip()


def _short(message: str) -> str:
    """A message without the numbers of its observable."""
    named = next((one for one in REFUSED if one in message), None)
    return f"{named} is not supported" if named else " ".join(message.split())[:110]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="local-aer")
    parser.add_argument("--only", help="as pytest's -k")
    chosen = parser.parse_args()
    found = list(tests(chosen.device, chosen.only))
    counts = Counter(outcome for _, outcome, _ in found)
    print(f"PennyLane {pennylane.__version__} on {chosen.device}: " + ", ".join(f"{n} {o}" for o, n in counts.items()))
    for kind in ("refused", "skipped"):
        for message, n in Counter(_short(message) for _, outcome, message in found if outcome == kind).most_common():
            print(f"  {kind} {n:>3}: {message}")
    wrong = [name for name, outcome, _ in found if outcome == "passed" and any(one.lower() in name for one in REFUSED)]
    for name in wrong:
        print(f"  PASSED though it should be refused: {name}")
    is_good = counts["passed"] > 0 and not wrong
    for name, _, message in (one for one in found if one[1] == "failed"):
        why = next((why for part, why in EXPECTED.items() if part in name), None)
        is_good &= why is not None
        print(f"  failed {name}: {why or 'NOT EXPECTED: ' + message[:200]}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
