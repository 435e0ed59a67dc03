-- What orders that TIMS has say of these customers.
SELECT b.*, b.state = 'staged' AS new FROM stage.buyer b
WHERE b.customer_id = ANY(:ids) AND (b.state = 'done' OR EXISTS (
  SELECT FROM ops.link l WHERE l.entity = 'sales_order' AND l.source_key = b.key
))
