"""How the flows are: what is read, at work, waiting and dead; what a look after them finds; the kept check results.

In: the tables of `ops`. Out: tables, a page. Never: a change of a record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from crossdock import flows, settings
from crossdock.cli import context
from crossdock.cli.context import MOST, AsJson
from crossdock.cli.output import held_as_json, out, print_held, print_json, print_table, say, writing
from crossdock.dev import supervisor
from crossdock.errors import ConfigError
from crossdock.safe import safe
from crossdock.services import events, go_live, people
from crossdock.services.events import Events
from crossdock.store import batches
from crossdock.store import status as store_status

app = typer.Typer()

SHOWN_STATES = ("delivered", "unchanged", "waiting", "would_be", "left_out", "staged", "ready")


@app.command()
def status(as_json: AsJson = False) -> None:
    """How far everything has been read, what is at work, waiting and dead."""
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        marks = store_status.watermarks(connection)
        work = store_status.unfinished(connection)
        state = store_status.states(connection, {flow.name: flow.stage for flow in flows.all_flows().values()})
        dead = store_status.dead(connection)
        alerts = store_status.alerts(connection)
        circuits = store_status.circuits(connection)
        missing = store_status.missing_abilities(connection)
        held = batches.held(connection)
        modes = go_live.all_modes(connection)
        badge = go_live.badge(go_live.in_shadow())
        rung = events.panel(connection, people.on_this_machine(context.who()))
    receiver = supervisor.parts_of(settings.run_dir().resolve()).get("receiver", {}).get("said", "")
    if as_json:
        print_json({"watermarks": marks, "unfinished": work, "records": state, "dead_letters": dead,
                     "alerts": alerts, "circuits": circuits, "switched_off": missing, "modes": modes,
                     "events": rung, "receiver": receiver,
                     **held_as_json(held)})  # fmt: skip
        return
    if badge:
        out.print(Text(badge, "bold yellow"))
    launched = [one for one in modes if one.shadow or one.since or one.cap]
    print_table("Modes", ("flow", "sentence"), [{"flow": one.flow, "sentence": one.sentence} for one in launched])
    print_table("Read so far", ("flow", "resource", "position", "read_at"), marks)
    records = [{"flow": name, **counts, "dead_letters": dead.get(name)} for name, counts in state.items()]
    states = [name for name in SHOWN_STATES if any(name in counts for counts in state.values())]
    print_table("Records", ("flow", *states, "dead_letters"), records)
    print_table("Unfinished batches", ("id", "flow", "kind", "step", "read", "in_flight", "created_at"), work)
    print_held(held)
    print_table("Systems that are left alone", ("system", "state", "failures", "opened_at"), circuits)
    print_table("Switched off: the API of the system cannot do it", ("system", "ability", "message"), missing)
    _print_events(rung, receiver)
    print_table("Last alerts", ("last_at", "severity", "title", "times"), alerts)


def _print_events(rung: Events, receiver: str) -> None:
    """What has come by events, and how the receiver is where it is a part of this machine."""
    if receiver:
        out.print(Text(f"The receiver of events {receiver}."))
    rows = [
        {
            "flow": one.flow,
            "last hour": one.received,
            "waiting": one.waiting,
            "since": one.since,
            **{name: f"{leg.usual_seconds:.1f} / {leg.slow_seconds:.1f} s" for name, leg in one.legs.items()},
        }
        for one in rung.flows
    ]
    legs = [name for name in events.LEGS if any(name in row for row in rows)]
    print_table(
        "Events: seconds of half of them, and of 95 in 100", ("flow", "last hour", "waiting", "since", *legs), rows
    )


@app.command("data-docs")
def data_docs(
    folder: Annotated[Path | None, typer.Option(help="Where to write the pages; absent: .run/data-docs.")] = None,
    last: Annotated[int, typer.Option(help="How many of the last check results.", min=1, max=MOST)] = 50,
    as_json: AsJson = False,
) -> None:
    """Write the kept check results as Great Expectations' Data Docs, to be opened in a browser."""
    from crossdock.steps import suites

    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = store_status.check_results(connection, last)
    if not rows:
        raise ConfigError("No batch has been checked yet.", do="Run a flow first: `crossdock sync orders`.")
    results = [{**row["result"], "batch": str(row["batch_id"]), "at": row["created_at"].isoformat()} for row in rows]
    place = folder or settings.run_dir() / "data-docs"
    with writing(place):
        page = suites.build_data_docs(results, place)
    say({"page": str(page)}, f"{len(results)} results: open {page}", as_json)


@app.command()
def watch(as_json: AsJson = False) -> None:
    """Look after the flows now: stale reads, silent sources, lost outcomes, too many dead letters."""
    from crossdock.watch import freshness

    with context.runtime() as runtime:
        findings = freshness.watch(runtime.engine, flows.all_flows(), runtime.inbox)
    if as_json:
        print_json([vars(finding) for finding in findings])
        return
    for finding in findings:
        out.print(Text(safe(finding.title), "bold red"))
        out.print(Padding(Text(safe(finding.body)), (0, 0, 0, 2)))
    out.print("Nothing to worry about." if not findings else "")
