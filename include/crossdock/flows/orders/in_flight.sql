-- Units of orders that TIMS does not count yet, by SKU of TIMS. Reads orders as received, also those that no rule can
-- read: a broken list counts as empty, a broken number as 0. `order_fingerprint` is a sum of hashes, so the sequence of
-- its parts does not matter; numeric holds any such sum.
WITH open AS (
  SELECT s.key FROM stage.sales_order s WHERE s.state IN ('staged', 'ready', 'waiting', 'dead')
    AND NOT (s.state = 'dead' AND 'dismissed' IS NOT DISTINCT FROM (
      SELECT d.state FROM ops.dead_letter d WHERE d.flow = 'orders' AND d.key = s.key ORDER BY d.id DESC LIMIT 1))
  UNION  -- of those that we only would make, people enter theirs in TIMS
  SELECT s.key FROM stage.sales_order s WHERE s.state = 'would_be'
    AND NOT EXISTS (SELECT FROM ref.sales_order t WHERE t.external_order_id = s.key)
  UNION
  SELECT w.key FROM ops.batch b JOIN ops.work w ON w.batch_id = b.id
  WHERE b.flow = 'orders' AND b.finished_at IS NULL
  UNION
  SELECT w.key FROM ops.work w WHERE w.queue = 'orders' AND w.batch_id IS NULL
  UNION
  SELECT l.source_key FROM ops.link l WHERE l.entity = 'sales_order' AND l.created_at > :since
), asked AS (
  SELECT o.key, 1 AS sign, NOT EXISTS (
    SELECT FROM ops.link l WHERE l.entity = 'sales_order' AND l.source_key = o.key AND l.created_at <= :since
  ) AS new, r.payload FROM open o CROSS JOIN LATERAL (
    SELECT payload FROM ops.work w JOIN raw.channel_advisor_orders r USING (key, hash)
    WHERE w.queue = 'orders' AND w.key = o.key ORDER BY r.version DESC, w.queued_at DESC LIMIT 1) AS r
  UNION ALL
  SELECT o.key, -1, false, r.payload FROM open o
  JOIN ops.link l ON l.entity = 'sales_order' AND l.source_key = o.key AND l.created_at <= :since
  CROSS JOIN LATERAL (
    SELECT payload FROM ops.work w JOIN raw.channel_advisor_orders r USING (key, hash)
    WHERE w.queue = 'orders' AND w.key = o.key AND r.version <= coalesce(l.version, 'infinity')
    ORDER BY r.version DESC, w.queued_at DESC LIMIT 1) AS r
), lines AS (
  SELECT a.key, btrim(i.line->>'SKU') AS code, a.sign * greatest(0, least(
      CASE WHEN jsonb_typeof(i.line->'Quantity') = 'number' THEN (i.line->>'Quantity')::numeric ELSE 0 END
    - CASE WHEN jsonb_typeof(i.line->'QuantityCancelled') = 'number' THEN (i.line->>'QuantityCancelled')::numeric
           ELSE 0 END
    - CASE WHEN a.new AND a.payload->>'DistributionCenterTypeRollup' = 'Mixed'
                AND jsonb_typeof(i.line->'QuantityShipped') = 'number' THEN (i.line->>'QuantityShipped')::numeric
           ELSE 0 END, 9999999)) AS units
  FROM asked a CROSS JOIN LATERAL jsonb_array_elements(
    CASE WHEN jsonb_typeof(a.payload->'OrderItems') = 'array' THEN a.payload->'OrderItems' ELSE '[]' END) AS i (line)
  WHERE a.payload->>'DistributionCenterTypeRollup' IS DISTINCT FROM 'ExternallyManaged'
    AND a.payload->>'OrderStatus' IS DISTINCT FROM 'Cancelled'
), codes AS (
  SELECT code, sum(units) AS units, sum(hashtextextended(key || ':' || units, 0)::numeric) AS order_fingerprint FROM (
    SELECT key, code, sum(units) AS units FROM lines WHERE code <> '' GROUP BY key, code
  ) AS by_order WHERE units > 0 GROUP BY code
), sold AS (
  SELECT named.sku, sum(c.units) AS units, sum(c.order_fingerprint) AS order_fingerprint FROM codes c CROSS JOIN
  LATERAL (SELECT DISTINCT each.sku FROM (
      SELECT every.place, every.sku, min(every.place) OVER () AS first FROM (
        SELECT 1 AS place, sku FROM ref.item WHERE sku = c.code
        UNION ALL
        SELECT 2, sku FROM ref.item_code WHERE code = c.code AND kind = 'alternate'
        UNION ALL
        SELECT 3, sku FROM ref.item_code WHERE folded = lower(c.code)
      ) AS every
    ) AS each WHERE each.place = each.first
  ) AS named GROUP BY named.sku
)
SELECT part.sku, sum(part.units)::bigint AS units, sum(part.order_fingerprint)::text AS order_fingerprint
FROM sold s JOIN ref.item i ON i.sku = s.sku CROSS JOIN LATERAL (
  SELECT s.sku, s.units, s.order_fingerprint WHERE i.kit_components = '[]'
  UNION ALL
  SELECT k->>'SKU', s.units * (k->>'Quantity')::numeric, s.order_fingerprint FROM
  jsonb_array_elements(i.kit_components) AS k) AS part
GROUP BY part.sku
