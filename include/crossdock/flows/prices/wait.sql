-- Makes prices wait, each for its reason.
UPDATE stage.price s SET state = 'waiting', reason = held.why
FROM unnest(CAST(:keys AS text[]), CAST(:why AS text[])) AS held (key, why)
WHERE s.key = held.key AND s.batch_id = :batch
