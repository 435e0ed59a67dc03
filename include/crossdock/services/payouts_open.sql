-- What may be missing of a month's payouts: files that were refused, and sources whose settlements end before :until.
SELECT
  (SELECT count(*) FROM ops.dead_letter WHERE flow = 'payouts' AND state IN ('open', 'edited')) AS letters,
  (SELECT count(DISTINCT source) FROM ref.settlement) AS sources,
  (SELECT array_agg(source) FROM (
     SELECT s.source FROM ref.settlement s CROSS JOIN ref.company c GROUP BY s.source, c.time_zone
     HAVING max((coalesce(s.end_at, s.deposit_at) AT TIME ZONE c.time_zone)::date) < :until
   ) late) AS behind
