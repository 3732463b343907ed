"""The ledger's tables. Times are UTC; leases and look-up delays are seconds of the database's own clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from qflows.privacy.redaction import clean
from qflows.states import LIVE, JobStatus

metadata = sa.MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
)

# The newest migration; a test compares it with Alembic's own head.
HEAD = "0009"

IMPORTED, REBUILT = "imported", "rebuilt"  # values of jobs.origin
_LONGEST_TEXT = 8_000


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Aware UTC datetimes; SQLite has no time zones, so they are stripped and put back."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None else None


class VendorText(sa.types.TypeDecorator[str]):
    """A vendor's text: redacted, without control characters, cut to the column. Also covers what older versions
    wrote."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        length = self.impl_instance.length  # pyright: ignore[reportAttributeAccessIssue]
        return None if value is None else clean(value, cap=length or _LONGEST_TEXT)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else clean(value)


class VendorLongText(VendorText):
    """The same without a column length."""

    impl = sa.Text
    cache_ok = True


class ledger_now(FunctionElement[float]):  # a SQL function, spelt like one
    """Seconds since 1970 by the database's clock, so that machines with other clocks agree on leases."""

    type = sa.Float()
    inherit_cache = True
    name = "ledger_now"


@compiles(ledger_now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **kw: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42; this has millisecond resolution since 3.0
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(ledger_now, "postgresql")
def _postgresql_now(element: Any, compiler: Any, **kw: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


_live = ", ".join(f"'{status.value}'" for status in JobStatus if status in LIVE)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_key", sa.String(512), primary_key=True),
    sa.Column("flow_name", sa.String(255)),
    sa.Column("flow_run_id", sa.String(64)),  # the newest Prefect run that used this key
    sa.Column("first_seen", UtcDateTime, nullable=False),
    sa.Column("last_seen", UtcDateTime, nullable=False),
    sa.Index("ix_runs_flow_name", "flow_name"),
    sa.Index("ix_runs_flow_run_id", "flow_run_id"),
)

programs = sa.Table(  # canonical texts by digest: programs, and estimation plans
    "programs",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("sample", sa.String(64), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("superseded", sa.Boolean, nullable=False),  # a job of the next epoch replaces this one
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("attempt", sa.String(64), nullable=False),  # the newest attempt that wanted it
    sa.Column("earlier_attempt", sa.String(64)),  # the one before; null: this is the first attempt
    sa.Column("label", sa.String(255), nullable=False),
    sa.Column("content", sa.String(64), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("device_id", sa.String(255), nullable=False),
    sa.Column("shots", sa.Integer),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("items", sa.JSON, nullable=False),  # per program: digest, name, observables
    sa.Column("estimate", sa.String(64)),  # digest of the plan that turns counts into expectation values
    sa.Column("n_programs", sa.Integer, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("session_id", sa.String(255)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("vendor_id", sa.String(255)),
    sa.Column("word", VendorText(64)),  # the vendor's own status, as last read
    sa.Column("fence", sa.Integer, nullable=False),  # grows with every claim and every expiry
    sa.Column("claim_owner", sa.String(255)),
    sa.Column("lease_until", sa.Float),
    sa.Column("doubt_since", sa.Float),
    sa.Column("looks", sa.Integer, nullable=False),  # look-ups at the vendor in the present doubt
    sa.Column("look_after", sa.Float),
    sa.Column("send_after", sa.Float),  # a vendor asked for a pause, or could not be reached
    sa.Column("sends", sa.Integer),  # submissions whose answer was lost; null before any
    sa.Column("unsent", sa.Integer),  # consecutive times that it was turned away or could not be sent
    # consecutive times that its answer could not be read; 0: it is stored and was not read yet
    sa.Column("bad_reads", sa.Integer),
    sa.Column("missing_since", sa.Float),  # the vendor's lists do not show a job that they should
    sa.Column("cancel_requested_at", UtcDateTime),
    sa.Column("cancel_sent_at", UtcDateTime),
    sa.Column("error_kind", sa.String(32)),  # refused, failed, cancelled, doubt
    sa.Column("error_code", VendorText(255)),
    sa.Column("error_message", VendorLongText),
    sa.Column("error_retryable", sa.Boolean),
    sa.Column("n_errors", sa.Integer),  # programs of a finished job that have an error instead of counts
    sa.Column("queue_position", sa.Integer),
    sa.Column("queue_note", VendorText(255)),
    sa.Column("is_held", sa.Boolean),  # finished at the vendor, who withholds the results
    sa.Column("cost", sa.Float),
    sa.Column("cost_unit", sa.String(16)),
    sa.Column("cost_is_estimate", sa.Boolean),
    sa.Column("qpu_s", sa.Float),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("claimed_at", UtcDateTime),  # lower bound for look-ups: nothing was sent before the first claim
    sa.Column("submitted_at", UtcDateTime),
    sa.Column("started_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("steps", sa.JSON),  # see `model.Step`: [name, time, whether the vendor said so]
    sa.Column("expected_start_at", UtcDateTime),  # as the vendor predicted last
    sa.Column("expected_end_at", UtcDateTime),
    sa.Column("submission", sa.JSON),  # what the adapter noted when it sent: compiled circuit, calibration snapshot
    sa.Column("provenance", sa.JSON, nullable=False),
    # imported: bought elsewhere, never sent or cancelled here. rebuilt: ours, known by its mark at the vendor only
    sa.Column("origin", sa.String(16)),
    sa.Column("project", sa.String(128)),  # the project it is counted for
    sa.Column("buyer", sa.String(128)),
    sa.Column("deployment", sa.String(255)),
    sa.Index("ix_jobs_run_key", "run_key"),
    # the report reads a night, however many nights there were before
    sa.Index("ix_jobs_created_at", "created_at"),
    sa.Index("ix_jobs_finished_at", "finished_at"),
    # one vendor id belongs to one job: two rows can never adopt the same purchase. PostgreSQL has the same conditions,
    # from the migrations: to name them here would import its drivers
    sa.Index(
        "uq_jobs_vendor_id",
        "vendor_id",
        "provider",
        unique=True,
        sqlite_where=sa.text("vendor_id is not null"),
    ),
    # a tick reads live jobs only, however many finished ones there are
    sa.Index(
        "ix_jobs_live",
        "provider",
        "account",
        sqlite_where=sa.text(f"status in ({_live})"),
    ),
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("job_key", sa.String(64), primary_key=True),
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)

samples = sa.Table(
    "samples",
    metadata,
    sa.Column("scope", sa.String(64), primary_key=True),  # digest of run key, content and attempt
    sa.Column("holder", sa.String(128), primary_key=True),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.UniqueConstraint("scope", "ordinal"),
    sqlite_with_rowid=False,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(48), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("ix_events_subject", "subject"),
)

lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("provider", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(255)),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("next_at", sa.Float, nullable=False),  # the next request; a younger job may bring it forward
    sa.Column(
        "interval_s", sa.Float, nullable=False
    ),  # ahead of the vendor's rate by this much; the pause after errors
    sa.Column("lag_s", sa.Float),  # the longest that a listing was seen to lag behind an accepted submission
    sa.Column("ok_at", sa.Float),  # the last answered poll, and the last unanswered one
    sa.Column("error_at", sa.Float),
    sa.Column("error", sa.Text),
)

same_accounts = sa.Table(  # names of one account: renewed keys, proved by the vendor or declared by a person
    "same_accounts",
    metadata,
    sa.Column("provider", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("other", sa.String(64), primary_key=True),
    sa.Column("proof", sa.String(255), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

raw_answers = sa.Table(  # vendors' answers, stored unchanged
    "raw_answers",
    metadata,
    sa.Column("job_key", sa.String(64), primary_key=True),
    sa.Column("fetched_at", UtcDateTime, nullable=False),
    sa.Column("codec", sa.String(16), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),  # of the documents, before they were compressed
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),  # of the libraries that fetched it
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # run key, parameters, ordinal, epoch
    sa.Column("sample", sa.String(64), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("device_id", sa.String(255), nullable=False),
    sa.Column("mode", sa.String(32), nullable=False),
    sa.Column("max_time_s", sa.Float),  # seconds, as sent
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # PREPARED, OPENING, IN_DOUBT, OPEN, CLOSED
    sa.Column("vendor_id", sa.String(255)),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255)),  # who works in it; the reconciler closes a dead owner's session
    sa.Column("lease_until", sa.Float),
    sa.Column("doubt_since", sa.Float),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("claimed_at", UtcDateTime),
    sa.Column("opened_at", UtcDateTime),
    sa.Column("closed_at", UtcDateTime),
    sa.Column("close_reason", VendorText(255)),
    sa.Column("project", sa.String(128)),
    sa.Column("buyer", sa.String(128)),
    sa.Column("deployment", sa.String(255)),
    sa.Index(
        "uq_sessions_vendor_id",
        "vendor_id",
        "provider",
        unique=True,
        sqlite_where=sa.text("vendor_id is not null"),
    ),
    sa.Index("ix_sessions_state", "state"),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # run key, contents, ordinal
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("device", sa.String(255), nullable=False),
    sa.Column("device_id", sa.String(255), nullable=False),
    sa.Column("n_circuits", sa.Integer, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("details", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("ix_batches_run_key", "run_key"),
)

batch_parts = sa.Table(  # which circuits a job carries; a re-run of failed circuits is a part of a later generation
    "batch_parts",
    metadata,
    sa.Column("batch_id", sa.String(64), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("indices", sa.JSON, nullable=False),  # [start, stop) ranges, in the order of the job's programs
    sa.Column("job_key", sa.String(64), nullable=False),
    sa.Index("ix_batch_parts_job_key", "job_key"),
)

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),  # run key, name, ordinal
    sa.Column("run_key", sa.String(512), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("max_ttl_s", sa.Float, nullable=False),
    sa.Column("caller", sa.String(128)),  # who opened it as its ambient group; null: by handle only
    sa.Column("owner", sa.String(255)),
    sa.Column("state", sa.String(16), nullable=False),  # OPEN, CLOSED, COMPLETED, FAILED, CANCELLED
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),  # by the database's clock: its opener may be dead by then
    sa.Column("closed_at", UtcDateTime),
    sa.Column("close_reason", sa.String(32)),  # asked, exception, ttl
    sa.Column("native_provider", sa.String(64)),  # the vendor that keeps a group of its own for this one
    sa.Column("native_account", sa.String(64)),
    sa.Column("native_device", sa.String(255)),  # whose profile gives its credentials
    sa.Column("native_id", sa.String(255)),
    sa.Column("callback", sa.String(512)),  # module:function, or a name when only its process can call it
    sa.Column("callback_importable", sa.Boolean),
    sa.Column("callback_state", sa.String(16)),  # PENDING, CLAIMED, DONE, FAILED
    sa.Column("callback_owner", sa.String(255)),
    sa.Column("callback_error", VendorLongText),
    sa.Column("callback_at", UtcDateTime),
    sa.Index("ix_groups_run_key", "run_key"),
    sa.Index("ix_groups_state", "state"),
)

group_members = sa.Table(
    "group_members",
    metadata,
    sa.Column("group_id", sa.String(64), primary_key=True),
    sa.Column("job_key", sa.String(64), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),  # the order of enrollment
    sa.UniqueConstraint("group_id", "position"),
    sa.Index("ix_group_members_job_key", "job_key"),
)

attempts = sa.Table(  # which flow run made a job's `attempt`
    "attempts",
    metadata,
    sa.Column("attempt", sa.String(64), primary_key=True),  # id of the Running state
    sa.Column("run_key", sa.String(512), primary_key=True),
    sa.Column("flow_run_id", sa.String(64), nullable=False),
    sa.Column("root_id", sa.String(64), nullable=False),  # the run whose process it shares; itself unless a subflow
    sa.Column("flow_id", sa.String(64), nullable=False),  # known to the Prefect server that knew the run, to no other
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_attempts_run_key", "run_key"),
    sa.Index("ix_attempts_root_id", "root_id"),
)

waits = sa.Table(  # suspended flow runs, and what wakes them
    "waits",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # the suspension's name in Prefect
    sa.Column("flow_run_id", sa.String(64), nullable=False),
    sa.Column("deadline", sa.Float),  # by the database's clock: wake it then, whatever its jobs do
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Index("ix_waits_flow_run_id", "flow_run_id"),
)

wait_jobs = sa.Table(
    "wait_jobs",
    metadata,
    sa.Column("wait_key", sa.String(64), primary_key=True),
    sa.Column("job_key", sa.String(64), primary_key=True),
)

crash_retries = sa.Table(  # one row per crash that was answered with a retry
    "crash_retries",
    metadata,
    sa.Column("flow_run_id", sa.String(64), primary_key=True),
    sa.Column("state_id", sa.String(64), primary_key=True),  # the Crashed state
    sa.Column("claimed_at", sa.Float, nullable=False),  # by the database's clock
)

measurements = sa.Table(  # what runs measured of devices, for comparison with later nights
    "measurements",
    metadata,
    sa.Column("run_key", sa.String(512), primary_key=True),
    sa.Column("device", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("family", sa.String(32), nullable=False),
    sa.Column("setup", sa.String(64), nullable=False),  # digest of how it was measured: only equal ones are compared
    sa.Column("suite", sa.String(32), nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("std_error", sa.Float, nullable=False),
    sa.Column("unit", sa.String(32), nullable=False),
    sa.Column("n_qubits", sa.Integer, nullable=False),
    sa.Column("shots", sa.Integer, nullable=False),
    sa.Column("is_headline", sa.Boolean, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),  # when the last of its jobs ended
    sa.Column("job_keys", sa.JSON, nullable=False),
    sa.Column("calibration", sa.String(64)),  # null: the vendor gave none
    sa.Index("ix_measurements_series", "device", "name", "setup", "at"),
    sa.Index("ix_measurements_at", "at"),
)

calibrations = sa.Table(  # snapshots as vendors gave them, once each
    "calibrations",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("body", sa.JSON, nullable=False),
)

slots = sa.Table(  # schedule slots that a policy for missed ones examined, and what it decided, once
    "slots",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),  # deployment, slot and parameters: twin runs share it
    sa.Column("deployment_id", sa.String(64), nullable=False),
    sa.Column("slot", UtcDateTime, nullable=False),
    sa.Column("flow_name", sa.String(255), nullable=False),
    sa.Column("flow_run_id", sa.String(64), nullable=False),  # whose start decided
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("skipped", VendorLongText),  # why; null: it ran
    sa.Index("ix_slots_started_at", "started_at"),
)

marks = sa.Table(  # which ledger bought a job: see ledger/marks.py
    "marks",
    metadata,
    sa.Column("mark", sa.String(8), primary_key=True),  # "" for keys that are older than marks
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

points = sa.Table(  # where optimization loops evaluated, see qflows.algorithms.vqe
    "points",
    metadata,
    sa.Column("loop", sa.String(64), primary_key=True),  # key of the job of its first evaluation
    sa.Column("idx", sa.Integer, primary_key=True),  # number of the evaluation, from 1
    sa.Column("point", sa.JSON, nullable=False),
)
