-- Open approvals of a batch's items that are not needed any more.
SELECT a.id FROM ops.approval a JOIN stage.price s ON s.key = a.key
WHERE a.flow = 'prices' AND a.state = 'open' AND s.batch_id = :batch AND s.state <> 'waiting'
  AND NOT a.id = ANY(CAST(:kept AS bigint[]))
