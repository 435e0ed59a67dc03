-- What a settlement brings from the one before is what that one could not pay: a negative total comes back once, to the cent.
-- do: Compare both files with the marketplace's account; what it has lost or added has to be claimed there. Nothing is corrected in the books by hand.
WITH carried AS (
  SELECT source, settlement_id, sum(amount) AS amount FROM ref.settlement_line WHERE kind = 'carried_forward' GROUP BY 1, 2
), chain AS (
  SELECT source, settlement_id, currency_code, end_at, coalesce(c.amount, 0) AS actual,
         lag(settlement_id) OVER each AS former, least(lag(total) OVER each, 0) AS expected
  FROM ref.settlement LEFT JOIN carried c USING (source, settlement_id) WHERE start_at IS NOT NULL
  WINDOW each AS (PARTITION BY source, "group" ORDER BY start_at, end_at)
)
SELECT source AS subject, sum(expected) AS expected, sum(actual) AS actual,
       array_agg(source || ':' || settlement_id || ' after ' || former ORDER BY end_at) FILTER (WHERE expected <> actual) AS documents
FROM chain, ref.company WHERE former IS NOT NULL AND (end_at AT TIME ZONE time_zone)::date <= :period_end GROUP BY 1
