"""The one shape that every format is read into, and how a file is refused.

In: nothing. Out: `Statement`, `Refused`. Never: an amount that is a float.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

LINE_TEXT = (
    "LineNo", "TransactionType", "AmountType", "AmountDescription", "OrderRef", "MerchantOrderRef", "SKU", "PostedAt",
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One settlement as its file tells it. `lines`: the columns LINE_TEXT (str, "" where there is nothing) and Amount
    (int64, x 10,000), in the order of the file. Moments are RFC 3339 in UTC, "" where the format has none."""

    settlement_id: str
    start: str
    end: str
    deposit: str
    currency: str
    total: int
    lines: pd.DataFrame
    group: str = ""  # of orders that the account pays out apart, where the file names one


class Refused(Exception):
    """A file that is refused whole: the rule it breaks, what is wrong, what a person should do."""

    def __init__(self, rule: str, message: str, do: str, value: str = "") -> None:
        super().__init__(message)
        self.rule, self.message, self.do, self.value = rule, message, do, value


RETRY_ADVICE = (
    "Fetch the file again from the marketplace, as it is, and put it into the inbox; never save it from a spreadsheet."
)
FOLDER = "Check that the right file is in the right folder; if the marketplace has renamed a column, tell an engineer."
