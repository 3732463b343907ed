"""Statements that move a state repeat the state table in their WHERE: `guarded_moves` holds it in every test here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from qflows.ledger import Ledger
from qflows.ledger.tables import jobs
from qflows.states import JobStatus

S = JobStatus


def test_moves_of_jobs_are_seen(make_job: Callable[..., Any], guarded_moves: set[tuple[str, str]]) -> None:
    for status in (S.COMPLETED, S.FAILED, S.IN_DOUBT, S.CANCELLED):
        make_job(status)
    assert guarded_moves >= {("jobs.status", str(status)) for status in (S.SUBMITTING, S.QUEUED, S.IN_DOUBT)}


@pytest.mark.parametrize(
    "where",
    [
        jobs.c.key == "k",
        jobs.c.status.in_([S.PREPARED.value, S.COMPLETED.value]),
        sa.or_(jobs.c.status == S.SUBMITTING.value, jobs.c.status == S.COMPLETED.value),
    ],
    ids=["no guard", "too wide a guard", "too wide an alternative"],
)
def test_statement_that_the_table_does_not_allow_is_found(sqlite_ledger: Ledger, where: sa.ColumnElement[bool]) -> None:
    wrong = sa.update(jobs).where(where).values(status=S.QUEUED.value)
    with pytest.raises(AssertionError), sqlite_ledger.write() as connection:
        connection.execute(wrong)
