"""Stages the payments of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from crossdock.config.suggest import nearest
from crossdock.errors import ConfigError
from crossdock.flow import SOURCE, Staged
from crossdock.flows import unreadable
from crossdock.mapping import language, problems
from crossdock.mapping.frames import CENT, LINE, ROW, Frames, sum_by_header, written
from crossdock.mapping.parse import Parsed
from crossdock.mapping.registry import KEY
from crossdock.rules import accounts, currencies, tolerances
from crossdock.rules.price_settings import read_rates
from crossdock.rules.settlements import PaymentContext
from crossdock.rules.statuses import HELD_BACK
from crossdock.steps.load import Kind
from crossdock.store import database, deliveries, registry, sql
from crossdock.store.tables import (
    ops_link,
    ref_company,
    ref_credit_memo,
    ref_invoice,
    ref_payment,
    ref_period,
    ref_sales_order,
    stage_payment,
    stage_payment_application,
)

_KEPT = ("sales_order_id", "rounding", "refund_rounding", "original_date", "documents_at")  # of a delivered payment


_ALSO = ("state", "reason", "sales_order_id", "rounding", "refund_rounding", "original_date")  # columns of the rules

# ---- look-ups in TIMS's documents ----------------------------------------------------------------------------------

_ORDERS = sql.statement(__package__, "orders")

_EXPECTED = sql.statement(__package__, "expected_orders")

_DOCUMENTS = sql.statement(__package__, "open_documents")


def newest_of(order: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """Selects the newest version among the documents of a sales order."""
    documents_of = sa.union_all(
        sa.select(ref_sales_order.c.version).where(ref_sales_order.c.id == order),
        sa.select(ref_invoice.c.version).where(ref_invoice.c.sales_order_id == order),
        sa.select(ref_credit_memo.c.version).where(ref_credit_memo.c.sales_order_id == order),
    ).subquery("document")
    return sa.select(sa.func.max(documents_of.c.version)).scalar_subquery()


def _frame(connection: sa.Connection, statement: sa.TextClause, **facts: object) -> pd.DataFrame:
    found = connection.execute(statement, facts)
    return pd.DataFrame(found.all(), columns=list(found.keys()))


def _find(connection: sa.Connection, orders: pd.DataFrame) -> pd.DataFrame:
    """Looks up what `rules.match` needs of each order: by its number, else by the merchant's own."""
    refs = pd.unique(pd.concat([orders["OrderRef"], orders["MerchantOrderRef"]]).dropna()).tolist()
    existing = _frame(connection, _ORDERS, refs=refs)
    expected = {row.ref: row for row in connection.execute(_EXPECTED, {"refs": refs})}
    by_ref: dict[tuple[str, str], list[tuple[str, int]]] = {}
    elsewhere: dict[str, str] = {}
    for row in existing.itertuples():
        elsewhere[row.ref] = f"{row.sales_order_id} of {row.channel}"
        by_ref.setdefault((row.ref, row.channel), []).append((row.sales_order_id, int(row.open_units)))
    rows = []
    for ref, other, channel in zip(orders["OrderRef"], orders["MerchantOrderRef"], orders["Channel"], strict=True):
        found = by_ref.get((ref, channel)) or by_ref.get((other, channel)) or []
        ids = sorted({order for order, _ in found})
        there = "" if ids else elsewhere.get(ref) or elsewhere.get(other) or ""
        sent = None if ids or there else expected.get(ref) or expected.get(other)
        rows.append(
            {
                "sales_order_id": ids[0] if len(ids) == 1 else None,
                "expected": sent is not None,
                "why": why(sent) if sent else "",
                "elsewhere": there,
                "several": len(ids) > 1,
                "open_units": max((units for order, units in found if order == ids[0]), default=0) if ids else 0,
            }
        )
    made = pd.DataFrame(rows, columns=["sales_order_id", "expected", "why", "elsewhere", "several", "open_units"])
    made["sales_order_id"] = made["sales_order_id"].astype("str")
    made["near"] = _near(connection, orders, made)
    return made


