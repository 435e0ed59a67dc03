-- The words of the lines of settlement files that are dead letters because nobody knows their words: each with the format
-- of its file, the open letters that have it, and those of them that are in replay.
SELECT coalesce(d.payload->>'Format', '') AS format, coalesce(line->>'TransactionType', '') AS transaction,
       coalesce(line->>'AmountType', '') AS kind, coalesce(line->>'AmountDescription', '') AS description,
       array_agg(DISTINCT d.id ORDER BY d.id) AS ids,
       coalesce(array_agg(DISTINCT d.id) FILTER (WHERE d.replay_asked_at IS NOT NULL), '{}') AS replaying
FROM ops.dead_letter d
CROSS JOIN LATERAL jsonb_array_elements(
  CASE jsonb_typeof(d.payload->'Lines') WHEN 'array' THEN d.payload->'Lines' ELSE '[]' END) AS line
WHERE d.flow = 'payouts' AND d.state IN ('open', 'edited')
  AND d.reasons @> '[{"rule": "unknown_words"}]'
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
LIMIT 500
