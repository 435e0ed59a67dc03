"""Which records are worked again although their source has not changed."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from crossdock.flows.payments.transform import NEWEST, why
from crossdock.systems import settlement_ledger

_WAKE = sa.text(f"""
SELECT p.key FROM stage.payment p WHERE p.state = 'waiting' AND (
  p.sales_order_id IS NULL AND EXISTS (
    SELECT 1 FROM ops.link k JOIN ref.sales_order o ON o.id = k.target_id
    WHERE k.entity = 'sales_order' AND (k.other_key IN (p.order_ref, p.merchant_order_ref)
                                        OR k.source_key IN (p.order_ref, p.merchant_order_ref)))
  OR ({NEWEST.format(order="p.sales_order_id")}) IS DISTINCT FROM p.documents_at AND p.sales_order_id IS NOT NULL
) ORDER BY p.key
""")


# What has become of the orders that waiting parts wait for.
_AWAITED = sa.text("""
SELECT p.key AS part, p.reason AS stated, s.key, s.state, s.reason
FROM stage.payment p CROSS JOIN LATERAL (VALUES (p.order_ref), (p.merchant_order_ref)) AS w(ref)
JOIN (
  SELECT marketplace_order_id AS ref, key, state, reason FROM stage.sales_order
  UNION SELECT key, key, state, reason FROM stage.sales_order
) s USING (ref)
WHERE p.state = 'waiting' AND p.sales_order_id IS NULL
ORDER BY p.key
""")


def requeue(connection: sa.Connection) -> Sequence[str]:
    """Waiting parts whose order has come, or any document of it, and those whose order has come to another state, so
    that their reason stays true. What an order that is left out was paid is set apart on the way: no payment comes of
    it, the ledger posts it."""
    settlement_ledger.set_apart(connection)
    arrived = connection.scalars(_WAKE).all()
    stays_true: dict[str, bool] = {}
    for order in connection.execute(_AWAITED):
        stays_true[order.part] = stays_true.get(order.part, False) or order.stated == why(order)
    return [*arrived, *(part for part, is_true in stays_true.items() if not is_true and part not in set(arrived))]
