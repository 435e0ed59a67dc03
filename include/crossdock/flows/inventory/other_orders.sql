-- Quantities whose units in flight, or the orders of these units, have changed since they were computed. `flying` is
-- orders/in_flight.sql.
SELECT q.key FROM stage.channel_quantity q LEFT JOIN flying f ON f.sku = q.key
WHERE q.in_flight <> 0 AND q.parts_in_flight IS NULL AND q.state IN ('staged', 'ready', 'would_be', 'delivered', 'unchanged')
  AND (q.in_flight <> coalesce(f.units, 0) OR q.orders_in_flight IS DISTINCT FROM f.order_fingerprint)
UNION
SELECT q.key FROM flying f JOIN stage.channel_quantity q ON q.key = f.sku
WHERE q.parts_in_flight IS NULL AND q.state IN ('staged', 'ready', 'would_be', 'delivered', 'unchanged')
  AND (q.in_flight <> f.units OR q.orders_in_flight IS DISTINCT FROM f.order_fingerprint)
UNION
SELECT q.key FROM stage.channel_quantity q JOIN ref.item i ON i.sku = q.key CROSS JOIN LATERAL (
  SELECT coalesce(jsonb_object_agg(f.sku, jsonb_build_array(f.units, f.order_fingerprint)), '{}') AS now
  FROM jsonb_array_elements(i.kit_components) AS k JOIN flying f ON f.sku = k->>'SKU'
) AS parts
WHERE q.parts_in_flight IS NOT NULL AND q.state IN ('staged', 'ready', 'would_be', 'delivered', 'unchanged') AND q.parts_in_flight <> parts.now
