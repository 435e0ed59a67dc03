"""Rules that make the contract's order of an order of Channel Advisor's API v1.

In: frames of v1 orders with their lists; the account's context. Out: the columns that the mapping names.
Never: an amount computed anew, only added and subtracted exactly; a status, a unit or a remitter guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from crossdock import config
from crossdock.config import SiteCell, Struct, Text
from crossdock.mapping import bodies, contracts, problems
from crossdock.mapping.frames import LINE, PARENT, ROW, Frames, sum_by_header, written
from crossdock.mapping.registry import Columns, rule
from crossdock.rules.settings import Settings
from crossdock.rules.v1_profiles import Profiles
from crossdock.rules.vectorize import column, distinct, text_column
from crossdock.settings import config_dir

STATUSES, ADJUSTMENTS, REMITTERS = "channel_advisor_v1_status", "channel_advisor_v1_adjustments", "tax_remitters"
TABLES = (STATUSES, ADJUSTMENTS, REMITTERS)
SENT = ("Complete", "InTransit", "ThirdPartyManaged")  # DeliveryStatus of what has left
NOT_SENT = ("NoChange", "ReadyForPickup", "Canceled", "Confirmed", "PickAndPack", "LabelCreated", "Held")
UNTAKEN = ("Error", "NoChange")  # states without a row: the marketplace has not taken the adjustment
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Account:
    """What the rules need of the account: settings of sites; `currencies` of its profiles; `profile`: the one that
    stands for those documents that name none; `profiles`: those whose products are kept."""

    settings: Settings = field(default_factory=Settings)
    currencies: Mapping[int, str] = field(default_factory=dict)
    profile: int = 0
    profiles: Profiles = field(default_factory=Profiles)


class StatusRow(Struct, frozen=True):
    """One row of channel_advisor_v1_status.csv."""

    checkout: Text
    payment: Text
    shipping: Text
    units: Text
    order: Text
    fulfillment: str = ""


class AdjustmentRow(Struct, frozen=True):
    """One row of channel_advisor_v1_adjustments.csv."""

    request: Text
    status: Text
    returned: Literal["yes", "no", "refunded"] = "no"
    cancelled: Literal["yes", "no"] = "no"
    note: str = ""


class RemitterRow(Struct, frozen=True):
    """One row of tax_remitters.csv."""

    site: SiteCell
    country: str
    remitted_by: Literal["Seller", "Marketplace"]
    note: str = ""


def statuses() -> list[StatusRow]:
    """The rows of the status table, from top to bottom."""
    return list(config.load_csv(config_dir() / "lookups" / f"{STATUSES}.csv", StatusRow, keys=4).rows.values())


def adjustments() -> dict[str, AdjustmentRow]:
    """The rows of the table of adjustments, by RequestStatus."""
    return dict(config.load_csv(config_dir() / "lookups" / f"{ADJUSTMENTS}.csv", AdjustmentRow).rows)


def remitters() -> dict[tuple[int, str], str]:
    """Who remits the tax, by site and country; "" as country: everywhere else."""
    rows = config.load_csv(config_dir() / "lookups" / f"{REMITTERS}.csv", RemitterRow, keys=2).rows.values()
    return {(int(row.site), row.country.upper()): row.remitted_by for row in rows}


# ---- dates ---------------------------------------------------------------------------------------------------------


def instants(texts: pd.Series) -> np.ndarray:
    """Moments as nanoseconds since 1970; the least number where there is none that can be read."""
    given = pa.array(texts.astype("str"), pa.string(), from_pandas=True)
    try:
        moments = given.cast(pa.timestamp("ns", "UTC"))
    except pa.ArrowInvalid:
        moments = pa.array([_read(one) for one in given.to_pylist()], pa.timestamp("ns", "UTC"))
    return moments.cast(pa.int64()).fill_null(int(_NEVER)).to_numpy(zero_copy_only=False)


def _read(text: str | None) -> pd.Timestamp | None:
    try:
        return None if text is None else pd.Timestamp(text)
    except ValueError:
        return None


def newest(count: int, dates: Sequence[tuple[np.ndarray, pd.Series]]) -> pd.Series:
    """The newest date of each of `count` rows, as written. `dates`: pairs of the row of each date, and the dates."""
    best = np.full(count, _NEVER, dtype=np.int64)
    texts = np.full(count, None, dtype=object)
    for rows, given in dates:
        moments = instants(given)
        order = np.argsort(moments, kind="stable")
        rows, moments = rows[order], moments[order]  # the last of each row is its newest
        newer = moments > best[rows]
        best[rows[newer]] = moments[newer]
        texts[rows[newer]] = given.to_numpy(dtype=object)[order][newer]
    return text_column(texts)


@rule(
    "newest_date",
    reads=[
        "UpdatedDateUtc", "ImportDateUtc", "lists.Fulfillments.CreatedDateUtc", "lists.Fulfillments.UpdatedDateUtc",
        "lists.Adjustments.CreatedDateUtc", "lists.Adjustments.SiteRefundDateUtc",
        "lists.Items.Adjustments.CreatedDateUtc", "lists.Items.Adjustments.SiteRefundDateUtc",
    ],
    writes=["NewestDate"],
)  # fmt: skip
def newest_date(frames: Frames, context: object) -> Columns:
    """NewestDate is the newest of the order's own dates of change and those of its fulfillments and adjustments: an
    adjustment does not always move UpdatedDateUtc."""
    header = frames.header
    rows = np.arange(len(header))
    dates = [(rows, header["UpdatedDateUtc"]), (rows, header["ImportDateUtc"])]
    for part in frames.lists.values():
        dates += [(part[ROW].to_numpy(), part[name]) for name in part.columns if name not in (ROW, LINE, PARENT)]
    return Columns(pd.DataFrame({"NewestDate": newest(len(header), dates)}))


# ---- numbers and names ---------------------------------------------------------------------------------------------


@rule("site_number", reads=["ID", "SiteOrderID", "SecondarySiteOrderID"], writes=["SiteNumber"])
def site_number(frames: Frames, context: object) -> Columns:
    """SiteNumber is the marketplace's own number: SiteOrderID, or SecondarySiteOrderID where SiteOrderID is just the ID
    or missing."""
    header = frames.header
    first, second = column(header, "SiteOrderID"), column(header, "SecondarySiteOrderID")
    own = header["ID"].astype("str").astype(first.dtype)
    bare = first.isna() | (first == own).fillna(False)
    return Columns(pd.DataFrame({"SiteNumber": first.mask(bare, second.where(second.notna(), own))}))


_NAMES = ("FirstName", "LastName", "Suffix")
_PLACES = ("AddressLine1", "AddressLine2", "City", "StateOrProvince", "StateOrProvinceName", "PostalCode", "Country")


@rule(
    "names_and_places",
    reads=[
        *(f"{kind}{name}" for kind in ("Shipping", "Billing") for name in _NAMES),
        *(f"Billing{name}" for name in _PLACES),
        "BillingCompanyName",
    ],
    writes=["Buyer.FirstName", "Buyer.LastName", "ShippingName", "BillingName", "BillingCompany"],
)
def names_and_places(frames: Frames, context: object) -> Columns:
    """Joins first name, last name and suffix to the name of an address. The buyer is whom the bill names, else who
    receives the goods. A bill without any part of an address has no address, whatever names stand on it."""
    header = frames.header
    named = header[["BillingFirstName", "BillingLastName"]].notna().any(axis=1)
    placed = header[[f"Billing{name}" for name in _PLACES]].notna().any(axis=1)
    shipping, billing = (_joined(header, kind) for kind in ("Shipping", "Billing"))
    made = {
        f"Buyer.{name}": column(header, f"Billing{name}").where(named, column(header, f"Shipping{name}"))
        for name in ("FirstName", "LastName")
    }
    company = column(header, "BillingCompanyName").where(placed)
    return Columns(
        pd.DataFrame(
            {**made, "ShippingName": shipping, "BillingName": billing.where(placed), "BillingCompany": company}
        )
    )


def _joined(header: pd.DataFrame, kind: str) -> pd.Series:
    """The parts of a name that are given, with blanks between."""
    name = text_column([None] * len(header))
    for part in _NAMES:
        more = column(header, f"{kind}{part}")
        more = more.mask(more == "")
        name = more.where(name.isna(), name.where(more.isna(), name + " " + more))
    return name


# ---- units and states ----------------------------------------------------------------------------------------------


def summed(rows: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """int64 sum of the values of each of `count` rows."""
    total = np.zeros(count, dtype=np.int64)
    np.add.at(total, rows, values)
    return total


def whole(values: pd.Series) -> np.ndarray:
    """int64 of a column, 0 where it is missing."""
    return values.fillna(0).to_numpy(dtype=np.int64)


def _positions(lines: pd.DataFrame, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The position in `lines` of each (order, line id); -1 where the order has no such line."""
    if not len(lines) or not len(rows):
        return np.full(len(rows), -1, dtype=np.int64)
    own = lines[ROW].to_numpy() << 32 | whole(lines["ID"])
    wanted = rows << 32 | ids
    order = np.argsort(own, kind="stable")
    at = np.minimum(np.searchsorted(own[order], wanted), len(own) - 1)
    found = order[at]
    return np.where(own[found] == wanted, found, -1)


