"""Customers: what orders changed on TIMS's customers.

In: a customer, or none. Out: the last changes. Never: values, unless one customer is asked for.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crossdock.cli import context
from crossdock.cli.context import MOST, AsJson
from crossdock.cli.output import out, print_json, print_table
from crossdock.store import status as store_status

app = typer.Typer(no_args_is_help=True, help="What orders changed on TIMS's customers.")


@app.command("changes")
def customer_changes(
    customer: Annotated[str | None, typer.Option(help="CustomerID: only this one, with its values.")] = None,
    last: Annotated[int, typer.Option(help="How many of the last ones.", min=1, max=MOST)] = 100,
    as_json: AsJson = False,
) -> None:
    """What orders changed on customers, what a person's later value kept, what TIMS refused; newest first."""
    values = () if customer is None else ("old_value", "new_value")
    shown = ("at", "customer_id", "field", "outcome", "order_key", "ordered_at", "row_version", "error", *values)
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = store_status.customer_changes(connection, shown, customer=customer or None, last=last)
    if as_json:
        print_json(rows)
        return
    texts = [{**row, **{name: _value(row[name]) for name in values}} for row in rows]
    print_table("Changes of customers", shown, texts)
    out.print(f"Changes: {len(rows)}.")


def _value(value: Any) -> str:
    """A field of a customer for people: the parts of an address that are given, of several the first one."""
    if isinstance(value, list):
        return _value(value[0]) + (f" (and {len(value) - 1} more)" if len(value) > 1 else "") if value else ""
    if isinstance(value, dict):
        return ", ".join(str(part) for part in value.values() if part)
    return value or ""
