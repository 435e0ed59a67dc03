-- Numbers of orders read from the channel, with their present states.
SELECT ref, s.key, s.state, s.reason FROM unnest(CAST(:refs AS text[])) AS w (ref)
JOIN stage.sales_order s ON w.ref IN (s.marketplace_order_id, s.key)
