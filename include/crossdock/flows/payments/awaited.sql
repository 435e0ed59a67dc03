-- The present states of the orders that parts wait for.
SELECT p.key AS part, p.reason AS stated, s.key, s.state, s.reason
FROM stage.payment p CROSS JOIN LATERAL (VALUES (p.order_ref), (p.merchant_order_ref)) AS w (ref)
JOIN (
  SELECT marketplace_order_id AS ref, key, state, reason FROM stage.sales_order
  UNION
  SELECT key, key, state, reason FROM stage.sales_order
) s USING (ref)
WHERE p.state = 'waiting' AND p.sales_order_id IS NULL
ORDER BY p.key
