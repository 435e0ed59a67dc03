"""All rules for a batch of orders, in their order.

In: the frames of a batch of Channel Advisor orders, what TIMS is known to hold, the sites' configuration, the orders
that TIMS already has. Out: `Enriched`. Never: a call to a system or a database; a row dropped: every order has a
verdict.

The order matters: text is cleaned before anything reads it; codes are decided before money, for they say what an
amount is; addresses before customers, for they are compared; and problems of orders that wait or are left out are no
problems."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pycountry

from crossdock.mapping import problems
from crossdock.mapping.frames import Frames
from crossdock.mapping.registry import rule
from crossdock.rules import addresses, customers, emails, items, money, phones, statuses, taxes, text
from crossdock.rules.reference_data import ReferenceData
from crossdock.rules.settings import Settings
from crossdock.rules.times import to_microseconds
from crossdock.rules.vectorize import TEXT, column, map_text, text_column, values_at

LENGTHS = {"Channel": 40, "ShippingMethod": 60, "ExternalOrderID": 60}
ALERTED_ONCE = ("site_not_configured", "tax_not_told")  # warnings that are told to a person once, by their value
ALERTS = ("payment_failed", *ALERTED_ONCE)  # warnings that are told to a person at once


@dataclass
class Enriched:
    """`header`: the cleaned source columns and what the rules add, one row per order of the batch, with `verdict` in
    load | wait | leave_out and `verdict_reason`. `lines`: target lines (kits parted, `_row` points into `header`),
    amounts int64 x 10,000. `problems`: of orders to load, all reasons of an order together. `warnings`: of all
    orders. `customers`: one row per customer to create, for orders without problems; `_row` is the order that it is
    made from."""

    header: pd.DataFrame
    lines: pd.DataFrame
    problems: pd.DataFrame
    warnings: pd.DataFrame
    customers: pd.DataFrame


def enrich(
    frames: Frames,
    reference_data: ReferenceData,
    settings: Settings,
    linked: Collection[int] = (),
    newest: pd.Series | None = None,
    inclusive: Mapping[int, bool] | None = None,
) -> Enriched:
    """Everything that rules decide about a batch of orders.

    `linked`: the ChannelAdvisorOrderIDs that have a sales order in TIMS. `newest`: the newest UpdatedDate read so far
    by ChannelAdvisorOrderID; an older version is left out. `inclusive`: PricesIncludeTax of the sales orders that
    there are, by ChannelAdvisorOrderID."""
    frames, warned = text.clean(frames)
    state, units, state_problems, state_warnings = statuses.decide(frames, settings, linked, newest)
    codes, code_problems = items.resolve(frames, reference_data, settings)
    frames = Frames(header=frames.header, lines=pd.concat([frames.lines, units, codes], axis=1))
    header = pd.concat([frames.header, state], axis=1)
    book, address_problems, address_warnings = addresses.harmonise_all(header, settings)
    stated = taxes.stated_tax(frames)
    settled, money_problems = money.settle_amounts(frames, stated)
    settled, tax_problems, tax_warnings = taxes.hold(
        frames, settled, stated, reference_data, settings.taxes, book["ShipTo.CountryCode"], inclusive or {}
    )
    lines, line_problems = items.target_lines(frames, settled, reference_data)
    totals, total_problems = money.total(frames, settled, lines)
    truncated = _incomplete(frames)
    total_problems = total_problems[~total_problems["_row"].isin(truncated["_row"])]  # of half an order no total holds

    header = pd.concat([header, totals], axis=1)
    documents, document_problems, document_warnings = document(header, settings)
    header = pd.concat([header, documents, book], axis=1)
    who, who_problems = customers.buyer(header)
    mail, mail_warnings = emails.read(column(header, "CustomerInfo.Email"), "CustomerInfo.Email", settings.nobodys_mail)
    phone, phone_warnings = phones.read(
        column(header, "CustomerInfo.Phone"), header["ShipTo.CountryCode"], "CustomerInfo.Phone"
    )
    header = pd.concat([header, who, mail.rename("Customer.Email"), phone.rename("Customer.Phone")], axis=1)
    of_money = [line_problems, money_problems, tax_problems, total_problems]
    found = _relevant(
        header,
        [state_problems, truncated, code_problems, *of_money, document_problems],
        [address_problems, who_problems],
    )
    decision, customer_problems = customers.decide(header, reference_data, settings, refused=set(found["_row"]))
    header = pd.concat([header, decision], axis=1)
    newcomers = _to_create(header, problems.concat([found, customer_problems]))
    header = addresses.stand_in(header.assign(addressed=addresses.is_whole(header, "ShipTo")))
    found = problems.concat([found, customer_problems])
    tax_warnings = tax_warnings[(header["verdict"] == "load").to_numpy(dtype=bool)[tax_warnings["_row"]]]
    of_people = [address_warnings, mail_warnings, phone_warnings]
    warnings = [warned, state_warnings, tax_warnings, document_warnings, *of_people]
    return Enriched(header, lines, found, problems.concat(warnings), newcomers)


def _relevant(header: pd.DataFrame, found: list[pd.DataFrame], personal: list[pd.DataFrame]) -> pd.DataFrame:
    """Problems of orders that are to load. Where personal data are gone, their absence is no second problem: before the
    first load one problem says it all, afterwards the sales order keeps what it has."""
    present, loads = header["personal_data"].to_numpy(dtype=bool), (header["verdict"] == "load").to_numpy(dtype=bool)
    about_people = problems.concat(personal)
    rows = problems.concat([*found, about_people[present[about_people["_row"]]]])
    return rows[loads[rows["_row"]]].reset_index(drop=True)


def _to_create(header: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """One row per new customer: of the earliest order that has no problem, so that a customer has an order to come
    for."""
    wanted = (header["customer_action"] == "create").to_numpy(dtype=bool, copy=True)
    wanted[found["_row"].to_numpy()] = False
    rows = header[wanted].sort_values("OrderDate", kind="stable").drop_duplicates("customer_key")
    columns = [c for c in rows.columns if c.startswith(("Customer.", "ShipTo.", "BillTo."))]
    made = rows[["customer_key", "Currency", *columns]].copy()
    house = customers.is_house(rows)
    partial = house | ~addresses.is_whole(rows, "ShipTo")  # an address without a street or a name is none
    for name in columns:
        made[name] = made[name].mask(partial if name.startswith("ShipTo.") else house)
    made["Customer.Name"] = made["Customer.Name"].mask(house, "Buyers of " + rows["Channel"])
    return made.rename_axis("_row").reset_index()


def _incomplete(frames: Frames) -> pd.DataFrame:
    """Orders whose lines are not all there: a list cuts an order at 20."""
    header, row = frames.header, frames.lines["_row"].to_numpy()
    if "OrderItemCount" not in header:
        return problems.empty()
    count = np.bincount(row, minlength=len(header))
    stated = header["OrderItemCount"].fillna(0).to_numpy(dtype=np.int64)
    rows = np.flatnonzero(stated > count)
    return problems.make(
        rows,
        field="OrderItems",
        rule="lines_incomplete",
        value=[str(c) for c in count[rows]],
        message=[
            f"The order has {t} lines, but only {c} were read." for t, c in zip(stated[rows], count[rows], strict=True)
        ],
        do="Read the order again by its id: crossdock sync orders --key ID.",
    )


@rule(
    "order_document",
    reads=[
        "ChannelAdvisorOrderID", "OrderID", "SiteID", "SiteName", "OrderDate", "Currency", "RequestedShippingCarrier",
        "RequestedShippingClass", "SpecialInstructions", "TaxRemittedBy",
    ],
    writes=["ExternalOrderID", "Channel", "OrderedAt", "ShippingMethod", "Notes"],
)  # fmt: skip
def document(header: pd.DataFrame, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The order's id, channel, date, shipping method and notes. The channel is the site's configured name, else its
    own; the method is carrier and service asked for, else the site's default; the notes begin with the marketplace's
    order id and are cut at a word. Returns (columns, problems, warnings)."""
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
    return columns, problems.concat(found), warnings


def _given(values: pd.Series) -> pd.Series:
    return values.mask(values == "")


def _currency(header: pd.DataFrame) -> pd.DataFrame:
    """A currency stands beside every amount, and is one that ISO 4217 knows."""
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
