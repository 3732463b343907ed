"""The steps of a job's processing with their times, and when its vendor expects it to start and end."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("steps", sa.JSON()))
    op.add_column("jobs", sa.Column("expected_start_at", sa.DateTime()))
    op.add_column("jobs", sa.Column("expected_end_at", sa.DateTime()))
