"""Measurements with calibrations, decisions about schedule slots, and indexes for reading one night."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("run_key", sa.String(512), nullable=False),
        sa.Column("device", sa.String(255), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("family", sa.String(32), nullable=False),
        sa.Column("setup", sa.String(64), nullable=False),
        sa.Column("suite", sa.String(32), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("std_error", sa.Float(), nullable=False),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("n_qubits", sa.Integer(), nullable=False),
        sa.Column("shots", sa.Integer(), nullable=False),
        sa.Column("is_headline", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("job_keys", sa.JSON(), nullable=False),
        sa.Column("calibration", sa.String(64)),
        sa.PrimaryKeyConstraint("run_key", "device", "name"),
    )
    op.create_index("ix_measurements_series", "measurements", ["device", "name", "setup", "at"])
    op.create_index("ix_measurements_at", "measurements", ["at"])
    op.create_table(
        "calibrations",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "slots",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("deployment_id", sa.String(64), nullable=False),
        sa.Column("slot", sa.DateTime(), nullable=False),
        sa.Column("flow_name", sa.String(255), nullable=False),
        sa.Column("flow_run_id", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("skipped", sa.Text()),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("ix_slots_started_at", "slots", ["started_at"])
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"])
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
