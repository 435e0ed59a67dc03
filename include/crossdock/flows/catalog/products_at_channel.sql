-- Items' products at the channel. `moved`: a field of ours has another value there than at the last delivery, or an
-- image has taken the place of one of ours.
SELECT s.key, s.state, s.products_seen, c.version, EXISTS (
  SELECT FROM jsonb_each(p.delivered) AS d WHERE d.value IS DISTINCT FROM coalesce(
    CASE
      WHEN d.key LIKE 'Attributes.%' THEN (
        SELECT a->'Value' FROM jsonb_array_elements(nullif(c.payload->'Attributes', 'null')) AS a
        WHERE a->>'Name' = substr(d.key, 12) LIMIT 1)
      WHEN d.key LIKE 'Images.%' THEN (
        SELECT i->'Url' FROM jsonb_array_elements(nullif(c.payload->'Images', 'null')) AS i
        WHERE i->>'PlacementName' = substr(d.key, 8) LIMIT 1)
      ELSE c.payload->d.key
    END, 'null')
) OR (p.delivered ? 'Title' AND EXISTS (
  SELECT FROM jsonb_array_elements(nullif(c.payload->'Images', 'null')) AS i
  WHERE i->>'PlacementName' ~ '^ITEMIMAGEURL[1-9][0-9]*$' AND NOT p.delivered ? ('Images.' || (i->>'PlacementName'))
)) AS moved
FROM stage.product s
JOIN ops.product p ON p.sku = s.key
JOIN ref.channel_product c ON c.sku = p.product_sku
