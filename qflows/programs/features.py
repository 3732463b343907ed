"""What a program may hold beyond gates and final measurements, and what not every device takes."""

from __future__ import annotations

from enum import StrEnum


class Feature(StrEnum):
    """One thing that a device takes or refuses; the words are those of the vendors' tables in the documentation."""

    BARRIER = "barrier"  # honoured: nothing is merged or cancelled across it
    DELAY = "delay"
    RESET = "reset"  # also at the start of a circuit whose qubits are not known to be in |0>
    MID_CIRCUIT = "mid-circuit measurement"  # something happens after a measurement
    FEED_FORWARD = "feed-forward"  # gates that depend on measured bits
    NATIVE = "native gates"
    PHYSICAL = "physical qubits"  # the program names the device's own qubits and is not placed again
    VERBATIM = "verbatim"  # runs exactly as written, without compiling
