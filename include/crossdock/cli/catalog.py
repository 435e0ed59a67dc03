"""The catalogue at the channel: what others changed there, and what is no item of TIMS.

In: `ops` as the catalogue flow keeps it. Out: tables. Never: a call to the channel.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import out, print_json, print_table
from crossdock.store import status as store_status

app = typer.Typer(no_args_is_help=True, help="The catalogue at the channel.")


@app.command("conflicts")
def list_conflicts(
    days: Annotated[int, typer.Option(help="Seen within so many days.", min=1, max=36_500)] = 30,
    as_json: AsJson = False,
) -> None:
    """Fields of TIMS that somebody has changed at the channel: what stood there, what was sent; newest first."""
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = store_status.conflicts(connection, days)
    if as_json:
        print_json(rows)
        return
    named = [row | {"item": row["key"], "product": row["target_key"]} for row in rows]
    print_table("Conflicts", ("seen_at", "item", "product", "field", "theirs", "ours", "resolved"), named)
    out.print(f"Conflicts: {len(rows)}.")


@app.command("orphans")
def list_orphans(as_json: AsJson = False) -> None:
    """Products of the channel that are no item of TIMS, each with the items that are spelt most like it."""
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = store_status.orphans(connection)
    if as_json:
        print_json(rows)
        return
    named = [row | {"product": row["product_sku"], "nearest": ", ".join(row["nearest"])} for row in rows]
    print_table("Products without an item", ("product", "nearest", "first_seen"), named)
    out.print(f"Products without an item: {len(rows)}.")
