"""Reads key and version of each record of a list, and refuses what cannot be taken.

In: the bytes of a record. Out: a `Record`, or `Refused` with the reason and whatever id can be read.
Never: raises because of a record; trusts a time ahead of our own clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from crossdock import settings
from crossdock.flow import Flow, Resource
from crossdock.keys import segment
from crossdock.mapping import parse
from crossdock.store import alerts, database, dead_letters, raw
from crossdock.store.raw import Record
from crossdock.systems import scan, times
from crossdock.systems.failures import NAMES
from crossdock.systems.paging import Page, Unmade

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

REFERENCE = "reference"  # the flow name of reference data, for its dead letters
UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)  # version of a record without a readable one: any other is newer
SHOWN = 100_000  # characters of a refused record that are kept
NAMED = 60  # characters that are kept of an id that is too long
_NEXT_VERSION = "Ask the operator of the system to mend the record: its next version is read by itself. "
ADVICE = _NEXT_VERSION + "Or edit the payload and replay it; or dismiss it."
REFERENCE_ADVICE = _NEXT_VERSION + "Or dismiss it."


@dataclass(frozen=True, slots=True)
class Refused:
    """A refused record: `record` as far as it is known, and the reason."""

    record: Record
    rule: str
    message: str
    field: str = ""
    do: str = ""  # what to do about it; "": wait for the next version


@dataclass(frozen=True, slots=True)
class Given:
    """One record of a page of a dialect: its document, what that was made of, or why there is none. `complete_to`: see
    `Page`."""

    document: msgspec.Raw | Unmade
    received: bytes | None
    complete_to: datetime | None


Item = msgspec.Raw | bytes | Given


def items_of(page: Page) -> Iterable[Item]:
    """The records of a page, those too of which no document could be made."""
    if page.received is None:
        return page.records
    to = page.complete_to
    made = [Given(one, received, to) for one, received in zip(page.records, page.received, strict=True)]
    return [*made, *(Given(one, one.received, to) for one in page.unmade)]


@dataclass
class Judged:
    """A portion of a list: the newest version of each key, the keys of truncated records, the refused ones. `newest`:
    the newest version that is not ahead of either clock."""

    records: list[Record] = field(default_factory=list)
    truncated: set[str] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
    newest: datetime | None = None
    complete_to: datetime | None = None  # of a list that is not sorted by change: all that changed before came before


def judge(resource: Resource, received: Iterable[Item], clock: datetime | None = None) -> Judged:
    """Judges the records of a portion. Of each key it keeps the last refused one or the newest one. `clock`: the
    source's."""
    newest: dict[str, Record] = {}
    refused: dict[str, Refused] = {}
    made = Judged()
    limits = settings.intake()
    now, most = datetime.now(UTC), limits.clock
    for item in received:
        if isinstance(item, Given):
            made.complete_to = item.complete_to
        one = read(resource, item, limits)
        if isinstance(one, Refused):
            refused[one.record.key] = one
            newest.pop(one.record.key, None)
            continue
        record, truncated = one
        if record.version <= min(now, clock or now) + most:
            made.newest = max(record.version, made.newest or record.version)
        if record.version > now + most:  # it would be the newest version for ever
            record = replace(record, version=min(now, clock or now))
        if record.key in newest and newest[record.key].version >= record.version:
            continue
        newest[record.key] = record
        refused.pop(record.key, None)
        (made.truncated.add if truncated else made.truncated.discard)(record.key)
    made.records, made.refused = list(newest.values()), list(refused.values())
    return made


def read_one(runtime: Runtime, resource: Resource, key: str) -> Item:
    """Reads one record by its key. RecordRejected(status=404) when there is none."""
    if resource.system == "channel_advisor":
        one = runtime.channel_advisor.single(resource.path, key)
        return Given(one.document, one.received, None)
    if resource.one:
        return runtime.tims.document(resource.one.format(key=segment(key)))
    return runtime.system(resource.system).record(resource.path, key)


def read(resource: Resource, item: Item, limits: settings.Intake | None = None) -> tuple[Record, bool] | Refused:
    """Reads (record, whether the list truncated it) of an item, or why it is refused. `limits`: as `identify` has
    them."""
    if not isinstance(item, Given):
        return identify(resource, item, limits)
    document = item.document
    if isinstance(document, Unmade):
        record = Record(
            document.key if document.key and unfit(document.key, limits) is None else name((), document.received),
            UNKNOWN,
            raw.digest(document.received),
            document.received,
        )
        return Refused(record, document.rule, document.message, document.field, document.do)
    one = identify(resource, document, limits)
    if isinstance(one, Refused):
        return one
    return replace(one[0], received=item.received), one[1]


