"""Runs, programs, jobs, results, samples, events and lanes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table('attempts',
    sa.Column('attempt', sa.String(length=64), nullable=False),
    sa.Column('run_key', sa.String(length=512), nullable=False),
    sa.Column('flow_run_id', sa.String(length=64), nullable=False),
    sa.Column('root_id', sa.String(length=64), nullable=False),
    sa.Column('flow_id', sa.String(length=64), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('attempt', 'run_key')
    )
    op.create_index('ix_attempts_root_id', 'attempts', ['root_id'], unique=False)
    op.create_index('ix_attempts_run_key', 'attempts', ['run_key'], unique=False)
    op.create_table('batch_parts',
    sa.Column('batch_id', sa.String(length=64), nullable=False),
    sa.Column('part', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('generation', sa.Integer(), nullable=False),
    sa.Column('indices', sa.JSON(), nullable=False),
    sa.Column('job_key', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('batch_id', 'part')
    )
    op.create_index('ix_batch_parts_job_key', 'batch_parts', ['job_key'], unique=False)
    op.create_table('batches',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('run_key', sa.String(length=512), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('device', sa.String(length=255), nullable=False),
    sa.Column('device_id', sa.String(length=255), nullable=False),
    sa.Column('n_circuits', sa.Integer(), nullable=False),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('ix_batches_run_key', 'batches', ['run_key'], unique=False)
    op.create_table('crash_retries',
    sa.Column('flow_run_id', sa.String(length=64), nullable=False),
    sa.Column('state_id', sa.String(length=64), nullable=False),
    sa.Column('claimed_at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('flow_run_id', 'state_id')
    )
    op.create_table('events',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.Column('subject', sa.String(length=128), nullable=False),
    sa.Column('kind', sa.String(length=48), nullable=False),
    sa.Column('detail', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('ix_events_subject', 'events', ['subject'], unique=False)
    op.create_table('group_members',
    sa.Column('group_id', sa.String(length=64), nullable=False),
    sa.Column('job_key', sa.String(length=64), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('group_id', 'job_key'),
    sa.UniqueConstraint('group_id', 'position', name=op.f('uq_group_members_group_id_position'))
    )
    op.create_index('ix_group_members_job_key', 'group_members', ['job_key'], unique=False)
    op.create_table('groups',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('run_key', sa.String(length=512), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('metadata', sa.JSON(), nullable=False),
    sa.Column('max_ttl_s', sa.Float(), nullable=False),
    sa.Column('caller', sa.String(length=128), nullable=True),
    sa.Column('owner', sa.String(length=255), nullable=True),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('expires_at', sa.Float(), nullable=False),
    sa.Column('closed_at', sa.DateTime(), nullable=True),
    sa.Column('close_reason', sa.String(length=32), nullable=True),
    sa.Column('native_provider', sa.String(length=64), nullable=True),
    sa.Column('native_account', sa.String(length=64), nullable=True),
    sa.Column('native_device', sa.String(length=255), nullable=True),
    sa.Column('native_id', sa.String(length=255), nullable=True),
    sa.Column('callback', sa.String(length=512), nullable=True),
    sa.Column('callback_importable', sa.Boolean(), nullable=True),
    sa.Column('callback_state', sa.String(length=16), nullable=True),
    sa.Column('callback_owner', sa.String(length=255), nullable=True),
    sa.Column('callback_error', sa.Text(), nullable=True),
    sa.Column('callback_at', sa.DateTime(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('ix_groups_run_key', 'groups', ['run_key'], unique=False)
    op.create_index('ix_groups_state', 'groups', ['state'], unique=False)
    op.create_table('jobs',
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('sample', sa.String(length=64), nullable=False),
    sa.Column('epoch', sa.Integer(), nullable=False),
    sa.Column('superseded', sa.Boolean(), nullable=False),
    sa.Column('run_key', sa.String(length=512), nullable=False),
    sa.Column('attempt', sa.String(length=64), nullable=False),
    sa.Column('earlier_attempt', sa.String(length=64), nullable=True),
    sa.Column('label', sa.String(length=255), nullable=False),
    sa.Column('content', sa.String(length=64), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('account', sa.String(length=64), nullable=False),
    sa.Column('device', sa.String(length=255), nullable=False),
    sa.Column('device_id', sa.String(length=255), nullable=False),
    sa.Column('shots', sa.Integer(), nullable=True),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.Column('items', sa.JSON(), nullable=False),
    sa.Column('estimate', sa.String(length=64), nullable=True),
    sa.Column('n_programs', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('tags', sa.JSON(), nullable=False),
    sa.Column('session_id', sa.String(length=255), nullable=True),
    sa.Column('status', sa.String(length=16), nullable=False),
    sa.Column('vendor_id', sa.String(length=255), nullable=True),
    sa.Column('word', sa.String(length=64), nullable=True),
    sa.Column('fence', sa.Integer(), nullable=False),
    sa.Column('claim_owner', sa.String(length=255), nullable=True),
    sa.Column('lease_until', sa.Float(), nullable=True),
    sa.Column('doubt_since', sa.Float(), nullable=True),
    sa.Column('looks', sa.Integer(), nullable=False),
    sa.Column('look_after', sa.Float(), nullable=True),
    sa.Column('send_after', sa.Float(), nullable=True),
    sa.Column('missing_since', sa.Float(), nullable=True),
    sa.Column('cancel_requested_at', sa.DateTime(), nullable=True),
    sa.Column('cancel_sent_at', sa.DateTime(), nullable=True),
    sa.Column('error_kind', sa.String(length=32), nullable=True),
    sa.Column('error_code', sa.String(length=255), nullable=True),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.Column('error_retryable', sa.Boolean(), nullable=True),
    sa.Column('n_errors', sa.Integer(), nullable=True),
    sa.Column('queue_position', sa.Integer(), nullable=True),
    sa.Column('queue_note', sa.String(length=255), nullable=True),
    sa.Column('is_held', sa.Boolean(), nullable=True),
    sa.Column('cost', sa.Float(), nullable=True),
    sa.Column('cost_unit', sa.String(length=16), nullable=True),
    sa.Column('cost_is_estimate', sa.Boolean(), nullable=True),
    sa.Column('qpu_s', sa.Float(), nullable=True),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('claimed_at', sa.DateTime(), nullable=True),
    sa.Column('submitted_at', sa.DateTime(), nullable=True),
    sa.Column('started_at', sa.DateTime(), nullable=True),
    sa.Column('finished_at', sa.DateTime(), nullable=True),
    sa.Column('submission', sa.JSON(), nullable=True),
    sa.Column('provenance', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('key')
    )
    op.create_index('ix_jobs_live', 'jobs', ['provider', 'account'], unique=False, sqlite_where=sa.text("status in ('PREPARED', 'SUBMITTING', 'IN_DOUBT', 'QUEUED', 'RUNNING')"), postgresql_where=sa.text("status in ('PREPARED', 'SUBMITTING', 'IN_DOUBT', 'QUEUED', 'RUNNING')"))
    op.create_index('ix_jobs_run_key', 'jobs', ['run_key'], unique=False)
    op.create_index('uq_jobs_vendor_id', 'jobs', ['vendor_id', 'provider'], unique=True, sqlite_where=sa.text('vendor_id is not null'), postgresql_where=sa.text('vendor_id is not null'))
    op.create_table('lanes',
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('account', sa.String(length=64), nullable=False),
    sa.Column('holder', sa.String(length=255), nullable=True),
    sa.Column('lease_until', sa.Float(), nullable=False),
    sa.Column('next_at', sa.Float(), nullable=False),
    sa.Column('interval_s', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('provider', 'account')
    )
    op.create_table('programs',
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('digest')
    )
    op.create_table('results',
    sa.Column('job_key', sa.String(length=64), nullable=False),
    sa.Column('idx', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('body', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('job_key', 'idx'),
    sqlite_with_rowid=False
    )
    op.create_table('runs',
    sa.Column('run_key', sa.String(length=512), nullable=False),
    sa.Column('flow_name', sa.String(length=255), nullable=True),
    sa.Column('flow_run_id', sa.String(length=64), nullable=True),
    sa.Column('first_seen', sa.DateTime(), nullable=False),
    sa.Column('last_seen', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('run_key')
    )
    op.create_index('ix_runs_flow_name', 'runs', ['flow_name'], unique=False)
    op.create_index('ix_runs_flow_run_id', 'runs', ['flow_run_id'], unique=False)
    op.create_table('samples',
    sa.Column('scope', sa.String(length=64), nullable=False),
    sa.Column('holder', sa.String(length=128), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('scope', 'holder'),
    sa.UniqueConstraint('scope', 'ordinal', name=op.f('uq_samples_scope_ordinal')),
    sqlite_with_rowid=False
    )
    op.create_table('sessions',
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('sample', sa.String(length=64), nullable=False),
    sa.Column('epoch', sa.Integer(), nullable=False),
    sa.Column('run_key', sa.String(length=512), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('provider', sa.String(length=64), nullable=False),
    sa.Column('account', sa.String(length=64), nullable=False),
    sa.Column('device', sa.String(length=255), nullable=False),
    sa.Column('device_id', sa.String(length=255), nullable=False),
    sa.Column('mode', sa.String(length=32), nullable=False),
    sa.Column('max_time_s', sa.Float(), nullable=True),
    sa.Column('options', sa.JSON(), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=False),
    sa.Column('vendor_id', sa.String(length=255), nullable=True),
    sa.Column('fence', sa.Integer(), nullable=False),
    sa.Column('owner', sa.String(length=255), nullable=True),
    sa.Column('lease_until', sa.Float(), nullable=True),
    sa.Column('doubt_since', sa.Float(), nullable=True),
    sa.Column('created_at', sa.DateTime(), nullable=False),
    sa.Column('claimed_at', sa.DateTime(), nullable=True),
    sa.Column('opened_at', sa.DateTime(), nullable=True),
    sa.Column('closed_at', sa.DateTime(), nullable=True),
    sa.Column('close_reason', sa.String(length=255), nullable=True),
    sa.PrimaryKeyConstraint('key')
    )
    op.create_index('ix_sessions_state', 'sessions', ['state'], unique=False)
    op.create_index('uq_sessions_vendor_id', 'sessions', ['vendor_id', 'provider'], unique=True, sqlite_where=sa.text('vendor_id is not null'), postgresql_where=sa.text('vendor_id is not null'))
    op.create_table('wait_jobs',
    sa.Column('wait_key', sa.String(length=64), nullable=False),
    sa.Column('job_key', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('wait_key', 'job_key')
    )
    op.create_table('waits',
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('flow_run_id', sa.String(length=64), nullable=False),
    sa.Column('deadline', sa.Float(), nullable=True),
    sa.Column('at', sa.DateTime(), nullable=False),
    sa.PrimaryKeyConstraint('key')
    )
    op.create_index('ix_waits_flow_run_id', 'waits', ['flow_run_id'], unique=False)
