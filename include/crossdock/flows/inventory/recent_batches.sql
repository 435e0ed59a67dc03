-- The batches with reference data since the last run of this flow, and some minutes before it, for a read that began
-- earlier and ended later.
SELECT b.id FROM ops.batch b JOIN ops.watermark w ON w.flow = 'inventory' AND w.resource = :resource
WHERE b.flow = 'reference' AND b.finished_at >= w.read_at - interval '10 minutes'
