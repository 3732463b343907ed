"""One sandbox per vendor for the whole run, emptied before each test.

A vendor's folder says its name in a fixture `vendor` and how to connect in a fixture `provider`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from qflows.testing.fixtures import closed_port, running_sandboxes, sandbox

__all__ = ["closed_port", "running_sandboxes", "sandbox"]

sys.path.insert(0, str(Path(__file__).parent))  # folders share `braket_devices`
