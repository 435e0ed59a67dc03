-- Movements of which something was sent.
SELECT s.key FROM stage.stock_adjustment s
JOIN ops.delivery d ON d.idempotency_key = s."ExternalReference" AND d.outcome <> 'rejected'
WHERE s.key = ANY(:keys)
