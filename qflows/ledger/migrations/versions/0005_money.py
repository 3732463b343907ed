"""Budgets, what is reserved and spent in them, quotes, approvals; who buys, and for what."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "budget_periods",
        sa.Column("budget", sa.String(64), nullable=False),
        sa.Column("bucket", sa.String(255), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("extra", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("budget", "bucket"),
    )
    op.create_table(
        "quotes",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("unit", sa.String(16)),
        sa.Column("expected", sa.String(40)),
        sa.Column("bound", sa.String(40)),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject"),
    )
    op.create_table(
        "charges",
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("budget", sa.String(64), nullable=False),
        sa.Column("bucket", sa.String(255), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(16)),
        sa.Column("rate", sa.String(40)),
        sa.Column("is_estimate", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "budget"),
    )
    op.create_index("ix_charges_budget_state", "charges", ["budget", "state"])
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("budget", sa.String(64), nullable=False),
        sa.Column("run_key", sa.String(512), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_approvals_budget_run_key", "approvals", ["budget", "run_key"])
    for table in ("jobs", "sessions"):
        for name, length in (("project", 128), ("buyer", 128), ("deployment", 255)):
            op.add_column(table, sa.Column(name, sa.String(length)))
