"""Reads the order itself: id, channel, date, notes; whether all its lines are there; who is a new customer.

In: orders of the channel, the sites' configuration. Out: columns of the sales order, problems, customers to create.
Never: a call to a system or a database; a row dropped: every order has a verdict (statuses.py).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pycountry

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import Columns, rule
from crossdock.rules import addresses, customers, text
from crossdock.rules.order_context import OrderContext
from crossdock.rules.times import to_microseconds
from crossdock.rules.vectorize import TEXT, column, map_text, text_column, values_at

LENGTHS = {"Channel": 40, "ShippingMethod": 60, "ExternalOrderID": 60}
ALERTED_ONCE = ("site_not_configured", "tax_not_told")  # warnings of which a person is notified once per value
ALERTS = ("payment_failed", *ALERTED_ONCE)  # warnings of which a person is notified at once


# What the house account, which many buyers share, has of none of them.
OF_BUYER = ("Customer.", "ShipTo.", "BillTo.", "CustomerInfo.", "ShippingAddress.", "BillingAddress.")


def newcomers(header: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """One row per customer to create, from its earliest order without a problem (`_row`): a customer is made only for
    an order that loads. `header`: orders with the columns of the rules; `found`: their problems."""
    wanted = (header["customer_action"] == "create").to_numpy(dtype=bool, copy=True)
    wanted[found["_row"].to_numpy()] = False
    rows = header[wanted].sort_values("OrderDate", kind="stable").drop_duplicates("customer_key")
    made = rows.copy()
    house = customers.is_house(rows)
    partial = house | ~addresses.is_whole(rows, "ShipTo")  # an address without a street or a name counts as missing
    for name in [name for name in header.columns if name.startswith(OF_BUYER)]:
        made[name] = made[name].mask(partial if name.startswith("ShipTo.") else house)
    made["Customer.Name"] = made["Customer.Name"].mask(house, "Buyers of " + rows["Channel"])
    return made.rename_axis("_row").reset_index()


@rule("lines_complete", reads=["OrderItemCount"], writes=["truncated"])
def lines_complete(frames: Frames, context: object) -> Columns:
    """An order with missing lines is refused: a list gives at most 20 lines of an order."""
    header, row = frames.header, frames.lines["_row"].to_numpy()
    count = np.bincount(row, minlength=len(header))
    stated = header["OrderItemCount"].fillna(0).to_numpy(dtype=np.int64)
    rows = np.flatnonzero(stated > count)
    found = problems.make(
        rows,
        field="OrderItems",
        rule="lines_incomplete",
        value=[str(c) for c in count[rows]],
        message=[
            f"The order has {t} lines, but only {c} were read." for t, c in zip(stated[rows], count[rows], strict=True)
        ],
        do="Read the order again by its id: crossdock sync orders --key ID.",
    )
    return Columns(pd.DataFrame({"truncated": stated > count}), problems=found)


@rule(
    "order_document",
    reads=[
        "ChannelAdvisorOrderID", "OrderID", "SiteID", "SiteName", "OrderDate", "Currency", "RequestedShippingCarrier",
        "RequestedShippingClass", "SpecialInstructions",
    ],
    writes=["ExternalOrderID", "Channel", "OrderedAt", "ShippingMethod", "Notes"],
)  # fmt: skip
def document(frames: Frames, context: OrderContext) -> Columns:
    """The order's id, channel, date, shipping method and notes. The channel is the site's configured name, else its
    own; the method is the requested carrier and service, else the site's default; the notes begin with the
    marketplace's order id and are cut at a word."""
    header, settings = frames.header, context.settings
    codes, ids = pd.factorize(header["SiteID"], use_na_sentinel=True)
    sites = [*(settings.site(int(i)) for i in ids), settings.default]
    channels = text_column([s.channel for s in sites]).array.take(codes)
    default_method = text_column([s.shipping_method for s in sites]).array.take(codes)
    channel = pd.Series(channels, index=header.index)
    channel = channel.fillna(_given(column(header, "SiteName"))).fillna("Site " + header["SiteID"].astype("str"))
    carrier, service = (column(header, f"RequestedShipping{part}").fillna("") for part in ("Carrier", "Class"))
    method = _given((carrier + " " + service).str.strip()).fillna(pd.Series(default_method, index=header.index))
    instructions = column(header, "SpecialInstructions").fillna("")
    notes = ("Order " + column(header, "OrderID").fillna("") + ". " + instructions).str.strip()
    columns = pd.DataFrame(
        {
            "ExternalOrderID": header["ChannelAdvisorOrderID"].astype("str").astype(TEXT),
            "Channel": channel,
            "OrderedAt": to_microseconds(column(header, "OrderDate")),
            "ShippingMethod": method,
            "Notes": map_text(notes, text.shorten),
        },
        index=header.index,
    )
    sources = {
        "Channel": "SiteName",
        "ShippingMethod": "RequestedShippingClass",
        "ExternalOrderID": "ChannelAdvisorOrderID",
    }
    found = [_currency(header)]
    for name, most in LENGTHS.items():
        rows = np.flatnonzero((columns[name].str.len() > most).to_numpy(dtype=bool))
        found.append(
            problems.make(
                rows,
                field=sources[name],
                rule="text_too_long",
                value=values_at(columns[name], rows),
                message=f'{name} "{{value}}" is longer than the {most} characters of TIMS.',
                do="Give the site a shorter name in config/sites.yaml, or edit this record's payload, then replay.",
            )
        )
    truncated = np.flatnonzero((notes.str.len() > text.NOTES_LENGTH).to_numpy(dtype=bool))
    warnings = problems.make(
        truncated,
        field="SpecialInstructions",
        rule="notes_cut",
        value="",
        message=f"The notes are longer than the {text.NOTES_LENGTH} characters of TIMS and were cut at a word.",
        do="Read the whole text on the channel if it matters.",
    )
    return Columns(columns, problems=problems.concat(found), warnings=warnings)


def _given(values: pd.Series) -> pd.Series:
    return values.mask(values == "")


def _currency(header: pd.DataFrame) -> pd.DataFrame:
    """Problems of orders without a currency, or with one that ISO 4217 does not have."""
    given = _given(column(header, "Currency"))
    absent = np.flatnonzero(given.isna().to_numpy())
    codes = [c for c in given.dropna().unique().tolist() if pycountry.currencies.get(alpha_3=c)]
    strange = np.flatnonzero((given.notna() & ~given.isin(codes)).to_numpy(dtype=bool))
    do = "Correct the order on the channel, or edit this record's payload, then replay."
    return problems.concat(
        [
            problems.make(
                absent,
                field="Currency",
                rule="currency_missing",
                message="The order has no currency: its amounts mean nothing.",
                do=do,
            ),
            problems.make(
                strange,
                field="Currency",
                rule="currency_unknown",
                value=values_at(given, strange),
                message='"{value}" is no currency of ISO 4217.',
                do=do,
            ),
        ]
    )
