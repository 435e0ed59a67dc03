"""Flows by hand: all five steps, or one of them.

In: a flow, a window or keys. Out: the counts of its batches. Never: a batch of another flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from crossdock import flows
from crossdock.cli import context
from crossdock.cli.context import AsJson, Batches, FlowName, From, Keys, To
from crossdock.cli.output import err, held_as_json, out, print_held, print_json
from crossdock.errors import ConfigError
from crossdock.flow import Flow
from crossdock.store import accuracy, batches, runs

app = typer.Typer()


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
    from crossdock.steps.load import launching
    from crossdock.steps.run_batches import run_batches

    flow = flows.get(flow_name)
    window, kind = context.window(start, end, key, compare)
    run = context.run_id()
    with (
        context.runtime() as runtime,
        err.status(f"{flow.title}: reading …") as status,
        runs.at_work(runtime.engine, run),
    ):
        ids = extract(runtime, flow, window, kind=kind, run_id=run, keys=key or (), reprocess=reprocess)
        counts = run_batches(
            runtime, flow, ids, lambda batch, step: status.update(f"{flow.title}: batch {batch}, {step} …"), run_id=run
        )
        with runtime.engine.begin() as connection:
            found = accuracy.last(connection, flow.name) if compare else None
            held = batches.held(connection, flow.name, run)
            held_back = launching.held(connection, flow)
    more = {} if found is None else {"compared": found.compared, "equal": found.equal}
    _print_counts(flow, ids, counts, as_json, held, held_back=held_back, **more)
    if held_back and not as_json:
        out.print(f"{held_back:,} are held back: `crossdock status` says by which mode, first day or cap.")
    if found is not None and not as_json:
        out.print(f"Before the repair: {accuracy.percentage_text(found.compared, found.equal)}.")


@app.command(name="extract")
def extract_command(
    flow_name: FlowName, start: From = None, end: To = None, key: Keys = None, as_json: AsJson = False
) -> None:
    """Read a window into raw; prints the batch ids that have work to do."""
    from crossdock.steps.extract import extract

    flow = flows.get(flow_name)
    window, kind = context.window(start, end, key)
    run = context.run_id()
    with context.runtime() as runtime:
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
    run = context.run_id()
    with context.runtime() as runtime, runs.at_work(runtime.engine, run):
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


def _print_counts(
    flow: Flow,
    ids: Sequence[int],
    counts: batches.Counts,
    as_json: bool,
    held: Sequence[batches.HeldBatch],
    **more: int,
) -> None:
    """Prints what a command did, and which batches other runs hold."""
    if as_json:
        print_json({"flow": flow.name, "batches": list(ids), **asdict(counts), **more, **held_as_json(held)})
        return
    out.print(f"{flow.title}: {counts}." + (f" Batches: {', '.join(map(str, ids))}." if ids else ""))
    if counts.dead:
        out.print("See why: crossdock dead-letters list")
    print_held(held)
