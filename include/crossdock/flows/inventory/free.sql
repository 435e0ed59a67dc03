-- Free units of SKUs over our own locations, as last read.
SELECT n.key, sum((l->>'Available')::bigint) FROM (
  SELECT DISTINCT ON (key) key, payload FROM ops.work JOIN raw.tims_quantities USING (key, hash)
  WHERE queue = 'inventory' AND key = ANY(:skus) ORDER BY key, version DESC, queued_at DESC
) AS n CROSS JOIN LATERAL jsonb_array_elements(n.payload->'Locations') AS l
WHERE l->>'LocationID' = ANY(:own) GROUP BY n.key
