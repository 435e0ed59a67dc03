"""A new flow, made of a few words.

In: names of lists and documents. Out: files of the project, and what to do next. Never: a change of a file that is
there, or of a database.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import out, print_json
from crossdock.settings import PROJECT

app = typer.Typer()


@app.command("new-flow")
def new_flow(
    name: Annotated[str, typer.Argument(help="Its name, e.g. holds.")],
    source: Annotated[str, typer.Option("--from", help="The list it reads: SYSTEM/LIST, e.g. tims/sales-orders.")],
    target: Annotated[
        str, typer.Option("--to", help="What it writes: SYSTEM/DOCUMENT, e.g. channel_advisor/OrderUpdate.")
    ],
    path: Annotated[
        str, typer.Option("--path", help="Where: a path with a field of the source, e.g. orders/{ExternalOrderID}.")
    ],
    as_json: AsJson = False,
) -> None:
    """Make a flow that runs as it is: package, mapping, checks, DAG, tests, migration (docs/adding-a-flow.md)."""
    from crossdock.dev import new_flow as new
    from crossdock.dev import revision

    database = context.database_url()  # before anything is written
    files = [str(file) for file in new.make(new.Wanted(name, source, target, path))]
    if migration := revision.revise(database, f"{name} on their way"):
        files.append(str(migration.relative_to(PROJECT)))
    following = new.what_next(name)
    if as_json:
        print_json({"written": files, "next": following})
        return
    for line in ["Wrote", *files, "", "Next:", *following]:
        out.print(line, markup=False, soft_wrap=True)
