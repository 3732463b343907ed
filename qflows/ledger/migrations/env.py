"""Runs migrations on the connection that `qflows.ledger.migrate` hands over."""

from alembic import context

from qflows.ledger.tables import metadata

connection = context.config.attributes["connection"]
# the caller holds the transaction and the lock; Alembic must neither begin nor commit its own
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="qflows_version",
    transactional_ddl=False,
)
context.run_migrations()
