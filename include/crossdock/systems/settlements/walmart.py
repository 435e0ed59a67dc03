"""Walmart's reconciliation report, version 1: one amount a row, a PaymentSummary above them.

In: bytes. Out: `Statement`. The period stands on the summary alone, and there is no other number of the settlement: its
days are its number. Never: a line from the summary.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from crossdock.systems.settlements import table, values
from crossdock.systems.settlements.shape import LINE_TEXT, RETRY_ADVICE, Refused, Statement
from crossdock.systems.settlements.sources import Source

_NEEDED = (
    "period start date", "period end date", "total payable", "currency", "transaction posted timestamp",
    "transaction type", "transaction description", "customer order #", "amount", "amount type",
)  # fmt: skip
_SAME = {
    "transaction date time": "transaction posted timestamp",
    "customer order number": "customer order #",
    "purchase order number": "purchase order #",
    "partner item id": "sku",
    "partner item id (sku)": "sku",
}
SUMMARY = "paymentsummary"


def read(data: bytes, source: Source) -> Statement:
    """One line for each row below the summary."""
    rows = table.read(data, ",", _NEEDED, quotes=True, same=_SAME, encoding=source.encoding)
    purchase = table.column(rows, "purchase order #")
    values.undamaged(rows["customer order #"], purchase)
    summary = rows["transaction type"].str.replace(" ", "").str.lower().eq(SUMMARY).to_numpy()
    if summary.sum() != 1:
        raise Refused(
            "no_total" if not summary.any() else "several_settlements",
            f"The file has {int(summary.sum())} rows of PaymentSummary; it needs one.",
            RETRY_ADVICE,
        )
    header = rows[summary].iloc[0]
    total, amount = values.amounts(rows["total payable"], rows["amount"])
    first, last = (_day(header[name], source) for name in ("period start date", "period end date"))
    end = values.moment((last + timedelta(days=1)).strftime("%Y-%m-%d"), source.zone, alone=(0, 0))
    posted = values.moments(rows["transaction posted timestamp"], source.zone, day_first=source.day_first)
    lines = pd.DataFrame(
        {
            "LineNo": rows["_row"].astype("str"),
            "TransactionType": rows["transaction type"],
            "AmountType": rows["amount type"],
            "AmountDescription": rows["transaction description"],
            "OrderRef": rows["customer order #"],
            "MerchantOrderRef": purchase,
            "SKU": table.column(rows, "sku"),
            "PostedAt": posted.mask(posted == "", end),
        }
    )[list(LINE_TEXT)].assign(Amount=amount)
    return Statement(
        f"{first:%Y%m%d}-{last:%Y%m%d}",
        values.moment(first.strftime("%Y-%m-%d"), source.zone, alone=(0, 0)),
        end,
        "",
        table.single(rows["currency"], "two_currencies", "currencies"),
        int(total[np.flatnonzero(summary)[0]]),
        lines[~summary].reset_index(drop=True),
    )


def _day(text: str, source: Source) -> datetime:
    """A day of the period, as the calendar has it."""
    if not text:
        raise Refused("no_period", "The PaymentSummary does not say its period.", RETRY_ADVICE)
    return datetime.fromisoformat(values.moment(text, "UTC", day_first=source.day_first, alone=(0, 0)))