@rule(
    "line_units",
    reads=[
        "ShippingStatus", "lines.ID", "lines.Quantity", "lists.Fulfillments.DeliveryStatus",
        "lists.Fulfillments.ShippedDateUtc", "lists.Fulfillments.Items.OrderItemID",
        "lists.Fulfillments.Items.Quantity", "lists.Items.Adjustments.ID", "lists.Items.Adjustments.Type",
        "lists.Items.Adjustments.RequestStatus",
        "lists.Items.Adjustments.Quantity", "lists.Items.Adjustments.SiteRefundDateUtc",
    ],
    writes=["LineCount", "UnitsState", "lines.UnitsSent", "lines.UnitsGone", "lines.UnitsBack"],
)  # fmt: skip
def line_units(frames: Frames, context: object) -> Columns:
    """Counts the units of each line that were shipped (its items in fulfillments that have left), cancelled and
    returned (its adjustments, by the table of their states); in a cancelled order all that have not left are cancelled.
    UnitsState says what that is over all lines. A cancellation in a state that the table does not know, or
    without a number of units, makes the order a dead letter, and so does a fulfillment in an unknown state: its units
    would be sent or not by a guess."""
    header, lines = frames.header, frames.lines
    count = len(lines)
    ordered, rows = whole(lines["Quantity"]), lines[ROW].to_numpy()
    parcels, packed = frames.lists["Fulfillments"], frames.lists["Fulfillments.Items"]
    dated = parcels["ShippedDateUtc"].notna().to_numpy(dtype=bool)
    left = parcels["DeliveryStatus"].isin(SENT).to_numpy(dtype=bool) & dated
    strange = np.flatnonzero(dated & ~parcels["DeliveryStatus"].isin([*SENT, *NOT_SENT]).to_numpy(dtype=bool))
    packed = packed[left[packed[PARENT].to_numpy()]]
    at = _positions(lines, packed[ROW].to_numpy(), whole(packed["OrderItemID"]))
    sent = summed(at[at >= 0], whole(packed["Quantity"])[at >= 0], count)
    sent = np.minimum(sent, ordered)

    changes = frames.lists["Items.Adjustments"]
    of = changes[PARENT].to_numpy()
    gone, back = _counted(changes)
    units = whole(changes["Quantity"])
    unclear = np.flatnonzero(
        (changes["Type"] == "Cancellation").to_numpy(dtype=bool)
        & ~changes["RequestStatus"].isin([*adjustments(), *UNTAKEN]).to_numpy(dtype=bool)
    )
    found_problems = problems.make(
        changes[ROW].to_numpy()[unclear],
        field="Items.Adjustments.RequestStatus",
        rule="unknown_status",
        value=changes["RequestStatus"].fillna("(missing)").astype("str").to_numpy()[unclear],
        message="lookups/channel_advisor_v1_adjustments.csv does not know {value}, the state of a cancellation.",
        do="Find out whether its units are cancelled and add a row to it; then replay this: the order is read anew.",
    )
    over = (header["ShippingStatus"] == "Canceled").to_numpy(dtype=bool)  # as a whole, whatever its parts say
    uncounted = np.flatnonzero(gone & changes["Quantity"].isna().to_numpy(dtype=bool) & ~over[changes[ROW].to_numpy()])
    found_problems = problems.concat(
        [
            found_problems,
            problems.make(
                changes[ROW].to_numpy()[uncounted],
                field="Items.Adjustments.Quantity",
                rule="missing_units",
                value=changes["ID"].astype("str").to_numpy()[uncounted],
                message="Nobody says how many units cancellation {value} takes off its line.",
                do="Find out how many at Channel Advisor, and cancel them there with their number; then replay this, "
                "which reads the order again.",
            ),
            problems.make(
                parcels[ROW].to_numpy()[strange],
                field="Fulfillments.DeliveryStatus",
                rule="unknown_status",
                value=parcels["DeliveryStatus"].fillna("(missing)").astype("str").to_numpy()[strange],
                message="A fulfillment with a date of shipping is {value}: whether its units have left is not known.",
                do="Set it to Complete or Canceled at Channel Advisor; then replay this, which reads the order again.",
            ),
        ]
    )
    cancelled = summed(of[gone], units[gone], count)
    canceled = over[rows]
    cancelled = np.where(canceled, ordered - sent, np.clip(cancelled, 0, ordered - sent))
    returned = np.clip(summed(of[back], units[back], count), 0, sent)

    all_sent, all_gone, all_back = (sum_by_header(frames, each) for each in (sent, cancelled, returned))
    all_units = sum_by_header(frames, ordered)
    open_ = all_units - all_sent - all_gone
    state = np.select(
        [(all_sent > 0) & (all_back >= all_sent), (all_sent == 0) & (open_ <= 0), (all_sent > 0) & (open_ <= 0),
         all_sent > 0],
        ["returned", "cancelled", "shipped", "part"],
        default="none",
    )  # fmt: skip
    counts = np.bincount(rows, minlength=len(header))
    made = {"UnitsSent": sent, "UnitsGone": cancelled, "UnitsBack": returned}
    return Columns(
        pd.DataFrame({"LineCount": pd.array(counts, dtype="Int64"), "UnitsState": text_column(state)}),
        pd.DataFrame({name: pd.array(values, dtype="Int64") for name, values in made.items()}),
        problems=found_problems,
    )


