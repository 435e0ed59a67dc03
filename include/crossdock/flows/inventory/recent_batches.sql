-- The batches that brought reference data since the last run of this flow, with some minutes to spare for a read that
-- had begun before and ended after.
SELECT b.id FROM ops.batch b JOIN ops.watermark w ON w.flow = 'inventory' AND w.resource = :resource
WHERE b.flow = 'reference' AND b.finished_at >= w.read_at - interval '10 minutes'