def why(order: sa.Row) -> str:
    """Explains why TIMS does not have an order yet, and what to do."""
    if order.state == "dead":
        return (
            f"its order {order.key} is a dead letter: mend it (`crossdock dead-letters list --flow orders`); "
            "it is paid when the order arrives"
        )
    if order.state == "waiting":
        return f"its order {order.key} is not in TIMS yet, for it waits itself: {order.reason}"
    if order.state == "would_be":
        return f"{HELD_BACK}; it is paid when TIMS has the order and its invoice"
    if order.state == "left_out":
        return f"its order {order.key} was left out of TIMS ({order.reason}); settle this by hand if it stays so"
    return f"its order {order.key} is not in TIMS yet; it is on its way"


def _near(connection: sa.Connection, orders: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """Finds the order number most like an unknown one; "" where the order is known or none is like it."""
    lost = (
        found["sales_order_id"].isna()
        & ~found["expected"]
        & ~found["several"]
        & found["elsewhere"].eq("")
        & orders["OrderRef"].notna()
    )
    if not lost.any():
        return [""] * len(orders)
    numbers = connection.scalars(
        sa.select(ops_link.c.other_key).where(ops_link.c.entity == "sales_order", ops_link.c.other_key.is_not(None))
    ).all()
    return [
        nearest(ref, numbers, at_least=80) if wanted else ""
        for ref, wanted in zip(orders["OrderRef"], lost, strict=True)
    ]


# ---- transform -----------------------------------------------------------------------------------------------------


def transform(connection: sa.Connection, parsed: Parsed, keys: Sequence[str], altered: Sequence[str | None]) -> Staged:
    """The staged payments of a batch. Those that TIMS has already stay as they were delivered."""
    orders = parsed.frames.header.reset_index(drop=True)
    kept = pd.Series([keys[position] for position in parsed.kept], dtype="str")
    first = orders.assign(_key=kept).sort_values(["DepositDate", "_key"], kind="stable").index.to_numpy()
    orders, kept = orders.iloc[first].reset_index(drop=True), kept.iloc[first].reset_index(drop=True)
    place = np.empty(len(first), dtype=np.int64)
    place[first] = np.arange(len(first))
    chosen = parsed.frames.lines.assign(**{ROW: place[parsed.frames.lines[ROW].to_numpy()]})

    content = _content(orders, chosen)
    delivered = _delivered(connection, kept)
    paid = kept.isin(delivered.index).to_numpy(dtype=bool)
    new = np.flatnonzero(~paid)
    frames = Frames(orders.assign(**{KEY: kept}), chosen).keep(~paid)
    done = language.load("payment").apply(frames, load_context(connection, frames), also=_ALSO)
    lines, found = _matched(done, new)
    matched = _placed(done.source.header[list(_ALSO)], new, len(orders))
    columns = _placed(done.target.header, new, len(orders))
    staged = pd.DataFrame(
        {
            "key": kept,
            "state": matched["state"],
            "reason": matched["reason"],
            "content_hash": content,
            **{name: columns[name] for name in registry.fields(stage_payment)},
            "sales_order_id": matched["sales_order_id"],
            "settlement_source": orders["Source"],
            "settlement_id": orders["SettlementID"],
            "order_ref": orders["OrderRef"],
            "merchant_order_ref": orders["MerchantOrderRef"],
            "settled": orders["SaleAmount"] + orders["RefundAmount"],
            "rounding": matched["rounding"],
            "refund_rounding": matched["refund_rounding"],
            "original_date": matched["original_date"],
            "documents_at": _looked_at(connection, matched["sales_order_id"]),
        }
    )
    staged, lines, corrected = _as_delivered(connection, staged, lines, paid, delivered)
    staged, found = unreadable.joined(staged, problems.concat([found, corrected]), parsed, keys)
    return Staged(staged, lines, found)


def load_context(connection: sa.Connection, frames: Frames) -> PaymentContext:
    """Reads what the rules need besides the orders' parts of settlements."""
    orders, chosen = frames.header, frames.lines
    found = _find(connection, orders)
    documents = _frame(
        connection,
        _DOCUMENTS,
        keys=orders[KEY].tolist(),
        orders=found["sales_order_id"].dropna().unique().tolist(),
        ids=chosen["Document"].dropna().unique().tolist(),
        us=SOURCE,
    )
    company = connection.execute(sa.select(ref_company)).one_or_none()
    if company is None:
        raise ConfigError("TIMS's company has not been read.", do="Run extract for payments again.")
    periods = database.copy_out(connection, sa.select(ref_period.c.id, ref_period.c.start_date, ref_period.c.status))
    return PaymentContext(
        found.set_index(pd.Index(orders[KEY])),
        documents,
        tolerances.load().settlements,
        company.time_zone,
        company.base_currency,
        periods,
        accounts.load(),
        read_rates(),
    )


def _matched(done: language.Applied, new: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(application lines, problems) of the parts that are not paid yet; `new` are their rows among all. Missing fields
    of a part that could not be matched are no reason of their own."""
    header = done.source.header
    sent = header["state"].eq("staged").to_numpy(dtype=bool)
    matched = header["Amount"].notna().to_numpy(dtype=bool)
    some = [
        done.problems[sent[done.problems[ROW].to_numpy()]],
        done.errors[(sent & matched)[done.errors[ROW].to_numpy()]],
    ]
    found = problems.concat(some)
    found = found.assign(**{ROW: new[found[ROW].to_numpy()]}) if len(found) else found
    lines = done.target.lines.rename(columns={LINE: "position"})
    lines.insert(0, "key", header[KEY].array.take(lines[ROW].to_numpy()))
    return lines.drop(columns=ROW), found


def _placed(frame: pd.DataFrame, rows: np.ndarray, count: int) -> pd.DataFrame:
    """Spreads the frame's rows to the places `rows` among `count`; the other rows are missing."""
    at = np.full(count, -1, dtype=np.int64)
    at[rows] = np.arange(len(rows))
    return pd.DataFrame({name: frame[name].array.take(at, allow_fill=True) for name in frame})


def _content(orders: pd.DataFrame, chosen: pd.DataFrame) -> pd.Series:
    """Hashes the settlement's data and a person's decision, without the time of booking."""
    facts = [name for name in orders.columns if name not in ("Key", "BookedAt")]
    heads = pd.util.hash_pandas_object(orders[facts], index=False).to_numpy()
    each = pd.util.hash_pandas_object(chosen[["Document", "Amount"]], index=False).to_numpy() if len(chosen) else []
    whole = np.zeros(len(orders), dtype="uint64")
    np.add.at(whole, chosen[ROW].to_numpy(), np.asarray(each, dtype="uint64"))
    return pd.Series([f"{a:016x}{b:016x}" for a, b in zip(heads.tolist(), whole.tolist(), strict=True)], dtype="str")


def _looked_at(connection: sa.Connection, orders: pd.Series) -> pd.Series:
    """The newest version of each order's documents: a newer one requeues a waiting payment."""
    ids = orders.dropna().unique().tolist()
    order = sa.func.unnest(sa.cast(ids, sa.ARRAY(sa.Text))).table_valued(sa.column("id", sa.Text)).render_derived()
    at = sa.func.to_char(sa.func.timezone("UTC", newest_of(order.c.id)), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    newest = connection.execute(sa.select(order.c.id, at.label("newest")))
    return orders.map({row.id: row.newest for row in newest}).astype("str")


# ---- payments that TIMS has already --------------------------------------------------------------------------------


def _delivered(connection: sa.Connection, keys: pd.Series) -> pd.Series:
    """Reads the content hash, as delivered, of the payments that TIMS has, by key; missing where it is not known."""
    some = keys.tolist()
    linked = deliveries.links(connection, PAYMENT.entity, some)
    held = connection.scalars(
        sa.select(ref_payment.c.external_reference).where(
            ref_payment.c.source == SOURCE,
            ref_payment.c.external_reference == sa.any_(sa.bindparam("refs", [f"pay:{key}" for key in some],
                                                                    type_=sa.ARRAY(sa.Text))),
        )
    )  # fmt: skip
    hashes = {reference.removeprefix("pay:"): None for reference in held}
    hashes |= {key: link.content_hash for key, link in linked.items()}
    return pd.Series(hashes, dtype="str")


_IN_TIMS = sql.statement(__package__, "in_tims")


def _as_delivered(
    connection: sa.Connection, staged: pd.DataFrame, lines: pd.DataFrame, paid: np.ndarray, delivered: pd.Series
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Stages payments that TIMS has as they were delivered, or as TIMS has them where our record is lost. One whose
    settlement was corrected since is a problem: posted is posted, and only a person reverses it."""
    if not paid.any():
        return staged, lines, problems.empty()
    keys = staged.loc[paid, "key"]
    kept = (*registry.fields(stage_payment), *_KEPT)
    before = database.copy_out(
        connection,
        sa.select(*(stage_payment.c[name] for name in ("key", "settled", *kept))).where(
            stage_payment.c.key.in_(keys.tolist())
        ),
    ).set_index("key")
    before = before[before["Amount"].notna()]  # a row that only waited was not delivered
    applied = database.copy_out(
        connection, sa.select(stage_payment_application).where(stage_payment_application.c.key.in_(keys.tolist()))
    )
    existing = staged["key"].isin(before.index).to_numpy(dtype=bool) & paid
    for name in kept:
        values = staged["key"].map(before[name])
        staged[name] = staged[name].mask(existing, values.astype(staged[name].dtype))
    staged.loc[paid, "state"] = np.where(existing[paid], "staged", "left_out")
    staged.loc[paid & ~existing, "reason"] = "it is in TIMS already"
    found = _frame(connection, _IN_TIMS, refs=[f"pay:{key}" for key in staged.loc[paid & ~existing, "key"]], us=SOURCE)
    found = found.set_index(found["external_reference"].str.removeprefix("pay:"))
    off = staged["key"].map(found["amount"]).astype("Int64") - staged["settled"].astype("Int64")
    found["most"] = tolerances.load().settlements.an_order * currencies.units(found["currency_code"]) * CENT
    most = staged["key"].map(found["most"]).astype("Int64")
    within = off.abs().le(most).fillna(False).to_numpy(dtype=bool)  # a larger difference is no rounding
    staged["rounding"] = staged["rounding"].mask(within, off.astype(staged["rounding"].dtype))
    orders = staged["key"].map(found["sales_order_id"]).astype("str")
    staged["sales_order_id"] = staged["sales_order_id"].mask(orders.notna(), orders)
    hashes = staged["key"].map(delivered).astype("str")
    changed = np.flatnonzero(existing & hashes.notna() & hashes.ne(staged["content_hash"]))
    sent = problems.make(
        changed,
        field="SettlementID",
        rule="settlement_corrected",
        value=staged["settlement_id"].iloc[changed],
        message=[
            f"Settlement {{value}} was corrected after it was paid: the payment in TIMS is "
            f"{written(int(amount))}, the settlement now says {written(int(settled))} (or another order)."
            for amount, settled in zip(staged["Amount"].iloc[changed], staged["settled"].iloc[changed], strict=True)
        ],
        do="Let an accountant compare both. If the payment is wrong, reverse it in TIMS and enter the right one by "
        "hand, then dismiss this.",
    )
    return staged, pd.concat([lines, applied], ignore_index=True).astype(lines.dtypes.to_dict()), sent


# ---- check ---------------------------------------------------------------------------------------------------------


def enrich_for_checks(connection: sa.Connection, frames: Frames) -> Frames:
    """Adds what the suite checks besides."""
    header, lines = frames.header.copy(), frames.lines.copy()
    amount = header["Amount"].fillna(0).to_numpy(dtype=np.int64)
    header["unapplied"] = amount - sum_by_header(frames, lines["Amount"])
    most = tolerances.load().settlements.an_order * currencies.units(header["CurrencyCode"]) * CENT
    header["beyond"] = np.maximum(np.abs(header["rounding"].fillna(0).to_numpy(dtype=np.int64)) - most, 0)
    lines["document"] = lines["InvoiceID"].where(lines["InvoiceID"].notna(), lines["CreditMemoID"])
    lines["sides"] = lines[["InvoiceID", "CreditMemoID"]].notna().sum(axis=1).astype("int64")
    return Frames(header, lines)


PAYMENT = Kind("payment", "ar/payments", "PaymentID")
