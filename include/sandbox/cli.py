"""`crossdock sandbox`: runs both systems as servers on this machine, and plays the trade around them.

In: words. Out: what a person reads, or JSON with --json. Never: a call of the systems' own APIs.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from crossdock.safe import safe
from crossdock.systems import connections
from sandbox import processes, world
from sandbox.control import SYSTEMS, Control, SandboxError, controls
from sandbox.processes import CONTRACT, FLAVOURS

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Both systems as servers on this machine.")
faults = typer.Typer(no_args_is_help=True, help="What goes wrong on purpose.")
app.add_typer(faults, name="fault")

out, err = Console(), Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
System = Annotated[str, typer.Argument(help="channel_advisor or tims (ca for short).")]
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _say(facts: Any, sentence: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        out.print(safe(sentence, lines=True), soft_wrap=True, highlight=False, markup=False)


@app.callback()
def _this_machine_only() -> None:
    connections.this_machine_only("crossdock sandbox", SYSTEMS)


@app.command()
def up(
    foreground: Annotated[bool, typer.Option(help="Stay, and stop both servers with Ctrl-C.")] = False,
    flavour: Annotated[str, typer.Option(help=f"As what TIMS speaks: {' or '.join(FLAVOURS)}.")] = CONTRACT,
    as_json: AsJson = False,
) -> None:
    """Start both servers and wait until they answer."""
    if flavour not in FLAVOURS:
        raise SandboxError(f"There is no flavour {flavour!r} of TIMS.", do=f"Name one of: {', '.join(FLAVOURS)}.")
    done = processes.up(flavour)
    facts = {system: {"state": state, "url": Control.of(system).url} for system, state in done.items()}
    lines = [f"{system}: {fact['state']} at {fact['url']}" for system, fact in facts.items()]
    _say(facts, "\n".join(lines), as_json)
    if foreground:
        _stay(as_json)


def _stay(as_json: bool) -> None:
    """Until a signal comes, or a server ends by itself."""
    ended = False

    def end(*_: Any) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while not ended and all(processes.running(system) for system in SYSTEMS):
        time.sleep(0.3)
    lost = [system for system in SYSTEMS if not processes.running(system)]
    processes.down()
    if lost and not ended:
        raise SandboxError(f"The {lost[0]} sandbox has ended by itself.", do=f"See {processes.log_file(lost[0])}.")
    _say({"stopped": True}, "Stopped.", as_json)


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop both servers; what they hold stays."""
    done = processes.down()
    _say(done, "\n".join(f"{system}: {state}" for system, state in done.items()), as_json)


