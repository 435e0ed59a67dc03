"""Rules that make the contract's shipments, returns, products, levels and prices of those of Channel Advisor's API v1.

In: frames of v1 entities with their lists; the account's context. Out: the columns that the mappings name.
Never: an amount computed anew; a state that no table names.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crossdock.mapping import bodies, contracts, problems
from crossdock.mapping.frames import PARENT, ROW, Frames, sum_by_header
from crossdock.mapping.registry import LISTS, Columns, rule
from crossdock.rules.v1_orders import Account, adjustments, instants, newest, whole
from crossdock.rules.vectorize import column, text_column

# ---- shipments -----------------------------------------------------------------------------------------------------


@rule("fulfillment_number", reads=["ID", "SellerFulfillmentID"], writes=["FulfillmentNumber"])
def fulfillment_number(frames: Frames, context: object) -> Columns:
    """FulfillmentNumber is SellerFulfillmentID; the ID where the seller has given none."""
    given = column(frames.header, "SellerFulfillmentID")
    own = frames.header["ID"].astype("str").astype(given.dtype)
    return Columns(pd.DataFrame({"FulfillmentNumber": given.where(given.notna() & (given != ""), own)}))


@rule("marketplace_status", reads=["lines.MarketplaceShippingStatus"], writes=["StatusAtMarketplace"])
def marketplace_status(frames: Frames, context: object) -> Columns:
    """Whether the marketplace has been told: as the first item says, Pending where there is none."""
    rows = frames.lines[ROW].to_numpy()
    first = frames.lines[np.r_[True, rows[1:] != rows[:-1]]] if len(rows) else frames.lines
    states = np.full(len(frames.header), "Pending", dtype=object)
    states[first[ROW].to_numpy()] = first["MarketplaceShippingStatus"].to_numpy(dtype=object)
    return Columns(pd.DataFrame({"StatusAtMarketplace": text_column(states)}))


# ---- returns -------------------------------------------------------------------------------------------------------

_LINE_LIST, _ORDER_LIST = "Items.Adjustments", "Adjustments"
_HEADER = (
    "ID", "RmaNumber", "SellerAdjustmentID", "Reason", "Comment", "CreatedDateUtc", "SiteRefundDateUtc",
)  # fmt: skip
_MONEY = (
    "ItemAdjustment", "GiftWrapAdjustment", "TaxAdjustment", "ShippingTaxAdjustment", "GiftWrapTaxAdjustment",
    "ShippingAdjustment", "RecyclingFeeAdjustment",
)  # fmt: skip


def _both(*names: str) -> list[str]:
    """These columns of the adjustments of lines and of the whole order."""
    return [f"{LISTS}{path}.{name}" for path in (_LINE_LIST, _ORDER_LIST) for name in names]


def _steps(frames: Frames) -> pd.DataFrame:
    """The adjustments of all returns, by return and ID. `sign`: -1 of the whole order's, else 1."""
    parts = [frames.lists[path].assign(sign=sign) for path, sign in ((_LINE_LIST, 1), (_ORDER_LIST, -1))]
    return pd.concat(parts, ignore_index=True).sort_values([ROW, "ID"], kind="stable", ignore_index=True)


def _first(frames: Frames, steps: pd.DataFrame, name: str, last: bool = False) -> pd.Series:
    """The first, or last, given value of each return's adjustments."""
    given = steps[steps[name].notna()]
    rows = given[ROW].to_numpy()
    values = np.full(len(frames.header), None, dtype=object)
    order = np.arange(len(rows)) if last else np.arange(len(rows))[::-1]
    values[rows[order]] = given[name].to_numpy(dtype=object)[order]
    return text_column(values)


