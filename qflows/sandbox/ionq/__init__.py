"""The IonQ Quantum Cloud API v0.4, as an emulator."""

from qflows.sandbox.ionq.api import IonQ as Emulator

__all__ = ["Emulator"]
