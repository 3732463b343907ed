"""Tables of devices chosen by rule, and of decisions made before expensive jobs were bought."""

from __future__ import annotations

import sqlalchemy as sa

from qflows.ledger.tables import UtcDateTime, metadata

choices = sa.Table(
    "choices",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # run key, what was asked for, ordinal
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("turn", sa.Integer, nullable=False),  # position in `ranked` of the device that counts
    sa.Column("ranked", sa.JSON, nullable=False),  # names of the devices that fit, best first
    sa.Column("candidates", sa.JSON, nullable=False),  # every device considered: its numbers, or why it is left out
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_choices_run_key", "run_key"),
)

choice_purchases = sa.Table(  # jobs and sessions that were wanted on a chosen device
    "choice_purchases",
    metadata,
    sa.Column("choice", sa.String(64), primary_key=True),
    sa.Column("subject", sa.String(64), primary_key=True),  # key of a job or a session
)
gates = sa.Table(  # whether expensive jobs may be bought now, decided once for a run, a name and a look
    "gates",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("look", sa.Integer, nullable=False),  # how many looks came before
    sa.Column("verdict", sa.String(8), nullable=False),  # buy, later, no
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_gates_run_key", "run_key"),
)
