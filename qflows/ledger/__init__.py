"""The SQL record of every intent, purchase and count: the only guard against buying twice."""

from qflows.ledger.store import Ledger

__all__ = ["Ledger"]
