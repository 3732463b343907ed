"""Prices of IonQ: its own estimate, and a direct account's price list for keys that may not ask.

By gates: max(minimum price of a job, shots x (one-qubit gates x c1 + two-qubit gates x c2)), summed over circuits, the
minimum once per job (rate card of a direct account and dry-run quotes, 2026-08; the same on Azure, 2026-04-23).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from qflows.model import Quote, exact

_ONE_QUBIT, _TWO_QUBITS = Decimal("0.000164"), Decimal("0.001121")  # USD per gate and shot
_LEAST, _LEAST_DEBIASED = Decimal("25.79"), Decimal("168.20")  # USD per job
_LISTED = ("qpu.forte-1", "qpu.forte-enterprise-1")
_LIST = "rate card of a direct account, 2026-08, gates as sent; your contract may differ"


def told(body: Mapping[str, Any]) -> Quote | None:
    """An estimate of IonQ in either of its two shapes, with `rate_card` or the older `rate_information`."""
    total = body.get("estimated_total_cost", body.get("estimated_cost"))
    unit = body.get("estimated_unit") or body.get("cost_unit") or "usd"
    if isinstance(total, bool) or not isinstance(total, int | float) or not math.isfinite(total):
        return None
    amount = exact(total)
    return Quote(amount, amount, str(unit)[:16], "IonQ's estimate for the gates as sent, asked now")


def by_list(device_id: str, one_qubit: int, two_qubit: int, shots: int, *, is_mitigated: bool) -> Quote | None:
    """USD by the published prices of Forte; None for other backends."""
    if device_id not in _LISTED:
        return None
    gates = shots * (one_qubit * _ONE_QUBIT + two_qubit * _TWO_QUBITS)
    amount = max(_LEAST_DEBIASED if is_mitigated else _LEAST, gates).quantize(Decimal("0.01"))
    return Quote(amount, amount, "usd", _LIST)
