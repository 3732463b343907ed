"""Equal accounts, raw answers of vendors, submission counts, and the health of lanes."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "same_accounts",
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("other", sa.String(64), nullable=False),
        sa.Column("proof", sa.String(255), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "account", "other"),
    )
    op.create_table(
        "raw_answers",
        sa.Column("job_key", sa.String(64), nullable=False),
        sa.Column("fetched_at", sa.DateTime(), nullable=False),
        sa.Column("codec", sa.String(16), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("job_key"),
    )
    for name in ("sends", "unsent", "bad_reads"):
        op.add_column("jobs", sa.Column(name, sa.Integer()))
    for column in (
        sa.Column("lag_s", sa.Float()),
        sa.Column("ok_at", sa.Float()),
        sa.Column("error_at", sa.Float()),
        sa.Column("error", sa.Text()),
    ):
        op.add_column("lanes", column)
