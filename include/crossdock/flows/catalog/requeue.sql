-- Items to be worked again for other reasons than a change of their own product or listings.
-- the configuration has changed
SELECT s.key FROM stage.product s
WHERE s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out') AND s.rules <> :rules
-- a product has come that matches this item
UNION
SELECT s.key FROM stage.product s
JOIN ref.item_code i ON i.sku = s.key
JOIN ref.channel_product c ON c.folded = i.folded AND c.version > coalesce(s.products_seen, '-infinity')
WHERE s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out')
  AND NOT EXISTS (SELECT FROM ops.product p WHERE p.product_sku = c.sku)
-- the parts of a kit have come
UNION
SELECT s.key FROM stage.product s
WHERE s.state = 'waiting' AND starts_with(s.reason, :no_parts_yet)
  AND NOT EXISTS (
    SELECT FROM jsonb_array_elements(s."BundleComponents") AS part
    WHERE NOT EXISTS (SELECT FROM ops.product p WHERE p.sku = part->>'SKU')
  )
-- an older version may have overwritten the last one
UNION
SELECT s.key FROM stage.product s
WHERE s.state IN ('delivered', 'unchanged', 'waiting', 'would_be', 'dead', 'left_out') AND s.key = ANY(:doubtful)
