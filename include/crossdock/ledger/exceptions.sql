-- What no entry shows yet: open dead letters, and postings that wait.
SELECT 'dead letters of ' || flow AS kind, current_date - created_at::date AS days, key AS document
FROM ops.dead_letter WHERE state IN ('open', 'edited')
UNION ALL
SELECT 'waiting for the ledger', current_date - version::date, key FROM stage.posting WHERE state = 'waiting'
