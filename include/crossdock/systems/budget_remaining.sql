-- Takes out of a system's window what it says is gone, beyond what we know of.
INSERT INTO ops.rate_lease (system, at, tokens)
SELECT :system, clock_timestamp(), :most - coalesce(sum(tokens), 0) - :stated FROM ops.rate_lease
WHERE system = :system AND at > clock_timestamp() - make_interval(secs => :span)
HAVING :most - coalesce(sum(tokens), 0) - :stated > 0
