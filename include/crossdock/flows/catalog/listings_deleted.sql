-- Items with a wanted listing that was deleted at the channel.
SELECT s.key FROM stage.product s
CROSS JOIN LATERAL jsonb_array_elements(s.listings) AS w
JOIN ops.product p ON p.sku = s.key
JOIN ops.link k ON k.entity = 'channel_listing' AND k.source_key = p.product_sku || '@' || (w->>'SiteID')
WHERE s.state IN ('delivered', 'unchanged') AND w->>'Status' IN ('Active', 'Paused') AND k.held_by IS NULL
  AND NOT EXISTS (SELECT FROM ref.channel_listing l WHERE l.listing_id::text = k.target_id)
