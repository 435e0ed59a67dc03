-- Documents of other returns that are being sent, and that the last read of TIMS may lack.
SELECT s.order_key, l.* FROM stage.credit_memo s JOIN stage.credit_memo_line l ON l.key = s.key
WHERE s.order_key = ANY(:keys) AND NOT s.key = ANY(:own)
  AND (s.state IN ('staged', 'ready', 'would_be', 'delivered', 'unchanged')
       OR EXISTS (SELECT FROM ops.delivery d WHERE d.idempotency_key = l.document AND d.outcome <> 'rejected'))
ORDER BY l.key, l.position
