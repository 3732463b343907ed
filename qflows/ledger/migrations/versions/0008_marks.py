"""A mark for each ledger, which ends its job keys."""


from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from qflows.keys import new_mark

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    marks = op.create_table(
        "marks",
        sa.Column("mark", sa.String(8), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [{"mark": new_mark(), "kind": "own", "at": now}]
    has_keys = sa.text("select exists(select 1 from jobs) or exists(select 1 from sessions)")
    if op.get_bind().execute(has_keys).scalar():
        rows.append({"mark": "", "kind": "recognized", "at": now})
    op.bulk_insert(marks, rows)
