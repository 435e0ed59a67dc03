-- Keys whose last value may have been written over by an older one: nobody saw the end of the older write, and the
-- newer was delivered before the older could land no more.
SELECT DISTINCT d.key FROM ops.delivery d
JOIN ops.link l ON l.entity = :linked AND l.source_key = d.key
WHERE d.flow = :flow AND d.entity = :entity AND (d.outcome IN ('sent', 'unknown') OR d.unsure_at IS NOT NULL)
  AND l.content_hash IS DISTINCT FROM d.content_hash
  AND l.updated_at <= CASE WHEN d.outcome IN ('sent', 'unknown') THEN d.sent_at ELSE d.unsure_at END + :within
  AND NOT EXISTS (SELECT FROM ops.batch b WHERE b.id = d.batch_id AND b.finished_at IS NULL)
