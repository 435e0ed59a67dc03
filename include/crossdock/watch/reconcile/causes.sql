-- Keys that differ, by the place of their worst cause in :causes.
SELECT rank, count(*) AS n FROM (
  SELECT min(array_position(CAST(:causes AS text[]), cause)) AS rank FROM ops.reconcile_difference
  WHERE run = :run AND subject = :subject GROUP BY key
) k GROUP BY rank ORDER BY rank
