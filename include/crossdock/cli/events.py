"""Events of the systems: which came, what became of them, and the subscriptions that bring them.

In: ids, filters. Out: events, rows that wait again, subscriptions as they should be. Never: a secret; a subscription of
somebody else's address.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import out, print_json, print_table, say
from crossdock.errors import ConfigError
from crossdock.safe import safe
from crossdock.services import received, subscriptions
from crossdock.services.received import Received
from crossdock.store import webhook_events
from crossdock.store.webhook_events import Filter

app = typer.Typer(no_args_is_help=True, help="Events of the systems: look, replay, keep the subscriptions.")
STATES = (*webhook_events.STATES, "all")
NOT_SAID = "It was not said which events."

System = Annotated[str, typer.Option(help="Only of this system: channel_advisor or tims.")]
Flow = Annotated[str | None, typer.Option(help="Only those that this flow reads.")]
Since = Annotated[str | None, typer.Option(help="Received since then, UTC, e.g. 2026-11-30T10:00.")]


@app.command("list")
def list_events(
    system: System = "",
    flow: Flow = None,
    state: Annotated[str, typer.Option(help="waiting, worked, unread, all.")] = "all",
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=context.MOST, help="At most so many, the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Events, the newest first: when each happened at its system, came and was worked, and how long that took."""
    wanted = _filter(system, flow, state, since)
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        rows = [_row(row) for row in webhook_events.listed(connection, wanted, limit)]
    if as_json:
        print_json(rows)
        return
    shown = [
        row
        | {
            "received": _second(row["received_at"]),
            "happened": _second(row["occurred_at"]),
            "worked": _second(row["worked_at"]) or "waits",
            "lag": f"{row['seconds']:.1f} s" if row["flow"] else "",
        }
        for row in rows
    ]
    print_table("Events", ("event_id", "event_type", "flow", "key", "happened", "received", "worked", "lag"), shown)
    out.print(f"Events: {len(rows)}{', the newest' if len(rows) == limit else ''}.")


@app.command("show")
def show_event(id: Annotated[str, typer.Argument(help="Id of the event.")], as_json: AsJson = False) -> None:
    """One event: for each flow that reads it the record, who worked it, and what became of the record."""
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        found = received.find(connection, id)
    if as_json:
        print_json([_row(one.event) | _facts(one) for one in found])
        return
    first = found[0].event
    at_source = f", {_second(first.occurred_at)} by its own clock" if first.occurred_at else ""
    out.print(safe(f"{first.event_id}  {first.event_type or 'without a type'} of {first.system}{at_source}"))
    shown = [
        {
            "flow": one.event.flow or "none",
            "record": one.event.key,
            "received": _second(one.event.received_at),
            "worked": _second(one.event.worked_at) or f"waits for {one.event.seconds:.1f} s",
            "lag": f"{one.event.seconds:.1f} s" if one.event.worked_at and one.event.flow else "",
            "times": one.event.times,
            "run": one.event.run_id,
            "batch": f"{one.batch} ({one.batch_kind}, {one.batch_run})" if one.batch else "",
            "outcome": one.outcome + (f" {one.letter}" if one.letter else ""),
        }
        for one in found
    ]
    print_table("Flows", tuple(shown[0]), shown)
    if letters := [one.letter for one in found if one.letter]:
        out.print(f"What is wrong: crossdock dead-letters show {letters[0]}")


@app.command("replay")
def replay_events(
    which: Annotated[list[str] | None, typer.Argument(help="Ids of events.")] = None,
    system: System = "",
    flow: Flow = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are kept.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have the records of events read once more, by the worker that runs. What has not changed makes no work."""
    if not (which or system or flow or since or everything):
        raise ConfigError(NOT_SAID, do="Give ids, --system, --flow, --since, or --all.")
    wanted = _filter(system, flow, "all", since, which or ())
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        count = webhook_events.count(connection, wanted)
        if not count:
            raise ConfigError(
                "No event that a flow reads is one of these.",
                do="See `crossdock events list`; events that were worked long ago are deleted.",
            )
        if not which and not yes:
            _agree(count, as_json)
        done = webhook_events.replay(connection, wanted)
    say({"replayed": done}, f"Wait again: {done}. The DAG events takes them while it runs.", as_json)


def _agree(count: int, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise ConfigError(
            f"{count:,} events would be worked again, and nobody is there to agree.",
            do="Add --yes if that is right. Nothing was changed.",
        )
    if not typer.confirm(f"Work {count:,} events again?"):
        raise ConfigError("Nothing was changed.", do="Name fewer of them.")


@app.command("subscriptions")
def show_subscriptions(
    apply: Annotated[bool, typer.Option("--apply", help="Make what lacks, end what is not wanted.")] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="The same, and make one anew with the present secret in any case.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The subscriptions at both systems against what should be. Without --apply nothing is changed. The DAG
    subscriptions does the same every hour."""
    with context.runtime() as runtime:
        changes = apply or rotate
        found = subscriptions.apply(runtime, rotate=rotate) if changes else subscriptions.compare(runtime)
    rows = subscriptions.lines(found)
    if as_json:
        print_json({"off": "" if found else subscriptions.EVENTS_OFF, "sources": [_standing(one) for one in found]})
    elif not found:
        out.print(subscriptions.EVENTS_OFF, soft_wrap=True)
    else:
        _print_subscriptions(rows, found, changes)
    if any(one.error for one in found) or not (changes or all(one.is_right for one in found)):
        raise typer.Exit(1)


def _print_subscriptions(rows: list[dict[str, Any]], found: list[subscriptions.Standing], changes: bool) -> None:
    print_table("Subscriptions", ("source", "id", "state", "status", "address", "made_at"), rows)
    for row in rows:
        if row["state"] in ("missing", "other types"):
            types = next(one.types for one in found if one.source == row["source"])
            out.print(f"{row['source']} is to be of {', '.join(types)}.", soft_wrap=True)
    for state in dict.fromkeys(row["state"] for row in rows if row["state"] not in ("good", "missing")):
        out.print(f"{state}: {subscriptions.STATES[state]}.", soft_wrap=True)
    for one in found:
        if changes or one.error or one.off:
            out.print(safe(subscriptions.sentence(one)), soft_wrap=True)
    if not changes and not all(one.is_right for one in found):
        out.print("To make this good: crossdock events subscriptions --apply")


def _standing(one: subscriptions.Standing) -> dict[str, Any]:
    error = {"error": type(one.error).__name__, "message": one.error.message, "do": one.error.do} if one.error else None
    return {
        "source": one.source,
        "system": one.system,
        "off": one.off,
        "is_right": one.is_right,
        "made": one.made,
        "ended": one.ended,
        "error": error,
        "subscriptions": subscriptions.lines([one]),
    }


def _filter(system: str, flow: str | None, state: str, since: str | None, ids: Any = ()) -> Filter:
    if system:
        context.one_of(system, webhook_events.SYSTEMS, "--system")
    context.one_of(state, STATES, "--state")
    context.check_flow(flow)
    return Filter(system, flow or "", "" if state == "all" else state, context.moment(since, "--since"), ids)


def _row(row: sa.Row) -> dict[str, Any]:
    return dict(row._mapping) | {"seconds": round(float(row.seconds), 3)}


def _facts(one: Received) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "event"}


def _second(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""
