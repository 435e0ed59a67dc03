"""Verifies that both sides agree about what followed the orders: shipments, invoices, refunds, payments and the bank.

In: the settlement files, both systems' clients, the open dead letters.
Out: figures in pairs and each disagreement in words. Never: a look at the pipeline's records of what it delivered.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from crossdock.systems.channel_advisor import ChannelAdvisor
from crossdock.systems.tims import Tims

BANK = "1000"
CHARGE = "Successful charge"
ZERO = Decimal("0.00")
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass
class Cash:
    """`pairs`: (name, expected, actual). Both sides agree when `disagreements` is empty."""

    pairs: list[tuple[str, str, str]] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)

    def compare(self, what: str, expected: Any, actual: Any) -> None:
        self.pairs.append((what, _written(expected), _written(actual)))
        if expected != actual:
            self.disagreements.append(f"{what}: {_written(expected)} expected, it is {_written(actual)}")


def verify(
    files: Iterable[bytes], channel_advisor: ChannelAdvisor, tims: Tims, refused: Mapping[str, Set[str]]
) -> Cash:
    """`files`: settlements as the inbox reads them; `refused`: the keys of open dead letters by flow."""
    report = Cash()
    shipments = [row for row in _all(tims, "shipments") if row["PostingMode"] == "external"]
    invoices = [row for row in _all(tims, "ar/invoices") if row["Status"] != "Voided"]
    _shipped(report, shipments, channel_advisor, refused)
    _invoiced(report, shipments, invoices, refused)
    orders = {row["ExternalOrderID"] for row in _all(tims, "sales-orders")}
    returns = [row for row in _all(channel_advisor, "returns") if str(row["ChannelAdvisorOrderID"]) in orders]
    _refunded(report, returns, _all(tims, "ar/credit-memos"), refused)
    _paid(report, files, tims)
    return report


def _all(system: ChannelAdvisor | Tims, path: str) -> Iterator[dict[str, Any]]:
    for page in system.pages(path, since=None, before=None):
        for record in page.records:
            yield _decode(record)


def _shipped(
    report: Cash, shipments: list[dict[str, Any]], channel_advisor: ChannelAdvisor, refused: Mapping[str, Set[str]]
) -> None:
    """Every parcel that TIMS's warehouse sent is on the channel, with its tracking number, unless a person has to."""
    reported = {
        (str(row["ChannelAdvisorOrderID"]), row["SellerFulfillmentID"]) for row in _all(channel_advisor, "shipping")
    }
    sent = {
        (row["ExternalOrderID"], "".join(filter(str.isdigit, row["ShipmentID"]))): row["ShipmentID"]
        for row in shipments
        if row["Source"] != "ChannelAdvisor"
    }
    missing = {sent[key] for key in sent.keys() - reported}
    report.compare(
        "parcels sent, and on the channel or a dead letter", len(sent), len(sent) - len(missing - refused["shipments"])
    )
    report.pairs.append(("  of them dead letters (carriers nobody knows, ...)", "", str(len(missing))))


def _invoiced(
    report: Cash,
    shipments: list[dict[str, Any]],
    invoices: list[dict[str, Any]],
    refused: Mapping[str, Set[str]],
) -> None:
    """Every parcel has one invoice, none has two."""
    of = Counter(row["ShipmentID"] for row in invoices)
    report.compare(
        "parcels with one invoice", len(shipments) - len(refused["invoices"]), sum(n == 1 for n in of.values())
    )
    report.disagreements += [f"shipment {key} has {count} invoices" for key, count in of.items() if count > 1]


def _refunded(
    report: Cash,
    returns: Iterable[dict[str, Any]],
    credit_memos: Iterable[dict[str, Any]],
    refused: Mapping[str, Set[str]],
) -> None:
    """What the channel gave back is what TIMS credited: goods, shipping and tax, by currency."""
    given: dict[str, Decimal] = defaultdict(Decimal)
    credited: dict[str, Decimal] = defaultdict(Decimal)
    of: dict[str, Decimal] = defaultdict(Decimal)
    for memo in credit_memos:
        number = memo["ExternalReference"].split(":")[1]
        of[number] += Decimal(memo["Total"]) + Decimal(memo["MarketplaceRemittedTax"])
    for row in returns:
        number = str(row["ReturnID"])
        if row["RefundDate"] is not None and number not in refused["returns"]:
            given[row["Currency"]] += row["RefundTotal"]
            credited[row["Currency"]] += of[number]
            if row["RefundTotal"] != of[number]:
                report.disagreements.append(f"return {number}: {row['RefundTotal']} refunded, {of[number]} credited")
    for currency in sorted(given):
        report.compare(f"refunds on the channel, credited in TIMS ({currency})", given[currency], credited[currency])


def _paid(report: Cash, files: Iterable[bytes], tims: Tims) -> None:
    """The bank account has what the settlement files paid out, less what they charged to it."""
    banked: dict[str, Decimal] = defaultdict(Decimal)
    for settlement in map(_decode, files):
        charged = sum(line["Amount"] for line in settlement["Lines"] if line.get("AmountDescription") == CHARGE)
        banked[settlement["CurrencyCode"]] += max(settlement["TotalAmount"], ZERO) - charged
    for currency in sorted(banked):
        balance = next(
            (
                Decimal(line["Debit"]) - Decimal(line["Credit"])
                for line in tims.get("/gl/trial-balance", CurrencyCode=currency)["Lines"]
                if line["AccountCode"] == BANK
            ),
            ZERO,
        )
        report.compare(f"paid out by marketplaces, on the bank account ({currency})", banked[currency], balance)


def _written(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, Decimal) else f"{value:,}"
