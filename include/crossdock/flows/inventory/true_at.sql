-- The earliest moment at which the quantity of one of these SKUs was last confirmed.
WITH newest AS (
  SELECT DISTINCT ON (key) key, queued_at, batch_id FROM ops.work JOIN raw.tims_quantities USING (key, hash)
  WHERE queue = 'inventory' AND key = ANY(:keys) ORDER BY key, version DESC, queued_at DESC
)
SELECT min(greatest(n.queued_at, CASE WHEN b.kind IN ('scheduled', 'compare') THEN b.created_at END, w.read_at))
FROM newest n LEFT JOIN ops.batch b ON b.id = n.batch_id
LEFT JOIN ops.watermark w ON w.flow = 'inventory' AND w.resource = :resource
