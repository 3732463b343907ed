"""The qBraid Runtime API (REST v1), as an emulator."""

from qflows.sandbox.qbraid.api import Qbraid as Emulator

__all__ = ["Emulator"]
