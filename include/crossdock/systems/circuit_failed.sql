-- Counts a failure of a system; opens its circuit at :most of them in a row, or when the trial failed.
INSERT INTO ops.circuit AS c (system, state, failures, opened_at, updated_at)
VALUES (:system, CASE WHEN :most <= 1 THEN 'open' ELSE 'closed' END, 1,
        CASE WHEN :most <= 1 THEN clock_timestamp() END, clock_timestamp())
ON CONFLICT (system) DO UPDATE SET
  failures = c.failures + 1,
  state = CASE WHEN c.state <> 'closed' OR c.failures + 1 >= :most THEN 'open' ELSE 'closed' END,
  opened_at = CASE WHEN c.state = 'half_open' OR (c.state = 'closed' AND c.failures + 1 >= :most)
                   THEN clock_timestamp() ELSE c.opened_at END,
  updated_at = CASE WHEN c.state = 'open' THEN c.updated_at ELSE clock_timestamp() END
RETURNING state, failures, extract(epoch FROM clock_timestamp() - updated_at)