@rule(
    "return_header",
    reads=_both(*_HEADER),
    writes=[
        "ReturnNumber", "Rma", "OwnNumber", "ReasonGiven", "CommentGiven", "FirstStep", "LastStep", "RefundedAt",
    ],
)  # fmt: skip
def return_header(frames: Frames, context: object) -> Columns:
    """Takes number, reason, comment and dates of a return from its adjustments: of several the first one's, of the
    dates of refund and of change the newest."""
    steps = _steps(frames)
    count = len(frames.header)
    rows = steps[ROW].to_numpy()
    number = np.zeros(count, dtype=np.int64)
    number[rows[::-1]] = (whole(steps["ID"]) * steps["sign"].to_numpy())[::-1]
    created = newest(count, [(rows, steps["CreatedDateUtc"])])
    refunded = newest(count, [(rows, steps["SiteRefundDateUtc"])])
    return Columns(
        pd.DataFrame(
            {
                "ReturnNumber": pd.array(number, dtype="Int64"),
                "Rma": _first(frames, steps, "RmaNumber"),
                "OwnNumber": _first(frames, steps, "SellerAdjustmentID"),
                "ReasonGiven": _first(frames, steps, "Reason"),
                "CommentGiven": _first(frames, steps, "Comment", last=True),
                "FirstStep": _first(frames, steps, "CreatedDateUtc"),
                "LastStep": refunded.where(instants(refunded) > instants(created), created),
                "RefundedAt": refunded,
            }
        )
    )


@rule("return_status", reads=_both("ID", "RequestStatus"), writes=["StatusOfReturn"])
def return_status(frames: Frames, context: object) -> Columns:
    """The state of a return, by lookups/channel_advisor_v1_adjustments.csv: that of the adjustment with the lowest ID.
    A state without a row makes the return a dead letter."""
    given = _first(frames, _steps(frames), "RequestStatus")
    status = given.map({name: row.status for name, row in adjustments().items()})
    missed = np.flatnonzero(status.isna().to_numpy(dtype=bool))
    return Columns(
        pd.DataFrame({"StatusOfReturn": text_column(status.to_numpy(dtype=object))}),
        problems=problems.make(
            missed,
            field="RequestStatus",
            rule="unknown_status",
            value=given.iloc[missed].to_numpy(dtype=object),
            message="The refund is {value}: lookups/channel_advisor_v1_adjustments.csv has no row for it.",
            do="Look at the refund in Channel Advisor; add a row to the table, or dismiss it where nothing came of it.",
        ),
    )


@rule(
    "return_amounts",
    reads=["lines.ID", *_both(*_MONEY), "lists.Items.Adjustments.Quantity", "lists.Items.Adjustments.IsRestock"],
    writes=[
        "MoneyBack", "lines.UnitsReturned", "lines.GoodsBack", "lines.TaxBack", "lines.ShippingBack", "lines.Restocked",
    ],
)  # fmt: skip
def return_amounts(frames: Frames, context: object) -> Columns:
    """Adds up what each line gives back: goods with gift wrap and recycling fee, the taxes of all, and shipping.
    MoneyBack is the sum of all lines, or of the adjustment of the whole order."""
    steps, count = frames.lists[_LINE_LIST], len(frames.lines)
    at = steps[PARENT].to_numpy()
    money = {name: np.zeros(count, dtype=np.int64) for name in ("GoodsBack", "TaxBack", "ShippingBack")}
    of = {
        "GoodsBack": ("ItemAdjustment", "GiftWrapAdjustment", "RecyclingFeeAdjustment"),
        "TaxBack": ("TaxAdjustment", "ShippingTaxAdjustment", "GiftWrapTaxAdjustment"),
        "ShippingBack": ("ShippingAdjustment",),
    }
    for name, parts in of.items():
        money[name][at] = sum(whole(steps[part]) for part in parts)
    units, restock = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=bool)
    units[at] = whole(steps["Quantity"])
    restock[at] = steps["IsRestock"].fillna(False).to_numpy(dtype=bool)
    whole_order = frames.lists[_ORDER_LIST]
    total = sum_by_header(frames, sum(money.values()))
    np.add.at(total, whole_order[ROW].to_numpy(), sum(whole(whole_order[part]) for part in _MONEY))
    return Columns(
        pd.DataFrame({"MoneyBack": pd.array(total, dtype="Int64")}),
        pd.DataFrame(
            {
                "UnitsReturned": pd.array(units, dtype="Int64"),
                **{name: pd.array(values, dtype="Int64") for name, values in money.items()},
                "Restocked": pd.array(restock, dtype="boolean"),
            }
        ),
    )


