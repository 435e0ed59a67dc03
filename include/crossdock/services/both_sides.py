"""The same records as both systems have them: what the suggestions look at.

In: a connection, a source and a target document. Out: a sample of the records that were linked last. Never: more than a
few hundred records; a read that grows with what the database holds.

The target's document is the one that TIMS or the channel holds now (`ref`, raw); where no copy of it is kept, what was
delivered (`stage`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from crossdock import flows
from crossdock.flow import Resource
from crossdock.mapping import contracts
from crossdock.mapping.suggest.evidence import written
from crossdock.mapping.suggest.sample import Sample
from crossdock.reference import channel, tims
from crossdock.store import registry
from crossdock.store.tables import (
    ops_batch,
    ops_link,
    ops_product,
    ops_work,
    raw_orders,
    ref_adjustment,
    ref_channel_price,
    ref_channel_product,
    ref_credit_memo,
    ref_invoice,
    ref_payment,
    ref_sales_order,
    stage_channel_quantity,
    stage_channel_quantity_line,
    stage_channel_shipment,
    stage_channel_shipment_line,
    stage_customer,
    stage_payment,
    stage_sales_order,
    stage_stock_adjustment,
)

RECORDS = 150  # enough to be sure, few enough to be quick
BATCHES = 5
FEWEST, LONGEST_KEY = 5, 100  # records that a field must name to link two documents; characters of a name
Schema = tuple[str, str]
Pairs = Sequence[tuple[str, Mapping[str, Any]]]  # key of the source's record, and the target's document

_link = ops_link.c


def sample(connection: sa.Connection, source: Schema, target: Schema, records: int = RECORDS) -> Sample:
    """The newest linked records of both documents. Where no flow links them, records of which one side names the
    other's key; an empty sample where there are none."""
    documents = contracts.document(*source), contracts.document(*target)
    raw = _raw_tables().get(source)
    find = PLACES.get(target)
    if raw is None:
        return Sample(*documents)
    pairs = find(connection, records) if find else _named(connection, source, target, records)
    payloads = newest(connection, raw, sorted({key for key, _ in pairs}))
    both = [(payloads[key], document) for key, document in pairs if key in payloads]
    return Sample(*documents, tuple(one for one, _ in both), tuple(other for _, other in both))


def _raw_tables() -> dict[Schema, sa.Table]:
    """The raw table of each document that is read."""
    looked_up = [one for module in (tims, channel) for one in vars(module).values() if isinstance(one, Resource)]
    read = [*looked_up, *(flow.source for flow in flows.all_flows().values())]
    return {(one.contract, one.document): one.raw for one in read}


