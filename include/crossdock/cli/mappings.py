"""The mapping files, held against the contracts, and suggestions for them.

In: what an analyst edits. Out: findings with file and line; suggestions with their reasons; a draft as text. Never: a
file that is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import err, out, print_json, print_table
from crossdock.errors import ConfigError
from crossdock.safe import safe

app = typer.Typer(no_args_is_help=True, help="The mapping files.")


@app.command("check")
def check_mappings(
    drafts: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME=FILE, e.g. mappings/holds.yaml=new.yaml: looked at in the place of what is in force."
        ),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="What is in force with what this version (a proposal) changes.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="A folder instead of what is in force, e.g. include/config of a checkout.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at every configuration file that is in force: the mappings and checks against the contracts, and all others.
    Drafts, a proposal or a checkout are looked at where an option names them. Nothing is changed."""
    from crossdock.mapping import language
    from crossdock.steps import suites
    from crossdock.watch import configuration

    with _looked_at(drafts or [], version, files) as what:
        findings = configuration.check()
        count = f"{len(language.names())} mappings, {len(suites.names())} checks files"
    if as_json:
        print_json(findings)
    elif findings:
        for finding in findings:
            err.print(safe(finding), soft_wrap=True)
        err.print(f"Looked at: {safe(what)}.", soft_wrap=True)
    else:
        out.print(f"{count}, the posting table, the prices and all other settings are right.", soft_wrap=True)
        out.print(f"Looked at: {safe(what)}.", soft_wrap=True)
    if findings:
        raise typer.Exit(2)


@contextmanager
def _looked_at(drafts: Sequence[str], version: int | None, files: Path | None) -> Iterator[str]:
    """Reads the settings that are to be looked at, within the block; what they are, in words."""
    from crossdock import settings
    from crossdock.cli.config import given
    from crossdock.services import configuration

    if bool(drafts) + (version is not None) + (files is not None) > 1:
        raise ConfigError("NAME=FILE, --version and --files exclude each other.", do="Give one of them.")
    if files is not None:
        if not (files / "mappings").is_dir():
            raise ConfigError(f"{files} is no configuration.", do="Name a folder such as include/config.")
        with settings.using(files):
            yield f"the files in {files}"
        return
    with context.runtime() as runtime, runtime.engine.connect() as connection:
        number = configuration.status(connection).number
        held = f"version {number}, which is in force" if number else "the shipped files, which are in force"
        if not drafts and version is None:
            yield held
            return
        changes: dict[str, str | bytes | None] = dict(given(one) for one in drafts)
        words = ", ".join(changes)
        if version is not None:
            configuration.show(connection, version)
            changes = {one.path: one.after for one in configuration.diff(connection, version)}
            words = f"what version {version} changes"
        with configuration.draft(connection, changes) as made:
            if made.problems and not made.files:  # none of these files could be taken
                raise ConfigError(
                    f"{made.problems[0]}", do="Name a file of include/config, as `crossdock config log` does."
                )
            yield f"{words}, with {held} for the rest"


@app.command("suggest")
def suggest(
    mapping: Annotated[str, typer.Argument(help="The mapping, e.g. sales_order.")],
    field: Annotated[str, typer.Argument(help="A field of its target, e.g. ShippingAddress.City.")],
    lines: Annotated[str, typer.Option(help="The target's list that the field is in, e.g. LineItems.")] = "",
    as_json: AsJson = False,
) -> None:
    """Where a field may come from, by its name and by the records that both systems hold. Nothing is changed."""
    from crossdock.services import people, suggestions
    from crossdock.systems import language_model

    person, model = people.on_this_machine(context.who()), language_model.connected()
    with context.runtime() as runtime, runtime.engine.connect() as connection:
        made = suggestions.for_field(
            connection, person, mapping, field, lines, although_mapped=True, model=model
        )  # fmt: skip
    if as_json:
        print_json(made)
        return
    rows = [
        {"confidence": f"{one.confidence:.0%}", "comes_from": suggestions.in_words(one), "why": "; ".join(one.why)}
        for one in made.suggestions
    ]
    print_table(f"{field} of {mapping}", ("confidence", "comes_from", "why"), rows)
    out.print(f"Suggestions: {len(rows)}, of {made.records} records that both sides have.")


@app.command("draft")
def draft(
    source: Annotated[str, typer.Option("--from", help="Source document, e.g. channel_advisor/Product.")],
    target: Annotated[str, typer.Option("--to", help="Target document, e.g. tims/CustomerCreate.")],
) -> None:
    """A mapping between two documents as far as records and names tell, as YAML to be looked at."""
    from crossdock.services import people, suggestions

    person = people.on_this_machine(context.who())
    schemas = _schema(source, "--from"), _schema(target, "--to")
    with context.runtime() as runtime, runtime.engine.connect() as connection:
        made = suggestions.draft(connection, person, *schemas)
    for line in made.text.splitlines():
        out.print(safe(line), soft_wrap=True)
    for finding in made.findings:
        err.print(safe(finding), soft_wrap=True)


@app.command("missing")
def missing(lookup: Annotated[str, typer.Argument(help="The lookup, e.g. carriers.")], as_json: AsJson = False) -> None:
    """The values that records have brought and a lookup does not know, with the nearest that it does."""
    from crossdock.services import people, suggestions

    person = people.on_this_machine(context.who())
    with context.runtime() as runtime, runtime.engine.connect() as connection:
        made = suggestions.for_lookup(connection, person, lookup)
    if as_json:
        print_json(made)
        return
    rows = [
        {"value": one.value, "records": one.records, "nearest": ", ".join(near.key for near in one.nearest)}
        for one in made.missing
    ]
    print_table(f"Values that {lookup} does not know", ("value", "records", "nearest"), rows)
    out.print(f"Values: {len(rows)}.")


def _schema(text: str, option: str) -> tuple[str, str]:
    system, slash, schema = text.partition("/")
    if not slash:
        raise ConfigError(f"{option} {text!r} names no document.", do="Write it like tims/SalesOrderCreate.")
    return system, schema
