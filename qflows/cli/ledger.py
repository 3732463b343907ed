"""`qflows ledger`: the database behind everything."""

from __future__ import annotations

import typer

from qflows.cli.screen import errors_as_exit_codes
from qflows.settings import Settings

app = typer.Typer(help="The ledger database.", no_args_is_help=True, rich_markup_mode=None)


@app.command("upgrade")
def upgrade() -> None:
    """Bring the ledger's schema to this version of qflows.

    Creates it in an empty database.
    """
    with errors_as_exit_codes():
        from qflows.ledger import engine, migrate

        database = engine.engine_for(Settings().resolved_ledger_url())
        before = engine.version_of(database)
        after = migrate.upgrade(database)
        where = database.url.render_as_string(hide_password=True)
        typer.echo(f"{where}: schema {after}" + (" (was up to date)" if before == after else f" (was {before})"))


@app.command("where")
def where() -> None:
    """Print where the ledger is.

    QFLOWS_LEDGER_URL, else a file in QFLOWS_HOME.
    """
    from sqlalchemy.engine import make_url

    with errors_as_exit_codes():
        typer.echo(make_url(Settings().resolved_ledger_url()).render_as_string(hide_password=True))
