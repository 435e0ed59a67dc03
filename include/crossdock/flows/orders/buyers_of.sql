-- Buyer data of these customers from orders that TIMS has.
SELECT b.*, b.state = 'staged' AS new FROM stage.buyer b
WHERE b.customer_id = ANY(:ids) AND (b.state = 'done' OR EXISTS (
  SELECT FROM ops.link l WHERE l.entity = 'sales_order' AND l.source_key = b.key
))
