-- The settlement files that were read, by source: how many settlements end from :first to :until and how many are paid out
-- in it (by the day of their entry, else of their deposit or end), the day that its settlements reach, and the file that
-- was read last.
SELECT s.source, max(s.ends) AS reaches, count(*) FILTER (WHERE s.ends BETWEEN :first AND :until) AS ended,
       count(*) FILTER (WHERE s.paid BETWEEN :first AND :until) AS paid,
       (array_agg(s.file ORDER BY s.booked_at DESC, s.settlement_id DESC))[1] AS file, max(s.booked_at) AS read_at
FROM (
  SELECT t.*, (coalesce(t.end_at, t.deposit_at) AT TIME ZONE c.time_zone)::date AS ends, coalesce(
           (SELECT min(e.posting_date) FROM ref.gl_entry e
            WHERE e.external_reference = 'transfer:' || t.source || ':' || t.settlement_id AND e.reversal_of IS NULL),
           (coalesce(t.deposit_at, t.end_at) AT TIME ZONE c.time_zone)::date) AS paid
  FROM ref.settlement t CROSS JOIN ref.company c
) s
GROUP BY s.source
ORDER BY s.source
