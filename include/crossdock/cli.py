"""`crossdock`: every step of every flow from a shell, with the same functions that the DAGs call.

In: words and AIRFLOW_CONN_* in the environment. Out: what a person reads, or JSON with --json; exit code 0 only when
all went well. Never: a traceback for something a person can mend; personal data unless one record is asked for.
"""

from __future__ import annotations

import getpass
import io
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import sqlalchemy as sa
import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crossdock import flows
from crossdock.errors import AuthError, BatchStopped, ConfigError, CrossdockError, Transient
from crossdock.flow import Flow
from crossdock.safe import Formatter, safe, safe_json
from crossdock.steps import records
from crossdock.store import accuracy, batches, database, dead_letters, faults, runs, watermarks
from crossdock.store.tables import (
    ops_alert,
    ops_batch,
    ops_check_result,
    ops_circuit,
    ops_conflict,
    ops_customer_change,
    ops_dead_letter,
    ops_orphan,
    ops_watermark,
)

if TYPE_CHECKING:
    from crossdock.ledger.close import Balance, Closing
    from crossdock.ledger.controls import Control
    from crossdock.watch.reconcile import Outcome

COMMANDS = "crossdock.commands"  # entry points of other packages that give commands: a name and its typer app
EXIT_CODES = {ConfigError: 2, AuthError: 3, Transient: 4, BatchStopped: 5}
CONTROL_FAILED = 6
UNEXPLAINED = 7
SHOWN_STATES = ("delivered", "unchanged", "waiting", "left_out", "staged", "ready")
SENTENCE = 12  # columns that a text of several words is given at least
AGAIN_BY_ITSELF = "Have the record mended in its system; the next run reads it and closes the dead letter."
MOST = 1_000_000  # rows that one command shows
SHOWN = 20  # differences of one control that are printed; --json has all

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Keeps Channel Advisor and TIMS in step.",
)
letters = typer.Typer(no_args_is_help=True, help="Refused records: look, mend, replay, dismiss.")
db = typer.Typer(no_args_is_help=True, help="The Crossdock database.")
mapping_app = typer.Typer(no_args_is_help=True, help="The mapping files.")
prices_app = typer.Typer(no_args_is_help=True, help="Price changes that wait for a person.")
app.add_typer(letters, name="dead-letters")
app.add_typer(prices_app, name="prices")
app.add_typer(db, name="db")
app.add_typer(mapping_app, name="mapping")
customers_app = typer.Typer(no_args_is_help=True, help="What orders changed on TIMS's customers.")
app.add_typer(customers_app, name="customers")
watermark_app = typer.Typer(no_args_is_help=True, help="How far each list has been read.")
app.add_typer(watermark_app, name="watermark")
catalog_app = typer.Typer(no_args_is_help=True, help="The catalogue at the channel.")
app.add_typer(catalog_app, name="catalog")

