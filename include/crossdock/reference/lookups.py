"""Looks up in `ref` what rules ask of TIMS's items and customers, each time only what they ask for.

In: a connection; codes, SKUs and keys of a batch. Out: frames (rules/reference_data.py says which). Never: a whole
table, but for the codes among which the nearest to an unknown one are looked for. How long it takes depends on the
batch, not on the number of items, customers and orders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any

import pandas as pd
import sqlalchemy as sa

from crossdock.rules.reference_data import ByKind, Contact
from crossdock.store import database, sql
from crossdock.store.tables import ref_company, ref_customer, ref_customer_key, ref_item, ref_item_code

_SHARED = sql.statement(__package__, "shared_contacts")
_ITEM = (
    ref_item.c.sku.label("SKU"),
    ref_item.c.status.label("Status"),
    ref_item.c.type.label("Type"),
    ref_item.c.kit_components.label("KitComponents"),
    ref_item.c.cost.label("Cost"),
    ref_item.c.list_price.label("ListPrice"),
    ref_item.c.category.label("Category"),
)
_CODE = (ref_item_code.c.code, ref_item_code.c.folded, ref_item_code.c.kind, ref_item_code.c.sku.label("SKU"))
_ADVISES: ContextVar[bool] = ContextVar("advises", default=True)
_KEPT: dict[tuple[Any, ...], list[str]] = {}  # the codes that were read last, by what they say
_KEY = (ref_customer_key.c.kind, ref_customer_key.c.value, ref_customer_key.c.customer_id.label("CustomerID"))


@contextmanager
def without_advice() -> Iterator[None]:
    """Within the block nobody looks for codes that are like an unknown one: for verdicts whose words nobody reads."""
    token = _ADVISES.set(False)
    try:
        yield
    finally:
        _ADVISES.reset(token)


class Lookups:
    """The `Reference` of rules on the database. `shared_above`: a contact of more buyers than this is no key."""

    def __init__(self, connection: sa.Connection, shared_above: int) -> None:
        self._connection = connection
        self._shared_above = shared_above
        self._items: pd.DataFrame | None = None  # read so far: several rules of a batch ask for the same ones
        self._looked_up: set[str] = set()

    @cached_property
    def time_zone(self) -> str:
        return self._connection.scalar(sa.select(ref_company.c.time_zone)) or "UTC"

    def items_of(self, skus: Collection[str]) -> pd.DataFrame:
        new = set(skus) - self._looked_up
        if self._items is None or new:
            found = self._read_items(new)
            self._items = found if self._items is None else pd.concat([self._items, found], ignore_index=True)
            self._looked_up |= new
        return self._items[self._items["SKU"].isin(list(skus))]

    def _read_items(self, skus: Collection[str]) -> pd.DataFrame:
        items = database.copy_out(self._connection, sa.select(*_ITEM).where(_among(ref_item.c.sku, skus)))
        items["KitComponents"] = pd.Series(
            [
                [(part["SKU"], part["Quantity"]) for part in database.from_json(kit)] if kit != "[]" else None
                for kit in items["KitComponents"].to_numpy(dtype=object)
            ],
            dtype=object,
        )
        items[["Cost", "ListPrice"]] = items[["Cost", "ListPrice"]].astype("int64")
        return items

    def codes_of(self, codes: Collection[str], folded: Collection[str]) -> pd.DataFrame:
        named = sa.or_(_among(ref_item_code.c.code, codes), _among(ref_item_code.c.folded, folded))
        return database.copy_out(self._connection, sa.select(*_CODE).where(named))

    def every_code(self) -> list[str]:
        """Kept from one call to the next in this process, for as long as the codes are the same."""
        if not _ADVISES.get():
            return []
        codes = ref_item_code.c.folded
        same = sa.select(sa.func.count(), sa.func.sum(sa.func.hashtextextended(codes, 0)))
        fingerprint = tuple(self._connection.execute(same).one())
        kept = _KEPT.get(fingerprint)
        if kept is None:
            found = database.copy_out(self._connection, sa.select(codes))
            kept = sorted(set(found["folded"].tolist()))
            _KEPT.clear()
            _KEPT[fingerprint] = kept
        return kept

    def keys_of(self, keys: ByKind) -> pd.DataFrame:
        key = ref_customer_key.c
        if not any(keys.values()):
            return database.copy_out(self._connection, sa.select(*_KEY).where(sa.false()))
        named = [sa.select(*_KEY).where(key.kind == kind, _among(key.value, values)) for kind, values in keys.items()]
        found = database.copy_out(self._connection, sa.union_all(*named).subquery().select())
        theirs = sa.select(*_KEY).where(
            key.kind == "external", _among(key.customer_id, found["CustomerID"].unique().tolist())
        )
        return pd.concat([found, database.copy_out(self._connection, theirs)], ignore_index=True).drop_duplicates()

    def customers_of(self, ids: Collection[str]) -> pd.DataFrame:
        return database.copy_out(
            self._connection,
            sa.select(
                ref_customer.c.customer_id.label("CustomerID"),
                ref_customer.c.status.label("Status"),
                ref_customer.c.name.label("Name"),
            ).where(_among(ref_customer.c.customer_id, ids)),
        )

    def shared_of(self, contacts: ByKind) -> Collection[Contact]:
        emails, phones = (_kept_by_postgres(contacts[kind]) for kind in ("email", "phone"))
        if not emails and not phones:
            return ()
        rows = self._connection.execute(_SHARED, {"emails": emails, "phones": phones, "most": self._shared_above})
        return {(row.kind, row.value) for row in rows}


def _among(column: sa.ColumnElement[str], values: Collection[str]) -> sa.ColumnElement[bool]:
    """Whether `column` is one of `values`, which are sent as one array."""
    given = sa.bindparam(None, _kept_by_postgres(values), type_=sa.ARRAY(sa.Text), unique=True)
    return column == sa.any_(sa.cast(given, sa.ARRAY(sa.Text)))


def _kept_by_postgres(values: Collection[str]) -> list[str]:
    """Without the texts that Postgres cannot keep: it has none like them."""
    return [value for value in values if "\0" not in value]
