"""Going live: launch a flow, release it, put it back into shadow mode, see how it compares meanwhile.

In: a flow, a day, a number. Out: a version of the configuration, in force at once; the daily comparison. Never: a
launch without a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated

import sqlalchemy as sa
import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson, FlowName
from crossdock.cli.output import err, out, print_json, print_table, say
from crossdock.errors import ConfigError
from crossdock.services import go_live, people, readiness, shadow
from crossdock.services.configuration import Version
from crossdock.services.people import Person

app = typer.Typer()
REPORT, EVERY = "report", "all"


@contextmanager
def _at_work() -> Iterator[tuple[sa.Connection, Person]]:
    person = people.on_this_machine(context.who())
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        people.begin(connection, person)
        yield connection, person


@app.command("launch")
def launch(
    flow_name: FlowName,
    since: Annotated[
        str | None, typer.Option("--from", help="First day, YYYY-MM-DD: what is older is not made.")
    ] = None,
    cap: Annotated[int | None, typer.Option(help="At most so many records, then wait for --release.", min=1)] = None,
    release: Annotated[bool, typer.Option("--release", help="Go on after the cap.")] = False,
    because: Annotated[str, typer.Option(help="Why, for the record; needed where a gate before it is not green.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a flow live: from a day on, with a cap at first; or release it after its cap."""
    if release == (since is not None) or (release and cap is not None):
        raise ConfigError(
            "A launch has a day, and a release has none.",
            do="Write `crossdock launch orders --from 2026-12-01 --cap 20`, later `crossdock launch orders --release`.",
        )
    with _at_work() as (connection, person):
        if since is None:
            _say(go_live.release(connection, person, flow_name, because), as_json)
            return
        effect = readiness.launch(connection, person, flow_name, _day(since, "--from"), cap, because)
    first = f", at most {cap:,} records at first" if cap else ""
    say(
        effect,
        f"{flow_name} is live from {effect.since} on{first}. Of {effect.records:,} records that are held {effect.go:,} "
        f"are to go, {effect.first:,} of them with the next run.",
        as_json,
    )


@app.command("shadow")
def shadow_command(
    what: Annotated[str, typer.Argument(help="A flow, e.g. orders, or all: back to shadow mode. Or: report.")],
    day: Annotated[str | None, typer.Option(help="Of the report: this day alone, YYYY-MM-DD; compared anew.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Of the report: every difference, for a spreadsheet.")] = False,
    because: Annotated[str, typer.Option(help="Why a flow goes back, for the record.")] = "",
    as_json: AsJson = False,
) -> None:
    """Put a flow back into shadow mode, at once; or `crossdock shadow report`: ours beside what people enter."""
    if what == REPORT:
        _report(_day(day, "--day") if day else None, as_csv, as_json)
        return
    if day or as_csv:
        raise ConfigError("--day and --csv belong to the report.", do="Write `crossdock shadow report --day DAY`.")
    with _at_work() as (connection, person):
        names = go_live.changeable() if what == EVERY else (what,)
        version = go_live.to_shadow(connection, person, *names, why=because)
    _say(version, as_json)


def _report(day: date | None, as_csv: bool, as_json: bool) -> None:
    run = context.run_id()
    with context.runtime() as runtime:
        with err.status("Reading what people have entered …"):
            shadow.refresh(runtime, run)
        with runtime.engine.begin() as connection:
            shadow.compare(connection, [day] if day else (), run_id=run)
            days = shadow.report(connection, day)
            found = [one for each in days for one in shadow.records(connection, each.day, each.flow)]
    if as_json:
        print_json({"days": days, "records": found})
        return
    if as_csv:
        print(shadow.as_csv(found), end="")
        return
    if not days:
        out.print("Nothing was compared: no flow that can be compared is in shadow mode, or it has no document yet.")
    for one in days:
        out.print(one.sentence, soft_wrap=True)
    rows = [
        {"day": one.day, "key": one.key or "", "theirs": one.their_id or "", "verdict": one.verdict.replace("_", " "),
         "differs": "; ".join(f"{d.field}: {d.ours or '?'} → {d.theirs or '?'}" for d in one.differences),
         "later": one.later or ""}
        for one in found
    ]  # fmt: skip
    print_table("Not the same", ("day", "key", "theirs", "verdict", "differs", "later"), rows)


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{option} {text!r} is no day.", do="Write it like 2026-12-01.") from error


def _say(version: Version, as_json: bool) -> None:
    waits = f" It waits for a second person: {', '.join(version.waits_for)}." if version.waits_for else ""
    say(version, f"{version.message}: version {version.number}, {version.state}.{waits}", as_json)
