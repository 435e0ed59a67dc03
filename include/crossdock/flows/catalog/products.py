"""The catalogue, products: ready rows -> products created or updated at the channel, each effect once.

In: staged rows, what the channel holds and what was last delivered. Out: deliveries before and after each call, links,
`ops.product`, conflicts with the value that was overwritten. Never: a call for an equal product; a second product of
an item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from crossdock.errors import CrossdockError, RecordRejected, Transient
from crossdock.flows.catalog.transform import COLUMNS, ENTITY, MAPPING, NO_PARTS_YET, ChannelProduct, Outcome, products
from crossdock.mapping import language
from crossdock.reference import channel
from crossdock.reference.tims import ITEMS
from crossdock.rules import catalogue
from crossdock.rules.catalogue import PARTS
from crossdock.steps.load import Answer, answer_of, chunked, not_taken, put_each, reasons
from crossdock.steps.records import REFERENCE, name_of
from crossdock.store import database, dead_letters, deliveries, raw
from crossdock.store.deliveries import Effect
from crossdock.store.tables import ops_conflict, ops_product, ref_channel_product
from crossdock.systems import limits, times

if TYPE_CHECKING:
    from crossdock.runtime import Runtime

FLOW = "catalog"
ADVICE = "Correct the item in TIMS (its next version goes by itself) or edit this record's payload and replay it."
NEVER_CHANGED = ("SKU", "ProductType")  # of an existing product


NOT_LOOKED_UP = [
    {
        "field": "", "rule": "unreadable_record", "value": "", "line": "",
        "says": "TIMS's item cannot be looked up: the list of items has it as a dead letter of its own.",
        "do": "See that one (flow reference): it says what is wrong with the item. Its next version goes by itself.",
    }
]  # fmt: skip


class Wanted(NamedTuple):
    """The target state of a product of the channel. `fields`: those that TIMS owns; `values` by flat names; `main`:
    sold under the item's own SKU, not under an alternate one."""

    row: sa.Row
    held: ChannelProduct
    fields: tuple[str, ...]
    values: dict[str, Any]
    main: bool


class _Change(NamedTuple):
    wanted: Wanted
    body: dict[str, Any]
    conflicts: list[str]
    name: str  # of the delivery


def write(runtime: Runtime, batch: sa.Row, rows: Sequence[sa.Row], outcome: Outcome) -> None:
    """Creates the missing products, then updates those that differ."""
    if not rows:
        return
    mapped = tuple(one.target for one in language.load(MAPPING).fields if one.target not in NEVER_CHANGED)
    with runtime.engine.begin() as connection:
        held, _ = products(connection, [row.key for row in rows])
        parts = _parts(connection, rows)
        unread = dead_letters.open_of(connection, REFERENCE, [name_of(ITEMS, row.key) for row in rows])
    outcome.refused.update({row.key: NOT_LOOKED_UP for row in rows if name_of(ITEMS, row.key) in unread})
    rows = [row for row in rows if row.key not in outcome.refused]
    new = [row for row in rows if row.key not in held]
    _wait_for_parts(rows, held, parts, outcome)
    _create(runtime, batch, [row for row in new if row.key not in outcome.waiting], parts, mapped, outcome)
    with runtime.engine.begin() as connection:
        held, _ = products(connection, [row.key for row in rows])
    wanted = [
        _wanted(row, one, parts, mapped, main=number == 0)
        for row in rows
        if row.key not in outcome.refused and row.key not in outcome.pending
        for number, one in enumerate(held.get(row.key, ()))
    ]
    equal, different = [], []
    for one in wanted:
        change = _change(one)
        if change.body:
            different.append(change)
        else:
            equal.append(one)
    with runtime.engine.begin() as connection:
        _agree(connection, batch, equal, outcome)
    _update(runtime, batch, different, outcome)


# ---- the target state of products ----------------------------------------------------------------------------------