def newest(connection: sa.Connection, raw: sa.Table, keys: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The newest version of these records."""
    versions = (
        sa.select(raw.c.key, raw.c.payload)
        .ext(distinct_on(raw.c.key))
        .where(raw.c.key == sa.any_(sa.bindparam("keys", list(keys), type_=sa.ARRAY(sa.Text))))
        .order_by(raw.c.key, raw.c.version.desc(), raw.c.received_at.desc())
        .subquery()
    )
    rows = connection.execute(sa.select(versions.c.key, sa.cast(versions.c.payload, sa.Text)))
    found = {key: _json(text) for key, text in rows}
    return {key: document for key, document in found.items() if isinstance(document, dict)}


def newest_records(connection: sa.Connection, source: Schema, records: int = RECORDS) -> list[Mapping[str, Any]]:
    """Records of a document in the last batches that read it, whether or not they are linked."""
    return [document for _, document in _newest(connection, source, records)]


def _newest(connection: sa.Connection, schema: Schema, records: int) -> Pairs:
    raw = _raw_tables().get(schema)
    if raw is None:
        return []
    read = [flow for flow in flows.all_flows().values() if (flow.source.contract, flow.source.document) == schema]
    batches = (
        sa.select(ops_batch.c.id).where(ops_batch.c.flow.in_([flow.name for flow in read]))
        .order_by(ops_batch.c.id.desc()).limit(BATCHES)
    )  # fmt: skip
    of_flow = sa.select(ops_work.c.key).where(ops_work.c.batch_id.in_(batches)).limit(records)
    looked_up = sa.select(raw.c.key).order_by(raw.c.key.desc()).limit(records)
    keys = connection.scalars(of_flow if read else looked_up).all()
    return list(newest(connection, raw, sorted(set(keys))).items())


# ---- records that no flow links --------------------------------------------------------------------------------------


def _named(connection: sa.Connection, source: Schema, target: Schema, records: int) -> Pairs:
    """Pairs of which the source names the target's key in one of its fields, or the other way round."""
    held = next((one for one in _held_as(target) if one in _raw_tables()), None)
    if held is None:
        return []
    there = _find(connection, _newest(connection, source, records), source, _raw_tables()[held])
    back = _find(connection, _newest(connection, held, records), held, _raw_tables()[source])
    if len(there) >= len(back):
        return [(key, other) for key, _, _, other in there]
    return [(other_key, document) for _, document, other_key, _ in back]


def _held_as(target: Schema) -> list[Schema]:
    """The documents that a system keeps of what it is sent: Item of ItemCreate."""
    system, name = target
    return [target, *((system, name.removesuffix(word)) for word in ("Create", "Update", "Patch") if name != word)]


def _find(
    connection: sa.Connection, some: Pairs, schema: Schema, raw: sa.Table
) -> list[tuple[str, Mapping[str, Any], str, Mapping[str, Any]]]:
    """Each record with the other one that the best of its fields names."""
    document = contracts.document(*schema)
    columns = Sample(document, document, tuple(one for _, one in some), ()).source
    best: list[tuple[str, Mapping[str, Any], str, Mapping[str, Any]]] = []
    for path, field in document.leaves.items():
        if field.type not in ("text", "integer") or field.money or field.codes:
            continue
        names = written(columns[path])
        distinct = sorted({name for name in names if name is not None and len(name) <= LONGEST_KEY})
        if len(distinct) < max(FEWEST, len(best) + 1):
            continue
        others = newest(connection, raw, distinct)
        found = [
            (key, one, name, others[name]) for (key, one), name in zip(some, names, strict=True) if name in others
        ]  # fmt: skip
        if len(found) >= FEWEST and len(found) > len(best):
            best = found
    return best


def _json(text: str) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


_decode = msgspec.json.Decoder(float_hook=str).decode  # amounts stay exact


# ---- where the documents of the target are ---------------------------------------------------------------------------


def _linked(entity: str, *columns: sa.ColumnElement) -> sa.Select:
    """The links that were made last: by the index on (entity, created_at)."""
    return sa.select(*columns).where(_link.entity == entity).order_by(_link.created_at.desc())


def _of_ref(entity: str, table: sa.Table, key: sa.ColumnElement = _link.source_key) -> Callable[..., Pairs]:
    def find(connection: sa.Connection, records: int) -> Pairs:
        newest_links = _linked(entity, key.label("key"), _link.target_id).limit(records).subquery()
        payload = sa.cast(table.c.payload, sa.Text)
        rows = connection.execute(
            sa.select(newest_links.c.key, payload).join(table, table.c.id == newest_links.c.target_id)
        )
        return [(key, _json(text)) for key, text in rows if key]

    return find


def _by_reference(entity: str, stage: sa.Table, table: sa.Table) -> Callable[..., Pairs]:
    """Where the link has our ExternalReference and not the source's key."""

    def find(connection: sa.Connection, records: int) -> Pairs:
        links = _linked(entity, _link.target_id).limit(records).subquery()
        documents = (
            sa.select(table.c.external_reference, sa.cast(table.c.payload, sa.Text).label("payload"))
            .join(links, links.c.target_id == table.c.id)
        )  # fmt: skip
        found = {reference: _json(text) for reference, text in connection.execute(documents)}
        rows = connection.execute(
            sa.select(stage.c.key, stage.c.ExternalReference)
            .where(stage.c.state.in_(("delivered", "unchanged")))
            .order_by(stage.c.batch_id.desc())
            .limit(records)
        )
        return [(key, found[reference]) for key, reference in rows if reference in found]

    return find


def _customers(connection: sa.Connection, records: int) -> Pairs:
    """Customers that were made of the buyers of the newest orders."""
    links = _linked("sales_order", _link.source_key).limit(records).subquery()
    rows = connection.execute(
        sa.select(links.c.source_key, sa.cast(stage_customer.c.document, sa.Text))
        .join(stage_sales_order, stage_sales_order.c.key == links.c.source_key)
        .join(stage_customer, stage_customer.c.key == stage_sales_order.c.customer_key)
    )
    return [(key, _json(text)) for key, text in rows]


def _orders_of_the_channel(connection: sa.Connection, records: int) -> Pairs:
    rows = connection.execute(_linked("sales_order", _link.source_key, _link.target_id).limit(records)).all()
    orders = newest(connection, raw_orders, [row.source_key for row in rows])
    return [(row.target_id, orders[row.source_key]) for row in rows if row.source_key in orders]


def _products(connection: sa.Connection, records: int) -> Pairs:
    links = _linked("channel_product", _link.source_key).limit(records).subquery()
    rows = connection.execute(
        sa.select(ops_product.c.sku, sa.cast(ref_channel_product.c.payload, sa.Text))
        .join(links, links.c.source_key == ops_product.c.product_sku)
        .join(ref_channel_product, ref_channel_product.c.sku == ops_product.c.product_sku)
    )
    return [(sku, _json(text)) for sku, text in rows]


def _prices(connection: sa.Connection, records: int) -> Pairs:
    """The prices as the channel holds them; products that the catalogue knows."""
    links = _linked("channel_price", _link.source_key).limit(records).subquery()
    price = ref_channel_price.c
    rows = connection.execute(
        sa.select(sa.func.coalesce(ops_product.c.sku, price.sku).label("key"), ref_channel_price)
        .join(links, links.c.source_key == price.sku)
        .outerjoin(ops_product, ops_product.c.product_sku == price.sku)
    )
    return [
        (
            row.key,
            {
                "SKU": row.sku, "Price": row.price, "Currency": row.currency_code, "MinPrice": row.min_price,
                "MaxPrice": row.max_price, "RetailPrice": row.retail_price,
                "Promotion": {"PromotionID": row.promotion_id, "Price": row.promotion_price,
                              "StartDate": _moment(row.promotion_start), "EndDate": _moment(row.promotion_end)},
            },
        )
        for row in rows
    ]  # fmt: skip


def _moment(value: Any) -> str | None:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if value else None


def _staged(entity: str, stage: sa.Table, lines: sa.Table, children: str) -> Callable[..., Pairs]:
    """What was delivered, where the system's own document is not kept."""

    def find(connection: sa.Connection, records: int) -> Pairs:
        links = _linked(entity, _link.source_key).limit(records).subquery()
        rows = connection.execute(sa.select(stage).join(links, links.c.source_key == stage.c.key)).mappings()
        made = {row["key"]: nested({path: row[path] for path in _paths(stage)}) for row in rows}
        below = connection.execute(
            sa.select(lines)
            .where(lines.c.key == sa.any_(sa.bindparam("keys", list(made), type_=sa.ARRAY(sa.Text))))
            .order_by(lines.c.key, lines.c.position)
        ).mappings()
        for line in below:
            entry = nested({path: line[path] for path in _columns(lines) if path not in ("key", "position")})
            made[line["key"]].setdefault(children, []).append(entry)
        return list(made.items())

    return find


def _paths(stage: sa.Table) -> list[str]:
    own = {"batch_id", "version", "state", "reason", "content_hash", "problems"}
    mapped = registry.fields(stage) if "mapping" in stage.info else ()
    return [path for path in dict.fromkeys([*mapped, *_columns(stage)]) if path not in own and path != "key"]


def _columns(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns]


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"A.B": 1}` -> `{"A": {"B": 1}}`; what is None stays out."""
    made: dict[str, Any] = {}
    for path, value in flat.items():
        if value is None:
            continue
        *parents, leaf = path.split(".")
        inside = made
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[leaf] = value
    return made


PLACES: dict[Schema, Callable[..., Pairs]] = {
    ("tims", "SalesOrderCreate"): _of_ref("sales_order", ref_sales_order),
    ("tims", "CustomerCreate"): _customers,
    ("tims", "InvoiceCreate"): _of_ref("invoice", ref_invoice),
    ("tims", "CreditMemoCreate"): _of_ref("credit_memo", ref_credit_memo, _link.other_key),
    ("tims", "AdjustmentCreate"): _by_reference("stock_adjustment", stage_stock_adjustment, ref_adjustment),
    ("tims", "PaymentCreate"): _by_reference("payment", stage_payment, ref_payment),
    ("channel_advisor", "OrderUpdate"): _orders_of_the_channel,
    ("channel_advisor", "ProductCreate"): _products,
    ("channel_advisor", "PriceUpdate"): _prices,
    ("channel_advisor", "ShipmentCreate"): _staged(
        "channel_shipment", stage_channel_shipment, stage_channel_shipment_line, "Items"
    ),
    ("channel_advisor", "InventoryBatch"): _staged(
        "channel_quantity", stage_channel_quantity, stage_channel_quantity_line, "Updates"
    ),
}
