"""Documents that we would have made, against those that people have made by hand: which two are one, and what differs.

In: documents of both sides by the contract of the target. Out: pairs, and the fields that differ in each. Never: a
document in two pairs; a value of personal data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from crossdock.flow import Resource

Document = Mapping[str, Any]
SAME, DIFFERS, ONLY_OURS, ONLY_THEIRS = "same", "differs", "only_ours", "only_theirs"
OVERTAKEN = "overtaken"  # only we would have made it, and something has come since: nobody need make it any more
REFERENCE = "reference"  # how a pair was found that has one name


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """How documents of one kind are compared. Fields are paths such as ShippingAddress.City.

    `resource`: the list of theirs; `table`: the same in `ref`; `source`: of ours there; `theirs`: which of them count;
    `tells_of_theirs`: whether one that only people have made is told. `names`: fields that name the
    sale in both. `alike`: fields that are alike in both where they have no name in common. `line_key`: fields by which
    two lines are one. Only what we would have sent is compared, but for `ignored`; of `personal` fields no value is
    shown."""

    flow: str
    entity: str
    what: str  # as people call them, several
    resource: Resource
    table: sa.Table
    source: str
    names: tuple[str, ...]
    alike: tuple[str, ...]
    alike_words: str
    day: str
    lines: str = ""
    line_key: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    theirs: sa.ColumnElement[bool] = sa.true()  # noqa: RUF009
    tells_of_theirs: bool = True

    def is_personal(self, field: str) -> bool:
        return field.startswith(self.personal) if self.personal else False


@dataclass(frozen=True)
class One:
    """A document of one side. `key`: ours is that of the source record, theirs the document's id. `later`: what has
    come of our record since, in words; `overtaken`: because of it nobody need make it any more."""

    key: str
    document: Document
    later: str | None = None
    overtaken: bool = False


@dataclass(frozen=True)
class Difference:
    """One field that differs; values as text, None where there is none or nobody is to see it."""

    field: str
    ours: str | None
    theirs: str | None


@dataclass(frozen=True)
class Result:
    """What became of one document. `matched_by`: REFERENCE, or what is alike."""

    day: date
    verdict: str
    ours: One | None
    theirs: One | None
    matched_by: str | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def name(self) -> str:
        return self.ours.key if self.ours else self.theirs.key if self.theirs else ""


def compare(subject: ByHand, ours: Sequence[One], theirs: Sequence[One], zone: str = "UTC") -> list[Result]:
    """Finds the pairs and compares them; one result for each pair, and for each document without one. `zone`: in which
    a moment becomes a day."""
    results = []
    rest = {one.key: one for one in theirs}
    for mine, other, by in _pairs(subject, ours, theirs, ZoneInfo(zone)):
        del rest[other.key]
        found = tuple(differences(subject, mine.document, other.document, zone))
        day = day_of(subject, mine.document, zone)
        results.append(Result(day, DIFFERS if found else SAME, mine, other, by, found))
    paired = {result.ours.key for result in results if result.ours}
    results += [
        Result(day_of(subject, one.document, zone), OVERTAKEN if one.overtaken else ONLY_OURS, one, None)
        for one in ours
        if one.key not in paired
    ]
    if subject.tells_of_theirs:
        results += [Result(day_of(subject, one.document, zone), ONLY_THEIRS, None, one) for one in rest.values()]
    return results


def _pairs(
    subject: ByHand, ours: Sequence[One], theirs: Sequence[One], zone: ZoneInfo
) -> Iterator[tuple[One, One, str]]:
    """Each of ours with at most one of theirs: by name, then by what is alike. Of several that are alike in all of it,
    the first goes with the first, by key."""
    left, free = sorted(ours, key=lambda one: one.key), sorted(theirs, key=lambda one: one.key)
    by_name = [(subject.names, REFERENCE), (subject.alike, subject.alike_words)]
    for fields, words in by_name:
        there: dict[tuple[Any, ...], list[One]] = defaultdict(list)
        for one in free:
            if (name := _name(fields, one.document, zone)) is not None:
                there[name].append(one)
        taken: set[str] = set()
        unmatched = []
        for mine in left:
            name = _name(fields, mine.document, zone)
            candidates = there.get(name, []) if name is not None else []
            if not candidates:
                unmatched.append(mine)
                continue
            other = candidates.pop(0)
            taken.add(other.key)
            yield mine, other, words
        left, free = unmatched, [one for one in free if one.key not in taken]


def _name(fields: Sequence[str], document: Document, zone: ZoneInfo) -> tuple[Any, ...] | None:
    """The values by which a document is known; None where one of them is missing."""
    values = tuple(_plain(value_at(document, field), zone) for field in fields)
    return None if not values or any(value in (None, "") for value in values) else values


def differences(subject: ByHand, ours: Document, theirs: Document, zone: str = "UTC") -> Iterator[Difference]:
    """The fields that differ, of those that we would have sent."""
    within = ZoneInfo(zone)
    yield from _of_fields(subject, "", ours, theirs, within)
    if subject.lines:
        yield from _of_lines(subject, ours.get(subject.lines) or (), theirs.get(subject.lines) or (), within)


def _of_fields(subject: ByHand, prefix: str, ours: Document, theirs: Document, zone: ZoneInfo) -> Iterator[Difference]:
    for field, value in sorted(leaves(ours)):
        if field in subject.ignored or field.partition(".")[0] in subject.ignored:
            continue
        other = value_at(theirs, field)
        mine, their = _plain(value, zone), _plain(other, zone)
        if _equal(mine, their):
            continue
        shown = (None, None) if subject.is_personal(field) else (_shown(value), _shown(other))
        yield Difference(prefix + field, *shown)


def _of_lines(
    subject: ByHand, ours: Iterable[Document], theirs: Iterable[Document], zone: ZoneInfo
) -> Iterator[Difference]:
    """Lines of one key stand beside each other in the order of what else they say."""
    mine, others = _by_key(subject, ours, zone), _by_key(subject, theirs, zone)
    for key in sorted({*mine, *others}):
        some, there = mine.get(key, []), others.get(key, [])
        name = f"{subject.lines}[{' '.join(key)}]"
        for one, other in zip(some, there, strict=False):
            yield from _of_fields(subject, f"{name}.", one, other, zone)
        if len(some) != len(there):
            yield Difference(name, f"{len(some)} lines", f"{len(there)} lines")


def _by_key(subject: ByHand, lines: Iterable[Document], zone: ZoneInfo) -> dict[tuple[str, ...], list[Document]]:
    found: dict[tuple[str, ...], list[Document]] = defaultdict(list)
    for line in lines:
        found[tuple(str(_plain(value_at(line, field), zone)) for field in subject.line_key)].append(line)
    for some in found.values():
        some.sort(key=lambda line: sorted((f, str(_plain(v, zone))) for f, v in leaves(line) if f in _AMOUNTS))
    return found


_AMOUNTS = ("Quantity", "Price", "DiscountAmount", "TaxAmount")  # by which lines of one item stand in order


def leaves(document: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a document that hold a value, with their paths; lists are left out."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        elif value is not None and not isinstance(value, (list, tuple)):
            yield prefix + name, value


def value_at(document: Document, field: str) -> Any:
    """The value at a path; None where there is none."""
    value: Any = document
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def day_of(subject: ByHand, document: Document, zone: str = "UTC") -> date:
    """The business day of a document, in a time zone; the first day of all where it says none."""
    day = _plain(value_at(document, subject.day), ZoneInfo(zone))
    return day if isinstance(day, date) else date.min


def _plain(value: Any, zone: ZoneInfo) -> Any:
    """A value as it is compared: numbers by amount however they are written, moments by their day, texts without case
    and double blanks."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float, Decimal)):
        return Decimal(str(value)).normalize()
    text = " ".join(str(value).split()).casefold()
    if len(text) >= 10 and text[4:5] == "-" and text[7:8] == "-":
        try:
            if len(text) == 10:
                return date.fromisoformat(text)
            moment = datetime.fromisoformat(text.upper())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(zone).date()
        except (ValueError, OverflowError):
            return text
    if text[:1] in "-0123456789." and len(text) <= 20 and "." in text:  # money is a text with a point
        try:
            return Decimal(text).normalize()
        except InvalidOperation:
            return text
    return text


