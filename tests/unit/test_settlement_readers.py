"""Settlement files, read as marketplaces write them: every trap seen in real files has a small one here."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from crossdock.mapping import contracts
from crossdock.systems import settlements
from crossdock.systems.inbox import File
from crossdock.systems.settlements import shape, sources, values

NOW = datetime(2011, 1, 20, 6, tzinfo=UTC)


def source(channel: str, form: str, currency: str, zone: str, **more: object) -> sources.Source:
    return sources.Source(channel=channel, format=form, currency=currency, zone=zone, **more)


US = source("Amazon US", "amazon_v2", "USD", "America/Los_Angeles", periods="joined")
DE = source("Amazon DE", "amazon_v2", "EUR", "Europe/Berlin", periods="joined", day_first=True)
CA = source("Amazon CA", "amazon_v1", "CAD", "America/Toronto", periods="joined")
EBAY = source("eBay UK", "ebay", "GBP", "Europe/London", periods="none", day_first=True)
WALMART = source("Walmart", "walmart", "USD", "America/New_York", periods="joined")
EVERY = {"amazon_us": US, "amazon_de": DE, "amazon_ca": CA, "ebay_uk": EBAY, "walmart": WALMART}


def columns(names: str) -> list[str]:
    return names.split()


V2 = columns(
    "settlement-id settlement-start-date settlement-end-date deposit-date total-amount currency transaction-type "
    "order-id merchant-order-id adjustment-id shipment-id marketplace-name amount-type amount-description amount "
    "fulfillment-id posted-date posted-date-time order-item-code merchant-order-item-id "
    "merchant-adjustment-item-id sku quantity-purchased promotion-id"
)
V1 = columns(
    "settlement-id settlement-start-date settlement-end-date deposit-date total-amount currency transaction-type "
    "order-id merchant-order-id adjustment-id shipment-id marketplace-name shipment-fee-type shipment-fee-amount "
    "order-fee-type order-fee-amount fulfillment-id posted-date order-item-code merchant-order-item-id "
    "merchant-adjustment-item-id sku quantity-purchased price-type price-amount item-related-fee-type "
    "item-related-fee-amount misc-fee-amount other-fee-amount other-fee-reason-description promotion-id "
    "promotion-type promotion-amount direct-payment-type direct-payment-amount other-amount"
)
EBAY_HEADER = [
    "Transaction creation date", "Type", "Order number", "Legacy order ID", "Buyer username", "Net amount",
    "Payout currency", "Payout date", "Payout ID", "Custom label", "Item subtotal", "Shipping and handling",
    "Seller collected tax", "eBay collected tax", "Final Value Fee - fixed", "Final Value Fee - variable",
    "Regulatory operating fee", 'Very high "item not as described" fee', "International fee", "Transaction currency",
    "Description",
]  # fmt: skip
WALMART_HEADER = [
    "Period Start Date", "Period End Date", "Total Payable", "Currency", "Transaction Key",
    "Transaction Posted Timestamp", "Transaction Type", "Transaction Description", "Customer Order #",
    "Customer Order line #", "Purchase Order #", "Purchase Order line #", "Amount", "Amount Type", "Ship Qty",
    "Commission Rate", "Partner Item Id",
]  # fmt: skip
ORDER = "526-7898033-5401206"
HEAD = {
    "settlement-id": "11774871501", "settlement-start-date": "2011-01-03 08:00:00 UTC",
    "settlement-end-date": "2011-01-17 08:00:00 UTC", "deposit-date": "2011-01-19 08:00:00 UTC",
    "total-amount": "83.30", "currency": "USD",
}  # fmt: skip


def tsv(header: list[str], *rows: dict[str, str], end: str = "\n", drop: tuple[str, ...] = ()) -> bytes:
    kept = [name for name in header if name not in drop]
    lines = ["\t".join(kept), *("\t".join(row.get(name, "") for name in kept) for row in rows)]
    return (end.join(lines) + end).encode()


def csv(header: list[str], *rows: dict[str, str], before: str = "", rest: str = "--") -> bytes:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [",".join(map(cell, header)), *(",".join(cell(row.get(n, rest)) for n in header) for row in rows)]
    return (before + "\n".join(lines) + "\n").encode()


def row(transaction: str, kind: str, description: str, amount: str, **more: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {
        "settlement-id": HEAD["settlement-id"], "transaction-type": transaction, "order-id": ORDER,
        "amount-type": kind, "amount-description": description, "amount": amount,
        "posted-date": "2011-01-05", "posted-date-time": "2011-01-05 14:25:18 UTC",
    } | named  # fmt: skip


# the worked example: two lamps, shipping, a discount, tax that the marketplace remits, commission
SALE = (
    row("Order", "ItemPrice", "Principal", "50.00", sku="LAMP"),
    row("Order", "ItemPrice", "Principal", "50.00", sku="LAMP"),
    row("Order", "ItemPrice", "Shipping", "8.00", sku="LAMP"),
    row("Order", "Promotion", "Principal", "-10.00", sku="LAMP"),
    row("Order", "ItemPrice", "Tax", "7.35", sku="LAMP"),
    row("Order", "ItemWithheldTax", "MarketplaceFacilitatorTax-Principal", "-7.35", sku="LAMP"),
    row("Order", "ItemFees", "Commission", "-14.70", sku="LAMP"),
)


@pytest.fixture(autouse=True)
def existing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load", lambda: EVERY)
    monkeypatch.setattr(sources, "of", EVERY.__getitem__)


def read(source: sources.Source, data: bytes) -> dict:
    name = next(name for name, one in EVERY.items() if one is source)
    (record,) = settlements.read(File(name, "file.txt", data, NOW))
    found = msgspec.json.decode(record)
    assert contracts.refusals("crossdock", "Settlement", found) == []
    return found | {"bytes": record}


def amounts(settlement: dict) -> list[Decimal]:
    read_again = msgspec.json.decode(settlement["bytes"], type=settlements.Settlement)
    return [line.Amount for line in read_again.Lines]


def refused(source: sources.Source, data: bytes) -> str:
    settlement = read(source, data)
    assert settlement["RefusedSays"]
    assert settlement["RefusedDo"]
    assert "Lines" not in settlement
    return settlement["RefusedFor"]


# ---- Amazon V2 -----------------------------------------------------------------------------------------------------


def test_the_summary_row_is_no_line_and_identical_rows_are_two_lines():
    found = read(US, tsv(V2, HEAD, *SALE))
    assert sum(amounts(found)) == Decimal("83.30")
    assert found["TotalAmount"] == 83.3
    assert len(found["Lines"]) == 7
    assert [line["LineNo"] for line in found["Lines"]] == ["3", "4", "5", "6", "7", "8", "9"]
    assert (found["StartDate"], found["EndDate"]) == ("2011-01-03T08:00:00Z", "2011-01-17T08:00:00Z")
    assert found["DepositDate"] == "2011-01-19T08:00:00Z"
    assert found["Lines"][0]["PostedAt"] == "2011-01-05T14:25:18Z"
    assert found["Lines"][0]["OrderRef"] == ORDER


def test_a_file_that_repeats_its_total_on_every_row_has_no_summary_and_loses_no_line():
    found = read(US, tsv(V2, *(HEAD | line for line in SALE)))
    assert sum(amounts(found)) == Decimal("83.30")


def test_columns_that_a_settlement_does_not_use_may_be_absent_and_stand_in_any_order():
    found = read(US, tsv(V2[::-1], HEAD, *SALE, drop=("promotion-id", "adjustment-id", "merchant-order-id")))
    assert sum(amounts(found)) == Decimal("83.30")


def test_the_same_description_under_two_amount_types_stays_apart():
    found = read(US, tsv(V2, HEAD | {"total-amount": "0.00"}, row("Order", "ItemPrice", "Shipping", "4.99"),
                         row("Order", "Promotion", "Shipping", "-4.99")))  # fmt: skip
    assert [(line["AmountType"], line["AmountDescription"]) for line in found["Lines"]] == [
        ("ItemPrice", "Shipping"),
        ("Promotion", "Shipping"),
    ]


def test_a_shipment_to_the_warehouse_in_place_of_an_order_number_is_no_order():
    fees = (row("other-transaction", "FBAFees", "InboundTransportation", "-5.00", order_id="FBA15DLQNXRJ"),
            row("other-transaction", "other-transaction", "Reversal", "5.00", order_id=""))  # fmt: skip
    found = read(US, tsv(V2, HEAD | {"total-amount": "0"}, *fees))
    assert all("OrderRef" not in line for line in found["Lines"])


def test_blanks_around_numbers_and_quotes_in_a_sku_do_no_harm():
    found = read(US, tsv(V2, HEAD | {"total-amount": " 12.50  "},
                         row("Order", "ItemPrice", "Principal", "  12.50 ", sku='5" LAMP')))  # fmt: skip
    assert amounts(found) == [Decimal("12.50")]
    assert found["Lines"][0]["SKU"] == '5" LAMP'


@pytest.mark.parametrize("every", [True, False])
def test_cells_that_a_program_has_quoted_are_read_as_they_were(every: bool):
    def quoted(cell: str) -> str:
        return f'"{cell}"' if every or "\t" in cell else cell

    header = "\t".join(map(quoted, V2))
    rows = [{**one, "amount-description": "Prin\tcipal"} if one is SALE[0] else one for one in (HEAD, *SALE)]
    reported = [header, *("\t".join(quoted(one.get(name, "")) for name in V2) for one in rows)]
    found = read(US, ("\r\n".join(reported) + "\r\n").encode())
    assert sum(amounts(found)) == Decimal("83.30")
    assert found["Lines"][0]["AmountDescription"] == "Prin\tcipal"
    assert found["Lines"][1]["SKU"] == "LAMP"


@pytest.mark.parametrize("delimiter", ["\t", ",", ";"])
@pytest.mark.parametrize("quotes", ["none", "all", "cells"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_settlement_is_read_alike_however_a_program_has_saved_it(delimiter: str, quotes: str, encoding: str):
    def quoted(cell: str, *, header: bool = False) -> str:
        return f'"{cell}"' if quotes == "all" or (quotes == "cells" and not header) else cell

    reported = [delimiter.join(quoted(name, header=True) for name in V2)]
    reported += [delimiter.join(quoted(one.get(name, "")) for name in V2) for one in (HEAD, *SALE)]
    found = read(US, ("\r\n".join(reported) + "\r\n").encode(encoding))
    own = {"FileDigest": "", "bytes": b""}  # of the file, not of what it says
    assert found | own == read(US, tsv(V2, HEAD, *SALE)) | own


def test_quotes_that_belong_to_a_value_stay_where_no_cell_is_quoted():
    odd = (SALE[0] | {"sku": '"LAMP', "promotion-id": 'x"'}, *SALE[1:])
    assert read(US, tsv(V2, HEAD, *odd))["Lines"][0]["SKU"] == '"LAMP'


def test_a_summary_that_repeats_the_total_as_its_amount_is_no_line_either():
    found = read(US, tsv(V2, HEAD | {"amount": "83.30"}, *SALE))
    assert sum(amounts(found)) == Decimal("83.30")


@pytest.mark.parametrize(("text", "amount"), [("0,500", "0.50"), ("0.500", "0.50"), (",750", "0.75")])
def test_what_begins_with_nothing_has_no_thousands(text: str, amount: str):
    found = read(US, tsv(V2, HEAD | {"total-amount": text}, row("Order", "ItemPrice", "Principal", text)))
    assert amounts(found) == [Decimal(amount)]


@pytest.mark.parametrize(
    ("text", "amount"),
    [("¥1,234", "1234.00"), ("￥1234", "1234.00"), ("1,234円", "1234.00"), ("₩1,234", "1234.00"), ("-€12.50", "-12.50"),
     ("($12.50)", "-12.50")],
)  # fmt: skip
def test_signs_of_currencies_are_no_part_of_an_amount(text: str, amount: str):
    found = read(US, tsv(V2, HEAD | {"total-amount": text}, row("Order", "ItemPrice", "Principal", text)))
    assert amounts(found) == [Decimal(amount)]


def test_decimal_commas_and_german_dates_are_read():
    header = HEAD | {
        "total-amount": "1.234,56", "currency": "EUR", "settlement-start-date": "03.01.2011 00:00:00 UTC",
        "settlement-end-date": "17.01.2011 00:00:00 UTC", "deposit-date": "19.01.2011 00:00:00 UTC",
    }  # fmt: skip
    sale = row("Order", "ItemPrice", "Principal", "1.500,00", posted_date="05.01.2011", posted_date_time="")
    fee = row("Order", "ItemFees", "Commission", "-265,44", posted_date_time="05.01.2011 23:30:00 UTC")
    found = read(DE, tsv(V2, header, sale, fee))
    assert amounts(found) == [Decimal("1500.00"), Decimal("-265.44")]
    assert found["StartDate"] == "2011-01-03T00:00:00Z"
    assert [line["PostedAt"] for line in found["Lines"]] == ["2011-01-05T11:00:00Z", "2011-01-05T23:30:00Z"]


def test_a_file_that_writes_decimals_in_two_ways_is_refused():
    lines = (row("Order", "ItemPrice", "Principal", "12,50"), row("Order", "ItemPrice", "Tax", "70.80"))
    assert refused(DE, tsv(V2, HEAD | {"currency": "EUR", "total-amount": "83,30"}, *lines)) == "mixed_decimals"


def test_order_numbers_that_a_spreadsheet_has_rounded_refuse_the_file():
    lines = (row("Order", "ItemPrice", "Principal", "83.30", order_id="5.26789E+16"),)
    assert refused(US, tsv(V2, HEAD, *lines)) == "damaged_number"


def test_a_line_without_a_date_was_posted_when_the_settlement_ended():
    lines = (row("ServiceFee", "Cost of Advertising", "TransactionTotalAmount", "83.30", order_id="",
                 posted_date="", posted_date_time=""),)  # fmt: skip
    assert read(US, tsv(V2, HEAD, *lines))["Lines"][0]["PostedAt"] == "2011-01-17T08:00:00Z"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16"])
def test_the_encoding_is_found_out(encoding: str):
    sale = row("Order", "ItemPrice", "Principal", "83.30", sku="CAFÉ-Ü")
    data = tsv(V2, HEAD, sale, end="\r\n").decode().encode(encoding)
    assert read(US, data)["Lines"][0]["SKU"] == "CAFÉ-Ü"


@pytest.mark.parametrize(
    ("rule", "data"),
    [
        ("empty_file", b"  \n"),
        ("unreadable_file", b"PK\x03\x04\x00\x00settlement"),
        ("unknown_header", b"date/time,settlement id,type,order id\n1,2,3,4\n"),
        ("unknown_header", tsv([*V2, "amount"], HEAD)),
        ("no_total", tsv(V2, *SALE)),
        ("several_totals", tsv(V2, HEAD, HEAD | {"total-amount": "1.00"}, *SALE)),
        ("several_settlements", tsv(V2, HEAD, SALE[0] | {"settlement-id": "11774871502"})),
        ("two_currencies", tsv(V2, HEAD, SALE[0] | {"currency": "CAD"})),
        ("third_decimal", tsv(V2, HEAD | {"total-amount": "0.01"}, *[SALE[0] | {"amount": "0.005"}] * 2)),
        ("wrong_currency", tsv(V2, HEAD | {"currency": "CAD"}, *SALE)),
        ("unreadable_amount", tsv(V2, HEAD, row("Order", "ItemPrice", "Principal", "12.x"))),
        ("unreadable_date", tsv(V2, HEAD, row("Order", "ItemPrice", "Principal", "1", posted_date_time="31.31.2011"))),
        ("broken_row", tsv(V2, HEAD) + b"11774871501\tone cell too few\n" + tsv(V2, SALE[0]).split(b"\n")[1] + b"\n"),
        ("half_written", tsv(V2, HEAD, *SALE)[:-30]),
        ("half_written", tsv(V2, HEAD, *SALE).rpartition(b"\t-14.70")[0]),
        ("half_written", tsv(V2, HEAD, *SALE[:-1]).rstrip(b"\n")),
    ],
)
def test_a_file_that_cannot_be_trusted_is_refused_whole_by_name(rule: str, data: bytes):
    assert refused(US, data) == rule


def test_a_hundred_thousand_rows_are_read_in_about_a_second():
    lines = "\n".join(
        f"11774871501\t\t\t\t\t\tOrder\t{n % 999:03}-{n:07}-0000001\t\t\t\tAmazon.com\tItemPrice\tPrincipal\t"
        f"{n % 20_000 / 100:.2f}\tMFN\t2011-01-05\t2011-01-{n % 20 + 1:02} {n % 24:02}:{n % 60:02}:18 UTC\t{n}\t\t\t"
        f"SKU-{n % 500}\t1\t"
        for n in range(100_000)
    )
    total = sum(n % 20_000 for n in range(100_000)) / 100
    data = tsv(V2, HEAD | {"total-amount": f"{total:.2f}"}) + lines.encode() + b"\n"
    started = time.process_time()
    (record,) = settlements.read(File("amazon_us", "large.txt", data, NOW))
    assert time.process_time() - started < 4  # twice what a slow machine needs
    assert record.count(b'"LineNo"') == 100_000


# ---- Amazon V1 -----------------------------------------------------------------------------------------------------


def test_every_amount_of_a_v1_row_is_a_line_and_a_row_of_a_quantity_is_none():
    base = {"settlement-id": "23874397121", "posted-date": "2025-06-05T14:25:18+00:00"}
    data = tsv(
        V1,
        base | HEAD | {"settlement-id": "23874397121", "total-amount": "-15.70", "currency": "CAD", "posted-date": ""},
        base | {"transaction-type": "Order", "order-id": ORDER, "quantity-purchased": "1", "sku": "LAMP"},
        base | {"transaction-type": "Order", "order-id": ORDER, "price-type": "Principal", "price-amount": "35.00 "},
        base
        | {
            "transaction-type": "ServiceFee", "item-related-fee-type": "Cost of Advertising",
            "item-related-fee-amount": "-44.86", "other-fee-reason-description": "TaxAmount",
            "other-fee-amount": "-5.83",
        },
        base | {"transaction-type": "Micro Deposit", "other-amount": "-0.01"},
        drop=("promotion-id", "promotion-type", "promotion-amount"),
    )  # fmt: skip
    found = read(CA, data)
    assert amounts(found) == [Decimal("35.00"), Decimal("-44.86"), Decimal("-5.83"), Decimal("-0.01")]
    assert [line["LineNo"] for line in found["Lines"]] == ["4.3", "5.4", "5.6", "6.9"]
    assert [line.get("AmountDescription") for line in found["Lines"]] == [
        "Principal", "Cost of Advertising", "TaxAmount", None,
    ]  # fmt: skip


def test_a_v1_file_of_fees_alone_has_no_columns_of_prices():
    base = {"settlement-id": "1", "posted-date": "2025-06-05", "item-related-fee-type": "Commission"}
    header = HEAD | {"settlement-id": "1", "total-amount": "-5.83", "currency": "CAD"}
    unused = ("price-type", "price-amount", "promotion-id", "promotion-type", "promotion-amount")
    fee = base | {"transaction-type": "Order", "item-related-fee-amount": "-5.83"}
    assert amounts(read(CA, tsv(V1, header, fee, drop=unused))) == [Decimal("-5.83")]
    assert refused(CA, tsv(V2, header, fee)) == "unknown_header"


# ---- eBay ----------------------------------------------------------------------------------------------------------

PAYOUT = {"Type": "Payout", "Net amount": "-104.30", "Payout currency": "GBP", "Payout ID": "6143",
          "Payout date": "Jan 8, 2011", "Transaction creation date": "8 Jan 2011"}  # fmt: skip


def sold(**more: str) -> dict[str, str]:
    return {
        "Transaction creation date": "Jan 5, 2011", "Type": "Order", "Order number": "85-15069-54005",
        "Payout currency": "GBP", "Payout ID": "6143", "Transaction currency": "GBP",
    } | {name.replace("_", " "): value for name, value in more.items()}  # fmt: skip


WHOLE = sold(**{
    "Net amount": "88.30", "Custom label": "LAMP", "Item subtotal": "90.00", "Shipping and handling": "8.00",
    "eBay collected tax": "7.35", "Final Value Fee - fixed": "-0.30", "Final Value Fee - variable": "-9.10",
    "Regulatory operating fee": "-0.30",
})  # fmt: skip
LABEL = sold(**{"Type": "Shipping label", "Net amount": "-4.00", "Description": "Royal Mail"})
SEVERAL = (
    sold(**{"Order number": "2", "Net amount": "20.00", "Item subtotal": "25.00", "Shipping and handling": "--"}),
    sold(**{"Order number": "2", "Custom label": "A", "Item subtotal": "10.00", "Final Value Fee - variable": "-2.00"}),
    sold(**{"Order number": "2", "Custom label": "B", "Item subtotal": "15.00", "Final Value Fee - variable": "-3.00"}),
)


def test_ebay_rows_become_their_parts_and_two_hyphens_are_nothing():
    found = read(EBAY, csv(EBAY_HEADER, PAYOUT, WHOLE, LABEL, *SEVERAL))
    assert sum(amounts(found)) == Decimal("104.30")
    assert found["SettlementID"] == "6143"
    assert "StartDate" not in found
    parts = [(one["TransactionType"], one["AmountType"], one.get("SKU")) for one in found["Lines"]]
    assert parts == [
        ("Order", "item subtotal", "LAMP"), ("Order", "shipping and handling", "LAMP"),
        ("Order", "final value fee - fixed", "LAMP"), ("Order", "final value fee - variable", "LAMP"),
        ("Order", "regulatory operating fee", "LAMP"), ("Shipping label", "net amount", None),
        ("Order", "item subtotal", "A"), ("Order", "final value fee - variable", "A"),
        ("Order", "item subtotal", "B"), ("Order", "final value fee - variable", "B"),
    ]  # fmt: skip
    assert found["Lines"][0]["PostedAt"] == "2011-01-05T12:00:00Z"


def test_a_free_order_of_ebay_has_no_line():
    free = sold(**{"Order number": "3", "Net amount": "0.00", "Custom label": "GIFT", "Quantity": "1"})
    found = read(EBAY, csv(EBAY_HEADER, PAYOUT, WHOLE, LABEL, *SEVERAL, free))
    assert {line.get("OrderRef") for line in found["Lines"]} == {"85-15069-54005", "2"}


def test_british_headers_and_lines_above_the_header_are_understood():
    british = {
        "Shipping and handling": "Postage and packaging", "Final Value Fee - fixed": "Final value fee – fixed",
        "Final Value Fee - variable": "Final Value Fee – variable",
        "Regulatory operating fee": "Regulatory Operating Fee",
        'Very high "item not as described" fee': "Very high ‘item not as described’ fee",
    }  # fmt: skip
    header = [british.get(name, name) for name in EBAY_HEADER]
    rows = [{british.get(name, name): value for name, value in one.items()} for one in (PAYOUT, WHOLE, LABEL, *SEVERAL)]
    found = read(EBAY, csv(header, *rows, before='"Transaction report"\n\n"Seller","lampshop"\n'))
    assert sum(amounts(found)) == Decimal("104.30")


def test_unsigned_amounts_take_their_sign_from_the_booking_entry():
    header = [*EBAY_HEADER, "Booking entry"]
    credit = {name: value.lstrip("-") for name, value in WHOLE.items()} | {"Booking entry": "CREDIT"}
    back = sold(**{"Type": "Refund", "Net amount": "9.00", "Item subtotal": "10.00",
                   "Final Value Fee - variable": "1.00", "Booking entry": "DEBIT"})  # fmt: skip
    payout = PAYOUT | {"Net amount": "79.30", "Booking entry": "DEBIT"}
    found = read(EBAY, csv(header, payout, credit, back))
    assert sum(amounts(found)) == Decimal("79.30")
    assert amounts(found)[-2:] == [Decimal("-10.00"), Decimal("1.00")]


def test_money_that_ebay_still_holds_is_left_to_the_payout_that_brings_it():
    held = sold(**{"Order number": "9", "Net amount": "50.00", "Item subtotal": "50.00", "Payout ID": "--"})
    assert sum(amounts(read(EBAY, csv(EBAY_HEADER, PAYOUT, WHOLE, LABEL, held, *SEVERAL)))) == Decimal("104.30")


GERMAN = {
    "Transaction creation date": "Datum der Transaktionserstellung", "Type": "Typ", "Order number": "Bestellnummer",
    "Net amount": "Betrag abzügl. Kosten", "Payout currency": "Auszahlungswährung", "Payout date": "Auszahlungsdatum",
    "Payout ID": "Auszahlung Nr.", "Custom label": "Bestandseinheit", "Item subtotal": "Zwischensumme Artikel",
    "Shipping and handling": "Verpackung und Versand",
    "Final Value Fee - fixed": "Fixer Anteil der Verkaufsprovision",
    "Final Value Fee - variable": "Variabler Anteil der Verkaufsprovision",
    'Very high "item not as described" fee': "Gebühr für sehr hohe Quote an „nicht wie beschriebenen Artikeln“",
    "International fee": "Internationale Gebühr", "Transaction currency": "Transaktionswährung",
    "Description": "Beschreibung",
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252"])
def test_a_german_report_with_semicolons_reads_as_the_english_one(encoding: str):
    def german(cell: str) -> str:
        words = {"Order": "Bestellung", "Payout": "Auszahlung", "Shipping label": "Versandetikett",
                 "Jan 5, 2011": "05.01.2011", "Jan 8, 2011": "8. Jan 2011", "8 Jan 2011": "08.01.2011"}  # fmt: skip
        return words.get(cell, re.sub(r"^(-?\d+)\.(\d\d)$", r"\1,\2", cell))

    whole = {name: value for name, value in WHOLE.items() if name != "Regulatory operating fee"}
    rows = (PAYOUT | {"Net amount": "-104.60"}, whole | {"Net amount": "88.60"}, LABEL, *SEVERAL)
    header = [name for name in EBAY_HEADER if name != "Regulatory operating fee"]
    english = read(EBAY, csv(header, *rows))
    reported = [";".join(f'"{GERMAN.get(name, name)}"' for name in header)]
    reported += [";".join(f'"{german(one.get(name, "--"))}"' for name in header) for one in rows]
    before = '"Transaktionsbericht"\r\n\r\n"Verkäufer";"lampenladen"\r\n\r\n'
    found = read(EBAY, (before + "\r\n".join(reported) + "\r\n").encode(encoding))
    assert amounts(found) == amounts(english)
    without = lambda one: {name: value for name, value in one.items() if name != "LineNo"}  # noqa: E731
    assert [without(one) for one in found["Lines"]] == [without(one) for one in english["Lines"]]
    assert (found["SettlementID"], found["DepositDate"]) == (english["SettlementID"], english["DepositDate"])


def test_a_sale_in_another_currency_than_the_payout_is_in_that_of_the_payout():
    dollars = {"Transaction currency": "USD", "Exchange rate": "0.7891"}
    header = [*EBAY_HEADER, "Exchange rate"]
    found = read(EBAY, csv(header, PAYOUT, WHOLE | dollars, LABEL, *SEVERAL))
    assert sum(amounts(found)) == Decimal("104.30")  # its parts are in pounds already
    given = sold(
        **dollars, **{"Net amount": "71.02", "Item subtotal": "100.00", "Final Value Fee - variable": "-10.00"}
    )
    converted = read(EBAY, csv(header, PAYOUT | {"Net amount": "-71.02"}, given))
    assert amounts(converted) == [Decimal("78.91"), Decimal("-7.89")]
    cent = given | {"Net amount": "71.01"}
    assert amounts(read(EBAY, csv(header, PAYOUT | {"Net amount": "-71.01"}, cent))) == [
        Decimal("78.90"),
        Decimal("-7.89"),
    ]
    assert refused(EBAY, csv(header, PAYOUT, given | {"Net amount": "60.00"})) == "row_does_not_add_up"


def test_japanese_text_is_read_by_the_encoding_of_its_source(monkeypatch: pytest.MonkeyPatch):
    source = msgspec.structs.replace(US, encoding="shift_jis")
    monkeypatch.setitem(EVERY, "amazon_us", source)
    odd = (SALE[0] | {"sku": "ランプ-大"}, *SALE[1:])
    assert read(source, tsv(V2, HEAD, *odd).decode().encode("shift_jis"))["Lines"][0]["SKU"] == "ランプ-大"
    assert refused(source, tsv(V2, HEAD, *odd)) == "wrong_encoding"


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("no_total", (WHOLE, LABEL)),
        ("several_settlements", (PAYOUT, WHOLE, LABEL | {"Payout ID": "6144"})),
        ("row_does_not_add_up", (PAYOUT, WHOLE | {"Net amount": "88.40"})),
    ],
)
def test_an_ebay_report_that_does_not_prove_itself_is_refused(rule: str, rows: tuple):
    assert refused(EBAY, csv(EBAY_HEADER, *rows)) == rule


# ---- Walmart -------------------------------------------------------------------------------------------------------


def test_walmarts_summary_gives_period_and_total_and_is_no_line():
    summary = {"Period Start Date": "12/11/2025", "Period End Date": "12/24/2025", "Total Payable": "85.00",
               "Currency": "USD", "Transaction Type": "PaymentSummary"}  # fmt: skip
    sale = {"Transaction Type": "Sale", "Transaction Description": "Purchase", "Customer Order #": "200012345678901",
            "Purchase Order #": "108912345678901", "Currency": "USD", "Amount": "100.00",
            "Amount Type": "Product Price",
            "Transaction Posted Timestamp": "12/12/2025 23:30:00", "Partner Item Id": "LAMP"}  # fmt: skip
    fee = sale | {"Amount": "-15.00", "Amount Type": "Commission on Product"}
    data = csv(WALMART_HEADER, summary, sale, fee, rest="")
    found = read(WALMART, data)
    assert amounts(found) == [Decimal("100.00"), Decimal("-15.00")]
    assert found["SettlementID"] == "20251211-20251224"
    assert (found["StartDate"], found["EndDate"]) == ("2025-12-11T05:00:00Z", "2025-12-25T05:00:00Z")
    line = found["Lines"][0]
    assert (line["OrderRef"], line["MerchantOrderRef"], line["SKU"]) == ("200012345678901", "108912345678901", "LAMP")
    assert line["PostedAt"] == "2025-12-13T04:30:00Z"
    damaged = sale | {"Customer Order #": "1.19111E+14"}
    assert refused(WALMART, csv(WALMART_HEADER, summary, damaged, rest="")) == "damaged_number"
    assert refused(WALMART, csv(WALMART_HEADER, sale, fee, rest="")) == "no_total"


# ---- dates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("May 1, 2023 12:00:16 AM PDT", "2023-05-01T07:00:16Z"),
        ("1 mai 2023 00:00:16 CEST", "2023-04-30T22:00:16Z"),
        ("01.05.2023 00:00:16 UTC", "2023-05-01T00:00:16Z"),
        ("2023-05-01T00:00:16+02:00", "2023-04-30T22:00:16Z"),
        ("2023.05.01 00:00:16 JST", "2023-04-30T15:00:16Z"),
        ("2023-05-01T00:00:16.5893215Z", "2023-05-01T00:00:16.589321Z"),
        ("05/01/2023", "2023-05-01T19:00:00Z"),
        ("Dec 31, 2022 11:59:59 PM GMT+09:00", "2022-12-31T14:59:59Z"),
    ],
)
def test_localised_dates_and_zones_are_read_as_moments(text: str, moment: str):
    assert values.moment(text, "America/Los_Angeles") == moment


def test_a_slash_date_follows_the_source_and_an_impossible_one_is_refused():
    assert values.moment("03/04/2011", "UTC", day_first=True) == "2011-04-03T12:00:00Z"
    assert values.moment("03/04/2011", "UTC") == "2011-03-04T12:00:00Z"
    with pytest.raises(shape.Refused):
        values.moment("13/14/2011", "UTC")


def test_a_payout_that_is_written_without_a_sign_is_told_by_its_lines():
    unsigned = read(EBAY, csv(EBAY_HEADER, PAYOUT | {"Net amount": "88.30"}, WHOLE))
    assert unsigned["TotalAmount"] == 88.3
    taken = sold(**{"Type": "Other fee", "Net amount": "-88.30", "Description": "Store subscription"})
    assert read(EBAY, csv(EBAY_HEADER, PAYOUT | {"Net amount": "88.30"}, taken))["TotalAmount"] == -88.3
    assert read(EBAY, csv(EBAY_HEADER, PAYOUT | {"Net amount": "88.31"}, WHOLE))["TotalAmount"] == -88.31
