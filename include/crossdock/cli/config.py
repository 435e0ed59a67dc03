"""Configuration that people change: versions, going back, and exchange with a checked-out tree.

In: files on this machine, numbers of versions. Out: what is in force, what differs, what is wrong. Never: a change
without a message; a version that the checks refuse.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from crossdock.cli import context
from crossdock.cli.context import AsJson
from crossdock.cli.output import out, print_json, print_table, say
from crossdock.config import tree
from crossdock.errors import ConfigError
from crossdock.safe import safe
from crossdock.services import configuration, people
from crossdock.services.configuration import SHIPPED, Version
from crossdock.services.people import Person

app = typer.Typer(no_args_is_help=True, help="The configuration: look, publish, take back.")
Number = Annotated[int, typer.Argument(help="Number of the version; 0: the shipped files.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What changes and why, in a sentence.")]
OnlyPropose = Annotated[bool, typer.Option("--propose", help="Only propose it; publish it later by its number.")]


@contextmanager
def _at_work() -> Iterator[tuple[sa.Connection, Person]]:
    person = people.on_this_machine(context.who())
    with context.runtime() as runtime, runtime.engine.begin() as connection:
        people.begin(connection, person)
        yield connection, person


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """What is in force, which proposals wait, and what a deploy has left to decide."""
    with _at_work() as (connection, _):
        found = configuration.status(connection)
    if as_json:
        print_json(found)
        return
    if found.version is None:
        out.print("In force: the shipped files; nothing is published.")
    else:
        out.print(f"In force: {safe(_sentence(found.version))}", soft_wrap=True)
        out.print(f"Not as shipped: {', '.join(found.replaced) or 'nothing'}.", soft_wrap=True)
    for one in found.proposals:
        waits = f"; {', '.join(one.waits_for)} needs a second person's consent" if one.waits_for else ""
        out.print(f"Proposed: {safe(_sentence(one))}{waits}", soft_wrap=True)
    for conflict in found.conflicts:
        out.print(f"Not merged: {conflict.path}: {conflict.reason}.", soft_wrap=True)
    for problem in found.problems:
        out.print(f"Found in the merged files: {safe(str(problem))}", soft_wrap=True)
    if found.conflicts or found.problems:
        out.print("Decide what each of these files shall be, and publish it; until then the published text stays.")


@app.command("log")
def show_log(
    most: Annotated[int, typer.Option(help="So many versions at most.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only versions before this number.")] = None,
    as_json: AsJson = False,
) -> None:
    """All versions, newest first: who changed what, when and why."""
    with _at_work() as (connection, _):
        found = configuration.log(connection, after=before, most=most)
    if as_json:
        print_json(found)
        return
    rows = [
        {"version": one.number, "state": one.state, "at": one.at, "who": one.author, "message": one.message,
         "files": ", ".join(one.files)}
        for one in found
    ]  # fmt: skip
    print_table("Versions", ("version", "state", "at", "who", "message", "files"), rows)
    if not rows:
        out.print("There is no version: the shipped files are in force.")


@app.command("show")
def show_version(number: Number, as_json: AsJson = False) -> None:
    """One version: who, when, why, and what it changed."""
    with _at_work() as (connection, _):
        version = configuration.show(connection, number)
        changes = configuration.diff(connection, number)
    if as_json:
        print_json({"version": version, "changes": changes})
        return
    out.print(safe(_sentence(version)), soft_wrap=True)
    _print_changes(changes)


@app.command("diff")
def show_diff(
    number: Annotated[int | None, typer.Argument(help="The version; absent: the one in force.")] = None,
    against: Annotated[int | None, typer.Argument(help="Another version, or 0; absent: what it was made from.")] = None,
    as_json: AsJson = False,
) -> None:
    """What differs between two versions, file by file. Without numbers: what is in force, and what is shipped."""
    with _at_work() as (connection, _):
        if number is None:
            number, against = configuration.status(connection).number, SHIPPED
        changes = configuration.diff(connection, number, against)
    if as_json:
        print_json(changes)
    elif changes:
        _print_changes(changes)
    else:
        out.print("Nothing differs.")


@app.command("publish")
def publish(
    what: Annotated[
        list[str], typer.Argument(help="NAME=FILE, e.g. lookups/carriers.csv=new.csv, or the number of a proposal.")
    ],
    message: Message = "",
    propose: OnlyPropose = False,
    as_json: AsJson = False,
) -> None:
    """Put files in the place of those in force, or bring a proposal into force. Checked as a whole first."""
    if len(what) == 1 and what[0].isdigit():
        with _at_work() as (connection, person):
            version = configuration.publish(connection, person, int(what[0]))
    else:
        files = dict(_given(one) for one in what)
        with _at_work() as (connection, person):
            version = configuration.propose(connection, person, files, message)
            if not propose:
                version = configuration.publish(connection, person, version.number)
    _say(version, as_json)


@app.command("consent")
def consent(number: Number, as_json: AsJson = False) -> None:
    """Agree to somebody else's proposal, as console.yaml asks for some files; it comes into force."""
    with _at_work() as (connection, person):
        version = configuration.consent(connection, person, number)
    _say(version, as_json)


