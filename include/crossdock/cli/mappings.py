"""The mapping files, held against the contracts, and suggestions for them.

In: what an analyst edits. Out: findings with file and line; suggestions with their reasons; a draft as text. Never: a
file that is changed.
"""

from __future__ import annotations

from typing import Annotated

import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import err, out, print_json, print_table
from crossdock.errors import ConfigError
from crossdock.safe import safe

app = typer.Typer(no_args_is_help=True, help="The mapping files.")


@app.command("check")
def check_mappings(as_json: AsJson = False) -> None:
    """Look at every configuration file: the mappings and checks against the contracts, and all others."""
    from crossdock.mapping import language
    from crossdock.steps import suites
    from crossdock.watch import configuration

    findings = configuration.check()
    if as_json:
        print_json(findings)
    elif findings:
        for finding in findings:
            err.print(safe(finding), soft_wrap=True)
    else:
        out.print(
            f"{len(language.names())} mappings, {len(suites.names())} checks files, the posting table, the prices and "
            "all other settings are right."
        )
    if findings:
        raise typer.Exit(2)


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
