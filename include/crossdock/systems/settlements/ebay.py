"""eBay's transaction report (Seller Hub), of one payout: one row a transaction, several amounts in it.

In: bytes. Out: `Statement`. `--` is nothing. The row of type Payout is the summary. An order of several items has a row
of its own with what was paid, and a row for each item with what it was paid for. British headers differ in spelling,
German reports in all words; the words of types become the English ones. A sale in another currency than the payout has
its net amount in that of the payout, and its parts in that one too, or by the row's exchange rate.
Where the amounts have no sign (reports made from the Finances API), the column `Booking entry` gives it.
Never: a row whose amounts do not add up to its own net amount; a line from the payout itself.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import numpy as np
import pandas as pd

from crossdock.mapping.frames import CENT, written
from crossdock.systems.settlements import table, values
from crossdock.systems.settlements.shape import LINE_TEXT, RETRY_ADVICE, Refused, Statement
from crossdock.systems.settlements.sources import Source

_NEEDED = ("transaction creation date", "type", "order number", "net amount", "payout currency", "payout id")
# what a row may hold, in the order in which lines are numbered; the first three are the order's own money
MONEY = ("item subtotal", "shipping and handling", "seller collected tax")
FEES = (
    "final value fee - fixed", "final value fee - variable", "regulatory operating fee",
    "very high item not as described fee", "below standard performance fee", "international fee", "charity donation",
    "deposit processing fee",
)  # fmt: skip
_SAME = {
    "postage and packaging": "shipping and handling",
    "postage & packaging": "shipping and handling",
    "delivery and handling": "shipping and handling",
    "shipping & handling": "shipping and handling",
    "fixed final value fee": "final value fee - fixed",
    "variable final value fee": "final value fee - variable",
    "custom label (sku)": "custom label",
    "date of transaction creation": "transaction creation date",
    # German reports
    "datum der transaktionserstellung": "transaction creation date",
    "typ": "type",
    "bestellnummer": "order number",
    "alte bestellnummer": "legacy order id",
    "betrag abzügl. kosten": "net amount",
    "auszahlungswährung": "payout currency",
    "auszahlungsdatum": "payout date",
    "auszahlung nr.": "payout id",
    "bestandseinheit": "custom label",
    "zwischensumme artikel": "item subtotal",
    "verpackung und versand": "shipping and handling",
    "vom verkäufer eingezogene steuer": "seller collected tax",
    "fixer anteil der verkaufsprovision": "final value fee - fixed",
    "variabler anteil der verkaufsprovision": "final value fee - variable",
    "gebühr für gesetzliche betriebskosten": "regulatory operating fee",
    "gebühr für sehr hohe quote an nicht wie beschriebenen artikeln": "very high item not as described fee",
    "gebühr für unterdurchschnittlichen servicestatus": "below standard performance fee",
    "internationale gebühr": "international fee",
    "spende": "charity donation",
    "transaktionswährung": "transaction currency",
    "wechselkurs": "exchange rate",
    "beschreibung": "description",
    "buchungseintrag": "booking entry",
}
_TYPES = {
    "bestellung": "Order",
    "rückerstattung": "Refund",
    "erstattung": "Refund",
    "fall": "Claim",
    "zahlungskonflikt": "Payment dispute",
    "zahlungsreklamation": "Payment dispute",
    "versandetikett": "Shipping label",
    "andere gebühr": "Other fee",
    "sonstige gebühr": "Other fee",
    "einbehalten": "Hold",
    "einbehaltung": "Hold",
    "übertragung": "Transfer",
    "überweisung": "Transfer",
    "belastung": "Charge",
    "auszahlung": "Payout",
}
_ENTRIES = {"HABEN": "CREDIT", "GUTSCHRIFT": "CREDIT", "SOLL": "DEBIT", "LASTSCHRIFT": "DEBIT"}
PAYOUT = "payout"


def read(data: bytes, source: Source) -> Statement:
    """One line for each amount of each transaction that the payout contains."""
    rows = _rows(data, source)
    is_payout = rows["type"].str.lower().eq(PAYOUT).to_numpy()
    number = table.single(rows["payout id"], "several_settlements", "payouts")
    if not number or is_payout.sum() != 1:
        raise Refused(
            "no_total",
            f"The file has {int(is_payout.sum())} rows of type Payout; it needs one to prove itself whole.",
            "Download the transaction report of one payout, with the payout itself among its types.",
        )
    parts = [name for name in (*MONEY, *FEES) if name in rows]
    net, *amounts = values.amounts(rows["net amount"], *(rows[name] for name in parts))
    net, amounts = _signed(rows, parts, net, amounts)
    group = _transactions(rows)
    of_payout = (rows["payout id"] != "").groupby(group).transform("any").to_numpy() & ~is_payout
    lines = _lines(rows, parts, net, amounts, group, of_payout, source)
    paid_on = (
        table.column(rows, "payout date")[is_payout].iloc[0] or rows["transaction creation date"][is_payout].iloc[0]
    )
    deposit = values.moment(paid_on, source.zone, day_first=source.day_first)
    lines["PostedAt"] = lines["PostedAt"].mask(lines["PostedAt"] == "", deposit)
    currency = table.single(rows["payout currency"], "two_currencies", "currencies")
    return Statement(
        number, "", "", deposit, currency, _paid(int(net[is_payout][0]), int(lines["Amount"].sum())), lines
    )


def _paid(payout: int, lines: int) -> int:
    """What the payout pays us. It leaves eBay's account and stands below 0; written without a sign, its
    lines add up to the same."""
    return payout if 0 < payout == lines else -payout


def _rows(data: bytes, source: Source) -> pd.DataFrame:
    rows = table.read(data, ",", _NEEDED, quotes=True, same=_SAME, encoding=source.encoding)
    text = [name for name in rows.columns if name != "_row"]
    rows[text] = rows[text].mask(rows[text].isin(["--", "-", "\u2013\u2013", "\u2013", "\u2014"]), "")
    rows["type"] = rows["type"].str.lower().map(_TYPES).fillna(rows["type"]).astype("str")
    values.undamaged(rows["order number"], rows["payout id"])
    return rows[(rows["type"] != "").to_numpy()].reset_index(drop=True)


def _signed(
    rows: pd.DataFrame, parts: list[str], net: np.ndarray, amounts: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The amounts with their signs. By booking entry, a credit is for us and its fees are not."""
    entry = table.column(rows, "booking entry").str.upper().replace(_ENTRIES)
    if not (entry != "").any():
        return net, amounts
    sign = np.where(entry == "DEBIT", -1, 1)
    return np.where(entry == "", net, sign * np.abs(net)), [
        np.where(entry == "", one, (sign if name in MONEY else -sign) * np.abs(one))
        for name, one in zip(parts, amounts, strict=True)
    ]


