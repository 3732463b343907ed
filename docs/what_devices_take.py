"""Writes the page that says what devices take, as the adapters say it of the emulated vendors: `make takes`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from qflows.sandbox import Sandbox

PAGE = Path(__file__).parent / "what-devices-take.md"
VENDORS = ("ionq", "ibm", "braket", "qbraid")
DEVICES = (
    "local-exact", "local-aer", "local-noisy", "local-braket", "ibm-kingston", "ibm-miami", "ionq-simulator",
    "ionq-forte-1", "braket-sv1", "braket-garnet", "braket-emerald", "braket-cepheus-1-108q", "braket-ibex-q1",
    "braket-forte-1", "qbraid-qir-sv", "qbraid-garnet",
)  # fmt: skip
HEAD = """# What devices take

Beyond gates and measurements at the end. What a device does not take is refused before anything is recorded, with the reason
below; nothing is dropped silently. `qflows devices takes DEVICE` asks the vendors now; `make takes` wrote this page that way,
from the emulated vendors, and a test holds it fresh.

"""


def page() -> str:
    """The page's text, from the command itself."""
    with tempfile.TemporaryDirectory() as home, Sandbox(vendors=VENDORS) as sandbox:
        env = {**os.environ, "QFLOWS_HOME": home, "PYTHONWARNINGS": "ignore"}
        for vendor in sandbox.admin.info()["vendors"].values():
            env |= vendor["env"]
        command = [sys.executable, "-m", "qflows.cli", "devices", "takes", "--markdown", *DEVICES]
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=300)
    return HEAD + told.stdout


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
