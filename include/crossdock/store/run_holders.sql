-- Who holds the lock of a run (store/runs.py). The two halves of its key stand in pg_locks as unsigned numbers.
SELECT r.run_id, min(a.application_name) AS application_name
FROM unnest(CAST(:runs AS text[])) AS r (run_id)
CROSS JOIN LATERAL (SELECT hashtextextended('crossdock:run:' || r.run_id, 0) AS key) AS k
JOIN pg_locks l ON l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
  AND l.classid = ((k.key >> 32) & 4294967295)::oid AND l.objid = (k.key & 4294967295)::oid
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
JOIN pg_stat_activity a ON a.pid = l.pid
GROUP BY r.run_id