def _parts(connection: sa.Connection, rows: Sequence[sa.Row]) -> dict[str, str]:
    """Maps {SKU of a part in TIMS: SKU of its product}, without parts that the channel does not have."""
    skus = sorted({part["SKU"] for row in rows for part in row.BundleComponents or ()})
    held, _ = products(connection, skus) if skus else ({}, {})
    return {sku: some[0].sku for sku, some in held.items()}


def _wait_for_parts(
    rows: Sequence[sa.Row], held: Mapping[str, list[ChannelProduct]], parts: Mapping[str, str], outcome: Outcome
) -> None:
    for row in rows:
        missing = [part["SKU"] for part in row.BundleComponents or () if part["SKU"] not in parts]
        if missing and not row.IsBlocked and _bundle(row, held):
            outcome.waiting[row.key] = f"{NO_PARTS_YET}{', '.join(missing)}."


def _bundle(row: sa.Row, held: Mapping[str, list[ChannelProduct]]) -> bool:
    """Whether a kit is, or will be, a Bundle at the channel. A kit that was created as an Item stays one."""
    return any(one.type == "Bundle" for one in held[row.key]) if row.key in held else True


def _wanted(
    row: sa.Row, held: ChannelProduct, parts: Mapping[str, str], mapped: Sequence[str], *, main: bool
) -> Wanted:
    document = document_of(row, parts)
    fields = tuple(
        name
        for name in mapped
        if (name != "Cost" or row.Cost is not None)
        and (name != PARTS or (held.type == "Bundle" and row.ProductType == "Bundle" and document[PARTS] is not None))
    )
    return Wanted(row, held, fields, catalogue.flat(document, fields), main)


def document_of(row: sa.Row, parts: Mapping[str, str]) -> dict[str, Any]:
    """Makes a ProductCreate of a staged row: parts by the SKUs of their products, none where one of them is missing."""
    document = {name: row._mapping[name] for name in COLUMNS}
    named = [{"SKU": parts.get(part["SKU"]), "Quantity": part["Quantity"]} for part in row.BundleComponents or ()]
    document[PARTS] = named if all(part["SKU"] for part in named) else None
    return document


def _change(wanted: Wanted) -> _Change:
    held, fields, values = wanted.held, wanted.fields, wanted.values
    theirs = catalogue.flat(held.payload, fields)
    names = catalogue.owned(fields, values, theirs, held.delivered or ())
    different = catalogue.differences(names, values, theirs)
    body = catalogue.changes(different, names, values, held.payload)
    hashed = raw.digest(database.to_json(body).encode())
    return _Change(
        wanted, body, catalogue.conflicts(different, theirs, held.delivered), f"product:{held.sku}:update:{hashed}"
    )


def _delivered(wanted: Wanted) -> dict[str, Any]:
    """Our fields of a product as the channel has them. A field that somebody has changed meanwhile gets our value, so
    that the next comparison finds the difference."""
    theirs = catalogue.flat(wanted.held.payload, wanted.fields)
    names = catalogue.owned(wanted.fields, wanted.values, theirs, wanted.held.delivered or ())
    different = set(catalogue.differences(names, wanted.values, theirs))
    return {name: wanted.values.get(name) if name in different else theirs.get(name) for name in names}


# ---- create --------------------------------------------------------------------------------------------------------


def _create(
    runtime: Runtime,
    batch: sa.Row,
    rows: Sequence[sa.Row],
    parts: Mapping[str, str],
    mapped: Sequence[str],
    outcome: Outcome,
) -> None:
    """Creates products, a hundred per request. A product that exists already (an answer was lost, or somebody made it)
    is compared afterwards like any other; one that is another item's is refused."""

    def keep(connection: sa.Connection, answered: Sequence[tuple[sa.Row, Answer]]) -> None:
        deliveries.link(
            connection, [_link(batch, row, answer.result, main=True) for row, answer in answered if answer.taken]
        )
        for row, answer in answered:
            if answer.taken:
                outcome.changed.add(row.key)
            elif answer.refused:
                outcome.refused[row.key] = answer.refused
            else:
                outcome.pending.add(row.key)

    put_each(
        runtime, FLOW, batch.id, list(chunked(rows)), keep=keep,
        effect=lambda row: Effect(ENTITY, "create", row.key, f"product:{row.key}:create", row.content_hash),
        send=lambda portion: _post(runtime, portion, parts, mapped),
    )  # fmt: skip


