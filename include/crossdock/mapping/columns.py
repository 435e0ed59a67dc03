"""The registry of the columns that mappings fill: tables, COPY and migrations are made from it.

In: `columns.json`, beside this module. Out: the type of each target path, by mapping. `crossdock db revision` writes
the file from the mappings and the contracts; an analyst's half-edited mapping changes no table. The other fields of a
target have columns too, so that mapping one of them needs no migration: they are `FREE`, empty, and in no hash until a
mapping fills them. Never: a column lost; a check passed by a path whose column does not exist yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from crossdock.config.nodes import Finding
from crossdock.mapping.contracts import Document
from crossdock.mapping.table import FieldMap, Table, target_field

FILE = Path(__file__).with_suffix(".json")
FIELDS, LINES = "fields", "lines"
FREE = {FIELDS: "free fields", LINES: "free lines"}
# Target paths of documents that code stages itself: what it sends there. None: nothing, for it keeps no column of it.
BY_CODE: dict[str, dict[str, str | bool | None]] = {
    "credit_memo": {"LocationID": None, "Source": "Crossdock", "Restock": False},
}
Types = dict[str, dict[str, str]]  # the types of a mapping's target paths, under FIELDS and LINES, and of FREE ones


@cache
def registered() -> dict[str, Types]:
    """The columns of each mapping that fills a stage table, in the order in which they are hashed and copied."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def columns_of(name: str, part: str) -> dict[str, str]:
    """The types of all columns that a mapping may fill, the free ones last."""
    types = registered().get(name, {})
    return types.get(part, {}) | types.get(FREE[part], {})


def derived(mapping: Table) -> Types:
    """The columns of a mapping by its present file: first the registered ones in their order, then new ones; and those
    of the fields that it does not map."""
    given = registered().get(mapping.name, {})
    found: Types = {}
    for part, fields, document in _parts(mapping):
        types = {one.target: _type(document, one.target) for one in fields}
        kept = [path for path in given.get(part, {}) if path in types]
        found[part] = {path: types[path] for path in [*kept, *types]}
        free = {path: _type(document, path) for path in document.leaves if path not in types}
        if free:
            found[FREE[part]] = free
    return found


def findings(mapping: Table) -> Iterator[Finding]:
    """The target paths that cannot be sent as a line says."""
    for part, fields, document in _parts(mapping):
        for one in fields:
            same = one.constant is not None and one.constant == BY_CODE.get(mapping.name, {}).get(one.target)
            words = "" if same else no_place(mapping, part, one.target, document)
            if words:
                yield Finding(mapping.file, one.line, f"{one.target} {words}")


def no_place(mapping: Table, part: str, path: str, document: Document) -> str:
    """Why a line to a field of the target would send nothing, "" where it would: the code fills it whatever a mapping
    says, or it has no column."""
    own = BY_CODE.get(mapping.name, {})
    if part == FIELDS and path in own:
        words = f"is {_in_words(own[path])} by the flow itself"
        return f"{words}, so a line changes nothing; a developer must change the flow first"
    registered_here = mapping.name in registered() and target_field(document, path) is not None
    if registered_here and columns_of(mapping.name, part).get(path) != _type(document, path):
        return (
            "has no column yet, so it cannot be sent; a developer makes it with "
            f"`crossdock db revision -m '{path} of {mapping.name}'`, then `crossdock db migrate`"
        )
    return ""


def _in_words(value: str | bool | None) -> str:
    if value is None:
        return "not sent"
    return f"set to {value}" if isinstance(value, str) else f"set to {'yes' if value else 'no'}"


def write(types: dict[str, Types]) -> None:
    """Makes `types` the registry, a column a line."""
    if types != registered():
        FILE.write_text(json.dumps(dict(sorted(types.items())), indent=1) + "\n", encoding="utf-8")
        registered.cache_clear()


def _parts(mapping: Table) -> Iterable[tuple[str, tuple[FieldMap, ...], Document]]:
    document = mapping.target_document
    yield FIELDS, mapping.fields, document
    children = mapping.children
    below = document.fields.get(children.target) if children else None
    if children and below and below.items:
        yield LINES, children.fields, below.items


def _type(document: Document, path: str) -> str:
    """text, integer, money, boolean, or json for a whole list."""
    field = target_field(document, path)
    if field is None or field.type in ("array", "object"):
        return "json"
    if field.money:
        return "money"
    return field.type if field.type in ("integer", "boolean") else "text"