def identify(
    resource: Resource, item: msgspec.Raw | bytes, limits: settings.Intake | None = None
) -> tuple[Record, bool] | Refused:
    """Reads (record, whether the list truncated it), or why it is refused. `limits`: the intake's, where many records
    are read."""
    data = bytes(item)
    limits = limits or settings.intake()
    if (much := too_much(resource.system, data, limits)) is not None:
        return _refused(resource, data, *much)
    try:
        record_key = resource.read_key(msgspec.Raw(data))
    except (msgspec.MsgspecError, ValueError, RecursionError) as wrong:
        return _refused(resource, data, "unreadable_record", f"The record does not tell who it is: {wrong}.")
    if (odd := unfit(record_key.key, limits)) is not None:
        return _refused(resource, data, "unreadable_id", f"The record's id {odd}.")
    try:
        version = times.read(record_key.version)
    except ValueError as wrong:
        return _refused(
            resource, data, "unreadable_version", f"The moment of its last change: {wrong}.", record_key.key
        )
    same = data if record_key.same is None else record_key.same
    return Record(record_key.key, version, raw.digest(same), data), record_key.truncated


def too_much(system: str, data: bytes, limits: settings.Intake | None = None) -> tuple[str, str] | None:
    """(rule, message) for a record too large or too deep to be parsed; None otherwise."""
    limits = limits or settings.intake()
    if len(data) > limits.record_bytes and system != "inbox":  # there file_bytes bounds the whole file
        return "too_large", (
            f"The record has {len(data):,} bytes, {limits.record_bytes:,} are allowed "
            "(record_bytes in include/config/intake.yaml)."
        )
    if scan.deeper_than(data, limits.record_depth):
        return "too_deep", (
            f"Objects and lists of the record are more than {limits.record_depth} deep in "
            "one another (record_depth in include/config/intake.yaml)."
        )
    return None


def unfit(key: str, limits: settings.Intake | None = None) -> str | None:
    """Why a text cannot be the key of a record; None where it can."""
    most = (limits or settings.intake()).key_bytes
    if not key.strip() or key == "None":
        return "is missing"
    if "\0" in key:
        return "holds U+0000"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    return None if size <= most else f"has {size:,} bytes, {most:,} are allowed"


def _refused(resource: Resource, data: bytes, rule: str, message: str, key: str = "") -> Refused:
    key = key or name(resource.ids, data)
    return Refused(
        Record(key, UNKNOWN, raw.digest(data), data), rule, message, resource.ids[-1] if resource.ids else ""
    )


def name(ids: Sequence[str], data: bytes) -> str:
    """Names a record by its id; else by the beginning of the id, or by the record's hash."""
    try:
        fields = scan.members(data)
        values = [msgspec.json.decode(fields[each]) for each in ids]
    except (KeyError, ValueError, RecursionError):
        values = []
    text = ":".join(str(value) for value in values if isinstance(value, (int, str)) and not isinstance(value, bool))
    if text and unfit(text) is None and text.isprintable():
        return text
    shown = "".join(c for c in text[:NAMED] if c.isprintable())
    return f"{shown or 'unreadable'}~{sha256(text.encode(errors='surrogatepass') or data).hexdigest()[:16]}"


# ---- reference data ------------------------------------------------------------------------------------------------


def typed(resource: Resource, given: Sequence[Record]) -> tuple[list[Record], list[Refused]]:
    """Splits reference records into good ones and those with a value of another type than the contract's: every flow
    trusts what it looks up in `ref`."""
    found = parse.mapping_errors([record.payload for record in given], resource.contract, resource.document)
    refused = [Refused(given[n], why["rule"], why["says"], why["field"]) for n, why in sorted(found.items())]
    return [record for n, record in enumerate(given) if n not in found], refused


def merge(connection: sa.Connection, resource: Resource, batch_id: int | None) -> int:
    """Copies a batch of reference data into `ref`; None: all rows of the raw table, a snapshot. A record that cannot be
    copied is found by halving, so that it does not stop the others. Returns how many are refused."""
    assert resource.merge
    refused: list[Refused] = []
    _merge(connection, resource, batch_id, None, refused)
    stays = {one.record.key for one in refused}
    keys = raw.keys(connection, resource.raw, batch_id)
    dead_letters.close_resolved(
        connection, REFERENCE, [name_of(resource, key) for key in keys if key not in stays], replay=False
    )
    dead_letter(connection, None, resource, batch_id or 0, refused)
    return len(refused)


def _merge(
    connection: sa.Connection,
    resource: Resource,
    batch_id: int | None,
    keys: Sequence[str] | None,
    refused: list[Refused],
) -> None:
    assert resource.merge
    savepoint = connection.begin_nested()
    try:
        resource.merge(connection, batch_id, keys)
        savepoint.commit()
        return
    except Exception as error:
        savepoint.rollback()
        if not database.is_about_data(error):
            raise
        why = database.explain(error)
    keys = raw.keys(connection, resource.raw, batch_id) if keys is None else keys
    if len(keys) > 1:
        half = len(keys) // 2
        _merge(connection, resource, batch_id, keys[:half], refused)
        _merge(connection, resource, batch_id, keys[half:], refused)
        return
    for record in raw.records(connection, resource.raw, batch_id, keys):
        refused.append(Refused(record, "unreadable_record", f"The record cannot be looked up: {why}"))


