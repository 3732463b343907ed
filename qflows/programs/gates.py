"""The gate names a program text may use. Written out, so that a text can be checked and read without qiskit.

Names, arities and meanings are those of qiskit 2.x standard gates; a test compares this table with qiskit.
"""

from __future__ import annotations

# name -> (number of qubits, number of parameters). `global_phase` is absent: it is folded into the program's phase.
STANDARD: dict[str, tuple[int, int]] = {
    "h": (1, 0), "id": (1, 0), "x": (1, 0), "y": (1, 0), "z": (1, 0), "s": (1, 0), "sdg": (1, 0),
    "sx": (1, 0), "sxdg": (1, 0), "t": (1, 0), "tdg": (1, 0),
    "p": (1, 1), "rx": (1, 1), "ry": (1, 1), "rz": (1, 1), "r": (1, 2),
    "u": (1, 3), "u1": (1, 1), "u2": (1, 2), "u3": (1, 3),
    "ch": (2, 0), "cx": (2, 0), "cy": (2, 0), "cz": (2, 0), "cs": (2, 0), "csdg": (2, 0), "csx": (2, 0),
    "dcx": (2, 0), "ecr": (2, 0), "swap": (2, 0), "iswap": (2, 0),
    "cp": (2, 1), "crx": (2, 1), "cry": (2, 1), "crz": (2, 1), "cu1": (2, 1), "cu3": (2, 3), "cu": (2, 4),
    "rxx": (2, 1), "ryy": (2, 1), "rzz": (2, 1), "rzx": (2, 1), "xx_minus_yy": (2, 2), "xx_plus_yy": (2, 2),
    "ccx": (3, 0), "ccz": (3, 0), "cswap": (3, 0), "rccx": (3, 0),
    "mcx": (4, 0), "c3sx": (4, 0), "rcccx": (4, 0),
}  # fmt: skip

OPAQUE = "opaque:"
"""Prefix of a gate that has only a name: its meaning belongs to the vendor that offers it (IonQ gpi, gpi2, ms, zz)."""

MAX_UNITARY_QUBITS = 6
"""Widest matrix kept as numbers; 6 qubits are 8,192 floats of text."""

DELAY_UNITS = frozenset({"dt", "s", "ms", "us", "ns", "ps"})
