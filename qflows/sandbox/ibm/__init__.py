"""The IBM Quantum (Qiskit Runtime) API, as an emulator."""

from qflows.sandbox.ibm.api import IBM as Emulator

__all__ = ["Emulator"]
