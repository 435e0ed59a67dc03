-- Returns of which something was sent.
SELECT DISTINCT l.key FROM stage.credit_memo_line l
JOIN ops.delivery d ON d.idempotency_key = l.document AND d.outcome <> 'rejected'
WHERE l.key = ANY(:keys)
