-- Compares what was read of a subject, side against side: a row of ops.reconcile_difference for each fact that differs.
-- The rows of the subject, one a side, key and part: the newest.
WITH newest AS MATERIALIZED (
  SELECT DISTINCT ON (side, key, part) side, key, part, alias, facts, version, cause, why
  FROM ops.reading WHERE subject = :subject ORDER BY side, key, part, version DESC, id DESC
),
-- TIMS's rows with what they should come to in place of what TIMS says, for the keys that the expectation knows.
meant AS (
  SELECT n.side, n.key, n.part, n.alias, coalesce(e.facts, n.facts) AS facts, n.version, n.cause, n.why
  FROM newest n LEFT JOIN newest e ON e.side = 'expected' AND n.side = 'tims' AND e.key = n.key AND NOT n.facts ? :record
  WHERE n.side IN ('channel_advisor', 'tims')
),
names AS (
  SELECT part, key FROM newest WHERE side = 'names' AND NOT :last_only
  UNION ALL
  (SELECT DISTINCT ON (part) part, key FROM newest WHERE side = 'names' AND :last_only
   ORDER BY part, facts->>'at' DESC, key DESC)
),
keyed AS (
  SELECT r.side, coalesce(n.key, r.key) AS key, r.facts, r.version, r.cause, r.why
  FROM meant r LEFT JOIN names n ON r.alias AND n.part = r.key
),
fact AS (
  SELECT k.side, k.key, f.name, max(k.version) AS version, max(k.cause) AS cause, max(k.why) AS why,
         CASE WHEN f.name = ANY(CAST(:summed AS text[]))
              THEN to_jsonb(sum(CASE WHEN f.name = ANY(CAST(:summed AS text[])) THEN (f.value #>> '{}')::numeric END))
              ELSE (array_agg(f.value ORDER BY k.version DESC))[1] END AS value
  FROM keyed k LEFT JOIN LATERAL jsonb_each(k.facts) AS f (name, value) ON true
  WHERE :adds_up
  GROUP BY k.side, k.key, f.name
),
-- One row a side and key: the newest, or all parts of it together where facts are added up.
whole AS MATERIALIZED (
  (SELECT DISTINCT ON (side, key) side, key, facts, version, cause, why FROM keyed WHERE NOT :adds_up
   ORDER BY side, key, version DESC)
  UNION ALL
  SELECT side, key, coalesce(jsonb_object_agg(name, value) FILTER (WHERE name IS NOT NULL), '{}') AS facts,
         max(version) AS version, max(cause) AS cause, max(why) AS why
  FROM fact WHERE :adds_up GROUP BY side, key
),
pair AS MATERIALIZED (
  SELECT coalesce(c.key, t.key) AS key,
         CASE WHEN c.key IS NULL THEN 'channel_advisor' WHEN t.key IS NULL THEN 'tims' ELSE '' END AS missing,
         c.facts AS c_facts, t.facts AS t_facts, c.version AS c_version, t.version AS t_version,
         CASE WHEN c.key IS NULL THEN t.cause WHEN t.key IS NULL THEN c.cause END AS cause,
         CASE WHEN c.key IS NULL THEN t.why WHEN t.key IS NULL THEN c.why END AS why
  FROM (SELECT * FROM whole WHERE side = 'channel_advisor') c
  FULL JOIN (SELECT * FROM whole WHERE side = 'tims') t ON t.key = c.key
  WHERE CASE :keys WHEN 'both' THEN c.key IS NOT NULL AND t.key IS NOT NULL
                   WHEN 'channel_advisor' THEN c.key IS NOT NULL ELSE true END
),
-- JSON's null says nothing and is not compared; a fact that one side does not have at all is a difference. Of a record
-- that cannot be read only that is reported.
different AS (
  SELECT p.*, f.name AS field, f.c_value, f.t_value
  FROM pair p CROSS JOIN LATERAL (
    SELECT '' AS name, NULL::jsonb AS c_value, NULL::jsonb AS t_value WHERE p.missing <> ''
    UNION ALL
    SELECT k.name, p.c_facts -> k.name, p.t_facts -> k.name
    FROM jsonb_object_keys(p.c_facts || p.t_facts) AS k (name)
    WHERE p.missing = '' AND p.c_facts -> k.name IS DISTINCT FROM p.t_facts -> k.name
      AND coalesce(p.c_facts -> k.name <> 'null', true) AND coalesce(p.t_facts -> k.name <> 'null', true)
      AND (k.name = :record OR NOT (p.c_facts || p.t_facts) ? :record)
  ) f
  WHERE p.missing <> '' OR p.c_facts <> p.t_facts
),
made AS (
  INSERT INTO ops.reconcile_difference (run, subject, key, field, missing, channel_advisor, tims,
    channel_advisor_version, tims_version, cause, why, since)
  SELECT :run, :subject, d.key, d.field, d.missing,
         CASE WHEN :shown THEN left(d.c_value #>> '{}', :longest) END,
         CASE WHEN :shown THEN left(d.t_value #>> '{}', :longest) END,
         d.c_version, d.t_version, coalesce(d.cause, :unexplained), d.why, coalesce(o.since, now())
  FROM different d LEFT JOIN ops.reconcile_difference o
    ON o.run = :previous AND o.subject = :subject AND o.key = d.key AND o.field = d.field
  RETURNING key
)
SELECT (SELECT count(*) FROM whole WHERE side = 'channel_advisor') AS channel_advisor,
       (SELECT count(*) FROM whole WHERE side = 'tims') AS tims,
       (SELECT count(*) FROM pair) AS compared,
       (SELECT count(DISTINCT key) FROM made) AS different
