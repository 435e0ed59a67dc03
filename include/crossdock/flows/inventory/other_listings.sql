-- Quantities whose products have a listing that is not among theirs.
WITH w AS MATERIALIZED (
  SELECT key FROM ops.work WHERE queue = :listings AND batch_id = ANY(CAST(:recent AS bigint[]))
)
SELECT DISTINCT q.key, n.site_id FROM w JOIN ref.channel_listing n ON n.listing_id = w.key::bigint
JOIN stage.channel_quantity_line l ON l."SKU" = n.sku JOIN stage.channel_quantity q ON q.key = l.key
WHERE n.status <> 'Ended' AND n.site_id = ANY(:sites)
  AND q.state IN ('staged', 'ready', 'would_be', 'delivered', 'unchanged')
  AND NOT q.listings @> jsonb_build_array(jsonb_build_object('ListingID', n.listing_id))
