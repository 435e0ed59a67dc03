"""The records of a list beside its contract: what breaks it, what it does not name, what does not come.

In: a sample. Out: findings. Never: a value: a field and a count are enough, and a value may be somebody's; but
the states and sites for which a record could not be made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from crossdock.errors import Refusal
from crossdock.mapping import contracts, language
from crossdock.mapping.contracts import Document
from crossdock.mapping.registry import named_rules
from crossdock.mapping.table import OF_HEAD
from crossdock.safe import safe
from crossdock.services.survey.findings import Finding
from crossdock.services.survey.records import Sample

MOST_REASONS = 5  # of one finding
_MISSING = re.compile(r'"(\w+)" is a required property')


def of(sample: Sample) -> Iterator[Finding]:
    """What is to be said about the fields of a list."""
    document = sample.document
    broken: Counter[tuple[str, str]] = Counter()
    unknown: Counter[str] = Counter()
    seen: set[str] = set()
    for record in sample.records:
        refusals = contracts.refusals(sample.resource.contract, sample.resource.document, record)
        broken.update({(_broken(one), one.code) for one in refusals})
        unknown.update(set(_unknown(record, document, "")))
        seen |= set(_seen(record, document, ""))
    read = _reads(sample)
    if sample.received_as:
        entity = contracts.document(*sample.received_as)
        unknown = Counter()  # of the entity: the documents are our own
        for received in sample.received:
            unknown.update(set(_unknown(received, entity, "")))
    for (field, rule, do), count in sorted(sample.unmade.items()):
        yield Finding(
            f"unmade:{sample.name}:{rule}:{field}", "open", sample.name, field, "", count,
            f"No document could be made of records, by the rule {rule} of {field or 'the record'}."
            + "".join(f" {safe(one)}" for one in [*sample.reasons.get((field, rule, do), ())][:MOST_REASONS]), do,
        )  # fmt: skip
    for (field, code), count in sorted(broken.items()):
        yield Finding(
            f"contract:{sample.name}:{field}:{code}", "open", sample.name, field, "", count,
            f"{field or 'The record'} is not as the contract says ({code}).",
            "Find out what the field holds here. If the records are right, the contract and its mapping must follow; "
            "else have the field corrected there.",
            f"include/contracts/{sample.resource.contract}.yaml",
        )  # fmt: skip
    for field, count in sorted(unknown.items()):
        yield Finding(
            f"unknown_field:{sample.name}:{field}", "open", sample.name, field, "", count,
            f"{field} is not in the contract.",
            "Decide whether it matters. If so, add it to the contract and map it; if not, say so: `crossdock map "
            "--decide NAME --because ...`.",
            f"include/contracts/{sample.received_as[0] if sample.received_as else sample.resource.contract}",
        )  # fmt: skip
    if sample.records:
        for field in sorted(set(read) - seen):
            names = ", ".join(sorted(read[field]))
            yield Finding(
                f"never_seen:{sample.name}:{field}", "note", sample.name, field, "", 0,
                f"{field} is read by {names} and has no value in any of {len(sample.records)} records.",
            )  # fmt: skip


def _broken(refusal: Refusal) -> str:
    """The field that breaks the contract, without the numbers of entries; of one that is missing the field itself. The
    sentence of a refusal is not told on: it holds the value."""
    path = ".".join(part for part in refusal.field.split(".") if part and not part.isdigit())
    missing = _MISSING.match(refusal.message) if refusal.code == "required" else None
    return ".".join(filter(None, (path, missing and missing[1])))


def _unknown(record: Mapping[str, Any], document: Document, prefix: str) -> Iterator[str]:
    """Paths that the contract does not name; a name with an @ is about another one."""
    for name, value in record.items():
        if "@" in name:
            continue
        path = f"{prefix}{name}"
        field = document.fields.get(path)
        if field is None:
            yield path
        elif field.items is not None and isinstance(value, list):
            for one in value:
                if isinstance(one, Mapping):
                    yield from (f"{path}.{below}" for below in _unknown(one, field.items, ""))
        elif field.type == "object" and isinstance(value, Mapping) and _has_parts(document, path):
            yield from _unknown(value, document, f"{path}.")


def _has_parts(document: Document, path: str) -> bool:
    """Whether the contract names what is within an object; one of free names has none."""
    return any(each.startswith(f"{path}.") for each in document.fields)


def _seen(record: Mapping[str, Any], document: Document, prefix: str) -> Iterator[str]:
    """Paths that have a value."""
    for name, value in record.items():
        path = f"{prefix}{name}"
        field = document.fields.get(path)
        if field is None or value in (None, "", []):
            continue
        yield path
        if field.items is not None and isinstance(value, list):
            for one in value:
                if isinstance(one, Mapping):
                    yield from (f"{path}.{below}" for below in _seen(one, field.items, ""))
        elif isinstance(value, Mapping):
            yield from _seen(value, document, f"{path}.")


def _reads(sample: Sample) -> dict[str, set[str]]:
    """Every field of the contract that a mapping of the list reads, by a line or by a rule: path -> mappings."""
    source = (sample.resource.contract, sample.resource.document)
    found: dict[str, set[str]] = {}
    for name in language.names():
        table = language.load(name)
        if table.source != source:
            continue
        inside = table.children.source if table.children else ""
        paths = {path for one in table.fields for path in one.sources}
        rules = named_rules()
        paths |= {path for rule in table.named if rule in rules for path in rules[rule].reads}
        lines = {path for one in (table.children.fields if table.children else ()) for path in one.sources}
        paths |= {path.removeprefix(OF_HEAD) if path.startswith(OF_HEAD) else f"{inside}.{path}" for path in lines}
        for path in paths & _named(sample.document):
            found.setdefault(path, set()).add(f"{name}.yaml")
    return found


def _named(document: Document) -> set[str]:
    """All paths of values that the contract names, those within its lists among them."""
    lists = {path: one.items for path, one in document.fields.items() if one.items}
    return {*document.leaves, *(f"{path}.{below}" for path, items in lists.items() for below in items.leaves)}