# ---- products ------------------------------------------------------------------------------------------------------

_LISTS = {
    "ProductAttributes": ("Attributes", {"Name": "Name", "Value": "Value"}),
    "ProductImages": ("Images", {"PlacementName": "PlacementName", "Url": "Url"}),
    "ProductParts": ("BundleComponents", {"ComponentSku": "SKU", "Quantity": "Quantity"}),
}


@rule(
    "product_lists",
    reads=[f"{LISTS}{path}.{name}" for path, names in _LISTS.values() for name in names],
    writes=list(_LISTS),
)
def product_lists(frames: Frames, context: object) -> Columns:
    """The lists of a product: attributes, images and the parts of a bundle."""
    product = contracts.document("channel_advisor", "Product")
    made = {}
    for column_, (path, names) in _LISTS.items():
        entries, given = product.fields[path].items, frames.lists[path]
        assert entries
        made[column_] = bodies.lists(
            entries, given[list(names)].rename(columns=names), given[PARENT], len(frames.header)
        ).fillna("[]")
    return Columns(pd.DataFrame(made))


@rule(
    "levels",
    reads=["lists.DCQuantities.DistributionCenterID", "lists.DCQuantities.AvailableQuantity"],
    writes=["CenterOfLevel", "UnitsOnOffer"],
)
def levels(frames: Frames, context: object) -> Columns:
    """Makes a level for each distribution center of a product; a product without quantities has none."""
    given = frames.lists["DCQuantities"]
    return Columns(
        pd.DataFrame(
            {
                "CenterOfLevel": given["DistributionCenterID"].reset_index(drop=True),
                "UnitsOnOffer": given["AvailableQuantity"].reset_index(drop=True),
            }
        ),
        origin=given[ROW].to_numpy(),
    )


@rule("product_name", reads=["ProfileID", "Sku"], writes=["NameOfProduct"])
def product_name(frames: Frames, context: Account) -> Columns:
    """NameOfProduct is the SKU; where products of several profiles are kept, `profile:SKU` in all but the first, for
    one SKU in two profiles is two products."""
    skus = column(frames.header, "Sku")
    if len(context.profiles.kept) > 1:
        pairs = zip(skus, whole(frames.header["ProfileID"]).tolist(), strict=True)
        name = context.profiles.name_of
        skus = text_column([name(sku, profile) if isinstance(sku, str) else None for sku, profile in pairs])
    return Columns(pd.DataFrame({"NameOfProduct": skus}))


@rule("priced", reads=["ProfileID", "BuyItNowPrice"], writes=["CurrencyOfProfile"])
def priced(frames: Frames, context: Account) -> Columns:
    """Takes the products that have a price; CurrencyOfProfile is the one of their profile."""
    has = np.flatnonzero(frames.header["BuyItNowPrice"].notna().to_numpy(dtype=bool))
    profiles = whole(frames.header["ProfileID"])[has].tolist()
    return Columns(
        pd.DataFrame({"CurrencyOfProfile": text_column([context.currencies.get(one) for one in profiles])}), origin=has
    )


@rule("center_code", reads=["ID", "Code"], writes=["CodeOfCenter"])
def center_code(frames: Frames, context: object) -> Columns:
    """CodeOfCenter is the Code of a distribution center; its ID where it has none."""
    given = column(frames.header, "Code")
    own = frames.header["ID"].astype("str").astype(given.dtype)
    return Columns(pd.DataFrame({"CodeOfCenter": given.where(given.notna() & (given != ""), own)}))


@rule("account_profile", reads=["ID"], writes=["ProfileOfAccount"])
def account_profile(frames: Frames, context: Account) -> Columns:
    """ProfileOfAccount is the profile that the connection names, the first of several."""
    return Columns(pd.DataFrame({"ProfileOfAccount": pd.array([context.profile] * len(frames.header), dtype="Int64")}))
