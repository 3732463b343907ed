"""Whether buying a failed job again may help, by IonQ's failure codes.

Codes: API v0.4 description, 2026-09-02, `failure.code`; the classification is ours. A code not listed is unknown.
"""

from __future__ import annotations

_NO = (
    # the circuit, its size or its settings
    "InvalidInput",
    "UnsupportedGate",
    "NotEnoughQubits",
    "TooManyControls",
    "TooManyGates",
    "TooManyShots",
    "TooLongPredictedExecutionTime",
    "QuantumCircuitComplexityError",
    "CompilationError",
    "OptimizationError",
    "PreflightError",
    "DebiasingError",
    "SimulationError",
    # the account, until somebody fixes it
    "QuotaExhaustedError",
    "ContractExpiredError",
)
_YES = ("InternalError", "QuantumComputerError", "SystemCancel", "SimulationTimeout")

BUYING_AGAIN_HELPS: dict[str, bool | None] = {
    **dict.fromkeys(_NO, False),
    **dict.fromkeys(_YES, True),
    "UnknownBillingError": None,
}


def helps_to_buy_again(code: str | None) -> bool | None:
    """True, False, or None if IonQ's documents do not say."""
    return BUYING_AGAIN_HELPS.get(code) if code else None
