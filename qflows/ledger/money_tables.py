"""Tables of the money guard. Amounts are whole millionths of a budget's currency, so that sums are exact anywhere."""

from __future__ import annotations

import sqlalchemy as sa

from qflows.ledger.tables import UtcDateTime, metadata

budgets = sa.Table(
    "budgets",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),  # scope, period, currency, policy, rates: see `Budget`
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

budget_periods = sa.Table(  # one row per budget, period and scope value: what every purchase of it locks
    "budget_periods",
    metadata,
    sa.Column("budget", sa.String(64), primary_key=True),
    sa.Column("bucket", sa.String(255), primary_key=True),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("spent", sa.BigInteger, nullable=False),
    sa.Column("extra", sa.BigInteger, nullable=False),  # what approvals added, as far as used
)

quotes = sa.Table(  # the quote for a purchase when it was made, in the vendor's unit; decimal text
    "quotes",
    metadata,
    sa.Column("subject", sa.String(64), primary_key=True),  # key of a job or a session
    sa.Column("unit", sa.String(16)),
    sa.Column("expected", sa.String(40)),
    sa.Column("bound", sa.String(40)),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

charges = sa.Table(  # one row per purchase and budget
    "charges",
    metadata,
    sa.Column("subject", sa.String(64), primary_key=True),
    sa.Column("budget", sa.String(64), primary_key=True),
    sa.Column("bucket", sa.String(255), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),  # WAITING, HELD, SPENT, FREED
    sa.Column("amount", sa.BigInteger, nullable=False),  # what counts now: reserved when HELD, charged when SPENT
    sa.Column("asked", sa.BigInteger, nullable=False),  # what was first reserved
    sa.Column("unit", sa.String(16)),
    sa.Column("rate", sa.String(40)),  # what one unit is worth in the budget's currency; null: unknown
    sa.Column("is_estimate", sa.Boolean, nullable=False),  # `amount` is not from a vendor's bill
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_charges_budget_state", "budget", "state"),
)

approvals = sa.Table(  # what a person allowed, or denied, a run beyond a budget
    "approvals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("budget", sa.String(64), nullable=False),
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("verdict", sa.String(8), nullable=False),  # approve, deny
    sa.Column("who", sa.String(128), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_approvals_budget_run_key", "budget", "run_key"),
)
