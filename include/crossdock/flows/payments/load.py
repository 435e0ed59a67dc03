"""What is sent, and what becomes of the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from crossdock.errors import Transient
from crossdock.flow import Flow
from crossdock.flows.payments.transform import PAYMENT
from crossdock.steps.load import Created, Document, create, reasons, record_outcomes
from crossdock.store import batches, deliveries

if TYPE_CHECKING:
    from crossdock.runtime import Runtime


ADVICE = "Look at the documents in TIMS; if they have changed meanwhile, replay this."


# ---- load ----------------------------------------------------------------------------------------------------------

_BODY = sa.text("""
SELECT p.key, p.version, p.content_hash, json_strip_nulls(json_build_object(
         'ExternalReference', p."ExternalReference", 'Source', p."Source", 'Method', p."Method",
         'PaymentDate', p."PaymentDate", 'PostingDate', p."PostingDate", 'Amount', round(p."Amount", 2)::text,
         'CurrencyCode', p."CurrencyCode", 'ExchangeRate', p."ExchangeRate", 'BankAccountCode', p."BankAccountCode",
         'Applications', (
           SELECT coalesce(json_agg(json_build_object(
             'InvoiceID', a."InvoiceID", 'CreditMemoID', a."CreditMemoID", 'Amount', round(a."Amount", 2)::text
           ) ORDER BY a.position), '[]') FROM stage.payment_application a WHERE a.key = p.key)
       ))::text AS body
FROM stage.payment p WHERE p.batch_id = :batch AND p.state = 'ready' ORDER BY p.key
""")


def load(runtime: Runtime, flow: Flow, batch_id: int) -> None:
    """Creates the payments in bulk; each at most once for ever."""
    with runtime.engine.begin() as connection:
        batch = batches.get(connection, batch_id)
        rows = list(connection.execute(_BODY, {"batch": batch_id}))
        links = deliveries.links(connection, PAYMENT.entity, [row.key for row in rows])
    created = Created({}, set(), {})
    problem: Transient | None = None
    documents = [
        Document(row.key, row.body.encode(), f"pay:{row.key}", row.content_hash, {"version": row.version})
        for row in rows
        if row.key not in links
    ]
    try:
        created = create(runtime, flow, batch_id, PAYMENT, documents)
    except Transient as error:  # what did go through is linked: settle it, then let the task be tried again
        problem = error
    with runtime.engine.begin() as connection:
        links = deliveries.links(connection, PAYMENT.entity, [row.key for row in rows])
        record_outcomes(
            connection,
            flow,
            batch,
            delivered=[key for key, link in links.items() if link.batch_id == batch_id],
            unchanged=[key for key, link in links.items() if link.batch_id != batch_id],
            refused={key: reasons(error, do=ADVICE) for key, error in created.refused.items()},
        )
    if problem:
        raise problem
