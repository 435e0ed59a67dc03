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
from crossdock.cli.output import err, out, print_json, print_table, say
from crossdock.config import tree
from crossdock.errors import ConfigError
from crossdock.safe import safe
from crossdock.services import configuration, people, previews
from crossdock.services.configuration import SHIPPED, Version
from crossdock.services.people import Person
from crossdock.services.previews import Preview, Seen

app = typer.Typer(no_args_is_help=True, help="The configuration: look, publish, take back.")
SHOWN = 20  # rows of what would change
Number = Annotated[int, typer.Argument(help="Number of the version; 0: the shipped files.")]
Message = Annotated[str, typer.Option("--message", "-m", help="What changes and why, in a sentence.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: what would change is known.")]
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
    most: Annotated[int, typer.Option(min=1, help="So many versions at most.")] = 20,
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
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put files in the place of those in force, or bring a proposal into force. Checked as a whole first; then it shows
    what would change, and asks."""
    if len(what) == 1 and what[0].isdecimal():
        with _at_work() as (connection, person):
            seen = _seen(connection, person, int(what[0]), yes, as_json)
            version = previews.publish(connection, person, int(what[0]), seen)
    else:
        files = dict(given(one) for one in what)
        with _at_work() as (connection, person):
            version = configuration.propose(connection, person, files, message)
            if not propose:
                seen = _seen(connection, person, version.number, yes, as_json)
                version = previews.publish(connection, person, version.number, seen)
    _say(version, as_json)


@app.command("consent")
def consent(number: Number, yes: Yes = False, as_json: AsJson = False) -> None:
    """Agree to somebody else's proposal, as console.yaml asks for some files; it comes into force."""
    with _at_work() as (connection, person):
        configuration.may_consent(connection, person, number)
        version = previews.consent(connection, person, number, _seen(connection, person, number, yes, as_json))
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
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Publish what differs in a checked-out tree from what is in force: it shows what would change, and asks. Published
    files that the tree has otherwise, for it may be older than they are, are named."""
    with _at_work() as (connection, person):
        published = configuration.status(connection).replaced
        version = configuration.import_tree(connection, person, folder, message)
        for path in sorted({*published} & {*version.files}):
            last = configuration.last_of(connection, path)
            by = f" (version {last.number} of {safe(last.author)})" if last else ""
            err.print(f"Published, and another text in {folder}: {path}{by}. Is it to be replaced?", soft_wrap=True)
        if not propose:
            seen = _seen(connection, person, version.number, yes, as_json)
            version = previews.publish(connection, person, version.number, seen)
    _say(version, as_json)


def _seen(connection: sa.Connection, person: Person, number: int, yes: bool, as_json: bool) -> Seen:
    """Prints what a proposal would change, and asks; without `--yes` a large change by its number. Raises ConfigError
    where nobody can answer or the answer is no: nothing is kept then, the proposal neither."""
    found = previews.of_proposal(connection, person, number)
    while found.goes_on and not as_json:
        _print_effect(found)
        found = previews.of_proposal(connection, person, number, found.number)
    if not as_json:
        _print_effect(found)
    if yes:
        return Seen(found.number, str(found.changes))
    if as_json or not _attended():
        raise ConfigError(
            f"{found.changes:,} of {found.looked:,} would change, and nobody is there to agree.",
            do="Add --yes if that is right. Nothing was published.",
        )
    if found.large:
        out.print(f"This is a large change. {found.why_large}", soft_wrap=True)
        return Seen(found.number, typer.prompt(f"Write {found.changes} to publish it"))
    if not typer.confirm("Publish it?"):
        raise ConfigError("Nothing was published.", do="Publish it when it is right.")
    return Seen(found.number)


def _attended() -> bool:
    """Whether a person can answer."""
    return sys.stdin.isatty()


def _print_effect(found: Preview) -> None:
    for words in found.words:
        out.print(words, soft_wrap=True)
    for one in found.parts:
        sums = ", ".join(f"{value:,} {name}" for name, value in one.sums.items())
        out.print(
            safe(f"{one.title}: {one.total:,} of {one.looked:,} {one.what} {one.would}"
                 f"{f' ({sums})' if sums else ''}. {one.truncated}{one.words}"),
            soft_wrap=True,
        )  # fmt: skip
        names = tuple(column.name for column in one.columns)
        rows = [dict(zip(names, map(safe, row), strict=True)) for row in one.rows[:SHOWN]]
        if rows:
            print_table(f"{len(rows)} of {len(one.rows):,} rows" if len(rows) < len(one.rows) else "", names, rows)


def given(word: str) -> tuple[str, bytes]:
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