def _post(runtime: Runtime, portion: Sequence[sa.Row], parts: Mapping[str, str], mapped: Sequence[str]) -> list[Answer]:
    """Makes one request. `result`: the item's product, where it has one now."""
    bodies = [
        {name: value for name, value in document_of(row, parts).items() if value not in (None, []) and
         (name in NEVER_CHANGED or name in mapped)}
        for row in portion
    ]  # fmt: skip
    try:
        results = runtime.channel_advisor.create_products(bodies)
        there = [row for row, one in zip(portion, results, strict=True) if _exists(one.error)]
        documents = runtime.channel_advisor.of_skus("products", [row.SKU for row in there]) if there else []
    except Transient as error:
        return [Answer(error=error) for _ in portion]
    with runtime.engine.begin() as connection:
        channel.keep(connection, channel.PRODUCTS, documents)
        held, _ = products(connection, [row.key for row in portion])
    answers = []
    for row, one in zip(portion, results, strict=True):
        product = next(iter(held.get(row.key, ())), None)
        if product:
            answers.append(Answer(one.status, str(product.product_id), result=product))
        elif isinstance(one.error, RecordRejected):
            answers.append(Answer(one.status, refused=_refusal(row, one.error)))
        else:
            answers.append(Answer(one.status, error=one.error or not_taken(1, 1, "items")))
    return answers


def _exists(error: CrossdockError | None) -> bool:
    return error is None or (isinstance(error, RecordRejected) and error.code == "DuplicateSku")


def _refusal(row: sa.Row, error: RecordRejected) -> list[dict]:
    if error.code != "DuplicateSku":
        return reasons(error, do=ADVICE, target="Channel Advisor")
    return [
        {
            "field": "SKU", "rule": "duplicate_sku", "value": row.SKU, "line": "",
            "says": f"The channel has a product {row.SKU} in other case, and it is another item of TIMS.",
            "do": "Give one of the two items another SKU in TIMS, or make it not eligible for channels.",
        }
    ]  # fmt: skip


# ---- update --------------------------------------------------------------------------------------------------------


def _update(runtime: Runtime, batch: sa.Row, changes: Sequence[_Change], outcome: Outcome) -> None:
    """Updates products, one call each, several at once. Conflicts are noted before the call."""

    def keep(connection: sa.Connection, answered: Sequence[tuple[_Change, Answer]]) -> None:
        done = [(one, answer.result) for one, answer in answered if answer.taken]
        channel.keep(connection, channel.PRODUCTS, [product for _, product in done])
        now = [one.wanted._replace(held=one.wanted.held._replace(payload=product)) for one, product in done]
        _agree(connection, batch, now, outcome)
        outcome.changed.update(one.wanted.row.key for one, _ in done)
        outcome.alerts += [_alert(one) for one, _ in done if one.conflicts]
        _resolve_conflicts(connection, [one.wanted.held.sku for one, _ in done if one.conflicts])
        for one, answer in answered:
            key = one.wanted.row.key
            if answer.refused and answer.status == 404:  # deleted there meanwhile: the next try creates it again
                forget(connection, one.wanted.held.sku)
                outcome.pending.add(key)
            elif answer.refused:
                outcome.refused[key] = answer.refused
            elif answer.error is not None:
                outcome.pending.add(key)

    put_each(
        runtime, FLOW, batch.id, list(chunked(changes, 1)), before=_note_conflicts, keep=keep,
        effect=lambda one: Effect(ENTITY, "update", one.wanted.row.key, one.name, one.wanted.row.content_hash),
        send=lambda portion: [_put(runtime, change) for change in portion],
        at_once=limits.load("channel_advisor").at_once,
    )  # fmt: skip


