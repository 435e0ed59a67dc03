-- Seconds until a token comes back, or a pause ends.
SELECT extract(epoch FROM greatest(
  min(at) FILTER (WHERE tokens > 0) + make_interval(secs => :span) - clock_timestamp(),
  max(at) FILTER (WHERE tokens = 0) - clock_timestamp()))
FROM ops.rate_lease WHERE system = :system AND at > clock_timestamp() - make_interval(secs => :span)
