"""From what a device reports about qubits to counts keys: decided once, here, for every vendor.

A key holds every classical register, the first declared one rightmost, separated by one space; within a register the
rightmost character is bit 0. A classical bit that nothing writes reads "0". Bits in no register are leftmost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from qflows.errors import Unreadable
from qflows.model import Counts
from qflows.programs import Program

Outcome = TypeVar("Outcome")
Weight = TypeVar("Weight", int, float)


@dataclass(frozen=True)
class Readout:
    """Where each outcome bit of one program belongs."""

    groups: tuple[tuple[int, ...], ...]  # classical bits per register, in the order in which a key is read
    measured: tuple[tuple[int, int], ...]  # (qubit, clbit), ascending clbit

    def from_clbits(self, value: int) -> str:
        """Key for a classical memory given as an integer: bit k of `value` is classical bit k."""
        return " ".join("".join("1" if value >> bit & 1 else "0" for bit in group) for group in self.groups)

    def from_qubits(self, value: int) -> str:
        """Key for a basis state given as an integer: bit k of `value` is qubit k."""
        memory = 0
        for qubit, clbit in self.measured:
            memory |= (value >> qubit & 1) << clbit
        return self.from_clbits(memory)

    @cached_property
    def measured_qubits(self) -> tuple[int, ...]:
        """As `Program.measured_qubits`: each once, in the order of the first clbit they are read into."""
        return tuple(dict.fromkeys(qubit for qubit, _ in self.measured))

    @cached_property
    def _columns(self) -> tuple[tuple[int, int], ...]:
        place = {qubit: column for column, qubit in enumerate(self.measured_qubits)}
        return tuple((place[qubit], clbit) for qubit, clbit in self.measured)

    def from_measured(self, text: str) -> str:
        """Key for a string of outcomes in the order of `measured_qubits`; a qubit read into two bits is there once."""
        if len(text) != len(self.measured_qubits):
            raise Unreadable(f"an outcome has {len(text)} bits where {len(self.measured_qubits)} qubits are measured")
        memory = 0
        for column, clbit in self._columns:
            memory |= (text[column] == "1") << clbit
        return self.from_clbits(memory)


@lru_cache(maxsize=1024)
def _readout(n_clbits: int, registers: tuple[tuple[int, ...], ...], measured: tuple[tuple[int, int], ...]) -> Readout:
    in_register = {bit for bits in registers for bit in bits}
    loose = tuple(bit for bit in range(n_clbits) if bit not in in_register)
    ordered = ((loose,) if loose else ()) + tuple(reversed(registers))
    return Readout(tuple(tuple(reversed(bits)) for bits in ordered if bits), measured)


def readout(program: Program) -> Readout:
    """The layout of `program`'s keys."""
    return _readout(program.n_clbits, tuple(register.bits for register in program.registers), program.measured)


def merge(pairs: Mapping[Outcome, Weight], key_of: Callable[[Outcome], str]) -> dict[str, Weight]:
    """Sums the values of outcomes that share a key, which happens when not every qubit is measured."""
    merged: dict[str, Any] = {}
    for outcome, value in pairs.items():
        key = key_of(outcome)
        merged[key] = merged.get(key, 0) + value
    return dict(sorted(merged.items()))


def sample(probabilities: Mapping[str, float], shots: int, seed: int) -> tuple[Counts, tuple[str, ...]]:
    """Draw `shots` outcomes: the histogram and the shot-by-shot record. Equal seeds draw equal shots.

    Used where a vendor computes exact probabilities and leaves sampling to the client.
    """
    import numpy as np

    keys = sorted(probabilities)
    weights = np.array([max(probabilities[key], 0.0) for key in keys])
    draws = np.random.Generator(np.random.PCG64(seed)).choice(len(keys), size=shots, p=weights / weights.sum())
    memory = tuple(keys[i] for i in draws)
    numbers = np.bincount(draws, minlength=len(keys))
    return Counts({key: int(n) for key, n in zip(keys, numbers, strict=True) if n}), memory


def check_total(counts: Mapping[str, int], shots: int | None, where: str) -> None:
    """Raise Unreadable unless the histogram adds up to `shots`."""
    total = sum(counts.values())
    if shots is not None and total != shots:
        raise Unreadable(f"{where} returned {total} shots where {shots} were requested")
