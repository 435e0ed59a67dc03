-- Differences of quantities that orders explain. The channel takes units off, and puts cancelled ones back, by itself and
-- at once: of orders that no run has read yet, or that a run of orders has in its hands; of a kit those of its parts.
-- They explain no more units than they have. `found`: explain.FOUND.
WITH unread AS (
  SELECT DISTINCT ON (r.part) r.key, r.part, (r.facts->>'units')::numeric AS units
  FROM ops.reading r JOIN ops.watermark w ON w.flow = 'orders' AND w.resource = 'channel_advisor.orders'
  WHERE r.subject = 'quantities' AND r.side = 'sold' AND r.version >= w.position
  ORDER BY r.part, r.version DESC, r.id DESC
), held AS (
  SELECT DISTINCT ON (r.key) r.payload
  FROM ops.work w JOIN raw.channel_advisor_orders r USING (key, hash)
  WHERE w.queue = 'orders' AND (w.batch_id IS NULL OR w.batch_id = ANY(ARRAY(
    SELECT b.id FROM ops.batch b
    WHERE b.flow = 'orders' AND (b.finished_at IS NULL OR greatest(b.finished_at, b.touched_at) >= :moment)
  )))
  ORDER BY r.key, r.version DESC
), sold AS (
  SELECT key, units FROM unread
  UNION ALL
  SELECT lower(btrim(one->>'SKU')), (one->>'Quantity')::numeric
  FROM held h
  CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN jsonb_typeof(h.payload->'OrderItems') = 'array' THEN h.payload->'OrderItems' ELSE '[]' END
  ) AS i (line)
  CROSS JOIN LATERAL (
    SELECT i.line
    UNION ALL
    SELECT jsonb_array_elements(
      CASE WHEN jsonb_typeof(i.line->'BundleComponents') = 'array' THEN i.line->'BundleComponents' ELSE '[]' END)
  ) AS u (one)
  WHERE jsonb_typeof(one->'Quantity') = 'number'
), taken AS (
  SELECT key, units FROM sold
  UNION ALL
  SELECT lower(btrim(part->>'SKU')), s.units * (part->>'Quantity')::numeric
  FROM sold s JOIN ref.item_code c ON c.folded = s.key JOIN ref.item i ON i.sku = c.sku
  CROSS JOIN LATERAL jsonb_array_elements(i.kit_components) AS k (part)
)
SELECT d.id, 'in flight' AS cause, 'orders that are on their way have taken units at the channel' AS why
FROM found d JOIN (SELECT key, sum(units) AS units FROM taken GROUP BY key) s ON s.key = d.key
WHERE d.field = 'quantity' AND abs(d.channel_advisor::numeric - d.tims::numeric) <= s.units
