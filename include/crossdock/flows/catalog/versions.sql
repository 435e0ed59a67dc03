-- The newest version of each item's products at the channel, and of their listings.
SELECT i.sku, max(c.version), max(l.version) FROM ref.item_code i
JOIN ref.channel_product c ON c.folded = i.folded LEFT JOIN ref.channel_listing l ON l.sku = c.sku
WHERE i.sku = ANY(:skus) GROUP BY i.sku
