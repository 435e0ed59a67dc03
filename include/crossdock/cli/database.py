"""The Crossdock database.

In: a URL. Out: tables and roles at their newest, or the migration that is missing. Never: a row lost.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import say
from crossdock.settings import PROJECT
from crossdock.store import database

app = typer.Typer(no_args_is_help=True, help="The Crossdock database.")


@app.command("migrate")
def migrate(as_json: AsJson = False) -> None:
    """Create or update the tables, and the roles that work on them."""
    database.migrate(context.database_url())
    say({"migrated": True}, "The Crossdock database is up to date.", as_json)


@app.command("revision")
def revision(
    message: Annotated[str, typer.Option("--message", "-m", help="What the migration brings, in a sentence.")],
    as_json: AsJson = False,
) -> None:
    """Make the migration for what mappings and tables have and the database has not."""
    from crossdock.dev import revision as revisions

    path = revisions.revise(context.database_url(), message)
    shown = str(path.relative_to(PROJECT)) if path and path.is_relative_to(PROJECT) else path and str(path)
    words = f"Wrote {shown}. Look at it, then: crossdock db migrate" if shown else "Nothing is missing; wrote nothing."
    say({"written": shown}, words, as_json)