def _put(runtime: Runtime, change: _Change) -> Answer:
    held = change.wanted.held
    try:
        product = runtime.channel_advisor.update_product(held.sku, change.body)
        return Answer(200, str(held.product_id), result=product)
    except (RecordRejected, Transient) as error:
        return answer_of(error, do=ADVICE, target="Channel Advisor")


def forget(connection: sa.Connection, product_sku: str) -> None:
    """Deletes what we know of a product that is not at the channel any more."""
    connection.execute(sa.delete(ref_channel_product).where(ref_channel_product.c.sku == product_sku))
    connection.execute(sa.delete(ops_product).where(ops_product.c.product_sku == product_sku))


def _agree(connection: sa.Connection, batch: sa.Row, in_sync: Sequence[Wanted], outcome: Outcome) -> None:
    """Notes products that are in sync: our fields as delivered, and the link to the item."""
    rows = [
        {"product_sku": one.held.sku, "sku": one.row.key, "delivered": delivered}
        for one in in_sync
        if (delivered := _delivered(one)) != one.held.delivered
    ]
    if rows:
        statement = database.insert_all(ops_product, rows)
        new = statement.excluded
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[ops_product.c.product_sku],
                set_={"sku": new.sku, "delivered": new.delivered, "updated_at": sa.func.now()},
            )
        )
    deliveries.link(connection, [_link(batch, one.row, one.held, main=one.main) for one in in_sync])
    for one in in_sync:
        at = times.read(one.held.payload["UpdatedDate"])
        outcome.seen[one.row.key] = max(at, outcome.seen.get(one.row.key, at))
        if _change(one).body:  # somebody has changed another field meanwhile: the next run compares it again
            outcome.unequal.add(one.row.key)


def _link(batch: sa.Row, row: sa.Row, product: ChannelProduct, *, main: bool) -> dict[str, Any]:
    """The link of a product. The main one's is under the item's SKU; those of others name the product, too."""
    return {
        "entity": ENTITY,
        "source_key": row.key if main else f"{row.key} as {product.sku}",
        "target_id": str(product.product_id),
        "other_key": product.sku,
        "content_hash": row.content_hash,
        "version": row.version,
        "batch_id": batch.id,
    }


# ---- conflicts -----------------------------------------------------------------------------------------------------


def _note_conflicts(connection: sa.Connection, portion: Sequence[_Change]) -> None:
    rows = list(_conflicts(portion))
    if rows:
        statement = insert(ops_conflict).values(rows)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["flow", "target_key", "field"],
                index_where=sa.text("resolved IS NULL"),
                set_={"theirs": statement.excluded.theirs, "ours": statement.excluded.ours},
            )
        )


def _conflicts(portion: Sequence[_Change]) -> Iterator[dict[str, Any]]:
    for change in portion:
        row, held, fields, values, _ = change.wanted
        theirs = catalogue.flat(held.payload, fields)
        for name in change.conflicts:
            yield {
                "flow": FLOW, "key": row.key, "target_key": held.sku, "field": name,
                "theirs": theirs.get(name), "ours": values.get(name),
            }  # fmt: skip


def _resolve_conflicts(connection: sa.Connection, skus: Sequence[str]) -> None:
    connection.execute(
        sa.update(ops_conflict)
        .where(ops_conflict.c.flow == FLOW, ops_conflict.c.target_key.in_(skus), ops_conflict.c.resolved.is_(None))
        .values(resolved="TIMS's value was sent", resolved_at=sa.func.now())
    )


def _alert(change: _Change) -> dict[str, Any]:
    sku, names = change.wanted.held.sku, ", ".join(change.conflicts)
    return {
        "kind": "product_conflict",
        "key": sku,
        "title": f"Product {sku} was changed at the channel: {names}",
        "body": "These fields are TIMS's, so its values were sent again. `crossdock catalog conflicts` shows what "
        "stood there. If the channel was right, correct the item in TIMS.",
        "severity": "notice",
        "window": timedelta(days=1),
    }
