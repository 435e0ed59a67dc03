"""Translates the state of an order at the channel for TIMS.

In: heads and lines of a batch, the orders that TIMS already has, the sites' configuration. Out: per order a verdict
(load, wait, leave_out) with its reason, the status and payment status in TIMS, hold and cancellation; per line the
units shipped and cancelled. Never: a default for a status that no table knows.

| OrderStatus | final in TIMS | | PaymentStatus | in TIMS | effect |
|---|---|---|---|---|---|
| Pending, New | Open | | NotYetSubmitted, Submitted | Unpaid | hold, by the site's import rule: open or wait |
| OnHold | OnHold | | Cleared, Deposited | Paid | release |
| Processing | Allocated | | Failed | Unpaid | hold, alert |
| PartiallyShipped | PartiallyFulfilled | | | | |
| Shipped | Fulfilled | | | | |
| Cancelled | Cancelled | | | | |
| Returned | Closed | | | | |

In a Mixed order the marketplace ships some lines and we the others, and only its shipments show which are its own: the
order is held until the first one, so that nothing is shipped twice. Load holds it again while the marketplace has
shipped only a part of a line.

TIMS creates an order as Open or OnHold only; an order with shipped units is created Open, for a held one takes no
shipment. A mixed order on hold by a rule (not paid) is released only for the marketplace's shipments: our part stays on
hold."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from crossdock.config import Struct, Text
from crossdock.mapping import lookups, problems
from crossdock.mapping.frames import Frames, sum_by_header
from crossdock.mapping.lookups import Lookup
from crossdock.mapping.registry import LINES, Columns, rule
from crossdock.rules.order_context import OrderContext
from crossdock.rules.settings import Settings
from crossdock.rules.times import sortable
from crossdock.rules.vectorize import column, text_column, values_at

CODES = {
    "TaxRemittedBy": ("Seller", "Marketplace"),
    "DistributionCenterTypeRollup": ("SellerManaged", "ExternallyManaged", "Mixed"),
}
CANCELLED_FIRST = "cancelled before it was loaded"
DATA_GONE = "personal_data_gone"  # the rule that refuses an order whose buyer is not known any more
HELD_BACK = "its order would be made, and is not sent: the flow orders is in shadow mode, or its launch holds it back"
LEFT_OUT = "fulfilled by the marketplace: the site's configuration leaves these out"
OLDER_VERSION = "not the newest version that was read"
HEAD_WRITES = (
    "linked", "verdict", "verdict_reason", "TimsOrderStatus", "FinalStatus", "TimsPaymentStatus",
    "hold", "hold_reason", "cancel_all", "marketplace_fulfilled", "mixed", "location", "own_location", "personal_data",
)  # fmt: skip
LINE_WRITES = ("UnitsShipped", "UnitsCancelled")


class StatusRow(Struct, frozen=True):
    """One row of order_status.csv or payment_status.csv."""

    channel_advisor: Text
    tims: Text
    effect: str = ""


def read_statuses() -> tuple[Lookup, Lookup]:
    """The lookups order_status and payment_status. Raises ConfigError with everything that is wrong."""
    return lookups.read("order_status", row=StatusRow), lookups.read("payment_status", row=StatusRow)


def linked_mask(header: pd.DataFrame, linked: Collection[int]) -> np.ndarray:
    """Which orders TIMS already has."""
    return header["ChannelAdvisorOrderID"].isin(list(linked)).to_numpy(dtype=bool)


@rule(
    "order_state",
    reads=[
        "ChannelAdvisorOrderID",
        "UpdatedDate",
        "OrderStatus",
        "PaymentStatus",
        "FulfillmentStatus",
        "DistributionCenterTypeRollup",
        "TaxRemittedBy",
        "UserDataPresent",
        "SiteID",
        "ShippingAddress.Name",
        "ShippingAddress.Line1",
        "lines.OrderItemID",
        "lines.Quantity",
        "lines.QuantityShipped",
        "lines.QuantityCancelled",
    ],
    writes=[*HEAD_WRITES, *(LINES + name for name in LINE_WRITES)],
)
def decide(frames: Frames, context: OrderContext) -> Columns:
    """Decides whether an order loads, waits or is left out (verdict), whether it is held or open, and how many units of
    each line are shipped or cancelled."""
    settings, linked, newest = context.settings, context.linked, context.newest
    header = frames.header
    status, payment = column(header, "OrderStatus"), column(header, "PaymentStatus")
    existing = linked_mask(header, linked)
    site = _per_site(header, settings)
    lines, line_problems = _units(frames)
    shipped = sum_by_header(frames, lines["UnitsShipped"]) > 0
    gone = ~header["UserDataPresent"].fillna(True).to_numpy(dtype=bool)
    # A marketplace may empty the fields at the end of its retention without any sign.
    gone |= (
        existing
        & (column(header, "ShippingAddress.Name").isna() | column(header, "ShippingAddress.Line1").isna()).to_numpy()
    )
    external = column(header, "DistributionCenterTypeRollup") == "ExternallyManaged"
    fulfilled = (external | (column(header, "FulfillmentStatus") == "ThirdPartyManaged")).to_numpy(dtype=bool)

    mixed = (column(header, "DistributionCenterTypeRollup") == "Mixed").to_numpy(dtype=bool) & ~fulfilled

    in_tims, payment_in_tims = context.order_status, context.payment_status
    is_ = {
        name: (status == name).to_numpy(dtype=bool)
        for name in ("Pending", "OnHold", "Shipped", "Cancelled", "Returned")
    }
    failed = (payment == "Failed").to_numpy(dtype=bool)
    unpaid = (payment_in_tims.values(payment) == "Unpaid").to_numpy(dtype=bool) & ~failed
    only_paid, always = site["import_rule"] == "only_paid", site["import_rule"] == "always"
    finished = is_["Shipped"] | is_["Cancelled"] | is_["Returned"]
    reasons = [
        (is_["OnHold"], "on hold at the channel"),
        (failed & ~finished, "payment failed"),
        (unpaid & ~always & ~finished, "payment is not cleared"),
        (mixed & ~shipped & ~finished, "the marketplace ships a part of it and has not said which"),
    ]
    hold_reason = np.select([m for m, _ in reasons], [r for _, r in reasons], default="").astype(object)
    hold = hold_reason != ""

    verdicts = [
        (_older(header, newest), "leave_out", OLDER_VERSION),
        (is_["Cancelled"] & ~existing & ~shipped, "leave_out", CANCELLED_FIRST),
        (
            fulfilled & (site["marketplace_fulfilled"] == "leave_out") & ~existing,
            "leave_out",
            LEFT_OUT,
        ),
        (is_["Pending"], "wait", "pending: it is read again when the channel completes it"),
        ((unpaid | failed) & only_paid & ~shipped & ~existing, "wait", "not paid: the site takes in paid orders only"),
    ]
    masks = [mask for mask, _, _ in verdicts]
    columns = pd.DataFrame(
        {
            "linked": existing,
            "verdict": text_column(np.select(masks, [v for _, v, _ in verdicts], default="load").astype(object)),
            "verdict_reason": text_column(np.select(masks, [r for _, _, r in verdicts], default="").astype(object)),
            "TimsOrderStatus": text_column(np.where(hold & (~shipped | mixed), "OnHold", "Open").astype(object)),
            "FinalStatus": in_tims.values(status),
            "TimsPaymentStatus": payment_in_tims.values(payment),
            "hold": hold,
            "hold_reason": text_column(hold_reason),
            "cancel_all": is_["Cancelled"],
            "marketplace_fulfilled": fulfilled,
            "mixed": mixed,
            # The location that recorded shipments leave from; in a mixed order those are the marketplace's.
            "location": text_column(np.where(fulfilled | mixed, site["marketplace_location"], site["location"])),
            "own_location": text_column(np.where(mixed, site["location"], np.nan).astype(object)),
            # Personal data are needed to ship. To keep the books they are not, while the order is not in TIMS yet.
            "personal_data": ~gone | (fulfilled & ~existing),
        },
        index=header.index,
    )
    found = [
        *_unknown(header, "OrderStatus", "unknown_status", in_tims.rows),
        *_unknown(header, "PaymentStatus", "unknown_payment_status", payment_in_tims.rows),
        *(p for name, codes in CODES.items() for p in _unknown(header, name, "unknown_value", codes)),
        problems.make(
            np.flatnonzero(gone & ~existing & ~fulfilled),
            field="UserDataPresent",
            rule=DATA_GONE,
            value="false",
            message="The channel removed the buyer's personal data before this order was ever loaded: nobody to "
            "ship to.",
            do="Ask the marketplace for the address and edit this record's payload, or dismiss the record.",
        ),
        line_problems,
    ]
    warnings = [_failed(header, failed), _unnamed_sites(header, settings)]
    return Columns(columns, lines, problems=problems.concat(found), warnings=problems.concat(warnings))


def _per_site(header: pd.DataFrame, settings: Settings) -> dict[str, np.ndarray]:
    codes, ids = pd.factorize(header["SiteID"], use_na_sentinel=True)
    sites = [*(settings.site(int(i)) for i in ids), settings.default]  # the last one is for -1, no site id
    names = ("import_rule", "marketplace_fulfilled", "location", "marketplace_location")
    return {name: np.array([getattr(s, name) for s in sites], dtype=object)[codes] for name in names}


def _units(frames: Frames) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Units of each line that are shipped, and those that are to be cancelled.

    In Shipped and Returned orders every unit counts as shipped that is not cancelled, in Cancelled ones every unit as
    cancelled that is not shipped, whatever their lines say."""
    lines = frames.lines
    row = lines["_row"].to_numpy()
    status = column(frames.header, "OrderStatus")
    quantity, shipped, cancelled = (
        lines[name].fillna(0).to_numpy(dtype=np.int64) for name in ("Quantity", "QuantityShipped", "QuantityCancelled")
    )
    above = np.flatnonzero(shipped + cancelled > np.maximum(quantity, 0))
    done = status.isin(["Shipped", "Returned"]).to_numpy(dtype=bool)[row]
    off = (status == "Cancelled").to_numpy(dtype=bool)[row]
    shipped = np.where(done, np.maximum(shipped, quantity - cancelled), shipped)
    cancelled = np.where(off, np.maximum(cancelled, quantity - shipped), cancelled)
    found = problems.make(
        row[above],
        field="OrderItems.Quantity",
        rule="units_do_not_add_up",
        value=[str(v) for v in quantity[above]],
        message="More units of line {line} are shipped or cancelled than were ordered ({value}).",
        do="Correct the order on the channel, then replay.",
        line=[str(v) for v in lines["OrderItemID"].to_numpy()[above]],
    )
    return pd.DataFrame({"UnitsShipped": shipped, "UnitsCancelled": cancelled}, index=lines.index), found


