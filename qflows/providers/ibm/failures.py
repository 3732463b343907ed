"""Whether buying a failed job again can help, by IBM's error codes.

Sources: REGISTRY is IBM's error code registry (quantum.cloud.ibm.com/docs/errors, read 2026-11); SEEN are answers of
269 jobs on the Open plan, June to September 2026 (TuguiDragos/n8n-nodes-ibm-quantum); CLIENT is qiskit-ibm-runtime
0.51.0. A code that is in none of them says nothing either way.
"""

from __future__ import annotations

RAN_TOO_LONG = "1305"
SESSION_CLOSED = "1217"
WRONG_REGION = "1279"

# True: the same job may succeed. False: it fails the same way until it is changed.
BUY_AGAIN: dict[str, bool] = {
    "1002": False,  # REGISTRY: not valid to run on this backend
    "1003": False,  # REGISTRY: error in transpilation
    "1005": False,  # REGISTRY: basis gates not available
    "1006": True,  # REGISTRY: converter service; "retry the action"
    "1007": False,  # REGISTRY: backend not found
    "1008": True,  # REGISTRY: error during validation; "retry the action"
    "1009": False,  # REGISTRY: backend information not found; "use another backend"
    "1010": True,  # REGISTRY: error at backend level; "retry the action"
    "1011": True,  # REGISTRY: error at the backend queue; "retry the action"
    "1200": False,  # REGISTRY: not authorized
    "1204": False,  # REGISTRY: too many tags
    "1205": False,  # REGISTRY: tag too long
    SESSION_CLOSED: True,  # SEEN: still queued when its session was closed; 0 s charged
    RAN_TOO_LONG: False,  # CLIENT: over max_execution_time, or the instance's limit; the same job needs as long again
    "1336": False,  # out of memory: 300 PUBs of 85 qubits failed where 100 passed (SSIT-Q/gradvar-phoenix, 2026-09)
    "1352": False,  # SEEN: the plan has no dedicated sessions
    "1501": False,  # SEEN: observables
    "1503": False,  # SEEN: refused by validation
    "1506": False,  # SEEN: the program cannot be read
    "1515": False,  # SEEN: refused by validation
    "1517": False,  # SEEN: not in the device's own gates
    "1519": False,  # SEEN: fractional gates with twirling
    "1520": False,  # SEEN: over 10,000,000 executions
    "1603": False,  # SEEN: the program cannot be read
}


def helps_to_buy_again(code: str | None) -> bool | None:
    """True, False, or None if no source says."""
    return None if code is None else BUY_AGAIN.get(code)
