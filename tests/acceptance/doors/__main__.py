"""`make doors`: one program through every door, on every vendor's sandbox, 500 times.

Qiskit, OpenQASM 2 and 3, Braket's Circuit and its OpenQASM object, IonQ's JSON and qBraid's programs; counts against
exact distributions, and every tenth job read back by the vendor's own client.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from typing import Any

from acceptance.doors.compare import DEVICES, DYNAMIC, VENDORS, compare, compare_dynamic, prepare
from qflows.core.client import Client
from qflows.sandbox import Sandbox
from qflows.settings import Settings

_SHOWN = 20


def main() -> int:
    """0 if all doors agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=500)
    parser.add_argument("--dynamic", type=int, default=100, help="programs with branches, resets, early measurements")
    parser.add_argument("--first", type=int, default=0, help="seed of the first program")
    parser.add_argument("--only", nargs="+", choices=DEVICES, default=DEVICES, metavar="DEVICE")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    dynamic = [device for device in DYNAMIC if device in chosen.only]
    given: dict[str, Any] = {"first": chosen.first, "tell": lambda text: print(text, flush=True)}
    with tempfile.TemporaryDirectory() as home, Sandbox(vendors=VENDORS) as sandbox:
        for vendor in sandbox.admin.info()["vendors"].values():
            os.environ.update(vendor["env"])
        os.environ["QFLOWS_HOME"] = home
        prepare(sandbox)
        core = Client(Settings(settle_s=0.2, poll_min_s=0.001))
        found = [
            ("programs", compare(core, chosen.programs, devices=chosen.only, **given)),
            ("dynamic programs", compare_dynamic(core, chosen.dynamic, devices=dynamic, **given)),
        ]
        core.ledger.close()
    wrong = 0
    for name, told in found:
        print(f"{told.programs} {name}, seeds from {chosen.first}: {len(told.disagreements)} disagreements")
        for where, n in told.compared.items():
            print(f"  {where:<40} {n} compared")
        for what, n in sorted(told.refused.items()):
            print(f"  {what:<40} {n} refused")
        for one in told.disagreements[:_SHOWN]:
            print(f"  {one[:600]}")
        wrong += len(told.disagreements)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