def _equal(one: Any, other: Any) -> bool:
    """Nothing, zero and an empty text are one; a whole number may be a text at one side."""
    if isinstance(one, Decimal) != isinstance(other, Decimal):
        one, other = (value if isinstance(value, Decimal) else _number(value) for value in (one, other))
    return one == other or (not one and not other)


def _number(text: Any) -> Any:
    try:
        return Decimal(text) if isinstance(text, str) and len(text) <= 20 else text
    except InvalidOperation:
        return text


def _shown(value: Any) -> str | None:
    return None if value is None else str(value)[:200]


def words(
    what: str,
    day: date,
    *,
    same: int,
    differ: int,
    only_ours: int,
    only_theirs: int,
    fields: Mapping[str, int],
    overtaken: int = 0,
    later: Mapping[str, int] | None = None,
) -> str:
    """A day in a sentence: "We would have made 214 orders on ...: 213 as you did, 1 differs in ShippingTaxAmount."."""
    parts = [f"{same:,} as you did"]
    if differ:
        most = sorted(fields, key=lambda field: (-fields[field], field))[:5]
        parts.append(f"{differ:,} {'differs' if differ == 1 else 'differ'} in {', '.join(most)}")
    if only_ours:
        parts.append(f"{only_ours:,} that nobody has entered")
    parts += (
        [f"{overtaken:,} overtaken before anybody entered {'it' if overtaken == 1 else 'them'}"] if overtaken else []
    )
    parts += [f"you have entered {only_theirs:,} that we would not have made"] if only_theirs else []
    made = same + differ + only_ours + overtaken
    return f"We would have made {made:,} {what} on {day}: {', '.join(parts)}.{afterwards(later or {})}"


def afterwards(later: Mapping[str, int]) -> str:
    """What has come later, in a sentence behind another one; "" for nothing."""
    parts = [f"{words} ({number:,})" for words, number in sorted(later.items())]
    return f" Later, {', '.join(parts)}." if parts else ""


def fields_of(results: Iterable[Result]) -> dict[str, int]:
    """How many documents differ in a field; a field of lines counts once a document, whichever the line."""
    found: dict[str, int] = defaultdict(int)
    for result in results:
        for field in {_general(one.field) for one in result.differences}:
            found[field] += 1
    return dict(found)


def _general(field: str) -> str:
    before, bracket, rest = field.partition("[")
    return f"{before}{rest.partition(']')[2]}" if bracket else field