def _transactions(rows: pd.DataFrame) -> np.ndarray:
    """Number of the transaction of each row: a row without a net amount belongs to the one above of the same order."""
    alone = (rows["net amount"] != "") | (rows["order number"] == "")
    again = rows[["type", "order number"]].ne(rows[["type", "order number"]].shift()).any(axis=1)
    return np.cumsum((alone | again).to_numpy())


def _converted(
    rows: pd.DataFrame, group: np.ndarray, money: np.ndarray, counted: np.ndarray, top: np.ndarray, net: np.ndarray
) -> np.ndarray:
    """The parts in the payout's currency. Where a sale in another one has parts that are not what was paid, they are
    converted by its rate; a cent a part that this leaves is the largest part's."""
    foreign = table.column(rows, "transaction currency")
    foreign = foreign.ne("") & foreign.ne(rows["payout currency"]) & rows["payout currency"].ne("")
    money = money.copy()
    for number in np.unique(group[foreign.to_numpy()]):
        own = group == number
        paid, cells = int(net[own & top].sum()), counted & own[:, None]
        rates = [text for text in table.column(rows, "exchange rate")[own] if text]
        if not rates or not cells.any() or int(money[cells].sum()) == paid:
            continue
        rate = _rate(rates[0])
        made = [
            int((Decimal(int(each)) * rate / CENT).quantize(Decimal(1), ROUND_HALF_UP)) * CENT for each in money[cells]
        ]
        rest = paid - sum(made)
        if abs(rest) <= CENT * len(made):  # else it does not add up, and is refused
            made[max(range(len(made)), key=lambda at: abs(made[at]))] += rest
            money[cells] = made
    return money