@app.command()
def seed(
    data: Annotated[
        str | None, typer.Option(help="A file of transactions, .csv or .csv.gz; absent: January 2011.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Empty both systems, fill in their reference data, set the clock to just before the first day."""
    with _bar(as_json) as progress:
        facts = processes.seed(data, progress)
    reported = ", ".join(f"{count} × {kind}" for kind, count in facts["told"].items())
    _say(facts, f"Seeded: {reported}. {facts['orders_to_come']} orders are to come; it is {facts['now']}.", as_json)


@app.command()
def tick(
    to: Annotated[
        str | None, typer.Option("--to", help='A day or moment, UTC (2011-01-05, 2011-01-05T12:00), or "end".')
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="A duration: 30m, 6h, 1d; absent: until the next midnight.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let the world go on: orders arrive, are paid, change; the clock is set, and warehouse, buyers, sites act."""
    if to and by:
        raise SandboxError("--to and --by are two ways to say one thing.", do="Use one of them.")
    target = _moment(to) if to and to != "end" else None
    step = _duration(by) if by else None
    if not to and not by:
        now = Control.of(SYSTEMS[0]).now()
        target = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    with _bar(as_json) as progress:
        facts = processes.tick(target, step, progress)
    counts = [*facts["told"].items(), *facts["done"].items()]
    reported = ", ".join(f"{count} × {kind}" for kind, count in counts) or "nothing happened"
    _say(facts, f"{reported}. It is {facts['now']}.", as_json)


@app.command()
def clock(
    set_: Annotated[
        str | None, typer.Option("--set", help="A moment, UTC. Events are told by `tick`, not by this.")
    ] = None,
    advance: Annotated[str | None, typer.Option(help="A duration: 30m, 6h, 1d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show both clocks, or move them without telling what happened meanwhile."""
    parts = controls()
    if set_ or advance:
        target = _moment(set_) if set_ else max(c.now() for c in parts.values()) + _duration(advance or "0s")
        for control in parts.values():
            control.set_clock(target)
    facts = {system: world.text(control.now()) for system, control in parts.items()}
    _say(facts, "\n".join(f"{system}: {now}" for system, now in facts.items()), as_json)


# ---- faults ----


@faults.command("add")
def add_fault(
    system: System,
    kind: Annotated[str, typer.Argument(help="rate_limited, error_after, slow, …; a wrong one lists all.")],
    path: Annotated[str, typer.Option(help="Glob over the path, or an operationId.")] = "*",
    method: Annotated[str | None, typer.Option(help="GET, POST, …")] = None,
    times: Annotated[int | None, typer.Option(help="How often; absent: until cleared.")] = None,
    after: Annotated[int, typer.Option(help="Requests that pass first.")] = 0,
    probability: Annotated[float | None, typer.Option(help="From 0 to 1; absent: always.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="More of the kind, e.g. seconds=5; repeat for several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let something go wrong."""
    rule: dict[str, Any] = {"kind": kind, "path": path, "after": after}
    rule |= {
        name: value
        for name, value in (("method", method), ("times", times), ("probability", probability))
        if value is not None
    }
    rule |= dict(_option(text) for text in option or [])
    reported = Control.of(_system(system)).call("POST", "faults", rule)
    _say(reported, f"{reported['id']}: {reported['kind']} on {reported['path']} of {_system(system)}.", as_json)


@faults.command("list")
def list_faults(
    system: Annotated[str | None, typer.Argument(help="One system; absent: both.")] = None, as_json: AsJson = False
) -> None:
    """Show what is set to go wrong, and how often it has."""
    rules = {name: Control.of(name).call("GET", "faults")["rules"] for name in _systems(system)}
    if as_json:
        _say(rules, "", as_json)
        return
    table = Table(*("system", "id", "kind"), Column("path", overflow="fold"), *("method", "left", "hits"))
    for name, rows in rules.items():
        for row in rows:
            left = "always" if row["times"] is None else str(row["times"])
            cells = (name, row["id"], row["kind"], row["path"], row["method"] or "any", left, row["hits"])
            table.add_row(*(Text(safe(cell)) for cell in cells))
    out.print(table if table.row_count else "Nothing is set to go wrong.")


@faults.command("clear")
def clear_faults(
    system: Annotated[str | None, typer.Argument(help="One system; absent: both.")] = None,
    id: Annotated[str | None, typer.Option(help="Only this fault.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let all go right again."""
    path = f"faults/{id}" if id else "faults"
    removed = {name: Control.of(name).call("DELETE", path)["removed"] for name in _systems(system)}
    _say(removed, ", ".join(f"{name}: {count} removed" for name, count in removed.items()), as_json)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SandboxError(f"--option {text} says no value.", do="Write it as name=value, e.g. seconds=5.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


# ---- words ----


def _system(given: str) -> str:
    name = {"ca": SYSTEMS[0], "channel-advisor": SYSTEMS[0]}.get(given, given)
    if name not in SYSTEMS:
        raise SandboxError(f"There is no system {given}.", do=f"Say {' or '.join(SYSTEMS)}.")
    return name


def _systems(given: str | None) -> tuple[str, ...]:
    return (_system(given),) if given else SYSTEMS


def _moment(given: str) -> datetime:
    """A day (its midnight) or a moment; without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise SandboxError(f'"{given}" is no day or moment.', do="Write 2011-01-05 or 2011-01-05T12:00, UTC.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _duration(given: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", given.strip())
    if not found:
        raise SandboxError(f'"{given}" is no duration.', do="Write 30m, 6h, 1d or 2w.")
    try:
        return timedelta(**{UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise SandboxError(f"{given} is longer than any calendar.", do="Write 30m, 6h, 1d or 2w.") from None


@contextmanager
def _bar(as_json: bool) -> Iterator[processes.Progress | None]:
    if as_json:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("the world goes on", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