@app.command("withdraw")
def withdraw(number: Number, as_json: AsJson = False) -> None:
    """Take a proposal back."""
    with _at_work() as (connection, person):
        version = configuration.withdraw(connection, person, number)
    _say(version, as_json)


@app.command("rollback")
def rollback(number: Number, message: Message = "", as_json: AsJson = False) -> None:
    """Go back to an earlier version, or with 0 to the shipped files. Nothing that was delivered changes."""
    with _at_work() as (connection, person):
        version = configuration.rollback(connection, person, number, message)
    _say(version, as_json)


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write to, e.g. include/config of a checkout.")],
    only_replaced: Annotated[bool, typer.Option(help="Only the files that are not as shipped.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the files in force to a folder, for git."""
    with _at_work() as (connection, person):
        written = configuration.export_tree(connection, person, folder, only_replaced=only_replaced)
    words = f"Wrote {len(written)} files to {folder}: {', '.join(written[:10])}" if written else "All files are there."
    say({"folder": str(folder), "written": written}, words + (" ..." if len(written) > 10 else ""), as_json)


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="The configuration of a checkout, or the checkout.")],
    message: Message = "",
    propose: OnlyPropose = False,
    as_json: AsJson = False,
) -> None:
    """Publish what differs in a checked-out tree from what is in force."""
    with _at_work() as (connection, person):
        version = configuration.import_tree(connection, person, folder, message)
        if not propose:
            version = configuration.publish(connection, person, version.number)
    _say(version, as_json)


def _given(word: str) -> tuple[str, bytes]:
    """`lookups/carriers.csv=new.csv` as a name and a file's content; `-` is standard input."""
    name, equals, place = word.partition("=")
    if not equals or not place:
        raise ConfigError(
            f"{word!r} does not say which file it replaces.", do="Write lookups/carriers.csv=new.csv: NAME=FILE."
        )
    if place == "-":
        return name, sys.stdin.buffer.read(tree.MOST_BYTES + 1)
    try:
        with Path(place).open("rb") as file:
            return name, file.read(tree.MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{place} cannot be read: {error.strerror or type(error).__name__}.", do="Name the file with the new text."
        ) from None


def _sentence(one: Version) -> str:
    conflict = ", not merged with the shipped files" if one.conflict else ""
    return f"version {one.number} of {one.author}, {one.at:%Y-%m-%d %H:%M} UTC ({one.state}{conflict}): {one.message}"


def _say(version: Version, as_json: bool) -> None:
    files = ", ".join(version.files)
    if version.state == "proposed":
        waits = version.waits_for
        next_step = (
            f"{', '.join(waits)} needs a second person: `crossdock config consent {version.number}`"
            if waits
            else f"`crossdock config publish {version.number}` brings it into force"
        )
        words = f"Version {version.number} is proposed ({files}). {next_step}."
    elif version.state == "withdrawn":
        words = f"Version {version.number} is withdrawn."
    else:
        words = f"Version {version.number} is in force ({files}): every task that begins from now on uses it."
    say(version, words, as_json)


def _print_changes(changes: Any) -> None:
    for one in changes:
        out.print(safe(one.diff, lines=True) if one.diff else f"{one.path}: the same text", soft_wrap=True)
