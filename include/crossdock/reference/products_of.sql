-- Products of the channel that match one of the items :skus of TIMS, each with all items that it matches. The match is
-- that of orders (rules/items.py): by SKU, else by alternate SKU, else by either in any case of letters.
SELECT p.sku AS product_sku, p.type AS product_type, r.items
FROM (
  SELECT DISTINCT c.sku, c.type, c.folded FROM ref.channel_product c
  JOIN ref.item_code i ON i.folded = c.folded WHERE i.sku = ANY(CAST(:skus AS text[]))
) AS p
LEFT JOIN LATERAL (
  SELECT array_agg(DISTINCT named.sku ORDER BY named.sku) AS items FROM (
    SELECT 1 AS place, sku FROM ref.item WHERE sku = btrim(p.sku)
    UNION ALL
    SELECT 2, sku FROM ref.item_code WHERE code = btrim(p.sku) AND kind = 'alternate'
    UNION ALL
    SELECT 3, sku FROM ref.item_code WHERE folded = p.folded
  ) AS named
  GROUP BY place ORDER BY place LIMIT 1
) AS r ON true
