"""Invoices that people, or TIMS itself, have made of orders that were entered by hand: how they are compared with ours.

In: invoices of TIMS whose source is not ours, of orders that stand in place of ours. Out: what makes two of them one.
Never: an invoice of an order that we would not have made.
"""

from __future__ import annotations

import sqlalchemy as sa

from crossdock.comparison.by_hand import ByHand
from crossdock.flow import SOURCE
from crossdock.flows.invoices.transform import ENTITY, NAME
from crossdock.reference import tims
from crossdock.rules.invoicing import VOIDED
from crossdock.store import would_be
from crossdock.store.tables import ref_invoice

BY_HAND = (
    ByHand(
        flow=NAME,
        entity=ENTITY,
        what="invoices",
        resource=tims.INVOICES,
        table=ref_invoice,
        source=SOURCE,
        names=("ShipmentID",),
        alike=("SalesOrderID", "InvoiceDate", "Total", "CurrencyCode"),
        alike_words="order, date and amount",
        day="InvoiceDate",
        lines="Lines",
        line_key=("SalesOrderLineNo",),
        ignored=("ExternalReference", "Source"),
        theirs=sa.and_(
            ref_invoice.c.status != VOIDED,
            ref_invoice.c.sales_order_id.in_(sa.select(would_be.in_place().subquery().c.their_id)),
        ),
    ),
)
