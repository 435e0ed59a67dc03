"""Mappings: the canvas of one, changes of a draft, records on their way, trials, publishing."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from console.access import Analyst, Asks
from console.bodies import body
from console.database import transaction
from console.model import model
from crossdock.services import mapping_history, mapping_records, mapping_trial, mappings, previews, suggestions
from crossdock.services.mapping_history import Published, Revision
from crossdock.services.mapping_records import Share, Stored, Trace
from crossdock.services.mapping_trial import Compared
from crossdock.services.mappings import Canvas, Change, Summary, Vocabulary
from crossdock.services.previews import Seen, Tried
from crossdock.services.suggestions import ForField, ForLookup

router = APIRouter()
LONGEST = 1_000_000  # characters of a mapping's text, a hundred times what a large one has
Text = Annotated[str, Query(max_length=1_000)]
Yaml = Annotated[str, Field(max_length=LONGEST)]


@body
class Draft:
    """A text of the mapping that is not in force."""

    text: Yaml = ""


@body
class Wanted:
    """One change, as `crossdock.services.mappings.Change`."""

    do: Literal["draw", "change", "remove", "add_rule", "remove_rule", "not_sent"]
    path: str = ""
    source: str = ""
    rule: str = ""
    reason: str = ""
    words: dict[str, Any] | None = None
    replace: bool = False


@body
class ChangedDraft:
    text: Yaml
    change: Wanted


@body
class Followed:
    """A record, and the draft that it is to go through."""

    key: str
    text: Yaml


@body
class Compare:
    """Records, and the draft that they are to go through beside the mapping in force."""

    keys: list[str]
    text: Yaml


@body
class Publication:
    """A text, what changes and why, the version that the person has seen, and the trial that was shown: its number and,
    of a large change, how many records would change, written by hand."""

    text: Yaml
    message: str = ""
    parent: int | None = field(default=None)
    preview: int | None = None
    confirm: str = ""


@router.get("/mappings")
def listed(person: Asks) -> list[Summary]:
    """All mappings."""
    with transaction(person):
        return list(mappings.listed(person))


@router.get("/mappings/vocabulary")
def vocabulary(person: Asks) -> Vocabulary:
    """What a line can say."""
    with transaction(person):
        return mappings.vocabulary(person)


@router.get("/mappings/{name}")
def canvas(person: Asks, name: str) -> Canvas:
    """The mapping in force."""
    with transaction(person):
        return mappings.canvas(person, name)


@router.post("/mappings/{name}/draft")
def draft(person: Analyst, name: str, given: Draft) -> Canvas:
    """A draft as the canvas shows it."""
    with transaction(person):
        return mappings.canvas(person, name, given.text)


@router.post("/mappings/{name}/change")
def change(person: Analyst, name: str, given: ChangedDraft) -> Canvas:
    """The draft with one change. Nothing is written."""
    one = given.change
    wanted = Change(one.do, one.path, one.source, one.rule, one.reason, one.words, one.replace)
    with transaction(person):
        return mappings.changed(person, name, given.text, wanted)


@router.get("/mappings/{name}/records")
def records(person: Asks, name: str, after: Text = "", limit: Annotated[int, Query(ge=1, le=200)] = 20) -> list[Stored]:
    """Stored records, the last first, a page at a time."""
    with transaction(person) as connection:
        return list(mapping_records.newest(connection, person, name, after=after, limit=limit))


@router.get("/mappings/{name}/shares")
def shares(person: Asks, name: str) -> list[Share]:
    """How often each source field is given."""
    with transaction(person) as connection:
        return list(mapping_records.shares(connection, person, name))


@router.get("/mappings/{name}/trace")
def trace(person: Asks, name: str, key: Text) -> Trace:
    """Every value of a record on its way. Nothing is written but who has opened it."""
    with transaction(person) as connection:
        return mapping_records.trace(connection, person, name, key)


@router.post("/mappings/{name}/trace")
def trace_draft(person: Analyst, name: str, given: Followed) -> Trace:
    """The same through a draft."""
    with transaction(person) as connection:
        return mapping_records.trace(connection, person, name, given.key, given.text)


@router.post("/mappings/{name}/compare")
def compare(person: Analyst, name: str, given: Compare) -> list[Compared]:
    """What a draft does to each of some records. Nothing is written."""
    with transaction(person) as connection:
        return list(mapping_trial.compared(connection, person, name, given.text, given.keys))


@router.post("/mappings/{name}/trial")
def trial(person: Analyst, name: str, given: Draft) -> Tried:
    """What a draft would change of the last records. Kept is only how many, and that the person has seen it."""
    with transaction(person) as connection:
        return previews.tried(connection, person, name, given.text)


@router.get("/mappings/{name}/suggestions")
def suggested(person: Asks, name: str, target: Text, children: Text = "", although_mapped: bool = False) -> ForField:
    """Where a target field may come from. `although_mapped`: also where somebody has mapped it."""
    with transaction(person) as connection:
        return suggestions.for_field(
            connection, person, name, target, children, although_mapped=although_mapped, model=model()
        )


@router.get("/mappings/lookups/{lookup}/missing")
def missing(person: Asks, lookup: str) -> ForLookup:
    """The values that a lookup does not know, each with the nearest ones that it does."""
    with transaction(person) as connection:
        return suggestions.for_lookup(connection, person, lookup)


@router.get("/mappings/{name}/history")
def history(person: Asks, name: str, path: Text) -> list[Revision]:
    """Who changed a line, when, and how many records it has worked since."""
    with transaction(person) as connection:
        return list(mapping_history.history(connection, person, name, path))


@router.post("/mappings/{name}/publish")
def publish(person: Analyst, name: str, given: Publication) -> Published:
    """Brings a draft into force whose trial the person has seen, or leaves it to a second person where that is asked
    for."""
    with transaction(person) as connection:
        seen = Seen(given.preview, given.confirm)
        return mapping_history.publish(connection, person, name, given.text, given.message, seen, parent=given.parent)
