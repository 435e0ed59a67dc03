"""`crossdock map`: real records of both systems beside contracts, lookups and settings.

In: the connections, a number of records. Out: what a person must decide, with proposals; exit code 1 while something is
open. Never: a file that is changed, personal data.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from rich.text import Text

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import err, out, print_json, writing
from crossdock.errors import ConfigError
from crossdock.safe import cell, safe
from crossdock.services import configuration, gates, survey
from crossdock.services.people import on_this_machine
from crossdock.services.survey import Finding, Sample
from crossdock.systems import channel_advisor, tims
from crossdock.systems.connections import from_environment

app = typer.Typer()
COLOURS = {"open": "bold red", "decided": "green", "note": "dim"}
COLUMNS = ("state", "list", "field", "value", "records", "found", "do", "where", "path", "proposal", "why", "name")


@app.command("map")
def map_command(
    sample: Annotated[int, typer.Option(help="How many of the newest records of each list.", min=1, max=10_000)] = 200,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write all findings into this file.")] = None,
    notes: Annotated[bool, typer.Option(help="Show also what needs nobody.")] = False,
    decide: Annotated[
        str | None, typer.Option(help="Name of a finding that stays as it is, with --because; nothing is read.")
    ] = None,
    because: Annotated[str, typer.Option(help="With --decide: why.")] = "",
    reopen: Annotated[str | None, typer.Option(help="Name of a finding whose decision is taken back.")] = None,
    propose: Annotated[
        bool, typer.Option(help="Propose a version of the configuration with the rows and lines that are whole.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read real records of both systems and say what contracts, lookups and settings do not know of them: fields,
    values, sites, currencies, items, carriers, centers, accounts; propose rows. Exit code 1 while something is open."""
    if decide or reopen:
        _decide(decide, because, reopen)
        return
    version: configuration.Version | None = None
    with context.database_if_any() as engine:
        read, found = _survey(sample, as_json)
        if engine is not None:
            with engine.begin() as connection:
                found = survey.with_decisions(found, gates.decisions(connection, gates.MAP))
                gates.keep(connection, gates.MAP, gates.BOTH, context.who(), [asdict(one) for one in found])
            if propose:
                with engine.begin() as connection:
                    version = _propose(connection, found)
        elif propose:
            raise ConfigError("There is no database to propose a version in.", do="Run `crossdock db migrate` first.")
    if csv_file:
        _write(csv_file, found)
    open_ = sum(one.state == "open" for one in found)
    if as_json:
        counts = {one.name: len(one.records) for one in read}
        shown = {one.name: one.shown() for one in read}
        print_json({"open": open_, "read": counts, "findings": [asdict(one) for one in found], "samples": shown,
                    "kept": engine is not None, "version": version and version.number})  # fmt: skip
    else:
        _print(read, found, notes)
        if propose and version is None:
            out.print("Nothing is proposed: no row or line is whole without a person.")
        if version:
            out.print(
                f"Version {version.number} proposes them: `crossdock config show {version.number}`, then publish it.",
                soft_wrap=True,
            )
    if open_:
        raise typer.Exit(1)


def _survey(count: int, as_json: bool) -> tuple[list[Sample], list[Finding]]:
    with ExitStack() as stack, err.status("Reading …") as status:
        client = stack.enter_context(tims.client_of(from_environment("tims")))
        channel = stack.enter_context(channel_advisor.client_of(from_environment("channel_advisor")))
        read: list[Sample] = []
        for one in (*survey.samples(channel, count), *survey.samples(client, count)):
            read.append(one)
            status.update(f"Read {one.resource.title} …")
        return read, survey.findings(read, client)


def _propose(connection: sa.Connection, found: Sequence[Finding]) -> configuration.Version | None:
    """A version with what is proposed and whole; None where nothing is."""
    files = survey.files(found)
    person = on_this_machine(context.who())
    return configuration.propose(connection, person, files, "Proposed by `crossdock map`") if files else None


def _decide(name: str | None, why: str, reopen: str | None) -> None:
    person = on_this_machine(context.who())
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        if name:
            latest = next((one for one in gates.newest(connection, person, gates.MAP)), None)
            if latest is None or name not in {one["name"] for one in latest.checks}:
                raise ConfigError(
                    f"The last `crossdock map` has no finding {name!r}.", do="Copy the name as it is printed there."
                )
            gates.decide(connection, person, gates.MAP, name, why)
            out.print(f"{safe(name)} stays as it is.", soft_wrap=True)
        if reopen:
            if not gates.take_back(connection, person, gates.MAP, reopen):
                raise ConfigError(f"Nothing was decided about {reopen!r}.", do="See `crossdock map`.")
            out.print(f"{safe(reopen)} is open again.", soft_wrap=True)


def _print(read: Sequence[Sample], found: Sequence[Finding], notes: bool) -> None:
    for one in read:
        out.print(f"{len(one.records):>6} {one.resource.title}" + (f": {safe(one.error)}" if one.error else ""))
    for finding in found:
        if finding.state == "note" and not notes:
            continue
        count = f" ({finding.records} records)" if finding.records else ""
        out.print(
            Text.assemble((f"{finding.state:<8}", COLOURS[finding.state]), f"{safe(finding.found)}{count}"),
            soft_wrap=True,
        )
        for label, text in _details(finding):
            out.print(Text.assemble((f"          {label:<9}", "dim"), safe(text, lines=True)), soft_wrap=True)
    states = [one.state for one in found]
    out.print(
        f"{states.count('open')} to decide, {states.count('decided')} decided, {states.count('note')} notes"
        + ("." if notes or "note" not in states else " (--notes shows them)."),
        soft_wrap=True,
    )


def _details(finding: Finding) -> Sequence[tuple[str, str]]:
    if finding.state == "decided":
        return [("because", finding.why), ("name", finding.name)]
    if finding.state == "note":
        return []
    details = [("do", finding.do), ("where", finding.where)]
    if finding.proposal:
        sure = "" if finding.proposal.sure else "   (fill in what is empty)"
        text = finding.proposal.text.rstrip("\n").replace("\n", "\n                   ")
        details.append(("add", f"{text}{sure}"))
    return [*(one for one in details if one[1]), ("name", finding.name)]


def _write(file: Path, found: Sequence[Finding]) -> None:
    with writing(file), file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.DictWriter(opened, COLUMNS)
        table.writeheader()
        for one in found:
            row: dict[str, Any] = {name: getattr(one, name, "") for name in COLUMNS}
            row |= {
                "path": one.proposal.path if one.proposal else "",
                "proposal": one.proposal.text if one.proposal else "",
            }
            table.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    """A cell that keeps its line feeds: a proposal may be several lines."""
    return "\n".join(str(cell(line)) for line in value.splitlines()) if isinstance(value, str) else cell(value)
