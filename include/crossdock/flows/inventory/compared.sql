-- Quantities that the channel should have, and whether it has them. Leaves out SKUs that this run works anyway, and
-- levels below ours that changed after the orders were last read. An unseen order may have taken these units, and a
-- write would sell them twice.
SELECT q.key, bool_and(l.available IS NOT NULL AND l.available = i."Quantity")
         AND NOT EXISTS (
           SELECT FROM jsonb_array_elements(q.listings) AS s
           JOIN ref.channel_listing n ON n.listing_id = (s->>'ListingID')::bigint
           WHERE n.quantity IS DISTINCT FROM (s->>'Quantity')::bigint) AS is_equal
FROM stage.channel_quantity q
JOIN stage.channel_quantity_line i ON i.key = q.key
LEFT JOIN ref.channel_level l ON l.sku = i."SKU" AND l.center_id = i."DistributionCenterID"
LEFT JOIN ops.watermark w ON w.flow = 'orders' AND w.resource = 'channel_advisor.orders'
WHERE q.state IN ('delivered', 'unchanged') AND NOT EXISTS (
  SELECT FROM ops.batch b JOIN ops.work w ON w.batch_id = b.id
  WHERE b.flow = 'inventory' AND b.finished_at IS NULL AND w.key = q.key)
GROUP BY q.key, q.listings
HAVING NOT bool_or(coalesce(l.available < i."Quantity" AND l.version > w.position, false))
