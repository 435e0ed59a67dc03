-- Takes up to :want tokens of a system's window; no row where it has none left, or is paused.
WITH used AS (
  SELECT coalesce(sum(tokens), 0) AS tokens, coalesce(sum(tokens) FILTER (WHERE bulk), 0) AS bulk,
    coalesce(sum(tokens) FILTER (WHERE bulk AND at > clock_timestamp() - make_interval(secs => :pace)), 0) AS just_now,
    coalesce(max(at) FILTER (WHERE tokens = 0), '-infinity') AS paused
  FROM ops.rate_lease WHERE system = :system AND at > clock_timestamp() - make_interval(secs => :span)
)
INSERT INTO ops.rate_lease (system, at, tokens, bulk)
SELECT :system, clock_timestamp(), least(:want, :most - tokens, CASE WHEN :bulk THEN room END), :bulk
FROM used, least(greatest(:bulk_limit - tokens, :bulk_least - bulk), :bulk_burst - just_now) AS room
WHERE tokens < :most AND (NOT :bulk OR room > 0) AND paused <= clock_timestamp()
RETURNING tokens, at