def unstorable(refused: Sequence[tuple[Record, str]]) -> list[Refused]:
    """Turns the records that `raw.insert` could not store into `Refused`."""
    return [
        Refused(record, "unreadable_record", f"The record cannot be stored as JSON: {why}") for record, why in refused
    ]


def report_clock(connection: sa.Connection, resource: Resource, stated: str) -> None:
    """Raises an alert that the clock of a source is wrong."""
    alerts.raise_alert(
        connection,
        kind="source_clock",
        key=resource.system,
        title=f"The clock of {NAMES.get(resource.system, resource.system)} is wrong",
        body=f"{stated} Nothing is lost: the watermark stays at a time that can be. Ask the operator of the system to "
        "set its clock; `crossdock watermark show` tells where each read stands.",
    )


def queue_of(reader: str, resource: Resource) -> str:
    """The queue of a reader of the list. Reference data have one per list, for keys of several lists would collide."""
    return resource.name if reader == REFERENCE else reader


# ---- dead letters of refused records -------------------------------------------------------------------------------


def name_of(resource: Resource, key: str) -> str:
    """The key of a reference record's dead letter: its lists share one flow name, and may share ids."""
    return f"{resource.name}:{key}"


def already_stored(
    connection: sa.Connection, flow: Flow | None, resource: Resource, refused: Sequence[Refused]
) -> set[tuple[str, str]]:
    """(key, hash) of refused records that are dead letters already, unchanged, or were dismissed."""
    owner = flow.name if flow else REFERENCE
    keys = {one.record.key if flow else name_of(resource, one.record.key): one.record.key for one in refused}
    return {(keys[key], hashed) for key, hashed in dead_letters.refused(connection, owner, list(keys))}


def came_back(
    connection: sa.Connection, owner: str, resource: Resource, already_stored: Sequence[Record]
) -> set[raw.Pair]:
    """Known versions to be worked once more: the source gives them again after another version that was no newer, or
    after one that was refused. Not those that a person has edited: the edit stays."""
    if not already_stored or resource.system not in ("channel_advisor", "tims"):
        return set()
    back = raw.came_back(connection, resource.raw, queue_of(owner, resource), already_stored)
    looked_up = owner == REFERENCE
    names = {name_of(resource, record.key) if looked_up else record.key: record for record in already_stored}
    for name, version in dead_letters.unreadable(connection, owner, list(names)).items():
        if version is None or version <= names[name].version:
            back.add((names[name].key, names[name].hash))
    edited = (
        {names[name].key for name in dead_letters.edits_to_carry(connection, owner, list(names))} if back else set()
    )
    return {(key, hashed) for key, hashed in back if key not in edited}


def dead_letter(
    connection: sa.Connection, flow: Flow | None, resource: Resource, batch_id: int, refused: Sequence[Refused]
) -> None:
    """Makes dead letters of refused records, dead rows of their flow, and one alert for all of them."""
    if not refused:
        return
    latest = {one.record.key: one for one in refused}  # a key may have been refused in several versions
    letters = []
    for key, one in latest.items():
        if flow:
            dead_letters.dead_row(connection, flow.stage, key, batch_id, one.record.version)
        letters.append(
            {
                "flow": flow.name if flow else REFERENCE,
                "entity": flow.entity if flow else resource.document,
                "key": key if flow else name_of(resource, key),
                "batch_id": batch_id,
                "step": "extract",
                "version": one.record.version,
                "payload": _shown(one.record),
                "reasons": [_reason(one, one.do or (ADVICE if flow else REFERENCE_ADVICE))],
            }
        )
    dead_letters.dead_letter(connection, letters)
    names = ", ".join(sorted({one.rule for one in refused}))
    alerts.raise_alert(
        connection,
        kind="unreadable_records",
        key=resource.name,
        flow=flow.name if flow else None,
        title=f"{resource.title[:1].upper()}{resource.title[1:]}: {len(latest)} records cannot be taken",
        body=f"They are dead letters ({names}); all others went on. `crossdock dead-letters list` shows each with its "
        "reason. A record that comes in a good version closes its dead letter by itself.",
    )


def _shown(record: Record) -> dict[str, Any]:
    text = record.payload[: 4 * SHOWN].decode("utf-8", "backslashreplace").replace("\0", "")
    more = {"bytes": len(record.payload)} if len(text) > SHOWN else {}
    return {"unreadable": text[:SHOWN], "hash": record.hash, **more}


def _reason(one: Refused, do: str) -> dict[str, str]:
    return {"field": one.field, "rule": one.rule, "value": "", "line": "", "says": one.message, "do": do}