def _rate(text: str) -> Decimal:
    try:
        return Decimal(text.replace(",", "."))
    except InvalidOperation:
        raise Refused("unreadable_amount", f'"{text}" is no exchange rate.', RETRY_ADVICE, text) from None


def _lines(
    rows: pd.DataFrame,
    parts: list[str],
    net: np.ndarray,
    amounts: list[np.ndarray],
    group: np.ndarray,
    wanted: np.ndarray,
    source: Source,
) -> pd.DataFrame:
    """One line per amount; a transaction without parts is one line of its net amount."""
    given = np.array([(rows[name] != "").to_numpy() for name in parts]).T
    money = np.array(amounts, dtype=np.int64).reshape(len(parts), len(rows)).T
    size = np.bincount(group)[group]
    top = (rows["net amount"] != "").to_numpy()
    # Of an order of several items, the rows of the items tell what its own row only sums up.
    of_items = pd.DataFrame(given & ~top[:, None]).groupby(group).transform("any").to_numpy()
    counted = given & ~(top[:, None] & (size > 1)[:, None] & of_items)
    money = _converted(rows, group, money, counted, top, net)
    whole = pd.Series(np.where(counted, money, 0).sum(axis=1)).groupby(group).transform("sum").to_numpy()
    paid = pd.Series(np.where(top, net, 0)).groupby(group).transform("sum").to_numpy()
    has_parts = pd.Series(counted.any(axis=1)).groupby(group).transform("any").to_numpy()
    off = np.flatnonzero(wanted & has_parts & (whole != paid))
    if len(off):
        row, order = int(rows["_row"].iloc[off[0]]), rows["order number"].iloc[off[0]]
        raise Refused(
            "row_does_not_add_up",
            f"Row {row} (order {order or 'none'}): its amounts add up to {written(int(whole[off[0]]))}, but its net "
            f"amount is {written(int(paid[off[0]]))}.",
            "If eBay has added a column of fees, tell an engineer; otherwise fetch the file again.",
            str(row),
        )
    posted = values.moments(rows["transaction creation date"], source.zone, day_first=source.day_first)
    shared = pd.DataFrame(
        {
            "LineNo": rows["_row"].astype("str"),
            "TransactionType": rows["type"],
            "OrderRef": rows["order number"],
            "MerchantOrderRef": table.column(rows, "legacy order id"),
            "SKU": table.column(rows, "custom label"),
            "PostedAt": posted,
        }
    )
    description = table.column(rows, "description")
    made = []
    for at, name in enumerate(parts):
        own = counted[:, at] & wanted
        number = shared["LineNo"] + f".{(*MONEY, *FEES).index(name) + 1}"
        part = shared.assign(LineNo=number, AmountType=name, AmountDescription="", Amount=money[:, at])
        made.append(part[own])
    rest = shared.assign(AmountType="net amount", AmountDescription=description, Amount=net)
    made.append(rest[wanted & ~has_parts & top & (net != 0)])  # a free order pays nothing and tells nothing
    lines = pd.concat(made).sort_index(kind="stable").reset_index(drop=True)
    return lines[[*LINE_TEXT, "Amount"]]
