"""Devices chosen by rule, and gates before expensive jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "choices",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("run_key", sa.String(512), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("ranked", sa.JSON(), nullable=False),
        sa.Column("candidates", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_choices_run_key", "choices", ["run_key"])
    op.create_table(
        "choice_purchases",
        sa.Column("choice", sa.String(64), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
    )
    op.create_table(
        "gates",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("run_key", sa.String(512), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("device", sa.String(255), nullable=False),
        sa.Column("look", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_gates_run_key", "gates", ["run_key"])
