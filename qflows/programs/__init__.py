"""Anything a user may pass as a circuit, turned into one canonical `Program` whose digest is its identity.

Importing this package loads neither qiskit nor numpy; they are loaded by the first conversion that needs them.
"""

from __future__ import annotations

from qflows.programs.admission import check_program
from qflows.programs.convert import to_program
from qflows.programs.features import Feature
from qflows.programs.program import SCHEMA, SCHEMA_2, Instruction, Program, Register

__all__ = ["SCHEMA", "SCHEMA_2", "Feature", "Instruction", "Program", "Register", "check_program", "to_program"]
