"""The Crossdock database.

In: a URL. Out: tables and roles at their newest. Never: a row lost.
"""

from __future__ import annotations

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import say
from crossdock.store import database

app = typer.Typer(no_args_is_help=True, help="The Crossdock database.")


@app.command("migrate")
def migrate(as_json: AsJson = False) -> None:
    """Create or update the tables, and the roles that work on them."""
    database.migrate(context.database_url())
    say({"migrated": True}, "The Crossdock database is up to date.", as_json)
