-- Items' listings at the channel. `moved`: the status is not the wanted one, or the site has refused the listing.
SELECT s.key, s.state, s.listings_seen, w->>'Status' AS wanted, l.status, l.version, l.status <> 'Ended' AND (
  w->>'Status' = 'Ended'
  OR (w->>'Status' IN ('Active', 'Paused') AND (l.status IN ('Error', 'Draft') OR l.status <> w->>'Status'))
) OR (
  l.status = 'Ended' AND w->>'Status' IN ('Active', 'Paused') AND k.target_id IS NOT NULL AND k.held_by IS NULL
) AS moved
FROM stage.product s
CROSS JOIN LATERAL jsonb_array_elements(s.listings) AS w
JOIN ops.product p ON p.sku = s.key
JOIN ref.channel_listing l ON l.sku = p.product_sku AND l.site_id = (w->>'SiteID')::int
LEFT JOIN ops.link k ON k.entity = 'channel_listing' AND k.source_key = l.sku || '@' || l.site_id
  AND k.target_id = l.listing_id::text