# No text is read as markup: what is coloured is a Text of ours, and what is foreign goes through `safe`.
out, err = (Console(stderr=stderr, markup=False, emoji=False, highlight=False) for stderr in (False, True))

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
FlowName = Annotated[str, typer.Argument(help="The flow, e.g. orders.")]
From = Annotated[
    str | None, typer.Option("--from", help="Start of the window, UTC, e.g. 2011-01-04 or 2011-01-04T10:00.")
]
To = Annotated[str | None, typer.Option("--to", help="End of the window, UTC, exclusive.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="One record by its id; repeat for several.")]
Batches = Annotated[
    list[int] | None, typer.Option("--batch", help="Batch id; absent: all unfinished ones of the flow.")
]


@app.callback()
def _verbose(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is being done.")] = False,
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


# ---- walking -------------------------------------------------------------------------------------------------------


@app.command()
def sync(
    flow_name: FlowName,
    start: From = None,
    end: To = None,
    key: Keys = None,
    reprocess: Annotated[bool, typer.Option(help="Work unchanged records again, after a mapping was mended.")] = False,
    compare: Annotated[
        bool, typer.Option(help="Read source and target whole, and send again what is not there as it should be.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Synchronise a flow now: what is new, a window of time, single records, or all that differs."""
    from crossdock.steps.extract import extract
    from crossdock.steps.run_batches import run_batches

    flow = flows.get(flow_name)
    window, kind = _window(start, end, key, compare)
    run = _run_id()
    with _runtime() as runtime, err.status(f"{flow.title}: reading …") as status, runs.at_work(runtime.engine, run):
        ids = extract(runtime, flow, window, kind=kind, run_id=run, keys=key or (), reprocess=reprocess)
        counts = run_batches(
            runtime, flow, ids, lambda batch, step: status.update(f"{flow.title}: batch {batch}, {step} …"), run_id=run
        )
        with runtime.engine.begin() as connection:
            found = accuracy.last(connection, flow.name) if compare else None
            held = batches.held(connection, flow.name, run)
    more = {} if found is None else {"compared": found.compared, "equal": found.equal}
    _print_counts(flow, ids, counts, as_json, held, **more)
    if found is not None and not as_json:
        out.print(f"Before the repair: {accuracy.percentage_text(found.compared, found.equal)}.")


@app.command(name="extract")
def extract_command(
    flow_name: FlowName, start: From = None, end: To = None, key: Keys = None, as_json: AsJson = False
) -> None:
    """Read a window into raw; prints the batch ids that have work to do."""
    from crossdock.steps.extract import extract

    flow = flows.get(flow_name)
    window, kind = _window(start, end, key)
    run = _run_id()
    with _runtime() as runtime:
        ids = extract(runtime, flow, window, kind=kind, run_id=run, keys=key or ())
        with runtime.engine.begin() as connection:
            counts = batches.counts(connection, ids)
            held = batches.held(connection, flow.name, run)
    _print_counts(flow, ids, counts, as_json, held)


def _step_command(name: str, summary: str) -> None:
    def command(flow_name: FlowName, batch: Batches = None, as_json: AsJson = False) -> None:
        _run_step(name, flow_name, batch, as_json)

    command.__doc__ = summary
    app.command(name=name)(command)


@app.command(name="check")
def check_command(
    flow_name: FlowName,
    batch: Batches = None,
    accept_rejects: Annotated[bool, typer.Option(help="Go on although more records than usual break a rule.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge staged documents: ready, or dead letters."""
    _run_step("check", flow_name, batch, as_json, accept_rejects=accept_rejects)


def _run_step(name: str, flow_name: str, batch_ids: list[int] | None, as_json: bool, **more: Any) -> None:
    from crossdock.steps.run_batches import STEPS

    flow = flows.get(flow_name)
    run = _run_id()
    with _runtime() as runtime, runs.at_work(runtime.engine, run):
        with runtime.engine.begin() as connection:
            for batch_id in batch_ids or ():
                found = batches.get(connection, batch_id)
                if found.flow != flow.name:
                    raise ConfigError(f"Batch {batch_id} belongs to {found.flow}, not to {flow.name}.")
            ids = batch_ids or sorted(batches.reclaim_stale(connection, flow.name, run, looked_at=True))
        for batch_id in ids:
            STEPS[name](runtime, flow, batch_id, run_id=run, **more)
        with runtime.engine.begin() as connection:
            counts = batches.counts(connection, ids)
            held = batches.held(connection, flow.name, run)
    _print_counts(flow, ids, counts, as_json, held)


_step_command("transform", "Turn raw records of a batch into staged documents.")
_step_command("load", "Deliver what is ready, each effect once.")
_step_command("confirm", "Tell the source what was delivered.")


@app.command()
def status(as_json: AsJson = False) -> None:
    """How far everything has been read, what is at work, waiting and dead."""
    with _runtime() as runtime, runtime.engine.begin() as connection:
        marks = _rows(connection, sa.select(ops_watermark).order_by(ops_watermark.c.flow, ops_watermark.c.resource))
        work = _rows(
            connection,
            sa.select(ops_batch).where(ops_batch.c.finished_at.is_(None)).order_by(ops_batch.c.id),
        )
        state = {
            flow.name: {
                row.state: row.count
                for row in connection.execute(
                    sa.select(flow.stage.c.state, sa.func.count().label("count"))
                    .join(ops_batch, ops_batch.c.id == flow.stage.c.batch_id)  # flows of the ledger share a table
                    .where(ops_batch.c.flow == flow.name)
                    .group_by(flow.stage.c.state)
                )
            }
            for flow in flows.all_flows().values()
        }
        dead = {
            row.flow: row.count
            for row in connection.execute(
                sa.select(ops_dead_letter.c.flow, sa.func.count().label("count"))
                .where(ops_dead_letter.c.state.in_(dead_letters.OPEN))
                .group_by(ops_dead_letter.c.flow)
            )
        }
        alerts = _rows(connection, sa.select(ops_alert).order_by(ops_alert.c.last_at.desc()).limit(10))
        circuits = _rows(connection, sa.select(ops_circuit).where(ops_circuit.c.state != "closed"))
        held = batches.held(connection)
    if as_json:
        _print_json({"watermarks": marks, "unfinished": work, "records": state, "dead_letters": dead,
                     "alerts": alerts, "circuits": circuits, **_held_as_json(held)})  # fmt: skip
        return
    _table("Read so far", ("flow", "resource", "position", "read_at"), marks)
    records = [{"flow": name, **counts, "dead_letters": dead.get(name)} for name, counts in state.items()]
    states = [name for name in SHOWN_STATES if any(name in counts for counts in state.values())]
    _table("Records", ("flow", *states, "dead_letters"), records)
    _table("Unfinished batches", ("id", "flow", "kind", "step", "read", "in_flight", "created_at"), work)
    _print_held(held)
    _table("Systems that are left alone", ("system", "state", "failures", "opened_at"), circuits)
    _table("Last alerts", ("last_at", "severity", "title", "times"), alerts)


# ---- dead letters --------------------------------------------------------------------------------------------------

Which = Annotated[str, typer.Argument(help="Number of the dead letter, or the record's id.")]


@letters.command("list")
def list_letters(
    flow: Annotated[str | None, typer.Option(help="Only this flow.")] = None,
    state: Annotated[
        str, typer.Option(help="open (with edited), edited, replayed, resolved, dismissed, all.")
    ] = "open",
    rule: Annotated[str | None, typer.Option(help="Only those that break this rule.")] = None,
    as_json: AsJson = False,
) -> None:
    """Refused records with their reasons, oldest first; the rules that refuse most below."""
    _named_flow(flow)
    _one_of(state, ("open", "edited", "replayed", "resolved", "dismissed", "all"), "--state")
    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = dead_letters.listed(connection, flow=flow, state=None if state == "all" else state, rule=rule)
    if as_json:
        _print_json([_letter(row, payload=False) for row in rows])
        return
    for row in rows:
        _print_letter(row, most=3)
    out.print(f"Dead letters: {len(rows)}.")
    rules: dict[str, int] = {}
    for row in rows:
        for name in {reason["rule"] for reason in row.reasons}:
            rules[name] = rules.get(name, 0) + 1
    _table("By rule", ("rule", "records"),
           [{"rule": r, "records": n} for r, n in sorted(rules.items(), key=lambda item: -item[1])])  # fmt: skip


@letters.command("show")
def show_letter(which: Which, as_json: AsJson = False) -> None:
    """One dead letter whole: reasons, and the record as it came (personal data)."""
    with _runtime() as runtime, runtime.engine.begin() as connection:
        row = dead_letters.find(connection, which)
    if as_json:
        _print_json(_letter(row, payload=True))
        return
    _print_letter(row)
    payload = database.to_json(row.edited_payload if row.state == "edited" else row.payload)
    out.print(safe_json(msgspec.json.format(payload, indent=2)), soft_wrap=True)


def _print_letter(row: sa.Row, most: int | None = None) -> None:
    """What is wrong with a record, the first `most` reasons; reasons that are mended alike share what to do."""
    refused = f"in {row.step}, {row.created_at:%d %b %H:%M}, {row.state}"
    out.print(Text.assemble((f"{row.id}  {row.flow} {safe(row.key)}", "bold"), f"  {refused}"), soft_wrap=True)
    by_advice: dict[str, list[dict]] = {}
    for reason in row.reasons[:most]:
        by_advice.setdefault(reason["do"], []).append(reason)
    for advice, reasons in by_advice.items():
        for reason in reasons:
            where = " ".join(filter(None, (reason["field"], reason.get("line") and f"(line {reason['line']})")))
            reported = Text.assemble(
                (safe(f"{where}: ") if where else "", "dim"), safe(reason["says"]), (f" ({reason['rule']})", "dim")
            )
            out.print(Padding(reported, (0, 0, 0, 4)))
        out.print(Padding(Text(safe(f"→ {advice}"), "green"), (0, 0, 0, 4)))
    if most and len(row.reasons) > most:
        out.print(f"    … and {len(row.reasons) - most} more: crossdock dead-letters show {row.id}")


@letters.command("edit")
def edit_letter(
    which: Which,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="path=value, e.g. ShippingAddress.Country=GB")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="JSON file with the whole payload.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change the payload of a refused record: by --set, from a file, or in $EDITOR. Then replay it."""
    with _runtime() as runtime:
        with runtime.engine.begin() as connection:
            row = dead_letters.find(connection, which)
        _is_delivered(row)
        before = row.edited_payload if row.state == "edited" else row.payload
        if file:
            after = _json_file(file)
        elif values:
            after = database.from_json(database.to_json(before))
            for value in values:
                _set(after, value)
        else:
            after = _in_editor(before)
        if not isinstance(after, dict):
            raise ConfigError("The payload must be a JSON object.", do="Nothing was changed; edit it again.")
        try:
            with runtime.engine.begin() as connection:
                dead_letters.edit(connection, row.id, after, who=_who())
        except sa.exc.DataError as error:
            raise ConfigError(
                f"The payload cannot be kept: {database.explain(error)}.", do="Nothing was changed; edit it again."
            ) from error
    _say(
        {"id": row.id, "state": "edited"},
        f"Dead letter {row.id} edited. Now: crossdock dead-letters replay {row.id}",
        as_json,
    )


@letters.command("replay")
def replay_letters(
    which: Annotated[list[str] | None, typer.Argument(help="Numbers or record ids.")] = None,
    flow: Annotated[str | None, typer.Option(help="Only of this flow.")] = None,
    rule: Annotated[str | None, typer.Option(help="All that break this rule.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All open ones.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused records through all steps again; what goes through is delivered once."""
    from crossdock.steps.extract import Window, extract
    from crossdock.steps.run_batches import run_batches

    if not (which or rule or everything):
        raise ConfigError("Nothing to replay was named.", do="Give numbers, --rule RULE or --all.")
    _named_flow(flow)
    total = batches.Counts()
    with _runtime() as runtime, err.status("replaying …"):
        with runtime.engine.begin() as connection:
            rows = (
                [dead_letters.find(connection, each) for each in which]
                if which
                else dead_letters.listed(connection, flow=flow, rule=rule, limit=100_000)
            )
        left = [row for row in rows if row.flow == records.REFERENCE]
        if which or flow == records.REFERENCE:
            for row in left:
                _is_delivered(row)
        rows = [row for row in rows if row.flow != records.REFERENCE]
        closed = [row for row in rows if row.state not in dead_letters.OPEN]
        if closed:
            raise ConfigError(f"Dead letter {closed[0].id} is {closed[0].state}.", do="Only open ones are replayed.")
        run, held = _run_id(), []
        with runs.at_work(runtime.engine, run):
            for name in sorted({row.flow for row in rows}):
                keys = [row.key for row in rows if row.flow == name]
                ids = extract(runtime, flows.get(name), Window(), kind="replay", run_id=run, keys=keys)
                total += run_batches(runtime, flows.get(name), ids, run_id=run)
                with runtime.engine.begin() as connection:
                    held += batches.held(connection, name, run)
    _say(asdict(total) | _held_as_json(held), f"Replayed {len(rows)}: {total}.", as_json)
    if not as_json:
        _print_held(held)
        if left:
            out.print(f"Left {len(left)} of reference: {AGAIN_BY_ITSELF}")
    if total.dead:
        raise typer.Exit(1)


def _is_delivered(row: sa.Row) -> None:
    """ConfigError for a record that is only looked up: it is not delivered, and the next read takes a good version."""
    if row.flow == records.REFERENCE:
        raise ConfigError(f"{row.key} is only looked up, so it cannot be edited or replayed.", do=AGAIN_BY_ITSELF)


@letters.command("dismiss")
def dismiss_letter(
    which: Annotated[list[str], typer.Argument(help="Numbers or record ids.")],
    note: Annotated[str, typer.Option(help="Why it need not be delivered; kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Decide that records need not be delivered, and say why."""
    if not note:
        raise ConfigError("A dismissal needs a reason.", do='Give --note "why".')
    with _runtime() as runtime, runtime.engine.begin() as connection:
        for each in which:
            dead_letters.dismiss(connection, dead_letters.find(connection, each).id, who=_who(), note=note)
    _say({"dismissed": which}, f"Dismissed {len(which)}.", as_json)


# ---- watermarks ----------------------------------------------------------------------------------------------------


@watermark_app.command("show")
def show_watermarks(
    flow: Annotated[str | None, typer.Argument(help="Only this flow.")] = None, as_json: AsJson = False
) -> None:
    """How far each list has been read, by its system's clock; of one flow, or as JSON, its newest change too."""
    _named_flow(flow)
    names = ("flow", "resource", "position", "newest_version", "longest_gap_seconds", "read_at")
    query = sa.select(*(ops_watermark.c[name] for name in names)).order_by("flow", "resource")
    if flow:
        query = query.where(ops_watermark.c.flow == flow)
    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = _rows(connection, query)
    if as_json:
        _print_json(rows)
        return
    kept = names if flow else tuple(name for name in names if name not in ("newest_version", "longest_gap_seconds"))
    _table("Watermarks", kept, rows)


@watermark_app.command("set")
def set_watermark(
    flow: Annotated[str, typer.Argument(help="Flow, or reference.")],
    to: Annotated[str, typer.Argument(help="Read on from here, e.g. 2026-11-01T00:00:00Z.")],
    why: Annotated[str, typer.Option(help="Why; kept on record.")] = "",
    resource: Annotated[str, typer.Option(help="The list, e.g. tims.customers; without it, the flow's own.")] = "",
    as_json: AsJson = False,
) -> None:
    """Set by hand from where a list is read on, e.g. after its system's clock was wrong. Kept on record; reading a time
    once more delivers nothing twice."""
    moment = _time(to, "TO")
    if not why or moment is None:
        raise ConfigError("A watermark is set for a reason.", do='Give --why "why".')
    if not resource and flow == records.REFERENCE:
        raise ConfigError("Reference data are many lists.", do="Give --resource: `crossdock watermark show reference`.")
    name = resource or flows.get(flow).source.name
    with _runtime() as runtime, runtime.engine.begin() as connection:
        before = watermarks.put(connection, flow, name, moment, who=_who(), why=why)
    reported = {"flow": flow, "resource": name, "from": before, "to": moment}
    sentence = f"{name} is read on from {moment:%Y-%m-%d %H:%M} UTC; it stood at {before:%Y-%m-%d %H:%M}."
    _say(reported, f"{flow}: {sentence}", as_json)


# ---- customers -----------------------------------------------------------------------------------------------------


@customers_app.command("changes")
def customer_changes(
    customer: Annotated[str | None, typer.Option(help="CustomerID: only this one, with its values.")] = None,
    last: Annotated[int, typer.Option(help="How many of the last ones.", min=1, max=MOST)] = 100,
    as_json: AsJson = False,
) -> None:
    """What orders changed on customers, what a person's later value kept, what TIMS refused; newest first."""
    table = ops_customer_change
    values = () if customer is None else ("old_value", "new_value")
    shown = ("at", "customer_id", "field", "outcome", "order_key", "ordered_at", "row_version", "error", *values)
    query = sa.select(*(table.c[name] for name in shown)).order_by(table.c.at.desc(), *table.primary_key).limit(last)
    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = _rows(connection, query.where(table.c.customer_id == customer) if customer else query)
    if as_json:
        _print_json(rows)
        return
    texts = [{**row, **{name: _value(row[name]) for name in values}} for row in rows]
    _table("Changes of customers", shown, texts)
    out.print(f"Changes: {len(rows)}.")


def _value(value: Any) -> str:
    """A field of a customer for people: the parts of an address that are given, of several the first one."""
    if isinstance(value, list):
        return _value(value[0]) + (f" (and {len(value) - 1} more)" if len(value) > 1 else "") if value else ""
    if isinstance(value, dict):
        return ", ".join(str(part) for part in value.values() if part)
    return value or ""


# ---- prices that wait for a person ---------------------------------------------------------------------------------

Questions = Annotated[list[int] | None, typer.Argument(help="Numbers of questions.")]
AllOpen = Annotated[bool, typer.Option("--all", help="All open ones.")]


@prices_app.command("approvals")
def list_approvals(
    state: Annotated[str, typer.Option(help="open, approved, refused, withdrawn, all.")] = "open",
    as_json: AsJson = False,
) -> None:
    """Price changes that wait for a person, oldest first: what, from, to, and why."""
    from crossdock.store import approvals

    _one_of(state, ("open", "approved", "refused", "withdrawn", "all"), "--state")
    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = approvals.listed(connection, "prices", None if state == "all" else state)
    if as_json:
        _print_json([dict(row._mapping) for row in rows])
        return
    shown = [dict(row._mapping) | {"from": row.from_price, "to": row.to_price, "currency": row.currency_code,
                                   "promotion": row.promotion_price} for row in rows]  # fmt: skip
    named = ("id", "key", "target", "from", "to", "promotion", "currency", "why")
    _table("Price changes", named if state == "open" else (*named, "state", "decided_by", "note"), shown)
    out.print(f"Price changes: {len(rows)}.")


@prices_app.command("approve")
def approve_prices(
    which: Questions = None,
    everything: AllOpen = False,
    note: Annotated[str, typer.Option(help="Why; kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let these prices go to the channel with the next run, exactly as they were asked for."""
    _decide(which, everything, note, as_json, approved=True)


@prices_app.command("refuse")
def refuse_prices(
    which: Questions = None,
    everything: AllOpen = False,
    why: Annotated[str, typer.Option(help="Why; kept.")] = "",
    as_json: AsJson = False,
) -> None:
    """Keep these prices from the channel until the rule makes other ones."""
    if not why:
        raise ConfigError("A refusal needs a reason.", do='Give --why "...".')
    _decide(which, everything, why, as_json, approved=False)


def _decide(which: list[int] | None, everything: bool, note: str, as_json: bool, *, approved: bool) -> None:
    from crossdock.store import approvals

    if bool(which) == everything:
        raise ConfigError("It was not said which changes.", do="Give their numbers, or --all.")
    with _runtime() as runtime, runtime.engine.begin() as connection:
        ids = which or [row.id for row in approvals.listed(connection, "prices")]
        decided = approvals.decide(connection, "prices", ids, approved=approved, who=_who(), note=note)
    word = "approved" if approved else "refused"
    late = len(ids) - len(decided)
    _say(
        {word: decided},
        f"{word.capitalize()} {len(decided)}." + (f" {late} had been decided or withdrawn before." if late else ""),
        as_json,
    )


# ---- database, mapping, watch --------------------------------------------------------------------------------------


@db.command("migrate")
def migrate(as_json: AsJson = False) -> None:
    """Create or update the tables, and the roles that work on them."""
    database.migrate(_database_url())
    _say({"migrated": True}, "The Crossdock database is up to date.", as_json)


@mapping_app.command("check")
def check_mappings(as_json: AsJson = False) -> None:
    """Hold every mapping and checks file, the posting table and its accounts against the contracts; read the rest."""
    from crossdock.mapping import language
    from crossdock.rules import catalogue, offer_settings, posting_table, price_settings, tax_rules
    from crossdock.steps import suites

    catalogue.load()
    tables = [language.mappings_folder() / f"{name}.yaml" for name in language.names()]
    checks = [suites.folder_of_checks() / f"{name}.yaml" for name in suites.names()]
    findings = [str(finding) for path in tables for finding in language.read(path).check()]
    findings += [str(finding) for path in checks for finding in suites.check(path)]
    findings += [
        str(one) for part in (posting_table, price_settings, offer_settings, tax_rules) for one in part.check()
    ]
    if as_json:
        _print_json(findings)
    elif findings:
        for finding in findings:
            err.print(safe(finding), soft_wrap=True)
    else:
        out.print(
            f"{len(tables)} mappings, {len(checks)} checks files, the posting table and the prices fit the contracts."
        )
    if findings:
        raise typer.Exit(2)


@app.command("data-docs")
def data_docs(
    folder: Annotated[Path | None, typer.Option(help="Where to write the pages; absent: .run/data-docs.")] = None,
    last: Annotated[int, typer.Option(help="How many of the last check results.", min=1, max=MOST)] = 50,
    as_json: AsJson = False,
) -> None:
    """Write the kept check results as Great Expectations' Data Docs, to be opened in a browser."""
    from crossdock import settings
    from crossdock.steps import suites

    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = connection.execute(sa.select(ops_check_result).order_by(ops_check_result.c.id.desc()).limit(last)).all()
    if not rows:
        raise ConfigError("No batch has been checked yet.", do="Run a flow first: `crossdock sync orders`.")
    results = [{**row.result, "batch": str(row.batch_id), "at": row.created_at.isoformat()} for row in rows]
    place = folder or settings.run_dir() / "data-docs"
    with _writing(place):
        page = suites.build_data_docs(results, place)
    _say({"page": str(page)}, f"{len(results)} results: open {page}", as_json)


@catalog_app.command("conflicts")
def list_conflicts(
    days: Annotated[int, typer.Option(help="Seen within so many days.", min=1, max=36_500)] = 30,
    as_json: AsJson = False,
) -> None:
    """Fields of TIMS that somebody has changed at the channel: what stood there, what was sent; newest first."""
    seen = ops_conflict.c.seen_at > sa.func.now() - sa.func.make_interval(0, 0, 0, days)
    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = _rows(connection, sa.select(ops_conflict).where(seen).order_by(ops_conflict.c.id.desc()))
    if as_json:
        _print_json(rows)
        return
    named = [row | {"item": row["key"], "product": row["target_key"]} for row in rows]
    _table("Conflicts", ("seen_at", "item", "product", "field", "theirs", "ours", "resolved"), named)
    out.print(f"Conflicts: {len(rows)}.")


@catalog_app.command("orphans")
def list_orphans(as_json: AsJson = False) -> None:
    """Products of the channel that are no item of TIMS, each with the items that are spelt most like it."""
    with _runtime() as runtime, runtime.engine.begin() as connection:
        rows = _rows(connection, sa.select(ops_orphan).order_by(ops_orphan.c.product_sku))
    if as_json:
        _print_json(rows)
        return
    named = [row | {"product": row["product_sku"], "nearest": ", ".join(row["nearest"])} for row in rows]
    _table("Products without an item", ("product", "nearest", "first_seen"), named)
    out.print(f"Products without an item: {len(rows)}.")


@app.command()
def watch(as_json: AsJson = False) -> None:
    """Look after the flows now: stale reads, silent sources, lost outcomes, too many dead letters."""
    from crossdock.watch import freshness

    with _runtime() as runtime:
        findings = freshness.watch(runtime.engine, flows.all_flows(), runtime.inbox)
    if as_json:
        _print_json([vars(finding) for finding in findings])
        return
    for finding in findings:
        out.print(Text(safe(finding.title), "bold red"))
        out.print(Padding(Text(safe(finding.body)), (0, 0, 0, 2)))
    out.print("Nothing to worry about." if not findings else "")


@app.command("close")
def close_command(
    period: Annotated[str, typer.Option(help="Month to close, YYYY-MM.")],
    export: Annotated[
        Path | None, typer.Option(help="Folder for the ledger as CSV and as a beancount journal.")
    ] = None,
    full_refresh: Annotated[
        bool, typer.Option(help="Read all of TIMS's documents once more, not only what changed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Close a month: trial balance, controls, open items by age. Exit code 6 where a control does not hold."""
    from crossdock.ledger.close import close, last_day

    last_day(period)  # a mistake is told before anything is read
    if export:
        with _writing(export):
            export.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=export).close()
    with _runtime() as runtime, err.status(f"Closing {period} …"):
        closing = close(runtime, period, export=export, full_refresh=full_refresh, run_id=_run_id())
    if as_json:
        _print_json(closing.as_dict())
    else:
        print_closing(closing)
    if closing.failed:
        raise typer.Exit(CONTROL_FAILED)


def print_closing(closing: Closing) -> None:
    """Trial balance, controls, open items, and what to do where a control does not hold."""
    for currency in dict.fromkeys(one.currency for one in closing.balances):
        _print_balances(closing.period, currency, [one for one in closing.balances if one.currency == currency])
    rows = [
        {"holds": "yes" if one.holds else "NO", "control": one.name, "of": one.subject,
         "expected": _as_number(one.expected), "actual": _as_number(one.actual)}
        for one in closing.controls
    ]  # fmt: skip
    _table("Controls", ("holds", "control", "of", "expected", "actual"), rows)
    open_items = [{**vars(one), "amount": one.amount or None} for one in closing.open_items]
    _table("Open items", ("kind", "currency", "age", "count", "amount"), open_items)
    for path in closing.files:
        out.print(safe(f"Written: {path}"), soft_wrap=True)
    for name in dict.fromkeys(one.name for one in closing.failed):
        _print_failed([one for one in closing.failed if one.name == name])
    held = len(closing.controls) - len(closing.failed)
    out.print(
        f"All {held} controls hold." if not closing.failed else f"{held} of {len(closing.controls)} controls hold."
    )


def _print_balances(period: str, currency: str, balances: Sequence[Balance]) -> None:
    """The trial balance of one currency, with its totals; a side without an amount stays empty."""
    rows = [{**vars(one), "debit": one.debit or None, "credit": one.credit or None} for one in balances]
    total = {"name": "Total", "debit": sum(b.debit for b in balances), "credit": sum(b.credit for b in balances)}
    _table(f"Trial balance, end of {period}, {currency}", ("account", "name", "debit", "credit"), [*rows, total])


def _print_failed(controls: Sequence[Control]) -> None:
    """A control that does not hold: where, by how much, which documents, and what to do."""
    out.print(Text.assemble((controls[0].name, "bold red"), f" does not hold. {safe(controls[0].message)}"))
    for advice in dict.fromkeys(one.do for one in controls):
        for one in [one for one in controls if one.do == advice][:SHOWN]:
            reported = (
                f"{one.subject}: expected {_cell(_as_number(one.expected))}, it is {_cell(_as_number(one.actual))}"
            )
            out.print(Padding(Text(safe(f"{reported}. {_named(one.documents)}".rstrip())), (0, 0, 0, 4)))
        out.print(Padding(Text(safe(f"→ {advice}"), "green"), (0, 0, 0, 4)))


def _named(documents: Sequence[str]) -> str:
    return f"Look at {', '.join(documents[:10])}{' and more' if len(documents) > 10 else ''}." if documents else ""


def _as_number(text: str) -> Decimal | str:
    """An expected or actual value, as a number where it is an amount."""
    return Decimal(text) if re.fullmatch(r"-?[0-9]+\.[0-9]{2}", text) else text


# ---- reconciliation ------------------------------------------------------------------------------------------------


@app.command("reconcile")
def reconcile_command(
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject; repeat for several.")] = None,
    report: Annotated[Path | None, typer.Option(help="File for the report, HTML.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read both systems and compare them; each difference with its cause and age. Exit code 7 where nothing explains
    one."""
    from crossdock.watch.reconcile import reconcile, results

    if report:
        with _writing(report):
            report.open("a").close()  # a mistake is told before anything is read
    with _runtime() as runtime:
        with err.status("Reconciling …") as status:
            outcome = reconcile(
                runtime, subject or (), run_id=_run_id(), say=lambda text: status.update(f"Reconciling: {text} …")
            )
        with runtime.engine.connect() as connection:
            found = results.differences(connection, outcome.id, limit=1_000_000 if as_json else SHOWN)
            page = results.page(connection, outcome.id) if report else None
    if report and page:
        with _writing(report):
            report.write_text(page, encoding="utf-8")
    if as_json:
        counts = {name: asdict(each) for name, each in outcome.counts.items()}
        hidden = {"id", "run", "place", "age"}
        reported = [{name: value for name, value in row.items() if name not in hidden} for row in found]
        _print_json(
            {"run": outcome.id, "unexplained": outcome.unexplained, "subjects": counts, "differences": reported}
        )
    else:
        print_reconciled(outcome, found)
        if report:
            out.print(safe(f"Written: {report}"), soft_wrap=True)
    if outcome.unexplained:
        raise typer.Exit(UNEXPLAINED)


def print_reconciled(outcome: Outcome, found: Sequence[dict[str, Any]]) -> None:
    """Counts by subject; what differs and not by rule, and what to do where nothing explains it."""
    from crossdock.watch.reconcile.base import BY_RULE, CAUSES
    from crossdock.watch.reconcile.subjects import SUBJECTS

    causes = [cause for cause in CAUSES if any(cause in each.causes for each in outcome.counts.values())]
    columns = ("subject", "channel_advisor", "tims", "equal", *causes)
    counted = [{"subject": name, **vars(each), **each.causes} for name, each in outcome.counts.items()]
    _table(f"Reconciliation {outcome.id}", columns, counted)
    for name, counts in outcome.counts.items():
        rows = [row for row in found if row["subject"] == name and row["cause"] != BY_RULE]
        if not rows:
            continue
        out.print(Text(SUBJECTS[name].title, "bold"))
        for row in rows:
            out.print(Padding(Text(safe(_difference(row))), (0, 0, 0, 4)))
        if counts.causes.get("unexplained"):
            out.print(Padding(Text(f"→ {SUBJECTS[name].do}", "green"), (0, 0, 0, 4)))
    for name, counts in outcome.counts.items():
        if counts.passed:
            out.print(Text(f"{SUBJECTS[name].title}: {counts.passed:,} records could not be compared", "bold"))
            for one in counts.such_as:
                out.print(Padding(Text(safe(one)), (0, 0, 0, 4)))
    out.print(f"{outcome.unexplained:,} unexplained." if outcome.unexplained else "Every difference is explained.")


def _difference(row: dict[str, Any]) -> str:
    """One difference in words, with its cause and age."""
    from crossdock.watch.reconcile.base import SIDES
    from crossdock.watch.reconcile.report import words

    if row["missing"]:
        what = f"is not in {SIDES[row['missing']]}"
    elif row["channel_advisor"] is None and row["tims"] is None:
        what = f"{row['field']} differs"
    else:
        values = (f"{row[side] or 'nothing'} in {name}" for side, name in SIDES.items())
        what = f"{row['field']}: {', '.join(values)}"
    why = f": {row['why']}" if row["why"] else ""
    return f"{row['key']} {what}. {row['cause'].capitalize()}{why} ({words(row['age'])})."


# ---- shared --------------------------------------------------------------------------------------------------------


def _database_url() -> str:
    """What the environment names; without it, the embedded Postgres of this machine."""
    from crossdock.dev import local
    from crossdock.runtime import database_url

    return database_url() or local.database_url("crossdock")


def _runtime() -> Any:
    from crossdock.runtime import Runtime

    return Runtime(_database_url())


def _window(start: str | None, end: str | None, keys: Sequence[str] | None, compare: bool = False) -> tuple[Any, str]:
    from crossdock.steps.extract import Window

    if sum((bool(keys), bool(start or end), compare)) > 1:
        raise ConfigError("--key, --from/--to and --compare exclude each other.", do="Give one of them.")
    window = Window(_time(start, "--from"), _time(end, "--to"))
    return window, "key" if keys else "backfill" if start or end else "compare" if compare else "scheduled"


def _time(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text!r} is no date or time.", do="Write it like 2011-01-04T10:00 (UTC)."
        ) from error


def _named_flow(name: str | None) -> None:
    """ConfigError for a flow that is none; what is only looked up goes by the name of reference."""
    if name is not None and name != records.REFERENCE:
        flows.get(name)


def _one_of(value: str, valid: Sequence[str], option: str) -> None:
    if value not in valid:
        raise ConfigError(f"{option} {value!r} is not known.", do=f"There are: {', '.join(valid)}.")


def _run_id() -> str:
    return f"cli:{datetime.now(UTC):%Y%m%dT%H%M%S}:{os.getpid()}"


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _print_counts(
    flow: Flow,
    ids: Sequence[int],
    counts: batches.Counts,
    as_json: bool,
    held: Sequence[batches.HeldBatch],
    **more: int,
) -> None:
    """What a command has done, and what it found in the hands of other runs."""
    if as_json:
        _print_json({"flow": flow.name, "batches": list(ids), **asdict(counts), **more, **_held_as_json(held)})
        return
    out.print(f"{flow.title}: {counts}." + (f" Batches: {', '.join(map(str, ids))}." if ids else ""))
    if counts.dead:
        out.print("See why: crossdock dead-letters list")
    _print_held(held)


def _print_held(held: Sequence[batches.HeldBatch]) -> None:
    for one in held:
        out.print(Text(safe(str(one)), "yellow"))


def _held_as_json(held: Sequence[batches.HeldBatch]) -> dict[str, list[dict[str, Any]]]:
    """Ages in seconds."""
    return {
        "in_other_hands": [
            asdict(one) | {"age": one.age.total_seconds(), "silent": one.silent.total_seconds()} for one in held
        ]
    }


def _rows(connection: sa.Connection, query: sa.Select) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in connection.execute(query)]


def _letter(row: sa.Row, *, payload: bool) -> dict[str, Any]:
    hidden = set() if payload else {"payload", "edited_payload", "edited_from"}
    return {name: value for name, value in row._mapping.items() if name not in hidden}


def _table(title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Rows as a table. Names, numbers and dates are cut nowhere, for a half of one is of no use to whoever looks for
    it; sentences fold. Where that does not fit the terminal, each row is a block of lines."""
    if not rows:
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    needed = 0
    for at, column in enumerate(columns):
        header, found = column.replace("_", " "), [row[at] for row in cells]
        number = any(isinstance(row.get(column), int | Decimal) for row in rows)
        whole = not any(isinstance(row.get(column), str) and _is_sentence(row[column]) for row in rows)
        width = max(len(text) for text in ([*header.split(), *found] if whole else [*header.split(), " " * SENTENCE]))
        needed += width + 3
        table.add_column(
            header, justify="right" if number else "left", overflow="fold", min_width=width if whole else None
        )
    if needed - 3 > out.width:
        _print_blocks(title, [column.replace("_", " ") for column in columns], cells)
        return
    for row in cells:
        table.add_row(*row)
    out.print(table)
    out.print()


def _print_blocks(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Each row as lines of name and value; what is empty is left out."""
    out.print(Text(title, "italic"))
    for row in cells:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for header, value in zip(heads, row, strict=True):
            if value:
                grid.add_row(header, value)
        out.print(Padding(grid, (0, 0, 1, 2)))


def _is_sentence(text: str) -> bool:
    return len(text) > 2 * SENTENCE or " " in text


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,.2f}" if isinstance(value, Decimal) else safe(value)


def _say(facts: Any, sentence: str, as_json: bool) -> None:
    _print_json(facts) if as_json else out.print(safe(sentence), soft_wrap=True)


def _print_json(value: Any) -> None:
    sys.stdout.write(safe_json(database.to_json(value)) + "\n")


def _json_file(path: Path) -> Any:
    try:
        return database.from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}.", do="Nothing was changed.") from error


def _in_editor(payload: dict) -> Any:
    with tempfile.NamedTemporaryFile("w+", suffix=".json", delete=False, encoding="utf-8") as file:
        file.write(msgspec.json.format(database.to_json(payload), indent=2))
    path = Path(file.name)
    try:
        subprocess.run([*os.environ.get("EDITOR", "vi").split(), str(path)], check=True)  # noqa: S603 (the user's editor)
        return _json_file(path)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"The editor failed: {error}.", do="Set EDITOR, or use --set or --file.") from error
    finally:
        path.unlink()


def _set(document: Any, assignment: str) -> None:
    """`ShippingAddress.Country=GB`, `OrderItems[0].SKU=22423`; the value is JSON if it reads as such, else text."""
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"--set {assignment!r} has no '='.", do="Write it like ShippingAddress.Country=GB.")
    try:
        value = database.from_json(text) if text[:1] in '"[{-0123456789tfn' else text
    except ValueError:
        value = text
    *parents, last = path.replace("[", ".[").split(".")
    for name in parents:
        document = _step_into(document, name, path)
    current = _step_into(document, last, path, missing=None)
    if isinstance(current, str) and not isinstance(value, str):
        value = text  # what was text stays text: a postal code, a SKU of digits
    if last.startswith("["):
        document[int(last[1:-1])] = value
    else:
        document[last] = value


def _step_into(document: Any, name: str, path: str, missing: Any = ...) -> Any:
    try:
        if name.startswith("[") and not isinstance(document, list):
            raise TypeError(name)
        return document[int(name[1:-1])] if name.startswith("[") else document[name]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if missing is not ... and isinstance(document, dict):
            return missing
        raise ConfigError(
            f"The payload has no {path}.", do="See `crossdock dead-letters show` for its fields."
        ) from error


@contextmanager
def _writing(path: Path) -> Any:
    """What the file system refuses, in words."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or type(error).__name__}.",
            do="Name a place that this user may write to.",
        ) from error


@contextmanager
def _clear_errors(as_json: bool) -> Any:
    try:
        with faults.typed_errors():
            yield
    except CrossdockError as error:
        logging.getLogger(__name__).info("Where it happened:", exc_info=True)  # with --verbose
        if as_json:
            _print_json({"error": type(error).__name__, "message": error.message, "do": error.do})
        else:
            err.print(Text.assemble((type(error).__name__, "bold red"), f": {safe(error.message)}"), soft_wrap=True)
            if error.do:
                err.print(safe(error.do), soft_wrap=True)
        code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
        raise SystemExit(code) from None


def main(run: Callable[[], None] | None = None) -> None:
    """The entry point: runs the command, and says what went wrong in words."""
    for point in entry_points(group=COMMANDS):
        app.add_typer(point.load(), name=point.name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no arrows still shows the rest
    with _clear_errors("--json" in sys.argv):
        _readable(sys.argv)
        (run or app)()


def _readable(words: Sequence[str]) -> None:
    """Refuses what no database and no address can hold."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"{word!a} is not UTF-8.", do="Write it in UTF-8; see `locale`.") from None
