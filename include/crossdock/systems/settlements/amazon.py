"""Amazon's settlement reports: flat file V2 (one amount a row) and V1 (up to eight).

In: bytes. Out: `Statement`. Columns are found by name, for both leave out what a settlement does not use. The row that
carries the total is a summary and no line. `order-id` may hold the number of a shipment to Amazon's warehouse.
Never: a line from the summary; a row that is dropped because another one looks the same.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crossdock.systems.settlements import table, values
from crossdock.systems.settlements.shape import FOLDER, LINE_TEXT, RETRY_ADVICE, Refused, Statement
from crossdock.systems.settlements.sources import Source

_HEAD = ("settlement-id", "settlement-start-date", "settlement-end-date", "deposit-date", "total-amount", "currency",
         "transaction-type", "order-id", "posted-date")  # fmt: skip
_V2 = (*_HEAD, "amount-type", "amount-description", "amount")

# V1, each column that may hold an amount: (its column, the column that names it, what the pair is called)
COMPONENTS = (
    ("shipment-fee-amount", "shipment-fee-type", "ShipmentFees"),
    ("order-fee-amount", "order-fee-type", "OrderFees"),
    ("price-amount", "price-type", "ItemPrice"),
    ("item-related-fee-amount", "item-related-fee-type", "ItemFees"),
    ("misc-fee-amount", "", "MiscFee"),
    ("other-fee-amount", "other-fee-reason-description", "OtherFee"),
    ("promotion-amount", "promotion-type", "Promotion"),
    ("direct-payment-amount", "direct-payment-type", "DirectPayment"),
    ("other-amount", "", "Other"),
)

# Standard and invoiced orders of one account are settled apart, at the same time; some reports tell which they are.
_GROUPS = ("account-type", "account type", "settlement-group", "settlement group")
_ONE_GROUP = ("several_groups", "groups of orders that are settled apart")
_INBOUND = r"FBA[0-9A-Z]{6,}"  # a shipment to Amazon's warehouse, where an order number is due


def read_v2(data: bytes, source: Source) -> Statement:
    """One line for each row with an amount."""
    rows = _rows(data, _V2, source)
    summary = _summary(rows)
    total, amount = values.amounts(rows["total-amount"], rows["amount"])
    own = ~summary & (rows["amount"] != "").to_numpy()
    lines = _lines(
        rows,
        rows["_row"].astype("str"),
        rows["amount-type"],
        rows["amount-description"],
        amount,
        source,
    )
    return _statement(rows, total, lines[own], source)


def read_v1(data: bytes, source: Source) -> Statement:
    """One line for each amount of each row, in the order of the columns."""
    rows = _rows(data, _HEAD, source)
    held = [part for part in COMPONENTS if part[0] in rows]
    if not held:
        names = ", ".join(name for name, _, _ in COMPONENTS)
        raise Refused("unknown_header", f"The header has no column of amounts; this format knows {names}.", FOLDER)
    total, *amounts = values.amounts(rows["total-amount"], *(rows[name] for name, _, _ in held))
    number = {name: str(at) for at, (name, _, _) in enumerate(COMPONENTS, 1)}
    parts = [
        _lines(
            rows,
            rows["_row"].astype("str") + "." + number[name],
            pd.Series(kind, index=rows.index, dtype="str"),
            table.column(rows, named),
            amount,
            source,
        )[(rows[name] != "").to_numpy()]
        for (name, named, kind), amount in zip(held, amounts, strict=True)
    ]
    lines = pd.concat(parts).sort_index(kind="stable")
    return _statement(rows, total, lines, source)


def _rows(data: bytes, needed: tuple[str, ...], source: Source) -> pd.DataFrame:
    rows = table.read(data, "\t", needed, quotes=None, same={}, encoding=source.encoding)
    values.undamaged(rows["settlement-id"], rows["order-id"], table.column(rows, "merchant-order-id"))
    return rows


def _summary(rows: pd.DataFrame) -> np.ndarray:
    """Rows with a total and no word of what it is for, also where they repeat the total as their amount."""
    words = rows[["transaction-type", "amount-type", "amount-description"]]
    return ((rows["total-amount"] != "") & (words == "").all(axis=1)).to_numpy()


def _lines(
    rows: pd.DataFrame, number: pd.Series, kind: pd.Series, description: pd.Series, amount: np.ndarray, source: Source
) -> pd.DataFrame:
    order = rows["order-id"]
    posted = table.column(rows, "posted-date-time")
    posted = values.moments(posted.where(posted != "", rows["posted-date"]), source.zone, day_first=source.day_first)
    lines = pd.DataFrame(
        {
            "LineNo": number,
            "TransactionType": rows["transaction-type"],
            "AmountType": kind,
            "AmountDescription": description,
            "OrderRef": order.mask(order.str.fullmatch(_INBOUND), ""),
            "MerchantOrderRef": table.column(rows, "merchant-order-id"),
            "SKU": table.column(rows, "sku"),
            "PostedAt": posted,
        }
    )[list(LINE_TEXT)]
    return lines.assign(Amount=amount)


def _statement(rows: pd.DataFrame, total: np.ndarray, lines: pd.DataFrame, source: Source) -> Statement:
    number = table.single(rows["settlement-id"], "several_settlements", "settlements")
    if not number:
        raise Refused("no_settlement_id", "No row names the settlement.", RETRY_ADVICE)
    table.single(rows["total-amount"], "several_totals", "totals")
    given = np.flatnonzero((rows["total-amount"] != "").to_numpy())
    if not len(given):
        raise Refused(
            "no_total", "No row says what the settlement pays, so nothing can prove the file whole.", RETRY_ADVICE
        )
    start, end, deposit = (
        values.moment(text, source.zone, day_first=source.day_first, alone=(0, 0)) if text else ""
        for text in (
            table.single(rows[name], "several_settlements", "periods")
            for name in ("settlement-start-date", "settlement-end-date", "deposit-date")
        )
    )
    return Statement(
        number,
        start,
        end,
        deposit,
        table.single(rows["currency"], "two_currencies", "currencies"),
        int(total[given[0]]),
        # What has no date of its own was posted when the settlement ended.
        lines.assign(PostedAt=lines["PostedAt"].mask(lines["PostedAt"] == "", end)).reset_index(drop=True),
        next((found for name in _GROUPS if (found := table.single(table.column(rows, name), *_ONE_GROUP))), ""),
    )