def _unknown(header: pd.DataFrame, field: str, code: str, allowed: Collection[str]) -> list[pd.DataFrame]:
    given = column(header, field)
    rows = np.flatnonzero(~given.isin(list(allowed)).to_numpy(dtype=bool))
    return [
        problems.make(
            rows,
            field=field,
            rule=code,
            value=[v or "" for v in values_at(given, rows)],
            message=f'{field} is "{{value}}"; the integration knows {", ".join(allowed)}.',
            do="Ask what the new value means; states are listed in include/config/lookups/*_status.csv. Then replay.",
        )
    ]


def _older(header: pd.DataFrame, newest: pd.Series | None) -> np.ndarray:
    """Rows with a newer version of the same order in this batch or before it; among equal ones the last is the
    newest."""
    order, moment = header["ChannelAdvisorOrderID"], sortable(column(header, "UpdatedDate"))
    frame = pd.DataFrame({"order": order.to_numpy(dtype=object), "moment": moment.to_numpy(dtype=object, na_value="")})
    best = frame["order"].map(frame.groupby("order", dropna=False)["moment"].max())
    older = ((frame["moment"] < best) | frame.duplicated(keep="last")).to_numpy(dtype=bool, copy=True)
    if newest is not None and len(newest):
        before = frame["order"].map(sortable(newest)).fillna("")
        older |= (frame["moment"] < before).to_numpy(dtype=bool)
    return older


def _failed(header: pd.DataFrame, failed: np.ndarray) -> pd.DataFrame:
    return problems.make(
        np.flatnonzero(failed),
        field="PaymentStatus",
        rule="payment_failed",
        value="Failed",
        message="The payment failed; the order is held.",
        do="Ask the buyer for another payment, or cancel the order on the channel.",
    )


def _unnamed_sites(header: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """One warning, at its first order, for each site that the configuration does not name; it becomes an alert."""
    ids = header["SiteID"]
    rows = np.flatnonzero((~ids.isin(list(settings.sites)) & ids.notna() & ~ids.duplicated()).to_numpy(dtype=bool))
    return problems.make(
        rows,
        field="SiteID",
        rule="site_not_configured",
        value=[str(v) for v in ids.to_numpy()[rows]],
        message="No configuration names site {value}; its orders load with the defaults.",
        do="Name the site in config/sites.yaml, or leave it if the defaults are right.",
    )
