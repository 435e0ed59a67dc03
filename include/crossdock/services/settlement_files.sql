-- The settlement files that were read, by source: how many settlements end or were paid out from :first to :until, the day
-- that its settlements reach, and the file that was read last.
SELECT s.source, max(s.day) AS reaches,
       count(*) FILTER (WHERE s.day BETWEEN :first AND :until OR s.paid BETWEEN :first AND :until) AS settlements,
       (array_agg(s.file ORDER BY s.booked_at DESC, s.settlement_id DESC))[1] AS file, max(s.booked_at) AS read_at
FROM (
  SELECT t.*, (coalesce(t.end_at, t.deposit_at) AT TIME ZONE c.time_zone)::date AS day,
         (t.deposit_at AT TIME ZONE c.time_zone)::date AS paid
  FROM ref.settlement t CROSS JOIN ref.company c
) s
GROUP BY s.source
ORDER BY s.source
