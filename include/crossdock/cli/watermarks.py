"""Watermarks: how far each list has been read, and a new start by hand.

In: a flow, a moment. Out: positions. Never: a change without a reason on record.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossdock import flows
from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import print_json, print_table, say
from crossdock.errors import ConfigError
from crossdock.steps import records
from crossdock.store import status as store_status
from crossdock.store import watermarks

app = typer.Typer(no_args_is_help=True, help="How far each list has been read.")


@app.command("show")
def show_watermarks(
    flow: Annotated[str | None, typer.Argument(help="Only this flow.")] = None, as_json: AsJson = False
) -> None:
    """How far each list has been read, by its system's clock; of one flow, or as JSON, its newest change too."""
    context.check_flow(flow)
    names = ("flow", "resource", "position", "newest_version", "longest_gap_seconds", "read_at")
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = [{name: row[name] for name in names} for row in store_status.watermarks(connection, flow)]
    if as_json:
        print_json(rows)
        return
    kept = names if flow else tuple(name for name in names if name not in ("newest_version", "longest_gap_seconds"))
    print_table("Watermarks", kept, rows)


@app.command("set")
def set_watermark(
    flow: Annotated[str, typer.Argument(help="Flow, or reference.")],
    to: Annotated[str, typer.Argument(help="Read on from here, e.g. 2026-11-01T00:00:00Z.")],
    why: Annotated[str, typer.Option(help="Why; kept on record.")] = "",
    resource: Annotated[str, typer.Option(help="The list, e.g. tims.customers; without it, the flow's own.")] = "",
    as_json: AsJson = False,
) -> None:
    """Set by hand from where a list is read on, e.g. after its system's clock was wrong. Kept on record; reading a time
    once more delivers nothing twice."""
    moment = context.moment(to, "TO")
    if not why or moment is None:
        raise ConfigError("A watermark is set for a reason.", do='Give --why "why".')
    if not resource and flow == records.REFERENCE:
        raise ConfigError("Reference data are many lists.", do="Give --resource: `crossdock watermark show reference`.")
    name = resource or flows.get(flow).source.name
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        before = watermarks.put(connection, flow, name, moment, who=context.who(), why=why)
    reported = {"flow": flow, "resource": name, "from": before, "to": moment}
    sentence = f"{name} is read on from {moment:%Y-%m-%d %H:%M} UTC; it stood at {before:%Y-%m-%d %H:%M}."
    say(reported, f"{flow}: {sentence}", as_json)