def _counted(changes: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which adjustments count as cancelled units, and which as returned ones."""
    table = adjustments()
    request, refunded = changes["RequestStatus"], changes["SiteRefundDateUtc"].notna()
    of = {
        word: request.isin([name for name, row in table.items() if row.returned == word]).to_numpy(dtype=bool)
        for word in ("yes", "refunded")
    }
    done = request.isin([name for name, row in table.items() if row.cancelled == "yes"])
    gone = ((changes["Type"] == "Cancellation") & done).to_numpy(dtype=bool)
    refund = (changes["Type"] == "Refund").to_numpy(dtype=bool)
    return gone, refund & (of["yes"] | (of["refunded"] & refunded.to_numpy(dtype=bool)))


@rule(
    "order_status",
    reads=["CheckoutStatus", "PaymentStatus", "ShippingStatus", "UnitsState"],
    writes=["StatusOfOrder", "StatusOfShipping"],
)
def order_status(frames: Frames, context: object) -> Columns:
    """Reads one status of the order and one of its shipping from lookups/channel_advisor_v1_status.csv: the first row
    that fits the three statuses and the state of the units. Where none fits the order is a dead letter."""
    header = frames.header
    given = [column(header, name) for name in ("CheckoutStatus", "PaymentStatus", "ShippingStatus", "UnitsState")]
    codes, first = distinct(*given)
    table = statuses()
    named = [each.fillna("(missing)") for each in given]
    found = [_fitting(table, [str(each.iloc[at]) for each in named]) for at in first]
    order = text_column([row.order if row else None for row in found])
    shipping = text_column([(row.fulfillment or None) if row else None for row in found])
    missed = np.flatnonzero(np.array([row is None for row in found], dtype=bool)[codes] if len(codes) else [])
    values = [" / ".join(str(each.iloc[at]) for each in named) for at in missed]
    found_problems = problems.make(
        missed,
        field="CheckoutStatus",
        rule="unknown_status",
        value=values,
        message="No row of lookups/channel_advisor_v1_status.csv fits the statuses {value}.",
        do="Find out what they mean and add a row to the table; then replay this, which reads the order again.",
    )
    taken = text_column(shipping.array.take(codes))
    taken = taken.where(taken.notna(), given[2])
    return Columns(
        pd.DataFrame({"StatusOfOrder": text_column(order.array.take(codes)), "StatusOfShipping": taken}),
        problems=found_problems,
    )


def _fitting(table: Sequence[StatusRow], given: Sequence[str]) -> StatusRow | None:
    return next((row for row in table if all(map(_fits, msgspec.structs.astuple(row)[:4], given))), None)


def _fits(cell: str, given: str) -> bool:
    return cell == "*" or given in cell.split("|")


# ---- money ---------------------------------------------------------------------------------------------------------


@rule(
    "discounts",
    reads=[
        "PromotionAmount", "AdditionalCostOrDiscount", "lines.ID", "lists.Items.Promotions.Amount",
        "lists.Items.Promotions.ShippingAmount",
    ],
    writes=["AllDiscounts", "lines.LineDiscount"],
)  # fmt: skip
def discounts(frames: Frames, context: object) -> Columns:
    """Adds up discounts and turns their sign: a line's promotions, of goods and of shipping; of the order all lines',
    PromotionAmount, and AdditionalCostOrDiscount where it is below 0."""
    given = frames.lists["Items.Promotions"]
    amounts = whole(given["Amount"]) + whole(given["ShippingAmount"])
    of_line = -summed(given[PARENT].to_numpy(), amounts, len(frames.lines))
    of_order = -whole(frames.header["PromotionAmount"]) - np.minimum(
        whole(frames.header["AdditionalCostOrDiscount"]), 0
    )
    return Columns(
        pd.DataFrame({"AllDiscounts": pd.array(of_order + sum_by_header(frames, of_line), dtype="Int64")}),
        pd.DataFrame({"LineDiscount": pd.array(of_line, dtype="Int64")}),
    )


@rule(
    "tax_parts",
    reads=[
        "OrderTaxType", "ShippingTaxType", "GiftOptionsTaxType", "TotalTaxPrice", "TotalShippingTaxPrice",
        "lines.TaxPrice", "lines.GiftTaxPrice", "lines.ShippingTaxPrice",
    ],
    writes=[
        "GoodsTax", "ShippingTax", "GoodsTaxType", "TaxTypeOfShipping", "TaxTypeOfGifts", "lines.LineTax",
        "lines.LineShippingTax",
    ],
)  # fmt: skip
def tax_parts(frames: Frames, context: object) -> Columns:
    """Parts the tax of goods and gift wrap from that of shipping, which TotalTaxPrice holds too. An order of the type
    Standard without any tax amount has been told of no tax: its types and tax amounts are missing."""
    header, lines = frames.header, frames.lines
    goods = whole(lines["TaxPrice"]) + whole(lines["GiftTaxPrice"])
    shipping = whole(lines["ShippingTaxPrice"])
    of_lines = sum_by_header(frames, shipping)
    total = whole(header["TotalTaxPrice"])
    of_shipping = header["TotalShippingTaxPrice"].mask(
        header["TotalShippingTaxPrice"].isna() & (of_lines != 0), of_lines
    )
    untold = (column(header, "OrderTaxType") == "Standard").to_numpy(dtype=bool)
    taxed = (total != 0) | (whole(of_shipping) != 0) | (sum_by_header(frames, goods) != 0) | (of_lines != 0)
    untold = untold & ~taxed
    silent = untold[lines[ROW].to_numpy()]
    return Columns(
        pd.DataFrame(
            {
                "GoodsTax": pd.Series(total - whole(of_shipping), dtype="Int64").mask(untold),
                "ShippingTax": of_shipping.mask(untold),
                "GoodsTaxType": column(header, "OrderTaxType").mask(untold),
                "TaxTypeOfShipping": column(header, "ShippingTaxType").mask(untold),
                "TaxTypeOfGifts": column(header, "GiftOptionsTaxType").mask(untold),
            }
        ),
        pd.DataFrame(
            {
                "LineTax": pd.Series(goods, dtype="Int64", index=lines.index).mask(silent),
                "LineShippingTax": pd.Series(shipping, dtype="Int64", index=lines.index).mask(silent),
            }
        ),
    )


@rule(
    "charges",
    reads=[
        "SiteID", "StatusOfOrder", "TotalPrice", "TotalShippingPrice", "TotalInsurancePrice",
        "AdditionalCostOrDiscount", "AllDiscounts", "GoodsTax", "ShippingTax", "GoodsTaxType", "TaxTypeOfShipping",
        "lines.Quantity", "lines.UnitPrice", "lines.GiftPrice", "lines.RecyclingFee",
    ],
    writes=["ShippingWithCharges", "PriceToPay", "lines.GiftWithCharges"],
)  # fmt: skip
def charges(frames: Frames, context: Account) -> Columns:
    """Adds what an order is charged besides (insurance, AdditionalCostOrDiscount above 0, and recycling fees where the
    total holds them) to its shipping, or to the gift wrap of its first line: as `order_charges` of the site says."""
    header, lines = frames.header, frames.lines
    rows = lines[ROW].to_numpy()
    extra = np.maximum(whole(header["AdditionalCostOrDiscount"]), 0) + whole(header["TotalInsurancePrice"])
    tax = np.where((header["GoodsTaxType"] == "InclusiveVat").to_numpy(dtype=bool), 0, whole(header["GoodsTax"]))
    shipping_inside = (header["TaxTypeOfShipping"] == "InclusiveVat").to_numpy(dtype=bool)
    tax = tax + np.where(shipping_inside, 0, whole(header["ShippingTax"]))
    goods = whole(lines["UnitPrice"]) * whole(lines["Quantity"]) + whole(lines["GiftPrice"])
    total = whole(header["TotalPrice"])
    parts = sum_by_header(frames, goods) - whole(header["AllDiscounts"]) + whole(header["TotalShippingPrice"]) + tax
    fees = sum_by_header(frames, whole(lines["RecyclingFee"]))
    extra = extra + np.where(total - parts - extra == fees, fees, 0)
    to_gifts = np.array(
        [context.settings.site(int(site)).order_charges == "gift_wrap" for site in whole(header["SiteID"])], dtype=bool
    )
    first = np.r_[True, rows[1:] != rows[:-1]] if len(rows) else np.zeros(0, dtype=bool)
    to_gifts &= np.bincount(rows, minlength=len(header)) > 0
    gift = pd.Series(whole(lines["GiftPrice"]) + np.where(first & to_gifts[rows], extra[rows], 0), dtype="Int64")
    shipping = header["TotalShippingPrice"] + np.where(to_gifts, 0, extra)
    untold = (column(header, "StatusOfOrder") == "Pending").to_numpy(dtype=bool) & (total == 0)
    charged = np.flatnonzero(extra > 0)
    sites = whole(header["SiteID"])[charged]
    warned = problems.make(
        charged,
        field="AdditionalCostOrDiscount",
        rule="charged_besides",
        value=[written(each) for each in extra[charged]],
        message=[
            f"Site {site} charges orders besides goods and shipping; it is taken as "
            f"{'gift wrap' if gifts else 'shipping'}."
            for site, gifts in zip(sites, to_gifts[charged], strict=True)
        ],
        do="Say in include/config/sites.yaml what it is: order_charges of the site.",
    )
    return Columns(
        pd.DataFrame(
            {
                "ShippingWithCharges": shipping,
                "PriceToPay": header["TotalPrice"].mask(untold),
            }
        ),
        pd.DataFrame({"GiftWithCharges": gift.set_axis(lines.index)}),
        warnings=warned,
    )


@rule("tax_remitter", reads=["SiteID", "ShippingCountry", "GoodsTax", "ShippingTax"], writes=["Remitter"])
def tax_remitter(frames: Frames, context: Account) -> Columns:
    """Remitter is who pays the tax on: by `tax_remitted_by` of the site in sites.yaml, else by
    lookups/tax_remitters.csv. An order that carries tax, of a site that neither names, is a dead letter."""
    header = frames.header
    sites = whole(header["SiteID"])
    codes, first = distinct(header["SiteID"], column(header, "ShippingCountry"))
    table = remitters()
    named: list[str | None] = []
    for at in first:
        site, country = int(sites[at]), str(header["ShippingCountry"].iloc[at]).upper()
        own = context.settings.site(site).tax_remitted_by
        named.append(own or table.get((site, country)) or table.get((site, "")))
    found = text_column(text_column(named).array.take(codes))
    taxed = (whole(header["GoodsTax"]) != 0) | (whole(header["ShippingTax"]) != 0)
    at = np.flatnonzero(found.isna().to_numpy(dtype=bool) & taxed)
    return Columns(
        pd.DataFrame({"Remitter": found.mask(found.isna() & ~taxed, "Seller")}),
        problems=problems.make(
            at,
            field="SiteID",
            rule="remitter_unknown",
            value=[str(site) for site in whole(header["SiteID"])[at]],
            message="Nobody has said who pays the tax of site {value} on, the seller or the marketplace.",
            do="Say it by tax_remitted_by in include/config/sites.yaml; then replay this: the order is read anew.",
        ),
    )


# ---- bundles -------------------------------------------------------------------------------------------------------


@rule(
    "bundle_parts",
    reads=["lines.ID", "lists.Items.BundleComponents.Sku", "lists.Items.BundleComponents.Quantity"],
    writes=["lines.PartsOfBundle"],
)
def bundle_parts(frames: Frames, context: object) -> Columns:
    """The parts of a bundle with their units for the whole line."""
    inner = contracts.document("channel_advisor", "Order").fields["OrderItems"].items
    parts = inner.fields["BundleComponents"].items if inner else None
    assert parts
    given = frames.lists["Items.BundleComponents"]
    listed = bodies.lists(
        parts, given[["Sku", "Quantity"]].rename(columns={"Sku": "SKU"}), given[PARENT], len(frames.lines)
    )
    return Columns(lines=pd.DataFrame({"PartsOfBundle": listed.set_axis(frames.lines.index)}))
