-- The months that are there: the first with an entry or the end of a settlement (else the one before the present), the
-- present one by the company's clock, and the last with an entry. :now is what the clock of TIMS says; NULL: what it said
-- when it was read last, and the time since.
WITH zone AS (SELECT coalesce((SELECT time_zone FROM ref.company LIMIT 1), 'UTC') AS name),
present AS (
  SELECT date_trunc('month', coalesce(
           CAST(:now AS timestamptz),
           (SELECT now() + (position - read_at) FROM ops.watermark
            ORDER BY resource LIKE 'tims.%' DESC, read_at DESC, position DESC LIMIT 1),
           now()
         ) AT TIME ZONE zone.name)::date AS month
  FROM zone
), found AS (
  SELECT least((SELECT min(posting_date) FROM ref.gl_entry),
               (SELECT (min(coalesce(end_at, deposit_at)) AT TIME ZONE zone.name)::date FROM ref.settlement)) AS first,
         (SELECT max(posting_date) FROM ref.gl_entry) AS last
  FROM zone
)
SELECT to_char(coalesce(found.first, present.month - interval '1 month'), 'YYYY-MM') AS first,
       to_char(present.month, 'YYYY-MM') AS present,
       to_char(greatest(found.last, present.month), 'YYYY-MM') AS last
FROM found CROSS JOIN present
